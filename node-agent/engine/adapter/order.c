/* order.c - see order.h. */
#include "engine/adapter/order.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"

enum { MAGIC = 0x31415850 /* "PXA1" where the machine is little-endian */, WORDS = 4 };
static const int64_t settle_deadline_ns = 5 * 60 * PX_SEC; /* the slowest disk among the ranks */

size_t px_adapter_order_encode(const px_adapter_order *order, void *message)
{
    uint32_t length = order->kind == PX_ADAPTER_LOAD ? (uint32_t)strlen(order->path) : 0;
    uint32_t words[WORDS] = {MAGIC, order->kind, order->slot, length};
    memcpy(message, words, sizeof words);
    memcpy((char *)message + sizeof words, order->path, length);
    return sizeof words + length;
}

bool px_adapter_order_is(const void *message, size_t bytes)
{
    uint32_t magic;
    if (bytes < sizeof magic) return false;
    memcpy(&magic, message, sizeof magic);
    return magic == MAGIC;
}

px_status px_adapter_order_decode(
    const void *message, size_t bytes, uint32_t slots, px_adapter_order *out)
{
    uint32_t words[WORDS] = {0};
    memcpy(words, message, bytes < sizeof words ? bytes : sizeof words);
    uint32_t length = words[3];
    if (bytes < sizeof words || words[1] >= PX_ADAPTER_ORDER_KIND_COUNT || words[2] >= slots ||
        length >= PX_ADAPTER_PATH_MAX || bytes != sizeof words + length)
        return px_fail(PX_DATA_LOSS,
            "rank 0 sent an impossible order about an adapter "
            "(kind %u, slot %u of %u, %zu bytes)",
            words[1], words[2], slots, bytes);
    *out = (px_adapter_order){.kind = (px_adapter_order_kind)words[1], .slot = words[2]};
    memcpy(out->path, (const char *)message + sizeof words, length);
    return px_ok();
}

/* The first failure among all ranks, on all of them; fails when a peer is lost. */
static px_status agree(px_comm *comm, px_status mine, px_status *out_result)
{
    int size = px_comm_size(comm);
    *out_result = mine;
    if (size == 1) return px_ok();
    size_t *bytes = px_alloc_array((size_t)size, sizeof *bytes);
    px_status *all = px_alloc_array((size_t)size, sizeof *all);
    for (int i = 0; i < size; i++) bytes[i] = sizeof *all;
    px_status status = px_comm_gather(comm, &mine, bytes, all);
    if (px_is_ok(status)) status = px_comm_broadcast(comm, all, (size_t)size * sizeof *all);
    for (int i = size - 1; px_is_ok(status) && i >= 0; i--)
        if (!px_is_ok(all[i])) *out_result = px_prefix(all[i], "rank %d", i);
    free(bytes);
    free(all);
    return status;
}

static px_status settle(const px_adapter_obeying *how, px_status *out_result)
{
    if (!px_adapter_slots_is_loading(how->slots))
        return px_fail(PX_DATA_LOSS, "rank 0 asks for an adapter that was not to be loaded");
    px_status mine = px_adapter_slots_finish(how->slots);
    px_comm_set_deadline(how->comm, settle_deadline_ns);
    px_status status = agree(how->comm, mine, out_result);
    px_comm_set_deadline(how->comm, 0);
    if (px_is_ok(status) && px_is_ok(*out_result))
        px_adapter_slots_keep(how->slots);
    else
        px_adapter_slots_forget(how->slots);
    return status;
}

px_status px_adapter_obey(
    const px_adapter_obeying *how, const px_adapter_order *order, px_status *out_result)
{
    bool is_held = px_adapter_slots_at(how->slots, order->slot) != NULL;
    bool is_loading = px_adapter_slots_is_loading(how->slots);
    *out_result = px_ok();
    if (order->kind == PX_ADAPTER_SETTLE) return settle(how, out_result);
    if (is_held != (order->kind == PX_ADAPTER_DROP) || (is_loading && !is_held))
        return px_fail(
            PX_DATA_LOSS, "rank 0's order about adapter %u does not fit here", order->slot);
    if (order->kind == PX_ADAPTER_DROP)
        px_adapter_slots_drop(how->slots, order->slot);
    else
        px_adapter_slots_load(how->slots, order->slot, order->path, how->on_loaded, how->arg);
    return px_ok();
}
