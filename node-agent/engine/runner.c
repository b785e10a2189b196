/* runner.c - see runner.h. */
#include "engine/runner.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

struct px_runner {
    px_runner_options options;
    uint32_t *tables;       /* [slots, seq_blocks] */
    uint32_t *filled;       /* [slots] entries of each table */
    px_kv_row *at;          /* [rows] */
    uint32_t *logit_at;     /* [logit_rows] */
    uint32_t *hidden_at;    /* [rows] */
    px_adapter_span *spans; /* [slots] */
};

px_runner *px_runner_create(const px_runner_options *options)
{
    const px_step_limits *limits = &options->limits;
    px_runner *runner = px_alloc(sizeof *runner);
    *runner = (px_runner){
        .options = *options,
        .tables = px_alloc_array((size_t)limits->slots * limits->seq_blocks, sizeof(uint32_t)),
        .filled = px_alloc_array(limits->slots, sizeof(uint32_t)),
        .at = px_alloc_array(limits->rows, sizeof(px_kv_row)),
        .logit_at = px_alloc_array(limits->logit_rows, sizeof(uint32_t)),
        .hidden_at = px_alloc_array(limits->rows, sizeof(uint32_t)),
        .spans = px_alloc_array(limits->slots, sizeof(px_adapter_span)),
    };
    return runner;
}

void px_runner_free(px_runner *runner)
{
    if (!runner) return;
    free(runner->tables);
    free(runner->filled);
    free(runner->at);
    free(runner->logit_at);
    free(runner->hidden_at);
    free(runner->spans);
    free(runner);
}

/* Puts the new blocks into the slot's table and returns it; NULL when it has a gap or is short. */
static const uint32_t *extend_table(
    px_runner *runner, const px_step_seq *seq, const uint32_t *blocks)
{
    uint32_t *table = runner->tables + (size_t)seq->slot * runner->options.limits.seq_blocks;
    uint32_t *filled = &runner->filled[seq->slot];
    if (seq->blocks) {
        if (seq->block_at > *filled) return NULL;
        memcpy(table + seq->block_at, blocks, seq->blocks * sizeof *blocks);
        *filled = seq->block_at + seq->blocks;
    }
    return seq->position + seq->rows <= *filled * PX_KV_BLOCK_TOKENS ? table : NULL;
}

/* The sequence's rows and logits, which come next in the batch, are its adapter's: a part of the
 * last span, if that is the same one's and ends here. */
static px_status add_to_spans(px_runner *runner, const px_step_seq *seq, px_batch *batch)
{
    if (!seq->adapter) return px_ok();
    const px_adapter *adapter = px_adapter_slots_at(runner->options.adapters, seq->adapter - 1);
    if (!adapter) return px_fail(PX_DATA_LOSS, "there is no adapter in slot %u", seq->adapter - 1);
    px_adapter_span *last = &runner->spans[batch->span_count - 1];
    if (!batch->span_count || last->adapter != adapter ||
        last->rows.begin + last->rows.count != batch->rows) {
        last = &runner->spans[batch->span_count++];
        *last = (px_adapter_span){
            .adapter = adapter, .rows.begin = batch->rows, .logits.begin = batch->logit_rows};
    }
    last->rows.count += seq->rows;
    last->logits.count += seq->logit_rows;
    return px_ok();
}

px_status px_runner_step(px_runner *runner, const px_step *step, px_runner_room room)
{
    px_batch batch = {.ids = step->ids,
        .at = runner->at,
        .logit_at = runner->logit_at,
        .hidden_at = runner->hidden_at,
        .out_hidden = room.hidden,
        .spans = runner->spans};
    const uint32_t *blocks = step->blocks;
    PX_TRY(px_kv_move_all(&step->moves, runner->options.pool, runner->options.park));
    for (uint32_t i = 0; i < step->seq_count; i++) {
        const px_step_seq *seq = &step->seqs[i];
        const uint32_t *table = extend_table(runner, seq, blocks);
        if (!table)
            return px_fail(PX_DATA_LOSS, "the KV blocks of slot %u do not reach position %u",
                seq->slot, seq->position + seq->rows - 1);
        blocks += seq->blocks;
        PX_TRY(add_to_spans(runner, seq, &batch));
        for (uint32_t row = 0; row < seq->rows; row++)
            runner->at[batch.rows++] = (px_kv_row){
                .blocks = table, .position = seq->position + row, .prompt = seq->prompt};
        for (uint32_t left = seq->logit_rows; left; left--)
            runner->logit_at[batch.logit_rows++] = batch.rows - left;
        for (uint32_t left = seq->hidden_rows; left; left--)
            runner->hidden_at[batch.hidden_rows++] = batch.rows - left;
    }
    return runner->options.forward(runner->options.forward_self, &batch, room.logits);
}
