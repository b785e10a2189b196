#include "control/cluster/adapters.h"

#include <string.h>

#include "base/json.h"
#include "control/cluster/spec.h"

px_status px_adapter_take(const char *name, const char *path, px_adapter_spec *out)
{
    px_adapter_spec adapter = {{0}};
    PX_TRY(px_name_check(name, "an adapter's name"));
    if (path[0] != '/')
        return px_fail(PX_INVALID_ARGUMENT,
            "the path of adapter '%s' must be absolute: the agents have another working folder",
            name);
    if (strlen(path) >= sizeof adapter.path)
        return px_fail(PX_INVALID_ARGUMENT, "the path of adapter '%s' is longer than %zu bytes",
            name, sizeof adapter.path - 1);
    memcpy(adapter.name, name, strlen(name));
    memcpy(adapter.path, path, strlen(path));
    *out = adapter;
    return px_ok();
}

const px_adapter_spec *px_adapters_find(const px_adapters *adapters, const char *name)
{
    for (uint32_t i = 0; i < adapters->count; i++)
        if (strcmp(adapters->items[i].name, name) == 0) return &adapters->items[i];
    return NULL;
}

px_status px_adapters_add(px_adapters *adapters, const px_adapter_spec *adapter)
{
    if (!px_adapters_find(adapters, adapter->name) && adapters->count == PX_ADAPTERS_MAX)
        return px_fail(PX_RESOURCE_EXHAUSTED, "a deployment has at most %d adapters: unload one",
            PX_ADAPTERS_MAX);
    px_adapters_remove(adapters, adapter->name);
    adapters->items[adapters->count++] = *adapter;
    return px_ok();
}

void px_adapters_remove(px_adapters *adapters, const char *name)
{
    const px_adapter_spec *found = px_adapters_find(adapters, name);
    if (!found) return;
    size_t index = (size_t)(found - adapters->items);
    adapters->count--;
    memmove(&adapters->items[index], &adapters->items[index + 1],
        (adapters->count - index) * sizeof *adapters->items);
    memset(&adapters->items[adapters->count], 0, sizeof *adapters->items);
}

px_status px_adapters_take(Phalanx__V1__Adapter *const *from, size_t count, px_adapters *out)
{
    px_adapters adapters = {0};
    for (size_t i = 0; i < count; i++) {
        px_adapter_spec adapter;
        PX_TRY(px_adapter_take(from[i]->name, from[i]->path, &adapter));
        if (px_adapters_find(&adapters, adapter.name))
            return px_fail(PX_INVALID_ARGUMENT, "two adapters are called '%s'", adapter.name);
        PX_TRY(px_adapters_add(&adapters, &adapter));
    }
    *out = adapters;
    return px_ok();
}

void px_adapters_fill(
    const px_adapters *adapters, Phalanx__V1__Adapter *messages, Phalanx__V1__Adapter **pointers)
{
    for (uint32_t i = 0; i < adapters->count; i++) {
        phalanx__v1__adapter__init(&messages[i]);
        messages[i].name = (char *)adapters->items[i].name;
        messages[i].path = (char *)adapters->items[i].path;
        pointers[i] = &messages[i];
    }
}

json_t *px_adapters_encode(const px_adapters *adapters)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < adapters->count; i++) {
        const px_adapter_spec *adapter = &adapters->items[i];
        json_t *object = json_pack("{s:s, s:s}", "name", adapter->name, "path", adapter->path);
        PX_ASSERT(object);
        json_array_append_new(array, object);
    }
    return array;
}

px_status px_adapters_decode(const json_t *array, px_adapters *out)
{
    px_adapters adapters = {0};
    size_t index;
    json_t *item;
    json_array_foreach(array, index, item)
    {
        const char *name = "", *path = "";
        px_adapter_spec adapter;
        PX_TRY(px_json_get_str(item, "name", "adapter", &name));
        PX_TRY(px_json_get_str(item, "path", "adapter", &path));
        PX_TRY(px_adapter_take(name, path, &adapter));
        PX_TRY(px_adapters_add(&adapters, &adapter));
    }
    *out = adapters;
    return px_ok();
}
