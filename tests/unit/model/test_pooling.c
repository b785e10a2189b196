/* test_pooling.c - how a model's folder or GGUF says that its hidden states become one vector. */
#include "engine/model/pooling.h"

#include <sys/stat.h>

#include "engine/model/convert.h"

#include "model_bytes.h"
#include "test.h"

enum { HIDDEN = 4 };

#define SIZES                                                                                      \
    "\"hidden_size\":4,\"num_attention_heads\":2,\"num_key_value_heads\":1,\"vocab_size\":2,"      \
    "\"num_hidden_layers\":1,\"intermediate_size\":8,\"head_dim\":4"
#define NAMED(name, rest) "{\"architectures\":[\"" name "\"]," SIZES rest "}"

static void write_text(const char *name, const char *text)
{
    write_test_file(name, text, strlen(text));
}

/* One matrix of `rows` x `cols` whose elements are 0.5, 1, 1.5, ... beside an embedding, or alone
 * with a bias of 0.25 in the way of a module. */
static void write_matrix(
    const char *path, const char *name, uint32_t rows, uint32_t cols, const char *bias)
{
    bytes b = {.length = 0};
    char header[400], beside[160];
    size_t matrix_bytes = (size_t)rows * cols * sizeof(float);
    size_t beside_bytes = bias ? rows * sizeof(float) : 2 * HIDDEN * sizeof(float);
    snprintf(beside, sizeof beside,
        bias ? "\"%s\":{\"dtype\":\"F32\",\"shape\":[%u],\"data_offsets\":[%zu,%zu]}"
             : "\"%s\":{\"dtype\":\"F32\",\"shape\":[%u,4],\"data_offsets\":[%zu,%zu]}",
        bias ? bias : "embed_tokens.weight", bias ? rows : 2, matrix_bytes,
        matrix_bytes + beside_bytes);
    snprintf(header, sizeof header,
        "{\"%s\":{\"dtype\":\"F32\",\"shape\":[%u,%u],\"data_offsets\":[0,%zu]},%s}", name, rows,
        cols, matrix_bytes, beside);
    put_text(&b, header);
    for (uint32_t i = 0; i < rows * cols; i++) put(&b, &(float){0.5f * (float)(i + 1)}, 4);
    for (size_t i = 0; i < beside_bytes / sizeof(float); i++) put(&b, &(float){0.25f}, 4);
    write_bytes(path, &b);
}

static void write_weights(const char *path, const char *name, uint32_t rows, const char *bias)
{
    write_matrix(path, name, rows, HIDDEN, bias);
}

/* Opens the folder as it is now, with this config.json; NULL where it is refused. */
static px_pooling *open_folder(const char *config, px_status *out_status)
{
    px_model_file *file = NULL;
    px_pooling *pooling = NULL;
    write_text("config.json", config);
    *out_status = px_model_file_open(test_folder(), &file);
    if (px_is_ok(*out_status)) *out_status = px_pooling_open(file, &pooling);
    px_model_file_close(file);
    return pooling;
}

static px_pooling *open_right(const char *config)
{
    px_status status;
    px_pooling *pooling = open_folder(config, &status);
    PX_CHECK_OK(status);
    return pooling;
}

static void check_refused(const char *config, const char *word)
{
    px_status status;
    px_pooling_free(open_folder(config, &status));
    PX_CHECK(!px_is_ok(status) && strstr(status.text, word));
    if (!strstr(status.text, word)) printf("  got: %s\n", status.text);
}

static const float pooled[HIDDEN] = {3, 0, -4, 0};

PX_TEST(what_says_nothing_is_pooled_as_is_usual)
{
    write_weights("model.safetensors", "score.weight", 3, NULL);
    unlink(test_path("modules.json"));
    px_pooling *last = open_right(NAMED("Qwen3Model", ""));
    PX_REQUIRE(last);
    px_pooling_info info = px_pooling_describe(last);
    PX_CHECK(info.kind == PX_POOLING_LAST && !info.is_stated && info.normalised);
    PX_CHECK(info.width == HIDDEN && info.hidden == HIDDEN && !info.is_scores);
    float out[HIDDEN], zero[HIDDEN] = {0};
    px_pooling_finish(last, pooled, true, out);
    PX_CHECK(out[0] == 0.6f && out[1] == 0 && out[2] == -0.8f);
    px_pooling_finish(last, zero, true, out);
    PX_CHECK(out[0] == 0 && out[3] == 0);
    px_pooling_free(last);
    px_pooling *mean =
        open_right(NAMED("Gemma3TextModel", ",\"use_bidirectional_attention\":true"));
    PX_CHECK(mean && px_pooling_describe(mean).kind == PX_POOLING_MEAN);
    px_pooling_free(mean);
}

PX_TEST(a_classifier_scores_the_last_token)
{
    write_weights("model.safetensors", "score.weight", 3, NULL);
    unlink(test_path("modules.json"));
    px_pooling *p = open_right(NAMED("Qwen3ForSequenceClassification", ""));
    PX_REQUIRE(p);
    px_pooling_info info = px_pooling_describe(p);
    PX_CHECK(info.is_scores && info.is_stated && !info.normalised && info.width == 3);
    float out[3];
    px_pooling_finish(p, pooled, true, out);
    PX_CHECK(out[0] == -4.5f && out[1] == -6.5f && out[2] == -8.5f);
    px_pooling_free(p);
    write_weights("model.safetensors", "other.weight", 3, NULL);
    check_refused(NAMED("Qwen3ForSequenceClassification", ""), "score.weight");
}

#define MODULE(type, path)                                                                         \
    "{\"type\":\"sentence_transformers.models." type "\",\"path\":\"" path "\"}"
#define MODULES(rest) "[" MODULE("Transformer", "") "," MODULE("Pooling", "1_Pooling") rest "]"

static void write_modules(const char *modules, const char *pooling)
{
    write_weights("model.safetensors", "other.weight", 3, NULL);
    mkdir(test_path("1_Pooling"), 0700);
    write_text("modules.json", modules);
    write_text("1_Pooling/config.json", pooling);
}

PX_TEST(modules_of_sentence_transformers_are_followed)
{
    write_modules(MODULES("," MODULE("Dense", "2_Dense") "," MODULE("Normalize", "3_Normalize")),
        "{\"pooling_mode_cls_token\":false,\"pooling_mode_mean_tokens\":true}");
    mkdir(test_path("2_Dense"), 0700);
    write_text("2_Dense/config.json",
        "{\"bias\":true,\"activation_function\":\"torch.nn.modules.activation.ReLU\"}");
    write_weights("2_Dense/model.safetensors", "linear.weight", 2, "linear.bias");
    px_pooling *p = open_right(NAMED("Gemma3TextModel", ""));
    PX_REQUIRE(p);
    px_pooling_info info = px_pooling_describe(p);
    PX_CHECK(info.kind == PX_POOLING_MEAN && info.is_stated && info.normalised && info.width == 2);
    /* The matrix, its bias, and two rows between steps. */
    PX_CHECK(px_pooling_bytes(p) == (2 * HIDDEN + 2 + 2 * HIDDEN) * sizeof(float));
    const float turned[HIDDEN] = {-3, 0, 4, 0};
    float out[2]; /* 4.5 and 6.5, with the bias 4.75 and 6.75 */
    px_pooling_finish(p, turned, true, out);
    PX_CHECK(fabs((double)out[0] - 4.75 / hypot(4.75, 6.75)) < 1e-7);
    PX_CHECK(fabs((double)out[1] - 6.75 / hypot(4.75, 6.75)) < 1e-7);
    px_pooling_finish(p, pooled, true, out); /* both negative: the activation leaves nothing */
    PX_CHECK(out[0] == 0 && out[1] == 0);
    px_pooling_free(p);

    write_modules(MODULES(""), "{\"pooling_mode\":\"lasttoken\"}"); /* newer spelling */
    p = open_right(NAMED("Gemma3TextModel", ",\"use_bidirectional_attention\":true"));
    PX_CHECK(p && px_pooling_describe(p).kind == PX_POOLING_LAST);
    PX_CHECK(p && !px_pooling_describe(p).normalised);
    px_pooling_free(p);
}

PX_TEST(modules_that_we_lack_are_refused_by_name)
{
    static const char config[] = NAMED("Gemma3TextModel", "");
    write_modules(MODULES(""), "{\"pooling_mode_max_tokens\":true}");
    check_refused(config, "max");
    write_modules(
        MODULES(""), "{\"pooling_mode_mean_tokens\":true,\"pooling_mode_lasttoken\":true}");
    check_refused(config, "2 kinds");
    write_modules(MODULES(""), "{}");
    check_refused(config, "0 kinds");
    write_modules(MODULES("," MODULE("LSTM", "2_LSTM")), "{\"pooling_mode\":\"cls\"}");
    check_refused(config, "LSTM");
    write_modules(MODULES("," MODULE("Dense", "../2_Dense")), "{\"pooling_mode\":\"cls\"}");
    check_refused(config, "not the name of a folder");
    write_modules(MODULES("," MODULE("Dense", "2_Missing")), "{\"pooling_mode\":\"cls\"}");
    check_refused(config, "2_Missing");
    write_modules("{}", "{\"pooling_mode\":\"cls\"}");
    check_refused(config, "a list");
    unlink(test_path("modules.json"));
}

/* --- in a GGUF of ours ------------------------------------------------------------------------ */

/* A model of 72 channels of tests/golden/data, with modules beside it. */
static void write_whole_model(void)
{
    static const char *const names[] = {"config.json", "model.safetensors"};
    const char *slash = strrchr(__FILE__, '/');
    for (int i = 0; i < 2; i++) {
        char path[4096];
        px_buf file;
        px_buf_init(&file, 16 << 20);
        snprintf(path, sizeof path, "%.*s/../../golden/data/models/odd_heads/%s",
            (int)(slash - __FILE__), __FILE__, names[i]);
        PX_CHECK_OK(px_fs_read(path, &file));
        write_test_file(names[i], file.data, file.length);
        px_buf_done(&file);
    }
}

static px_status convert_folder(const char *to)
{
    px_model_file *file = NULL;
    px_gguf_writer *writer = NULL;
    px_convert *convert = NULL;
    px_convert_options options = {.dtype = PX_F32, .table_dtype = PX_F32};
    PX_TRY(px_team_create(1, false, &options.team));
    PX_TRY(px_model_file_open(test_folder(), &file));
    px_status status = px_gguf_writer_create(to, &writer);
    if (px_is_ok(status)) status = px_convert_open(file, &options, writer, &convert);
    if (px_is_ok(status)) status = px_convert_put_keys(convert);
    if (px_is_ok(status)) status = px_gguf_writer_begin(writer);
    if (px_is_ok(status)) status = px_convert_write(convert);
    if (px_is_ok(status)) status = px_gguf_writer_finish(writer);
    px_convert_free(convert);
    px_gguf_writer_free(writer);
    px_model_file_close(file);
    px_team_free(options.team);
    return status;
}

PX_TEST(a_gguf_of_ours_says_the_same)
{
    enum { WIDE = 72 };
    write_modules(MODULES("," MODULE("Dense", "2_Dense")), "{\"pooling_mode\":\"mean\"}");
    write_whole_model();
    write_text("2_Dense/config.json",
        "{\"bias\":true,\"activation_function\":\"torch.nn.modules.linear.Identity\"}");
    write_matrix("2_Dense/model.safetensors", "linear.weight", 3, WIDE, "linear.bias");
    PX_CHECK_OK(convert_folder(test_path("whole.gguf")));
    px_model_file *files[2] = {NULL, NULL};
    px_pooling *both[2] = {NULL, NULL};
    float results[2][3], wide[WIDE];
    for (int i = 0; i < WIDE; i++) wide[i] = (float)(i % 5) - 2;
    for (int i = 0; i < 2; i++) {
        PX_CHECK_OK(px_model_file_open(i ? test_path("whole.gguf") : test_folder(), &files[i]));
        PX_CHECK_OK(px_pooling_open(files[i], &both[i]));
        px_pooling_info info = px_pooling_describe(both[i]);
        PX_CHECK(info.kind == PX_POOLING_MEAN && info.is_stated && !info.normalised);
        PX_REQUIRE(info.hidden == WIDE && info.width == 3);
        px_pooling_finish(both[i], wide, true, results[i]);
    }
    PX_CHECK(memcmp(results[0], results[1], sizeof results[0]) == 0);
    PX_CHECK(results[0][0] != results[0][1]);
    for (int i = 0; i < 2; i++) {
        px_pooling_free(both[i]);
        px_model_file_close(files[i]);
    }
}

PX_TEST_MAIN()
