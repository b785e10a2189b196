/* step.c - see step.h. */
#include "engine/step.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/kernels.h"

enum {
    MAGIC = 0x35535850, /* "PXS5" where the machine is little-endian */
    HEADER_WORDS = 6,
    SEQ_WORDS = sizeof(px_step_seq) / sizeof(uint32_t),
    MOVE_WORDS = sizeof(px_kv_move) / sizeof(uint32_t)
};

uint32_t px_step_blocks_max(const px_step_limits *limits)
{
    return limits->blocks + limits->seq_blocks + limits->slots;
}

uint32_t px_step_moves_max(const px_step_limits *limits)
{
    return 4 * limits->blocks; /* each block taken may evict one and be filled, and that twice */
}

void px_step_init(px_step *step, const px_step_limits *limits)
{
    *step = (px_step){
        .seqs = px_alloc_array(limits->slots, sizeof *step->seqs),
        .ids = px_alloc_array(limits->rows, sizeof *step->ids),
        .blocks = px_alloc_array(px_step_blocks_max(limits), sizeof *step->blocks),
        .moves = {.at = px_alloc_array(px_step_moves_max(limits), sizeof *step->moves.at),
            .capacity = px_step_moves_max(limits)},
    };
}

void px_step_done(px_step *step)
{
    free(step->seqs);
    free(step->ids);
    free(step->blocks);
    free(step->moves.at);
}

void px_step_reset(px_step *step, px_step_kind kind)
{
    step->kind = kind;
    step->seq_count = step->row_count = step->logit_row_count = step->block_count = 0;
    step->moves.count = 0;
}

size_t px_step_message_bytes_max(const px_step_limits *limits)
{
    return sizeof(uint32_t) *
           (HEADER_WORDS + (size_t)px_step_moves_max(limits) * MOVE_WORDS +
               (size_t)limits->slots * SEQ_WORDS + limits->rows + px_step_blocks_max(limits));
}

static uint32_t *put(uint32_t *to, const void *from, size_t words)
{
    memcpy(to, from, words * sizeof *to);
    return to + words;
}

size_t px_step_encode(const px_step *step, void *message)
{
    uint32_t header[HEADER_WORDS] = {
        MAGIC, step->kind, step->moves.count, step->seq_count, step->row_count, step->block_count};
    uint32_t *to = put(message, header, HEADER_WORDS);
    to = put(to, step->moves.at, (size_t)step->moves.count * MOVE_WORDS);
    to = put(to, step->seqs, (size_t)step->seq_count * SEQ_WORDS);
    to = put(to, step->ids, step->row_count);
    to = put(to, step->blocks, step->block_count);
    return (size_t)((char *)to - (char *)message);
}

static px_status check_seq(const px_step_seq *seq, const px_step_limits *limits)
{
    uint64_t end = (uint64_t)seq->position + seq->rows;
    uint64_t blocks = (uint64_t)seq->block_at + seq->blocks;
    if (seq->slot >= limits->slots || seq->logit_rows > seq->rows || seq->hidden_rows > seq->rows ||
        seq->rows == 0 || seq->adapter > limits->adapters ||
        end > (uint64_t)limits->seq_blocks * PX_KV_BLOCK_TOKENS || blocks > limits->seq_blocks)
        return px_fail(
            PX_DATA_LOSS, "rank 0 sent a step with an impossible sequence (slot %u)", seq->slot);
    return px_ok();
}

static px_status check_move(const px_kv_move *move, const px_step_limits *limits)
{
    uint32_t from_max = move->kind == PX_KV_RESTORE ? limits->park_slots : limits->blocks;
    uint32_t to_max = move->kind == PX_KV_PARK ? limits->park_slots : limits->blocks;
    if (move->kind >= PX_KV_MOVE_KIND_COUNT || move->from >= from_max || move->to >= to_max)
        return px_fail(PX_DATA_LOSS, "rank 0 sent an impossible move of KV (kind %u, %u to %u)",
            move->kind, move->from, move->to);
    return px_ok();
}

static px_status check_below(
    const uint32_t *values, uint32_t count, const char *what, uint32_t limit)
{
    for (uint32_t i = 0; i < count; i++)
        if (values[i] >= limit)
            return px_fail(PX_DATA_LOSS, "rank 0 sent %s %u; there are %u", what, values[i], limit);
    return px_ok();
}

px_status px_step_decode(
    const void *message, size_t bytes, const px_step_limits *limits, px_step *out)
{
    uint32_t header[HEADER_WORDS];
    if (bytes < sizeof header)
        return px_fail(PX_DATA_LOSS, "rank 0 sent a step of %zu bytes", bytes);
    memcpy(header, message, sizeof header);
    if (header[0] != MAGIC || header[1] >= PX_STEP_KIND_COUNT)
        return px_fail(PX_DATA_LOSS, "rank 0 sent something that is no step: do all ranks run the "
                                     "same version on the same kind of machine?");
    px_step_reset(out, (px_step_kind)header[1]);
    uint32_t moves = header[2], seqs = header[3], rows = header[4], blocks = header[5];
    if (moves > px_step_moves_max(limits) || seqs > limits->slots || rows > limits->rows ||
        blocks > px_step_blocks_max(limits) ||
        bytes != sizeof(uint32_t) * (HEADER_WORDS + (size_t)moves * MOVE_WORDS +
                                        (size_t)seqs * SEQ_WORDS + rows + blocks))
        return px_fail(PX_DATA_LOSS,
            "rank 0 sent a step of %u moves, %u sequences, %u rows, %u blocks in %zu bytes", moves,
            seqs, rows, blocks, bytes);
    const uint32_t *from = (const uint32_t *)message + HEADER_WORDS;
    memcpy(out->moves.at, from, (size_t)moves * sizeof *out->moves.at);
    from += (size_t)moves * MOVE_WORDS;
    memcpy(out->seqs, from, (size_t)seqs * sizeof *out->seqs);
    from += (size_t)seqs * SEQ_WORDS;
    memcpy(out->ids, from, rows * sizeof *from);
    memcpy(out->blocks, from + rows, blocks * sizeof *from);

    for (uint32_t i = 0; i < moves; i++) PX_TRY(check_move(&out->moves.at[i], limits));
    uint64_t rows_said = 0, logit_rows_said = 0, blocks_said = 0;
    for (uint32_t i = 0; i < seqs; i++) {
        PX_TRY(check_seq(&out->seqs[i], limits));
        rows_said += out->seqs[i].rows;
        logit_rows_said += out->seqs[i].logit_rows;
        blocks_said += out->seqs[i].blocks;
    }
    if (rows_said != rows || blocks_said != blocks || logit_rows_said > limits->logit_rows)
        return px_fail(PX_DATA_LOSS, "rank 0 sent a step whose sequences do not add up");
    PX_TRY(check_below(out->ids, rows, "token", limits->vocabulary));
    PX_TRY(check_below(out->blocks, blocks, "KV block", limits->blocks));
    out->moves.count = moves;
    out->seq_count = seqs;
    out->row_count = rows;
    out->logit_row_count = (uint32_t)logit_rows_said;
    out->block_count = blocks;
    return px_ok();
}
