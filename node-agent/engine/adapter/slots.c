/* slots.c - see slots.h. */
#include "engine/adapter/slots.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

typedef struct loading {
    bool begun, has_thread;
    atomic_bool done;
    pthread_t thread;
    uint32_t slot;
    char *folder;
    px_adapter_options options;
    px_adapter *adapter; /* NULL: it failed */
    px_status status;
    void (*on_loaded)(void *arg);
    void *arg;
} loading;

struct px_adapter_slots {
    px_adapter_slots_options options;
    px_adapter **at; /* [count] */
    uint64_t bytes;  /* of those held */
    loading loading;
};

px_adapter_slots *px_adapter_slots_create(const px_adapter_slots_options *options)
{
    px_adapter_slots *slots = px_alloc(sizeof *slots);
    slots->options = *options;
    slots->at = px_alloc_array(options->count, sizeof(px_adapter *));
    return slots;
}

void px_adapter_slots_free(px_adapter_slots *slots)
{
    if (!slots) return;
    if (slots->loading.begun) {
        px_ignore(px_adapter_slots_finish(slots));
        px_adapter_slots_forget(slots);
    }
    for (uint32_t i = 0; i < slots->options.count; i++) px_adapter_free(slots->at[i]);
    free(slots->at);
    free(slots);
}

static void *load(void *arg)
{
    loading *l = arg;
    l->status = px_adapter_load(&l->options, &l->adapter);
    atomic_store_explicit(&l->done, true, memory_order_release);
    if (l->on_loaded) l->on_loaded(l->arg);
    return NULL;
}

void px_adapter_slots_load(px_adapter_slots *slots, uint32_t slot, const char *folder,
    void (*on_loaded)(void *arg), void *arg)
{
    loading *l = &slots->loading;
    PX_ASSERT(!l->begun && slot < slots->options.count && !slots->at[slot]);
    *l = (loading){.begun = true,
        .slot = slot,
        .folder = px_strdup(folder),
        .options = {.model = slots->options.model,
            .kernels = slots->options.kernels,
            .bytes_max = slots->options.bytes_max - slots->bytes},
        .status = px_ok(),
        .on_loaded = on_loaded,
        .arg = arg};
    l->options.folder = l->folder;
    l->has_thread = pthread_create(&l->thread, NULL, load, l) == 0;
    if (!l->has_thread) load(l);
}

bool px_adapter_slots_is_loading(const px_adapter_slots *slots)
{
    return slots->loading.begun;
}

bool px_adapter_slots_is_loaded(const px_adapter_slots *slots)
{
    return atomic_load_explicit(&slots->loading.done, memory_order_acquire);
}

px_status px_adapter_slots_finish(px_adapter_slots *slots)
{
    loading *l = &slots->loading;
    PX_ASSERT(l->begun);
    if (l->has_thread) pthread_join(l->thread, NULL);
    l->has_thread = false;
    return l->status;
}

void px_adapter_slots_keep(px_adapter_slots *slots)
{
    loading *l = &slots->loading;
    PX_ASSERT(l->adapter && !l->has_thread);
    slots->at[l->slot] = l->adapter;
    slots->bytes += l->adapter->bytes;
    l->adapter = NULL;
    px_adapter_slots_forget(slots);
}

void px_adapter_slots_forget(px_adapter_slots *slots)
{
    px_adapter_free(slots->loading.adapter);
    free(slots->loading.folder);
    slots->loading = (loading){.begun = false};
}

void px_adapter_slots_drop(px_adapter_slots *slots, uint32_t slot)
{
    px_adapter *adapter = slots->at[slot];
    PX_ASSERT(adapter);
    slots->bytes -= adapter->bytes;
    px_adapter_free(adapter);
    slots->at[slot] = NULL;
}

const px_adapter *px_adapter_slots_at(const px_adapter_slots *slots, uint32_t slot)
{
    return slots->at[slot];
}
