/* test_forward.c - loading and stepping tiny models: what a caller of the forward relies on.
 *
 * That logits are right is the golden tests' matter; here: rows do not depend on their company,
 * ranks agree, nothing is allocated, and what is wrong with a model is said.
 */
#include "engine/model/forward.h"

#include <malloc.h>
#include <math.h>
#include <pthread.h>

#include "base/json.h"
#include "engine/kv/kvpool.h"
#include "engine/model/lane.h"
#include "engine/need.h"
#include "model_bytes.h"
#include "test.h"

enum { PROMPT = 21, BLOCKS = 16, ROWS_MAX = 64 };

/* tests/golden/data/models, from where this file lies. Ranks are threads: each has its own text. */
static const char *model_path(const char *name)
{
    static _Thread_local char path[4096];
    const char *slash = strrchr(__FILE__, '/');
    snprintf(path, sizeof path, "%.*s/../../golden/data/models/%s", (int)(slash - __FILE__),
        __FILE__, name);
    return path;
}

typedef struct rig { /* one rank, ready to step */
    px_model_file *file;
    px_model_info info;
    px_team *team;
    px_model *model;
    px_kvpool *pool;
    px_forward *forward;
} rig;

typedef struct rig_options {
    const char *name;
    uint32_t tp, pp, threads;
    px_comm *comm;
} rig_options;

/* What was reckoned before loading is what there is. */
static void check_need(const rig *r, const rig_options *options, const px_forward_limits *limits)
{
    px_need need;
    px_need_options of = {.model = {.kernels = px_kernels_find(NULL),
                              .rank = px_comm_rank(options->comm),
                              .plan = &r->model->plan},
        .kv_type = PX_F32,
        .threads = options->threads,
        .vocabulary = r->info.vocabulary,
        .limits = *limits};
    PX_CHECK_OK(px_need_reckon(r->file, &of, &need));
    PX_CHECK(need.weight_bytes == px_model_resident_bytes(r->model) && need.weight_bytes > 0);
    PX_CHECK(need.scratch_bytes == r->forward->memory_bytes && need.scratch_bytes > 0);
}

static px_status open_rig(const rig_options *options, rig *r)
{
    px_plan_shape shape;
    px_plan plan;
    const px_kernels *kernels = px_kernels_find(NULL);
    PX_TRY(px_model_file_open(model_path(options->name), &r->file));
    PX_TRY(px_model_describe(r->file, &r->info, &shape));
    PX_TRY(px_plan_make(&shape, options->tp, options->pp, NULL, &plan));
    PX_TRY(px_team_create(options->threads, false, &r->team));
    px_model_options load = {
        .kernels = kernels, .rank = px_comm_rank(options->comm), .plan = &plan, .team = r->team};
    PX_TRY(px_model_load(r->file, &load, &r->model));
    PX_TRY(px_kvpool_create(px_forward_kv_shape(r->model), PX_F32, BLOCKS, &r->pool));
    px_forward_limits limits = {.rows_max = ROWS_MAX,
        .logit_rows_max = ROWS_MAX,
        .position_max = BLOCKS * PX_KV_BLOCK_TOKENS};
    PX_TRY(px_forward_create(r->model, kernels, options->comm, r->team, px_kvpool_layers(r->pool),
        &limits, &r->forward));
    check_need(r, options, &limits);
    return px_ok();
}

static void close_rig(rig *r)
{
    px_forward_free(r->forward);
    px_kvpool_free(r->pool);
    px_model_free(r->model);
    px_team_free(r->team);
    px_model_file_close(r->file);
}

/* --- batches ------------------------------------------------------------------------------ */

typedef struct rows {
    uint32_t count, ids[ROWS_MAX], logit_at[ROWS_MAX];
    px_kv_row at[ROWS_MAX];
} rows;

static const uint32_t blocks_of[2][4] = {{0, 1, 2, 3}, {7, 5, 6, 4}};

/* Token `position` of sequence `seq`; every row wants logits. */
static void add_row(rows *b, uint32_t seq, uint32_t position)
{
    b->ids[b->count] = (position * 31 + seq * 17) % 60; /* in every vocabulary */
    b->at[b->count] = (px_kv_row){.blocks = blocks_of[seq], .position = position};
    b->logit_at[b->count] = b->count;
    b->count++;
}

static px_status step(rig *r, const rows *b, float *out_logits)
{
    px_batch batch = {.rows = b->count,
        .ids = b->ids,
        .at = b->at,
        .logit_rows = b->count,
        .logit_at = b->logit_at};
    return px_forward_step(r->forward, &batch, out_logits);
}

/* Logits of sequence 0, fed in chunks of `chunk` rows: [PROMPT, vocabulary], from malloc. */
static float *prompt_logits(rig *r, uint32_t chunk)
{
    float *logits = px_alloc_array((size_t)PROMPT * r->info.vocabulary, sizeof *logits);
    for (uint32_t first = 0; first < PROMPT; first += chunk) {
        rows b = {0};
        for (uint32_t i = first; i < PROMPT && i < first + chunk; i++) add_row(&b, 0, i);
        PX_CHECK_OK(step(r, &b, logits + (size_t)first * r->info.vocabulary));
    }
    return logits;
}

/* Hidden states of sequence 0, likewise [PROMPT, hidden]; every fourth row wants logits as well. */
static float *prompt_hidden(rig *r, uint32_t chunk)
{
    float *hidden = px_alloc_array((size_t)PROMPT * r->info.hidden, sizeof *hidden);
    float *logits = px_alloc_array((size_t)ROWS_MAX * r->info.vocabulary, sizeof *logits);
    for (uint32_t first = 0; first < PROMPT; first += chunk) {
        rows b = {0};
        uint32_t all[ROWS_MAX], some[ROWS_MAX], wanted = 0;
        for (uint32_t i = first; i < PROMPT && i < first + chunk; i++) {
            if (i % 4 == 0) some[wanted++] = b.count;
            all[b.count] = b.count;
            add_row(&b, 0, i);
        }
        px_batch batch = {.rows = b.count,
            .ids = b.ids,
            .at = b.at,
            .logit_rows = wanted,
            .logit_at = some,
            .hidden_rows = b.count,
            .hidden_at = all,
            .out_hidden = hidden + (size_t)first * r->info.hidden};
        PX_CHECK_OK(px_forward_step(r->forward, &batch, wanted ? logits : NULL));
    }
    free(logits);
    return hidden;
}

/* The prompt again, its chunks behind rows of another sequence, where no row, one or two want their
 * results: they are what they are where every row wants its own. On every rank; rank 0 compares. */
static void check_few_wanted(rig *r, const float *all, bool wants_hidden, bool compares)
{
    enum { CHUNK = 7, OTHERS = 3 };
    size_t width = wants_hidden ? r->info.hidden : r->info.vocabulary;
    float *out = px_alloc_array(CHUNK * width, sizeof *out);
    for (uint32_t first = 0; first < PROMPT; first += CHUNK) {
        rows b = {0};
        uint32_t wanted[] = {OTHERS + 2, OTHERS + 5}, count = first / CHUNK % 3;
        for (uint32_t i = 0; i < OTHERS; i++) add_row(&b, 1, first + i);
        for (uint32_t i = first; i < first + CHUNK; i++) add_row(&b, 0, i);
        px_batch batch = {.rows = b.count, .ids = b.ids, .at = b.at};
        if (wants_hidden)
            batch.hidden_rows = count, batch.hidden_at = wanted, batch.out_hidden = out;
        else
            batch.logit_rows = count, batch.logit_at = wanted;
        PX_CHECK_OK(px_forward_step(r->forward, &batch, wants_hidden ? NULL : out));
        for (uint32_t i = 0; compares && i < count; i++)
            PX_CHECK(memcmp(out + i * width, all + (first + wanted[i] - OTHERS) * width,
                         width * sizeof *out) == 0);
    }
    free(out);
}

/* --- one rank ----------------------------------------------------------------------------- */

static void with_one_rank(const char *name, uint32_t threads, void (*check)(rig *r))
{
    px_comm *comm;
    rig r = {0};
    PX_CHECK_OK(px_comm_self(&comm));
    px_status status = open_rig(
        &(rig_options){.name = name, .tp = 1, .pp = 1, .threads = threads, .comm = comm}, &r);
    PX_CHECK_OK(status);
    if (px_is_ok(status)) check(&r);
    close_rig(&r);
    px_comm_free(comm);
}

static void check_chunks(rig *r)
{
    size_t length = (size_t)PROMPT * r->info.vocabulary * sizeof(float);
    float *whole = prompt_logits(r, PROMPT);
    PX_CHECK(whole[0] != whole[1] && whole[0] == whole[0]);
    for (uint32_t chunk = 1; chunk < 8; chunk++) {
        float *parts = prompt_logits(r, chunk);
        PX_CHECK(memcmp(parts, whole, length) == 0);
        free(parts);
    }
    free(whole);
}

PX_TEST(a_prompt_gives_the_same_bits_however_it_is_chunked)
{
    with_one_rank("odd_heads", 1, check_chunks);
    with_one_rank("odd_heads", 3, check_chunks);
    with_one_rank("mixed_blocks.gguf", 2, check_chunks);
    with_one_rank("mixture", 2, check_chunks);
    with_one_rank("gptq_shuffled", 2, check_chunks);
}

/* What hidden states are: the output matrix makes the logits of them. */
static void check_hidden(rig *r)
{
    const px_weights *shared = &r->model->shared;
    size_t hidden_size = r->info.hidden, vocabulary = r->info.vocabulary;
    float *hidden = prompt_hidden(r, PROMPT), *logits = prompt_logits(r, PROMPT);
    const float *table = shared->matrix[PX_ROLE_EMBED].data; /* odd_heads: F32 and tied */
    PX_CHECK(shared->matrix[PX_ROLE_EMBED].dtype == PX_F32 && r->model->arch.tied);
    for (size_t row = 0; row < PROMPT; row++) {
        for (size_t id = 0; id < vocabulary; id++) {
            double sum = 0;
            for (size_t i = 0; i < hidden_size; i++)
                sum += (double)hidden[row * hidden_size + i] * (double)table[id * hidden_size + i];
            PX_CHECK(fabs(sum - (double)logits[row * vocabulary + id]) < 1e-4);
        }
    }
    for (uint32_t chunk = 1; chunk < 8; chunk += 3) {
        float *parts = prompt_hidden(r, chunk);
        PX_CHECK(memcmp(parts, hidden, PROMPT * hidden_size * sizeof *hidden) == 0);
        free(parts);
    }
    free(hidden);
    free(logits);
}

PX_TEST(hidden_states_are_what_the_output_matrix_reads)
{
    with_one_rank("odd_heads", 1, check_hidden);
    with_one_rank("odd_heads", 3, check_hidden);
}

static void check_company(rig *r)
{
    uint32_t vocabulary = r->info.vocabulary;
    float *alone = prompt_logits(r, 1), *mixed = px_alloc_array((size_t)ROWS_MAX * vocabulary, 4);
    for (uint32_t i = 0; i < PROMPT; i++) { /* a row of ours between rows of a longer prompt */
        rows b = {0};
        uint32_t before = i % 3;
        for (uint32_t k = 0; k < before; k++) add_row(&b, 1, 3 * i + k);
        add_row(&b, 0, i);
        for (uint32_t k = before; k < 3 && 3 * i + k < 60; k++) add_row(&b, 1, 3 * i + k);
        PX_CHECK_OK(step(r, &b, mixed));
        PX_CHECK(memcmp(mixed + (size_t)before * vocabulary, alone + (size_t)i * vocabulary,
                     vocabulary * sizeof *mixed) == 0);
    }
    free(alone);
    free(mixed);
}

PX_TEST(a_row_gives_the_same_bits_in_any_company)
{
    with_one_rank("biased_shards", 2, check_company);
    with_one_rank("mixed_blocks.gguf", 2, check_company);
    with_one_rank("mixture", 3, check_company);
    with_one_rank("gptq_mixture", 3, check_company);
    with_one_rank("gptq_latent", 2, check_company);
}

static void check_few(rig *r)
{
    float *logits = prompt_logits(r, PROMPT), *hidden = prompt_hidden(r, PROMPT);
    check_few_wanted(r, logits, false, true);
    check_few_wanted(r, hidden, true, true);
    free(logits);
    free(hidden);
}

PX_TEST(a_result_has_the_same_bits_whoever_else_wants_one)
{
    with_one_rank("odd_heads", 3, check_few);
    with_one_rank("biased_shards", 1, check_few);
    with_one_rank("mixed_blocks.gguf", 2, check_few);
    with_one_rank("mixture", 2, check_few);
    with_one_rank("deepseek_v3", 2, check_few);
}

static void check_no_allocation(rig *r)
{
    float *logits = px_alloc_array((size_t)ROWS_MAX * r->info.vocabulary, sizeof *logits);
    rows prompt = {0}, token = {0};
    for (uint32_t i = 0; i < 20; i++) add_row(&prompt, 0, i);
    add_row(&token, 0, 20);
    PX_CHECK_OK(step(r, &prompt, logits));
    struct mallinfo2 before = mallinfo2();
    for (int i = 0; i < 100; i++) {
        PX_CHECK_OK(step(r, &prompt, logits));
        PX_CHECK_OK(step(r, &token, logits));
    }
    struct mallinfo2 after = mallinfo2();
    PX_CHECK(before.uordblks == after.uordblks && before.hblkhd == after.hblkhd);
    free(logits);
}

PX_TEST(steps_leave_the_heap_alone)
{
    with_one_rank("odd_heads", 2, check_no_allocation);
    with_one_rank("mixture", 2, check_no_allocation);
    with_one_rank("gptq_mixture", 2, check_no_allocation);
}

/* --- several ranks ------------------------------------------------------------------------ */

typedef struct rank {
    pthread_t thread;
    rig_options options;
    float *logits, *hidden; /* rank 0's */
    uint32_t vocabulary, width;
} rank;

static void *run_rank(void *arg)
{
    rank *self = arg;
    rig r = {0};
    px_status status = open_rig(&self->options, &r);
    PX_CHECK_OK(status);
    if (px_is_ok(status)) {
        self->vocabulary = r.info.vocabulary;
        self->width = r.info.hidden;
        self->logits = prompt_logits(&r, 8);
        self->hidden = prompt_hidden(&r, 8);
        bool compares = px_comm_rank(self->options.comm) == 0;
        check_few_wanted(&r, self->logits, false, compares);
        check_few_wanted(&r, self->hidden, true, compares);
    }
    close_rig(&r);
    return NULL;
}

static void compare_ranks(const char *name, uint32_t tp, uint32_t pp)
{
    px_comm *comms[8];
    rank ranks[8] = {0}, one = {0};
    PX_CHECK_OK(px_comm_self(&comms[0]));
    one.options = (rig_options){.name = name, .tp = 1, .pp = 1, .threads = 2, .comm = comms[0]};
    run_rank(&one);
    px_comm_free(comms[0]);
    uint32_t count = tp * pp;
    PX_CHECK_OK(px_comm_threads((int)count, comms));
    for (uint32_t i = 0; i < count; i++) {
        ranks[i].options =
            (rig_options){.name = name, .tp = tp, .pp = pp, .threads = 1 + i % 2, .comm = comms[i]};
        pthread_create(&ranks[i].thread, NULL, run_rank, &ranks[i]);
    }
    for (uint32_t i = 0; i < count; i++) {
        pthread_join(ranks[i].thread, NULL);
        px_comm_free(comms[i]);
    }
    bool complete = one.logits && ranks[0].logits;
    PX_CHECK(complete && memcmp(ranks[0].logits, one.logits,
                             (size_t)PROMPT * one.vocabulary * sizeof *one.logits) == 0);
    PX_CHECK(complete && memcmp(ranks[0].hidden, one.hidden,
                             (size_t)PROMPT * one.width * sizeof *one.hidden) == 0);
    for (uint32_t i = 0; i < count; i++) {
        free(ranks[i].logits);
        free(ranks[i].hidden);
    }
    free(one.logits);
    free(one.hidden);
}

PX_TEST(any_number_of_ranks_gives_the_same_bits)
{
    compare_ranks("odd_heads", 2, 1); /* 3 KV heads over 2 */
    compare_ranks("odd_heads", 5, 1); /* two places without heads */
    compare_ranks("odd_heads", 1, 3);
    compare_ranks("odd_heads", 2, 2);
    compare_ranks("biased_shards", 3, 2);
    compare_ranks("mixture", 3, 2);
    compare_ranks("deepseek_v3", 2, 1);
    compare_ranks("gptq_shuffled", 3, 1);
    compare_ranks("gptq_mixture", 2, 2);
    compare_ranks("gptq_latent", 3, 2);
    compare_ranks("f8_latent", 2, 1);
}

/* --- what is wrong is said ---------------------------------------------------------------- */

static px_status describe_folder(void)
{
    px_model_file *file = NULL;
    px_model_info info;
    px_plan_shape shape;
    px_status status = px_model_file_open(test_folder(), &file);
    if (px_is_ok(status)) status = px_model_describe(file, &info, &shape);
    px_model_file_close(file);
    return status;
}

/* A copy of odd_heads in the test's folder with config.json changed by `key` = `value`. */
static void copy_with(const char *key, json_t *value)
{
    px_buf weights;
    px_buf_init(&weights, 16 << 20);
    json_t *config = NULL;
    char source[4096];
    snprintf(source, sizeof source, "%s/model.safetensors", model_path("odd_heads"));
    PX_CHECK_OK(px_fs_read(source, &weights));
    write_test_file("model.safetensors", weights.data, weights.length);
    px_buf_done(&weights);
    snprintf(source, sizeof source, "%s/config.json", model_path("odd_heads"));
    PX_CHECK_OK(px_json_load(source, 1 << 20, &config));
    json_object_set_new(config, key, value);
    char *text = json_dumps(config, 0);
    write_test_file("config.json", text, strlen(text));
    free(text);
    json_decref(config);
}

static void check_refused(const char *key, json_t *value, px_code code, const char *word)
{
    copy_with(key, value);
    px_status status = describe_folder();
    PX_CHECK(status.code == code && strstr(status.text, word));
    if (!strstr(status.text, word)) printf("  got: %s\n", status.text);
}

PX_TEST(a_model_that_does_not_fit_its_settings_is_refused_by_name)
{
    copy_with("unused", json_true());
    PX_CHECK_OK(describe_folder());
    check_refused("architectures", json_pack("[s]", "FooForCausalLM"), PX_UNIMPLEMENTED, "llama");
    check_refused("architectures", json_pack("[s]", "FooForCausalLM"), PX_UNIMPLEMENTED, "FooFor");
    check_refused("intermediate_size", json_integer(97), PX_INVALID_ARGUMENT, "gate_proj");
    check_refused("vocab_size", json_integer(95), PX_INVALID_ARGUMENT, "embed_tokens");
    check_refused("num_hidden_layers", json_integer(4), PX_NOT_FOUND, "model.layers.3.");
    check_refused("num_hidden_layers", json_integer(0), PX_INVALID_ARGUMENT, "layers");
    check_refused("num_hidden_layers", json_string("x"), PX_INVALID_ARGUMENT, "num_hidden_layers");
    check_refused("num_key_value_heads", json_integer(2), PX_INVALID_ARGUMENT, "evenly");
    check_refused("tie_word_embeddings", json_false(), PX_NOT_FOUND, "lm_head");
    check_refused("attention_bias", json_true(), PX_NOT_FOUND, "q_proj.bias");
    check_refused("hidden_act", json_string("sin"), PX_UNIMPLEMENTED, "sin");
    check_refused("rms_norm_eps", json_integer(-1), PX_INVALID_ARGUMENT, "epsilon");
    check_refused(
        "rope_scaling", json_pack("{s:s}", "rope_type", "spiral"), PX_UNIMPLEMENTED, "spiral");
    /* Published configurations name ends that their vocabulary has not: no token will be one. */
    copy_with("eos_token_id", json_integer(4096));
    PX_CHECK_OK(describe_folder());
}

PX_TEST(a_path_without_a_model_is_refused)
{
    px_model_file *file = NULL;
    PX_CHECK(px_model_file_open(test_path("nothing"), &file).code == PX_NOT_FOUND);
    unlink(test_path("config.json"));
    unlink(test_path("model.safetensors"));
    px_status status = px_model_file_open(test_folder(), &file);
    PX_CHECK(status.code == PX_NOT_FOUND && strstr(status.text, "neither"));
}

PX_TEST_MAIN()
