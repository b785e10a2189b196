/* order.h - what rank 0 tells all ranks to do with an adapter, between two steps.
 *
 *   LOAD    begin to load it into a slot; steps go on
 *   SETTLE  rank 0 has it: all finish, tell each other how it went, and keep it or none does
 *   DROP    no sequence uses it any more
 *
 * Orders go over the plan channel, in one order with the steps. Layout of a message: 32-bit words
 * in the machine's own order: magic, kind, slot, bytes of the path; then the path.
 * Errors:  decode checks everything: DATA_LOSS with a sentence.
 */
#ifndef PX_ADAPTER_ORDER_H
#define PX_ADAPTER_ORDER_H

#include "engine/adapter/names.h"
#include "engine/adapter/slots.h"
#include "parallel/comm.h"

typedef enum px_adapter_order_kind {
    PX_ADAPTER_LOAD,
    PX_ADAPTER_SETTLE,
    PX_ADAPTER_DROP,
    PX_ADAPTER_ORDER_KIND_COUNT
} px_adapter_order_kind;

typedef struct px_adapter_order {
    px_adapter_order_kind kind;
    uint32_t slot;
    char path[PX_ADAPTER_PATH_MAX]; /* of LOAD */
} px_adapter_order;

enum { PX_ADAPTER_ORDER_BYTES_MAX = 4 * sizeof(uint32_t) + PX_ADAPTER_PATH_MAX };

/* Writes at most PX_ADAPTER_ORDER_BYTES_MAX bytes; returns how many. */
size_t px_adapter_order_encode(const px_adapter_order *order, void *message);
bool px_adapter_order_is(const void *message, size_t bytes); /* or else a step */
px_status px_adapter_order_decode(
    const void *message, size_t bytes, uint32_t slots, px_adapter_order *out) PX_MUST_USE;

/* Carries it out on this rank, as all ranks do. Fails only when a peer does; how settling went is
 * in *out_result, the same on all ranks. `on_loaded` as in slots.h. */
typedef struct px_adapter_obeying {
    px_adapter_slots *slots;
    px_comm *comm;
    void (*on_loaded)(void *arg);
    void *arg;
} px_adapter_obeying;
px_status px_adapter_obey(const px_adapter_obeying *how, const px_adapter_order *order,
    px_status *out_result) PX_MUST_USE;

#endif
