/* slots.h - the adapters that one rank holds: loaded beside the steps, put in and out between them.
 *
 *   engine thread:  load(slot, folder) ... steps ... finish() -> keep() or forget()
 *   a thread of its own reads, checks and packs in between, one adapter at a time
 *
 * Owns:    the adapters, within a number and a sum of bytes.
 * Threads: the engine thread; on_loaded runs on the loading one.
 */
#ifndef PX_ADAPTER_SLOTS_H
#define PX_ADAPTER_SLOTS_H

#include "engine/adapter/load.h"

typedef struct px_adapter_slots px_adapter_slots;

typedef struct px_adapter_slots_options {
    const px_model *model; /* borrowed */
    const px_kernels *kernels;
    uint32_t count;
    uint64_t bytes_max; /* of all together */
} px_adapter_slots_options;

px_adapter_slots *px_adapter_slots_create(const px_adapter_slots_options *options);
void px_adapter_slots_free(px_adapter_slots *slots); /* waits for what is loading; NULL is fine */

/* Begins to load into an empty slot; nothing else is loading. `folder` is copied; `on_loaded` may
 * be NULL. */
void px_adapter_slots_load(px_adapter_slots *slots, uint32_t slot, const char *folder,
    void (*on_loaded)(void *arg), void *arg);
bool px_adapter_slots_is_loading(const px_adapter_slots *slots); /* begun and not finished with */
bool px_adapter_slots_is_loaded(const px_adapter_slots *slots);  /* finish() would not wait */
/* Waits for the end of loading. After it comes keep() or forget(). */
px_status px_adapter_slots_finish(px_adapter_slots *slots) PX_MUST_USE;
void px_adapter_slots_keep(px_adapter_slots *slots); /* finish() was OK */
void px_adapter_slots_forget(px_adapter_slots *slots);
void px_adapter_slots_drop(px_adapter_slots *slots, uint32_t slot);

const px_adapter *px_adapter_slots_at(
    const px_adapter_slots *slots, uint32_t slot); /* NULL: empty */

#endif
