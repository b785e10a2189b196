/* runner.c - see runner.h. */
#include "engine/runner.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

struct px_runner {
    px_runner_options options;
    uint32_t *tables;   /* [slots, seq_blocks] */
    uint32_t *filled;   /* [slots] entries of each table */
    px_kv_row *at;      /* [rows] */
    uint32_t *logit_at; /* [logit_rows] */
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

px_status px_runner_step(px_runner *runner, const px_step *step, float *out_logits)
{
    px_batch batch = {.ids = step->ids, .at = runner->at, .logit_at = runner->logit_at};
    const uint32_t *blocks = step->blocks;
    PX_TRY(px_kv_move_all(&step->moves, runner->options.pool, runner->options.park));
    for (uint32_t i = 0; i < step->seq_count; i++) {
        const px_step_seq *seq = &step->seqs[i];
        const uint32_t *table = extend_table(runner, seq, blocks);
        if (!table)
            return px_fail(PX_DATA_LOSS, "the KV blocks of slot %u do not reach position %u",
                seq->slot, seq->position + seq->rows - 1);
        blocks += seq->blocks;
        for (uint32_t row = 0; row < seq->rows; row++)
            runner->at[batch.rows++] = (px_kv_row){
                .blocks = table, .position = seq->position + row, .prompt = seq->prompt};
        for (uint32_t left = seq->logit_rows; left; left--)
            runner->logit_at[batch.logit_rows++] = batch.rows - left;
    }
    return runner->options.forward(runner->options.forward_self, &batch, out_logits);
}
