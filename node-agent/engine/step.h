/* step.h - one step of the engine as data: which blocks move, which rows of which sequences run,
 * and new KV blocks.
 *
 *   rank 0:  scheduler -> px_step -> px_step_encode -> comm -> px_step_decode   : the other ranks
 *                            \-> px_runner                          \-> px_runner
 *
 * Sequences are named by slots. Every rank keeps each slot's block table (runner.h), so a step
 * carries only the blocks that are new in it.
 * Layout of a message: 32-bit words in the machine's own order (ranks of a group run one binary
 * on one kind of machine; the first word tells if not):
 *   magic, kind, moves, sequences, rows, new blocks
 *   moves x {kind, from, to}                    carried out in order, before the rows
 *   sequences x {slot, position, rows, logit_rows, hidden_rows, block_at, blocks, prompt, adapter}
 *   ids [rows], block ids [new blocks]          both sequence after sequence
 * Owns:    a px_step owns its arrays, sized once for the limits.
 * Errors:  decode checks everything against the limits: DATA_LOSS with a sentence.
 * Threads: one at a time.
 */
#ifndef PX_ENGINE_STEP_H
#define PX_ENGINE_STEP_H

#include <stddef.h>
#include <stdint.h>

#include "engine/kv/kvpark.h"

typedef struct px_step_limits { /* the same on all ranks of a group */
    uint32_t slots;             /* sequences at once */
    uint32_t rows;              /* rows of a step */
    uint32_t logit_rows;        /* of these, with logits; at least `slots` */
    uint32_t seq_blocks;        /* entries of one slot's block table */
    uint32_t blocks;            /* in the pool */
    uint32_t park_slots;        /* for parked blocks */
    uint32_t vocabulary;
    uint32_t adapters; /* slots for adapters */
} px_step_limits;

typedef struct px_step_seq {
    uint32_t slot;
    uint32_t position;    /* of its first row */
    uint32_t rows;        /* at least 1, ascending positions */
    uint32_t logit_rows;  /* its last so many want logits */
    uint32_t hidden_rows; /* its last so many want their hidden states */
    uint32_t block_at;    /* index in the slot's table of the first new block; 0: starts anew */
    uint32_t blocks;      /* new in this step, maybe none */
    uint32_t prompt;      /* tokens of its prompt (px_kv_row) */
    uint32_t adapter;     /* 0: none; else its slot and 1 */
} px_step_seq;

typedef enum px_step_kind { PX_STEP_RUN, PX_STEP_CLOSE, PX_STEP_KIND_COUNT } px_step_kind;

typedef struct px_step {
    px_step_kind kind;
    uint32_t seq_count, row_count, logit_row_count, block_count;
    px_step_seq *seqs; /* [limits.slots] */
    uint32_t *ids;     /* [limits.rows] */
    uint32_t *blocks;  /* [px_step_blocks_max()] */
    px_kv_moves moves; /* capacity: px_step_moves_max() */
} px_step;

/* New entries of tables in one step: all blocks to one sequence each, one more table (shared blocks
 * stand in several), and a block for each that generates. */
uint32_t px_step_blocks_max(const px_step_limits *limits);
uint32_t px_step_moves_max(const px_step_limits *limits);

void px_step_init(px_step *step, const px_step_limits *limits);
void px_step_done(px_step *step);
void px_step_reset(px_step *step, px_step_kind kind);

size_t px_step_message_bytes_max(const px_step_limits *limits);
/* Writes at most px_step_message_bytes_max() bytes; returns how many. */
size_t px_step_encode(const px_step *step, void *message);
px_status px_step_decode(
    const void *message, size_t bytes, const px_step_limits *limits, px_step *out) PX_MUST_USE;

#endif
