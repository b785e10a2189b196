/* engine.c - see engine.h: opening, closing, following, and what any thread may ask.
 *
 * Rank 0 loads on the thread that will run the steps, so that the team, the device and the comm
 * see one thread for life; the other ranks do both on the caller's.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/engine_impl.h"

const char *px_finish_name(px_finish finish)
{
    static const char *const names[PX_FINISH_COUNT] = {"stop", "length", "error"};
    PX_ASSERT((unsigned)finish < PX_FINISH_COUNT);
    return names[finish];
}

static void ring_bell(void *arg)
{
    px_doorbell_ring(&((px_engine *)arg)->bell);
}

static px_status make_forms(px_engine *engine)
{
    px_forms_options options = {.tokenizer = engine->parts.text.tokenizer,
        .waiting_max = engine->parts.limits.slots + engine->parts.queue_max,
        .on_ready = ring_bell,
        .arg = engine};
    return px_forms_create(&options, &engine->forms);
}

static void *rank_zero(void *arg)
{
    px_engine *engine = arg;
    px_status status = engine->make(&engine->options, engine->parts.comm, &engine->parts);
    if (px_is_ok(status)) status = px_engine_side_create(engine);
    if (px_is_ok(status)) status = make_forms(engine);
    engine->open_status = status;
    atomic_store(&engine->is_open, true);
    px_doorbell_ring(&engine->opened);
    if (px_is_ok(status)) px_engine_serve(engine);
    return NULL;
}

static px_status open_rank_zero(px_engine *engine)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    int error = pthread_create(&engine->thread, &attributes, rank_zero, engine);
    pthread_attr_destroy(&attributes);
    if (error) return px_fail(PX_RESOURCE_EXHAUSTED, "the engine's thread: %s", strerror(error));
    for (;;) {
        uint32_t seen = px_doorbell_look(&engine->opened);
        if (atomic_load(&engine->is_open)) break;
        px_doorbell_wait(&engine->opened, seen, PX_SEC);
    }
    if (!px_is_ok(engine->open_status)) pthread_join(engine->thread, NULL);
    return engine->open_status;
}

static void free_engine(px_engine *engine)
{
    px_forms_free(engine->forms); /* before the sequences that wait for it */
    px_engine_side_free(engine);
    px_caller_side_free(engine);
    px_ring_done(&engine->inbox);
    px_ring_done(&engine->adapter_inbox);
    px_ring_done(&engine->outbox);
    px_parts_done(&engine->parts);
    px_comm_free(engine->own_comm);
    free(engine);
}

px_status px_engine_open_with(
    px_parts_fn make, const px_engine_options *options, px_comm *comm, px_engine **out)
{
    px_engine *engine = px_alloc(sizeof *engine);
    engine->options = *options;
    engine->make = make;
    px_status status = px_ok();
    if (!comm) {
        PX_TRY_GOTO(px_comm_self(&engine->own_comm), fail);
        comm = engine->own_comm;
    }
    engine->parts.comm = comm;
    if (px_comm_rank(comm) == 0)
        PX_TRY_GOTO(open_rank_zero(engine), fail);
    else
        PX_TRY_GOTO(make(options, comm, &engine->parts), fail);
    if (px_comm_rank(comm) == 0)
        px_caller_side_create(engine, engine->parts.limits.slots + engine->parts.queue_max);
    *out = engine;
    return status;
fail:
    free_engine(engine);
    return status;
}

px_status px_engine_open(const px_engine_options *options, px_comm *comm, px_engine **out)
{
    return px_engine_open_with(px_parts_load, options, comm, out);
}

void px_engine_close(px_engine *engine)
{
    if (!engine) return;
    if (px_comm_rank(engine->parts.comm) == 0) {
        atomic_store(&engine->is_closing, true);
        px_doorbell_ring(&engine->bell);
        pthread_join(engine->thread, NULL);
    }
    free_engine(engine);
}

px_status px_engine_follow(px_engine *engine)
{
    const px_parts *parts = &engine->parts;
    px_step step;
    px_step_init(&step, &parts->limits);
    size_t capacity = px_message_bytes_max(parts), bytes;
    void *message = px_alloc(capacity);
    px_runner *runner = px_parts_make_runner(parts);
    px_status status;
    for (;;) {
        PX_TRY_GOTO(px_comm_plan_wait(parts->comm, message, capacity, &bytes), out);
        if (px_adapter_order_is(message, bytes)) {
            PX_TRY_GOTO(px_adapters_follow(engine, message, bytes), out);
            continue;
        }
        PX_TRY_GOTO(px_step_decode(message, bytes, &parts->limits, &step), out);
        if (step.kind == PX_STEP_CLOSE) break;
        PX_TRY_GOTO(px_runner_step(runner, &step, (px_runner_room){0}), out);
        atomic_fetch_add_explicit(&engine->counters.steps, 1, memory_order_relaxed);
    }
out:
    px_runner_free(runner);
    free(message);
    px_step_done(&step);
    return status;
}

const px_model_info *px_engine_model(const px_engine *engine)
{
    return &engine->parts.info;
}

void px_engine_get_stats(const px_engine *engine, px_engine_stats *out)
{
    const px_counters *c = &engine->counters;
    const memory_order any = memory_order_relaxed;
    *out = (px_engine_stats){
        .steps = atomic_load_explicit(&c->steps, any),
        .step_started_ns = atomic_load_explicit(&c->step_started_ns, any),
        .running = atomic_load_explicit(&c->running, any),
        .waiting = atomic_load_explicit(&c->waiting, any),
        .kv_blocks = engine->parts.limits.blocks,
        .kv_blocks_free = atomic_load_explicit(&c->blocks_free, any),
        .kv_blocks_parked = atomic_load_explicit(&c->blocks_parked, any),
        .prompt_tokens = atomic_load_explicit(&c->prompt_tokens, any),
        .output_tokens = atomic_load_explicit(&c->output_tokens, any),
        .prefix_queries = atomic_load_explicit(&c->prefix_queries, any),
        .prefix_hits = atomic_load_explicit(&c->prefix_hits, any),
        .preemptions = atomic_load_explicit(&c->preemptions, any),
        .recomputed_tokens = atomic_load_explicit(&c->recomputed, any),
        .proposed = atomic_load_explicit(&c->proposed, any),
        .accepted = atomic_load_explicit(&c->accepted, any),
        .refused = atomic_load_explicit(&c->refused, any),
        .weight_bytes = engine->parts.weight_bytes,
        .kv_bytes = engine->parts.kv_bytes,
    };
}

px_status px_engine_health(const px_engine *engine)
{
    if (!atomic_load_explicit(&engine->has_failed, memory_order_acquire)) return px_ok();
    return engine->failure;
}
