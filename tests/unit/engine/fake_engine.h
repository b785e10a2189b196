/* fake_engine.h - an engine over a forward that is a test's: no model, yet every KV block counts.
 *
 * The fake forward keeps one number for each token place in the pool's own memory: a hash of the
 * whole history up to it, made from the number of the place before, which it finds through the
 * row's block table. A wrong table, a stale block, a lost move, a missing row: all change the
 * answer.
 */
#ifndef PX_TEST_FAKE_ENGINE_H
#define PX_TEST_FAKE_ENGINE_H

#include <stdatomic.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "engine/engine_impl.h"

enum {
    FAKE_BYTES = 256,
    FAKE_EOS = 256,
    FAKE_WIDE = 257,
    FAKE_VOCABULARY = 258,
    FAKE_PROPOSALS = 8
};

typedef struct fake_model {
    uint32_t slots, rows, blocks, context, queue_max; /* of the engine */
    uint32_t park_slots, logit_rows_more;             /* more than slots */
    uint64_t queue_tokens_max;
    px_pace_options pace; /* batch_size 0: rows, without a latency */
    const char *script; /* the answer, whatever the prompt ('$' is the end token); NULL: by hash */
    int64_t step_ns, row_ns;  /* how long a step takes, and each of its rows */
    bool only_waits;          /* no KV, and every answer says the same */
    uint32_t broken_after;    /* steps until a peer is lost; 0: never */
    px_guesser guesser;       /* with proposals_max of 8 */
    struct fake_model *draft; /* by PX_GUESS_DRAFT: with the same number of blocks */
    uint32_t wrong_every; /* a draft's: every so many places it would say something else; 0: none */
    _Atomic uint32_t steps, rows_seen;
    px_kvpool *pool;
} fake_model;

static fake_model *fake_now; /* what the next engine is made of */

static uint64_t fake_mix(uint64_t state, uint32_t id)
{
    uint64_t x = (state ^ id) * UINT64_C(0x9E3779B97F4A7C15) + 1;
    return (x ^ x >> 29) * UINT64_C(0xBF58476D1CE4E5B9);
}

static uint32_t fake_greedy(uint64_t state)
{
    return 'a' + (uint32_t)(state >> 40) % 26;
}

static void fake_logits(const fake_model *model, uint64_t state, uint32_t position, float *logits)
{
    for (uint32_t i = 0; i < FAKE_VOCABULARY; i++)
        logits[i] = (float)(fake_mix(state, i) >> 44) / (1 << 20);
    uint32_t best = fake_greedy(state);
    if (model->script) {
        best = (unsigned char)model->script[(position + 1) % strlen(model->script)];
        if (best == '$') best = FAKE_EOS;
        if (best == '#') best = FAKE_WIDE;
    }
    if (model->wrong_every && position % model->wrong_every == 0) best = 'A';
    logits[best] = 4;
}

static uint64_t *fake_place(const fake_model *model, const uint32_t *blocks, uint32_t position)
{
    const px_kv_plane *k = &px_kvpool_layers(model->pool)->k;
    unsigned char *block = px_kv_share(k, 0, blocks[position / PX_KV_BLOCK_TOKENS]);
    return (uint64_t *)block + position % PX_KV_BLOCK_TOKENS;
}

static px_status fake_step(void *self, const px_batch *batch, float *out_logits)
{
    fake_model *model = self;
    uint32_t next_logit = 0, steps = atomic_fetch_add(&model->steps, 1);
    atomic_fetch_add(&model->rows_seen, batch->rows);
    int64_t step_ns = model->step_ns + model->row_ns * batch->rows;
    if (step_ns) px_sleep_ns(step_ns);
    if (model->broken_after && steps >= model->broken_after)
        return px_fail(PX_UNAVAILABLE, "rank 1 does not answer");
    for (uint32_t i = 0; model->only_waits && i < batch->logit_rows; i++)
        out_logits[(size_t)i * FAKE_VOCABULARY + 'a'] = 1;
    for (uint32_t i = 0; !model->only_waits && i < batch->rows; i++) {
        uint32_t position = batch->at[i].position;
        const uint32_t *blocks = batch->at[i].blocks;
        uint64_t before = position ? *fake_place(model, blocks, position - 1) : 0;
        uint64_t *here = fake_place(model, blocks, position);
        *here = fake_mix(before, batch->ids[i]);
        if (next_logit < batch->logit_rows && batch->logit_at[next_logit] == i && out_logits) {
            fake_logits(model, *here, position, out_logits + (size_t)next_logit * FAKE_VOCABULARY);
            next_logit++;
        }
    }
    return px_ok();
}

/* GPT-2's way of writing bytes as characters, an end token, and one token of 400 bytes. */
static px_status fake_tokenizer(px_tokenizer **out)
{
    static char names[FAKE_BYTES][4], wide[401];
    static px_slice tokens[FAKE_VOCABULARY];
    static int32_t types[FAKE_VOCABULARY];
    uint32_t moved = 0;
    for (uint32_t b = 0; b < FAKE_BYTES; b++) {
        bool plain = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
        uint32_t rune = plain ? b : 256 + moved++;
        if (rune < 0x80)
            snprintf(names[b], 4, "%c", (int)rune);
        else
            snprintf(names[b], 4, "%c%c", (int)(0xC0 | rune >> 6), (int)(0x80 | (rune & 0x3F)));
        tokens[b] = (px_slice){names[b], strlen(names[b])};
        types[b] = 1;
    }
    memset(wide, '=', 400);
    tokens[FAKE_EOS] = (px_slice){"<eos>", 5};
    types[FAKE_EOS] = 3;
    tokens[FAKE_WIDE] = (px_slice){wide, 400};
    types[FAKE_WIDE] = 1;
    px_tokenizer_gguf fields = {.model = {"gpt2", 4},
        .pre = {"gpt-2", 5},
        .tokens = tokens,
        .types = types,
        .token_count = FAKE_VOCABULARY,
        .bos_id = -1,
        .eos_id = FAKE_EOS,
        .unknown_id = -1,
        .add_bos = 0,
        .add_eos = 0,
        .add_space_prefix = 0};
    return px_tokenizer_from_gguf(&fields, out);
}

/* A small model that says the same, or nearly; its KV counts as well. */
static px_status fake_draft(const fake_model *model, px_kv_shape shape, px_parts *out)
{
    PX_TRY(px_kvpool_create(shape, PX_F32, model->blocks, &out->draft.pool));
    model->draft->pool = out->draft.pool;
    out->draft.forward = fake_step;
    out->draft.forward_self = model->draft;
    out->draft.context = model->context;
    out->draft.rows = model->slots > 16 ? model->slots : 16;
    return px_ok();
}

static px_status fake_parts(const px_engine_options *options, px_comm *comm, px_parts *out)
{
    fake_model *model = fake_now;
    px_kv_shape shape = {.layers = 1, .kv_heads = 1, .k_dim = 32, .v_dim = 32};
    out->info = (px_model_info){.name = "fake",
        .vocabulary = FAKE_VOCABULARY,
        .context = model->context,
        .eos_ids = {FAKE_EOS},
        .eos_count = 1,
        .generates = true,
        .bos_id = -1};
    out->limits = (px_step_limits){.slots = model->slots,
        .rows = model->rows,
        .logit_rows =
            model->slots + model->logit_rows_more + (model->guesser ? 2 * FAKE_PROPOSALS : 0),
        .seq_blocks = px_kv_blocks_for(model->context),
        .blocks = model->blocks,
        .park_slots = model->park_slots,
        .vocabulary = FAKE_VOCABULARY};
    out->comm = comm;
    out->forward = fake_step;
    out->forward_self = model;
    out->queue_max = model->queue_max;
    PX_TRY(px_team_create(options->threads ? options->threads : 2, false, &out->team));
    out->pace = model->pace;
    if (!out->pace.batch_size)
        out->pace = (px_pace_options){
            .batch_size = model->rows, .rows_max = model->rows, .scale_factor = 1};
    PX_TRY(px_kvpool_create(shape, PX_F32, model->blocks, &out->pool));
    model->pool = out->pool;
    out->guesser = model->guesser;
    out->proposals_max = model->guesser ? FAKE_PROPOSALS : 0;
    if (model->guesser == PX_GUESS_DRAFT) PX_TRY(fake_draft(model, shape, out));
    px_kvpark_options park = {
        .block_bytes = px_kvpool_bytes_each(out->pool), .slots = model->park_slots};
    PX_TRY(px_kvpark_create(&park, &out->park));
    return fake_tokenizer(&out->text.tokenizer);
}

static void fake_wake(void *bell)
{
    px_doorbell_ring(bell);
}

/* `bell` is rung when events wait. */
static px_engine *fake_open(fake_model *model, px_doorbell *bell)
{
    px_engine *engine = NULL;
    px_engine_options options = {
        .on_wake = fake_wake, .arg = bell, .queue_tokens_max = model->queue_tokens_max};
    fake_now = model;
    PX_CHECK_OK(px_engine_open_with(fake_parts, &options, NULL, &engine));
    return engine;
}

/* The next event within ten seconds; false after that, which is a failure. */
static inline bool fake_next(px_engine *engine, px_doorbell *bell, px_event *out)
{
    int64_t give_up_ns = px_now_ns() + 10 * PX_SEC;
    while (px_now_ns() < give_up_ns) {
        uint32_t seen = px_doorbell_look(bell);
        if (px_engine_poll(engine, out)) return true;
        px_doorbell_wait(bell, seen, PX_SEC);
    }
    return false;
}

typedef struct fake_answer { /* all of one request's events */
    uint64_t id;
    uint32_t ids[512], count;
    char text[4096];
    size_t length;
    px_event done;
    bool is_done;
} fake_answer;

static inline void fake_take(fake_answer *answer, const px_event *event)
{
    PX_CHECK(!answer->is_done); /* DONE is the last */
    if (event->kind == PX_EVENT_DONE) {
        answer->done = *event;
        answer->is_done = true;
        return;
    }
    if (event->has_token && answer->count < 512) answer->ids[answer->count++] = event->token;
    if (answer->length + event->text_length < sizeof answer->text) {
        memcpy(answer->text + answer->length, event->text, event->text_length);
        answer->length += event->text_length;
        answer->text[answer->length] = '\0';
    }
}

/* Collects until all `count` answers are done. */
static inline bool fake_collect(
    px_engine *engine, px_doorbell *bell, fake_answer *answers, uint32_t count)
{
    uint32_t open = 0;
    for (uint32_t i = 0; i < count; i++) open += !answers[i].is_done;
    while (open) {
        px_event event;
        if (!fake_next(engine, bell, &event)) return false;
        uint32_t i = 0;
        while (i < count && answers[i].id != event.id) i++;
        if (i == count) return false;
        fake_take(&answers[i], &event);
        open -= answers[i].is_done;
    }
    return true;
}

#endif
