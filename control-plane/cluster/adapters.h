/* adapters.h - the LoRA adapters of a deployment: what its engine is to have loaded, also after a
 * restart, and how that is written in etcd.
 */
#ifndef PX_CONTROL_ADAPTERS_H
#define PX_CONTROL_ADAPTERS_H

#include <jansson.h>

#include "base/status.h"
#include "phalanx/v1/serving.pb-c.h"

enum {
    PX_ADAPTERS_MAX = 16,       /* of a deployment: as many as an engine holds by itself */
    PX_ADAPTER_NAME_BYTES = 64, /* its NUL included, as in: */
    PX_ADAPTER_PATH_BYTES = 1024
};

typedef struct px_adapter_spec {
    char name[PX_ADAPTER_NAME_BYTES]; /* as px_name_check() */
    char path[PX_ADAPTER_PATH_BYTES]; /* absolute, the same on all agents */
} px_adapter_spec;

typedef struct px_adapters {
    uint32_t count;
    px_adapter_spec items[PX_ADAPTERS_MAX];
} px_adapters;

/* INVALID_ARGUMENT naming what is wrong. */
px_status px_adapter_take(const char *name, const char *path, px_adapter_spec *out) PX_MUST_USE;
px_status px_adapters_take(
    Phalanx__V1__Adapter *const *from, size_t count, px_adapters *out) PX_MUST_USE;
const px_adapter_spec *px_adapters_find(
    const px_adapters *adapters, const char *name); /* or NULL */
/* One of its name is replaced. RESOURCE_EXHAUSTED: there are as many as there can be. */
px_status px_adapters_add(px_adapters *adapters, const px_adapter_spec *adapter) PX_MUST_USE;
void px_adapters_remove(px_adapters *adapters, const char *name);

/* `messages` and `pointers` have room for all; strings are borrowed. */
void px_adapters_fill(
    const px_adapters *adapters, Phalanx__V1__Adapter *messages, Phalanx__V1__Adapter **pointers);
json_t *px_adapters_encode(const px_adapters *adapters);
/* NULL: none. */
px_status px_adapters_decode(const json_t *array, px_adapters *out) PX_MUST_USE;

#endif
