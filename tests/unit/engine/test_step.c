/* test_step.c - a step survives the wire; what is not a step is refused, whatever it is. */
#include "base/memory.h"
#include "engine/random.h"
#include "engine/step.h"
#include "test.h"

static const px_step_limits limits = {.slots = 4,
    .rows = 32,
    .logit_rows = 4,
    .seq_blocks = 8,
    .blocks = 20,
    .park_slots = 3,
    .vocabulary = 100};

static void fill(px_step *step)
{
    px_step_reset(step, PX_STEP_RUN);
    step->seqs[0] = (px_step_seq){
        .slot = 3, .position = 0, .rows = 17, .logit_rows = 0, .block_at = 0, .blocks = 3};
    step->seqs[1] = (px_step_seq){
        .slot = 0, .position = 127, .rows = 1, .logit_rows = 1, .block_at = 7, .blocks = 1};
    step->seq_count = 2;
    step->row_count = 18;
    step->block_count = 4;
    for (uint32_t i = 0; i < 18; i++) step->ids[i] = 99 - i;
    for (uint32_t i = 0; i < 4; i++) step->blocks[i] = 19 - i;
    step->moves.at[0] = (px_kv_move){PX_KV_PARK, 19, 2};
    step->moves.at[1] = (px_kv_move){PX_KV_RESTORE, 2, 19};
    step->moves.at[2] = (px_kv_move){PX_KV_COPY, 19, 18};
    step->moves.count = 3;
}

PX_TEST(what_was_encoded_is_decoded)
{
    px_step step, got;
    px_step_init(&step, &limits);
    px_step_init(&got, &limits);
    fill(&step);
    void *message = px_alloc(px_step_message_bytes_max(&limits));
    size_t bytes = px_step_encode(&step, message);
    PX_CHECK(bytes <= px_step_message_bytes_max(&limits));
    PX_CHECK_OK(px_step_decode(message, bytes, &limits, &got));
    PX_CHECK(got.kind == PX_STEP_RUN && got.seq_count == 2 && got.row_count == 18 &&
             got.block_count == 4);
    PX_CHECK(memcmp(got.seqs, step.seqs, 2 * sizeof *got.seqs) == 0);
    PX_CHECK(memcmp(got.ids, step.ids, 18 * sizeof *got.ids) == 0);
    PX_CHECK(memcmp(got.blocks, step.blocks, 4 * sizeof *got.blocks) == 0);
    PX_CHECK(
        got.moves.count == 3 && memcmp(got.moves.at, step.moves.at, 3 * sizeof *got.moves.at) == 0);
    px_step_reset(&step, PX_STEP_CLOSE);
    bytes = px_step_encode(&step, message);
    PX_CHECK_OK(px_step_decode(message, bytes, &limits, &got));
    PX_CHECK(got.kind == PX_STEP_CLOSE && got.seq_count == 0);
    free(message);
    px_step_done(&step);
    px_step_done(&got);
}

static void refuse(const px_step *step)
{
    px_step got;
    px_step_init(&got, &limits);
    void *message = px_alloc(px_step_message_bytes_max(&limits));
    size_t bytes = px_step_encode(step, message);
    px_status status = px_step_decode(message, bytes, &limits, &got);
    PX_CHECK(status.code == PX_DATA_LOSS && status.text[0]);
    free(message);
    px_step_done(&got);
}

PX_TEST(impossible_steps_are_refused)
{
    px_step step;
    px_step_init(&step, &limits);
    fill(&step), step.seqs[0].slot = 4, refuse(&step);
    fill(&step), step.seqs[0].rows = 16, refuse(&step); /* rows do not add up */
    fill(&step), step.seqs[0].rows = 0, step.seqs[1].rows = 18, refuse(&step);
    fill(&step), step.seqs[1].position = 128, refuse(&step); /* beyond the longest sequence */
    fill(&step), step.seqs[1].position = UINT32_MAX, refuse(&step);
    fill(&step), step.seqs[1].block_at = 8, refuse(&step);
    fill(&step), step.seqs[1].block_at = UINT32_MAX, refuse(&step);
    fill(&step), step.seqs[1].logit_rows = 2, refuse(&step);
    fill(&step), step.seqs[0].logit_rows = 4, refuse(&step); /* more than there is room for */
    fill(&step), step.ids[17] = 100, refuse(&step);
    fill(&step), step.blocks[3] = 20, refuse(&step);
    fill(&step), step.moves.at[0].from = 20, refuse(&step);
    fill(&step), step.moves.at[0].to = 3, refuse(&step);
    fill(&step), step.moves.at[1].from = 3, refuse(&step);
    fill(&step), step.moves.at[2].to = 20, refuse(&step);
    fill(&step), step.moves.at[2].kind = PX_KV_MOVE_KIND_COUNT, refuse(&step);
    fill(&step), step.kind = PX_STEP_KIND_COUNT, refuse(&step);
    px_step_done(&step);
}

/* Torn, overwritten and random messages: refused or sound, never out of bounds (sanitizers watch).
 */
PX_TEST(damaged_messages_do_no_harm)
{
    px_step step, got;
    px_step_init(&step, &limits);
    px_step_init(&got, &limits);
    fill(&step);
    size_t capacity = px_step_message_bytes_max(&limits);
    uint32_t *message = px_alloc(capacity);
    size_t bytes = px_step_encode(&step, message);
    for (size_t cut = 0; cut < bytes; cut++)
        PX_CHECK(px_step_decode(message, cut, &limits, &got).code == PX_DATA_LOSS);
    int refused = 0;
    for (uint64_t seed = 0; seed < 5000; seed++) {
        px_step_encode(&step, message);
        uint32_t at = (uint32_t)(px_random_unit(seed, 0) * (double)bytes / 4);
        static const uint32_t values[] = {0, 1, 31, 32, 33, 0x7fffffff, 0x80000000, 0xffffffff};
        message[at] = values[(int)(px_random_unit(seed, 1) * 8)];
        refused += px_step_decode(message, bytes, &limits, &got).code != PX_OK;
    }
    PX_CHECK(refused > 1000);
    free(message);
    px_step_done(&step);
    px_step_done(&got);
}

PX_TEST_MAIN()
