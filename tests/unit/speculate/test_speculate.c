/* test_speculate.c - never slower than without: the real scheduler under a virtual clock, where a
 * step takes what its rows cost, over texts that can be guessed and texts made to mislead.
 */
#include <math.h>

#include "test.h"

#include "base/clock.h"
#include "engine/random.h"
#include "engine/schedule/scheduler.h"

enum { SEQS_MAX = 48, TOKENS = 1200, PROMPT = 200, BLOCKS = TOKENS / PX_KV_BLOCK_TOKENS };

/* What stands at `position` of a sequence's text, guessed or not. */
typedef uint32_t (*text_fn)(uint32_t seq, uint32_t position);

typedef struct course { /* one way through a text */
    px_guesser guesser;
    uint32_t seqs, proposals_max;
    text_fn text;
    double fixed_ns, row_ns;
    double seconds;
    px_scheduler_stats stats;
} course;

typedef struct answer {
    px_seq seq;
    uint32_t tokens[TOKENS], blocks[BLOCKS];
} answer;

static answer answers[SEQS_MAX];

static void begin(const course *c, px_scheduler *scheduler, uint32_t index)
{
    answer *a = &answers[index];
    *a = (answer){.seq = {.id = index + 1,
                      .prompt_count = PROMPT,
                      .count = PROMPT,
                      .tokens_max = TOKENS,
                      .submitted_ns = 1000 * PX_SEC}};
    a->seq.tokens = a->tokens;
    a->seq.text = (px_kv_text){.salt = {{index, 1}}, .tokens = a->tokens};
    a->seq.hold = (px_kv_hold){.blocks = a->blocks, .tip = PX_KV_NONE, .pinned = PX_KV_NONE};
    for (uint32_t i = 0; i < PROMPT; i++) a->tokens[i] = c->text(index, i);
    px_arena_init(&a->seq.arena, px_guess_bytes(c->guesser, TOKENS));
    px_guess_text text = {a->tokens, PROMPT};
    a->seq.guess = px_guess_create(c->guesser, text, TOKENS, &a->seq.arena);
    px_scheduler_add(scheduler, &a->seq, 1000 * PX_SEC);
}

/* The step's rows were computed: each sequence says what its text says, as far as it was tried. */
static void say(const course *c, px_scheduler *scheduler, const px_step *step)
{
    const uint32_t *ids = step->ids;
    for (uint32_t i = 0; i < step->seq_count; i++) {
        const px_step_seq *entry = &step->seqs[i];
        px_seq *seq = px_scheduler_at(scheduler, entry->slot);
        for (uint32_t row = entry->rows - entry->logit_rows; row < entry->rows; row++) {
            uint32_t token = c->text((uint32_t)seq->id - 1, seq->count);
            bool is_right = row + 1 < entry->rows && ids[row + 1] == token;
            if (is_right) px_scheduler_accept(scheduler, seq);
            seq->tokens[seq->count++] = token;
            PX_CHECK(seq->computed < seq->count || is_right);
            if (seq->count == seq->tokens_max) px_scheduler_remove(scheduler, seq, 0);
            if (!is_right || seq->count == seq->tokens_max) break;
        }
        ids += entry->rows;
    }
}

static course run(course c)
{
    px_scheduler_options options = {.limits = {.slots = SEQS_MAX,
                                        .rows = 512,
                                        .logit_rows = SEQS_MAX + 30,
                                        .seq_blocks = BLOCKS,
                                        .blocks = (SEQS_MAX + 1) * BLOCKS,
                                        .vocabulary = 50000},
        .pace = {.batch_size = 512, .rows_max = 512, .scale_factor = 1},
        .shares_prefixes = true,
        .speculation = {.guesser = c.guesser, .proposals_max = 15}};
    px_scheduler *scheduler = px_scheduler_create(&options);
    px_step step;
    px_step_init(&step, &options.limits);
    for (uint32_t i = 0; i < c.seqs; i++) begin(&c, scheduler, i);
    int64_t now_ns = 1000 * PX_SEC;
    while (px_scheduler_plan(scheduler, now_ns, &step)) {
        int64_t ns = (int64_t)(c.fixed_ns + c.row_ns * step.row_count);
        now_ns += ns;
        px_scheduler_observe(scheduler, &step, ns);
        say(&c, scheduler, &step);
    }
    c.seconds = (double)(now_ns - 1000 * PX_SEC) / PX_SEC;
    c.stats = px_scheduler_stats_of(scheduler);
    px_scheduler_free(scheduler);
    px_step_done(&step);
    for (uint32_t i = 0; i < c.seqs; i++) px_arena_done(&answers[i].seq.arena);
    return c;
}

/* How many times faster with guesses than without. */
static double speedup(const char *name, course c)
{
    course with, without;
    c.guesser = PX_GUESS_LOOKUP;
    with = run(c);
    c.guesser = PX_GUESS_NONE;
    without = run(c);
    printf("     %-28s %u at once: x %.3f (%llu tokens tried, %llu right)\n", name, c.seqs,
        without.seconds / with.seconds, (unsigned long long)with.stats.proposed,
        (unsigned long long)with.stats.accepted);
    return without.seconds / with.seconds;
}

static uint32_t prose(uint32_t seq, uint32_t position) /* never twice the same */
{
    return (uint32_t)(px_random_unit(seq, position) * 50000);
}

static uint32_t copied(uint32_t seq, uint32_t position) /* the prompt again, now and then changed */
{
    bool is_changed = position >= PROMPT && position % 40 == 0;
    return is_changed ? prose(seq + 1000, position) : prose(seq, position % PROMPT);
}

/* Two tokens that stood before, and then always another than ever before: every guess is wrong. */
static uint32_t misleading(uint32_t seq, uint32_t position)
{
    return position % 3 == 2 ? position + 10 : 1 + position % 3;
}

static uint32_t few_words(uint32_t seq, uint32_t position) /* places everywhere, by chance right */
{
    return (uint32_t)(px_random_unit(seq, position) * 4);
}

static uint32_t turning(uint32_t seq, uint32_t position) /* copies for a while, then misleads */
{
    return position % 400 < 200 ? copied(seq, position) : misleading(seq, position);
}

/* Milliseconds of a step and of each row: as SmolLM2 on two cores, and where a row costs all. */
static const double shapes[][2] = {{1.8, 0.95}, {0.2, 2.0}, {20, 0.2}};

PX_TEST(texts_that_cannot_be_guessed_cost_nothing)
{
    static const text_fn texts[] = {prose, misleading, few_words, turning};
    static const char *const names[] = {"prose", "misleading", "four words", "turning"};
    for (size_t t = 0; t < sizeof texts / sizeof *texts; t++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (uint32_t seqs = 1; seqs <= 9; seqs += 8) {
                course c = {.seqs = seqs,
                    .text = texts[t],
                    .fixed_ns = shapes[s][0] * 1e6,
                    .row_ns = shapes[s][1] * 1e6};
                PX_CHECK(speedup(names[t], c) > 0.98);
            }
}

PX_TEST(texts_that_repeat_are_faster)
{
    course c = {.seqs = 1, .text = copied, .fixed_ns = 1.8e6, .row_ns = 0.95e6};
    PX_CHECK(speedup("a copy with changes", c) > 1.5);
    c.fixed_ns = 20e6, c.row_ns = 0.2e6;
    PX_CHECK(speedup("the same, rows are cheap", c) > 5);
    c.seqs = 4;
    PX_CHECK(speedup("the same, rows are cheap", c) > 3);
}

PX_TEST(a_full_batch_guesses_nothing)
{
    course c = {.seqs = SEQS_MAX,
        .guesser = PX_GUESS_LOOKUP,
        .text = copied,
        .fixed_ns = 1e6,
        .row_ns = 3e6};
    course done = run(c);
    PX_CHECK(done.stats.proposed < TOKENS); /* of forty times as many */
    PX_CHECK(speedup("a copy, a full batch", c) > 0.98);
}

PX_TEST_MAIN()
