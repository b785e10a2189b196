/* test_scheduler.c - who runs when: budgets, urgency, tenants, blocks, and the way out of a full
 * pool. */
#include "base/clock.h"
#include "engine/random.h"
#include "engine/schedule/scheduler.h"
#include "test.h"

enum { SLOTS = 4, ROWS = 32, BLOCKS = 12, SEQ_TOKENS = 160 };

static const px_scheduler_options plain = {.limits = {.slots = SLOTS,
                                               .rows = ROWS,
                                               .logit_rows = SLOTS,
                                               .seq_blocks = SEQ_TOKENS / PX_KV_BLOCK_TOKENS,
                                               .blocks = BLOCKS,
                                               .vocabulary = 1000},
    .pace = {.batch_size = ROWS, .rows_max = ROWS, .scale_factor = 1},
    .shares_prefixes = true};

typedef struct bed { /* a scheduler with its step and a clock */
    px_scheduler *scheduler;
    px_step step;
    uint32_t blocks;
    int64_t now_ns;
} bed;

static void start(bed *b, const px_scheduler_options *options)
{
    *b = (bed){.scheduler = px_scheduler_create(options),
        .blocks = options->limits.blocks,
        .now_ns = 1000 * PX_SEC};
    px_step_init(&b->step, &options->limits);
}

static void end(bed *b)
{
    px_scheduler_stats stats = px_scheduler_stats_of(b->scheduler);
    PX_CHECK(stats.blocks_free == b->blocks); /* nothing leaked */
    PX_CHECK(stats.running == 0 && stats.waiting == 0);
    px_scheduler_free(b->scheduler);
    px_step_done(&b->step);
}

typedef struct test_seq {
    px_seq seq;
    uint32_t tokens[SEQ_TOKENS], blocks[SEQ_TOKENS / PX_KV_BLOCK_TOKENS];
    uint32_t starts; /* times it was let in */
} test_seq;

static px_seq *init(test_seq *t, uint64_t id, uint32_t prompt, uint32_t answer)
{
    *t = (test_seq){
        .seq = {.id = id, .prompt_count = prompt, .count = prompt, .tokens_max = prompt + answer}};
    t->seq.tokens = t->tokens;
    t->seq.hold = (px_kv_hold){.blocks = t->blocks, .tip = PX_KV_NONE, .pinned = PX_KV_NONE};
    t->seq.text.tokens = t->tokens;
    t->seq.submitted_ns = 1000 * PX_SEC;
    for (uint32_t i = 0; i < prompt; i++) t->tokens[i] = (uint32_t)(id + i) % 1000;
    return &t->seq;
}

static void add(bed *b, px_seq *seq)
{
    px_scheduler_add(b->scheduler, seq, b->now_ns);
}

static void drop(bed *b, px_seq *seq)
{
    px_scheduler_remove(b->scheduler, seq, b->now_ns);
}

/* A millisecond a step, and as the scheduler learns, so much for each row. */
static bool plan(bed *b)
{
    b->now_ns += PX_MS;
    return px_scheduler_plan(b->scheduler, b->now_ns, &b->step);
}

static uint32_t running(const bed *b)
{
    return px_scheduler_stats_of(b->scheduler).running;
}

static const px_step_seq *entry_of(const bed *b, const px_seq *seq)
{
    for (uint32_t i = 0; i < b->step.seq_count; i++)
        if (px_scheduler_at(b->scheduler, b->step.seqs[i].slot) == seq) return &b->step.seqs[i];
    return NULL;
}

/* What the engine does after a step: a token for whoever wanted logits. */
static void generate(bed *b)
{
    for (uint32_t i = 0; i < b->step.seq_count; i++) {
        px_seq *seq = px_scheduler_at(b->scheduler, b->step.seqs[i].slot);
        if (!b->step.seqs[i].logit_rows) continue;
        seq->tokens[seq->count] = seq->count;
        if (++seq->count == seq->tokens_max) drop(b, seq);
    }
}

PX_TEST(prompts_are_cut_to_the_budget_and_generating_rows_come_first)
{
    bed b;
    test_seq one, two;
    start(&b, &plain);
    PX_CHECK(!plan(&b));
    add(&b, init(&one, 1, 5, 10));
    PX_CHECK(plan(&b));
    PX_CHECK(b.step.row_count == 5 && b.step.seqs[0].logit_rows && b.step.seqs[0].blocks == 1);
    generate(&b);
    add(&b, init(&two, 2, 70, 10));
    static const uint32_t position[] = {0, 31, 62}, rows[] = {31, 31, 8};
    for (int i = 0; i < 3; i++) {
        PX_CHECK(plan(&b));
        const px_step_seq *entry = entry_of(&b, &two.seq);
        PX_REQUIRE(b.step.seq_count == 2 && entry);
        PX_CHECK(entry_of(&b, &one.seq) == &b.step.seqs[0] && b.step.seqs[0].rows == 1);
        PX_CHECK(entry->position == position[i] && entry->rows == rows[i]);
        PX_CHECK(entry->logit_rows == (i == 2) && entry->blocks == (i == 0 ? 5 : 0));
        PX_CHECK(b.step.ids[1] == (2 + position[i]) % 1000);
        generate(&b);
    }
    drop(&b, &one.seq);
    drop(&b, &two.seq);
    end(&b);
}

PX_TEST(sequences_wait_in_order_for_slots_and_blocks)
{
    bed b;
    test_seq seqs[4];
    start(&b, &plain);
    add(&b, init(&seqs[0], 10, 8 * 16, 16)); /* 8 of 12 blocks */
    add(&b, init(&seqs[1], 11, 4 * 16, 16)); /* 4, and one to spare: no */
    add(&b, init(&seqs[2], 12, 1, 16));      /* fits, but came later */
    for (int i = 0; i < 6; i++) {
        PX_CHECK(plan(&b));
        PX_CHECK(running(&b) == 1);
        generate(&b);
    }
    drop(&b, &seqs[0].seq);
    PX_CHECK(plan(&b));
    PX_CHECK(running(&b) == 1); /* 64 rows of a prompt: two steps */
    PX_CHECK(plan(&b));
    generate(&b);
    PX_CHECK(plan(&b));
    PX_CHECK(running(&b) == 2);
    PX_CHECK(px_scheduler_stats_of(b.scheduler).waiting == 0);
    drop(&b, &seqs[1].seq);
    drop(&b, &seqs[2].seq);
    add(&b, init(&seqs[3], 13, 4, 4));
    drop(&b, &seqs[3].seq); /* also one that never ran */
    PX_CHECK(!plan(&b));
    end(&b);
}

/* Two that grow beyond the pool together. Returns what was computed twice. */
static uint64_t crowd(uint32_t park_slots)
{
    bed b;
    test_seq old, young;
    px_scheduler_options options = plain;
    options.limits.park_slots = park_slots;
    start(&b, &options);
    add(&b, init(&old, 1, 80, 80));   /* grows from 5 to 10 blocks */
    add(&b, init(&young, 2, 80, 60)); /* 5 blocks at first */
    bool was_out = false;
    for (int steps = 0; plan(&b) && steps < 1000; steps++) {
        was_out |= young.seq.state == PX_SEQ_WAITING;
        PX_CHECK(old.seq.state != PX_SEQ_WAITING);
        generate(&b);
    }
    PX_CHECK(was_out && old.seq.count == 160 && young.seq.count == 140);
    px_scheduler_stats stats = px_scheduler_stats_of(b.scheduler);
    PX_CHECK(stats.preemptions >= 1);
    end(&b);
    return stats.recomputed;
}

PX_TEST(a_full_pool_turns_out_the_youngest)
{
    PX_CHECK(crowd(0) > 0);  /* what was lost is computed again */
    PX_CHECK(crowd(8) == 0); /* what was parked is not */
}

/* Every step of random traffic keeps the rules; every sequence ends. */
static void run_traffic(uint64_t seed)
{
    px_scheduler_options options = plain;
    options.limits.park_slots = seed % 2 ? 10 : 0;
    enum { SEQS = 60 };
    static test_seq seqs[SEQS];
    bed b;
    uint32_t draw = 0, added = 0, ended = 0;
    start(&b, &options);
    for (int steps = 0; ended < SEQS; steps++) {
        PX_REQUIRE(steps < 20000);
        while (added < SEQS && px_random_unit(seed, draw++) < 0.3) {
            uint32_t prompt = 1 + (uint32_t)(px_random_unit(seed, draw++) * 100);
            uint32_t answer = 1 + (uint32_t)(px_random_unit(seed, draw++) * 60);
            add(&b, init(&seqs[added], added + 1, prompt, answer));
            added++;
        }
        if (added && px_random_unit(seed, draw++) < 0.02) { /* a cancel */
            px_seq *seq = &seqs[(uint32_t)(px_random_unit(seed, draw++) * added)].seq;
            if (seq->state != PX_SEQ_ENDED) drop(&b, seq);
        }
        if (plan(&b)) {
            PX_CHECK(b.step.row_count <= ROWS);
            bool owned[BLOCKS] = {false};
            uint64_t last_running = 0;
            for (uint32_t i = 0; i < added; i++) {
                px_seq *seq = &seqs[i].seq;
                if (seq->state != PX_SEQ_RUNNING) continue;
                last_running = seq->id;
                const px_step_seq *entry = entry_of(&b, seq);
                PX_CHECK(seq->hold.count * PX_KV_BLOCK_TOKENS >= seq->count);
                for (uint32_t j = seq->hold.in_tree; j < seq->hold.count; j++) {
                    PX_CHECK(!owned[seq->hold.blocks[j]]); /* where it writes it is alone */
                    owned[seq->hold.blocks[j]] = true;
                }
                /* Whoever generates is never left out of a step. */
                PX_CHECK(entry || seq->computed < seq->count - 1);
                if (entry) PX_CHECK(entry->position + entry->rows == seq->computed);
                if (entry) PX_CHECK(entry->logit_rows == (seq->computed == seq->count));
            }
            const px_seq_list *waiting = px_scheduler_waiting(b.scheduler, 0);
            for (px_seq *seq = waiting ? waiting->first : NULL; seq; seq = seq->next)
                PX_CHECK(seq->id > last_running); /* nobody overtakes */
            generate(&b);
        }
        for (ended = 0; ended < added && seqs[ended].seq.state == PX_SEQ_ENDED;) ended++;
    }
    end(&b);
}

PX_TEST(random_traffic_keeps_every_rule_and_ends)
{
    for (uint64_t seed = 0; seed < 40; seed++) run_traffic(seed);
}

PX_TEST_MAIN()
