/* test_coded.c - weights of codes and scales: what does not fit together ends in a sentence.
 *
 * That what fits is right is shown by the models of tests/golden (make_coded.py).
 */
#include "engine/model/coded.h"

#include "kernels/dtype.h"
#include "model_bytes.h"
#include "test.h"

/* A safetensors folder with these tensors over `data_bytes` of rising bytes. */
static px_model_file *open_tensors(const char *header, size_t data_bytes)
{
    bytes b;
    px_model_file *file = NULL;
    safetensors(&b, header, data_bytes);
    write_bytes("model.safetensors", &b);
    write_test_file("config.json", "{}", 2);
    PX_CHECK_OK(px_model_file_open(test_folder(), &file));
    return file;
}

#define TENSOR(name, type, shape, begin, end)                                                      \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end  \
    "]}"

static const px_coded_place square = {.rows = 32, .cols = 32, .row_step = 1, .total_rows = 32};

typedef struct found {
    px_coded coded;
    px_dtype dtype;
    px_status status;
} found;

static found find_in(px_model_file *file, const char *name, px_coded_settings settings)
{
    found out = {.status = px_fail(PX_NOT_FOUND, "no tensor '%s'", name)};
    const px_tensor *tensor = px_coded_tensor(file, name);
    if (tensor)
        out.status = px_coded_find(file, &settings, tensor, &square, &out.coded, &out.dtype);
    return out;
}

static void check_refused(
    const char *header, size_t data_bytes, px_coded_settings settings, const char *words)
{
    px_model_file *file = open_tensors(header, data_bytes);
    PX_REQUIRE(file);
    found f = find_in(file, "l.weight", settings);
    PX_CHECK(!px_is_ok(f.status) && strstr(f.status.text, words));
    if (!strstr(f.status.text, words)) printf("  got: %s\n", f.status.text);
    px_model_file_close(file);
}

PX_TEST(f8_has_scales_of_any_granularity)
{
    static const struct {
        const char *header;
        px_dtype dtype;
        uint32_t block_rows, block_cols;
    } cases[] = {
        {"{" TENSOR("l.weight", "F8_E4M3", "[32,32]", 0, 1024) "}", PX_F8_E4M3, 0, 0},
        {"{" TENSOR("l.weight", "F8_E4M3", "[32,32]", 0, 1024) "," TENSOR(
             "l.weight_scale", "F32", "[]", 1024, 1028) "}",
            PX_SCALED_F8, 32, 32},
        {"{" TENSOR("l.weight", "F8_E4M3", "[32,32]", 0, 1024) "," TENSOR(
             "l.weight_scale", "BF16", "[32,1]", 1024, 1088) "}",
            PX_SCALED_F8, 1, 32},
        {"{" TENSOR("l.weight", "F8_E5M2", "[32,32]", 0, 1024) "," TENSOR(
             "l.weight_scale_inv", "F32", "[1,1]", 1024, 1028) "}",
            PX_SCALED_F16, 32, 32},
        {"{" TENSOR("l.weight", "F8_E4M3", "[32,32]", 0, 1024) "," TENSOR(
             "l.weight_scale_inv", "F8_E8M0", "[2,2]", 1024, 1028) "}",
            PX_F32, 16, 16}, /* blocks of 16 columns: no block of 32 holds them as they lie */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        px_model_file *file = open_tensors(cases[i].header, 1088);
        PX_REQUIRE(file);
        found f = find_in(file, "l.weight", (px_coded_settings){.method = ""});
        PX_CHECK_OK(f.status);
        PX_CHECK(f.dtype == cases[i].dtype && f.coded.block_rows == cases[i].block_rows &&
                 f.coded.block_cols == cases[i].block_cols);
        px_model_file_close(file);
    }
}

PX_TEST(wrong_scales_are_refused)
{
    const px_coded_settings f8 = {.method = "fp8", .block_rows = 128, .block_cols = 128};
    check_refused("{" TENSOR("l.weight", "F8_E4M3", "[32,32]", 0, 1024) "}", 1024, f8, "no scales");
    check_refused("{" TENSOR("l.weight", "F8_E4M3", "[32,32]", 0, 1024) "," TENSOR(
                      "l.weight_scale_inv", "F32", "[3,5]", 1024, 1084) "}",
        1084, f8, "needs 1 x 1");
    check_refused("{" TENSOR("l.weight", "F8_E4M3", "[32,32]", 0, 1024) "," TENSOR(
                      "l.weight_scale", "I32", "[1]", 1024, 1028) "}",
        1028, f8, "scales are floats");
    check_refused("{" TENSOR("l.weight", "F8_E4M3", "[32,32]", 0, 1024) "," TENSOR(
                      "l.weight_scale", "F16", "[1,1,1,1]", 1024, 1026) "}",
        1026, f8, "dimensions");
}

#define CODES TENSOR("l.qweight", "I32", "[4,32]", 0, 512)

PX_TEST(gptq_needs_all_its_tensors_in_the_right_shape)
{
    const px_coded_settings gptq = {.method = "gptq"};
    static const char right[] = "{" CODES "," TENSOR(
        "l.scales", "F16", "[1,32]", 512, 576) "," TENSOR("l.qzeros", "I32", "[1,4]", 576, 592) "}";
    px_model_file *file = open_tensors(right, 592);
    PX_REQUIRE(file);
    found f = find_in(file, "l.weight", gptq);
    PX_CHECK_OK(f.status);
    PX_CHECK(f.dtype == PX_SCALED_U4 && f.coded.bits == 4 && f.coded.block_cols == 32);
    px_model_file_close(file);

    check_refused("{" CODES "}", 512, gptq, "no .scales");
    check_refused(
        "{" CODES "," TENSOR("l.scales", "F16", "[1,32]", 512, 576) "}", 576, gptq, "no .qzeros");
    check_refused("{" CODES "," TENSOR("l.scales", "F16", "[1,16]", 512, 544) "," TENSOR(
                      "l.qzeros", "I32", "[1,4]", 544, 560) "}",
        560, gptq, "needs 1 x 32");
    check_refused("{" CODES "," TENSOR("l.scales", "F16", "[1,32]", 512, 576) "," TENSOR(
                      "l.qzeros", "I32", "[1,5]", 576, 596) "}",
        596, gptq, "needs 1 x 4");
    check_refused("{" CODES "," TENSOR("l.scales", "F16", "[1,32]", 512, 576) "," TENSOR("l.qzeros",
                      "I32", "[1,4]", 576, 592) "," TENSOR("l.g_idx", "I32", "[32]", 592, 720) "}",
        720, gptq, "names group"); /* rising bytes are no groups */
    check_refused("{" TENSOR("l.qweight", "I32", "[5,32]", 0, 640) "," TENSOR("l.scales", "F16",
                      "[1,32]", 640, 704) "," TENSOR("l.qzeros", "I32", "[1,5]", 704, 724) "}",
        724, gptq, "5 bits");
}

PX_TEST(gptqs_first_version_means_one_more_than_its_zeros_say)
{
    static const char header[] = "{" CODES "," TENSOR(
        "l.scales", "F16", "[1,32]", 512, 576) "," TENSOR("l.qzeros", "I32", "[1,4]", 576, 592) "}";
    px_model_file *file = open_tensors(header, 592);
    PX_REQUIRE(file);
    found v1 = find_in(file, "l.weight", (px_coded_settings){.method = "gptq"});
    found v2 =
        find_in(file, "l.weight", (px_coded_settings){.method = "gptq", .zeros_as_written = true});
    PX_CHECK_OK(v1.status);
    PX_CHECK_OK(v2.status);
    unsigned char block[64];
    float a[32], b[32], scale;
    px_coded_assemble(&v1.coded, v1.dtype, (px_coded_part){2, 1, 32}, block);
    px_dtype_to_f32(v1.dtype, block, a, 32);
    memcpy(&scale, block, sizeof scale);
    px_coded_assemble(&v2.coded, v2.dtype, (px_coded_part){2, 1, 32}, block);
    px_dtype_to_f32(v2.dtype, block, b, 32);
    /* Byte i of the data is i: row 2's first code is in byte 8, its zero in byte 577. */
    PX_CHECK(b[0] == scale * (8 - (577 & 15)));
    for (int i = 0; i < 32; i++) PX_CHECK(fabsf((b[i] - a[i]) - scale) <= fabsf(scale) * 1e-5f);
    px_model_file_close(file);
}

/* --- columns in another order --- */

/* 4-bit codes of 32 x 32, each column of one of three groups. */
static px_model_file *open_shuffled(const unsigned char groups[32])
{
    static const char header[] =
        "{" CODES "," TENSOR("l.scales", "F32", "[3,32]", 512, 896) "," TENSOR("l.qzeros", "I32",
            "[3,4]", 896, 944) "," TENSOR("l.g_idx", "I32", "[32]", 944, 1072) "}";
    bytes b;
    px_model_file *file = NULL;
    safetensors(&b, header, 1072);
    unsigned char *data = b.data + b.length - 1072;
    for (uint32_t i = 0; i < 96; i++) {
        float scale = 0.25f + (float)(i * 7 % 96) / 64;
        memcpy(data + 512 + 4 * i, &scale, sizeof scale);
    }
    for (uint32_t i = 0; i < 32; i++) {
        uint32_t group = groups[i];
        memcpy(data + 944 + 4 * i, &group, sizeof group);
    }
    write_bytes("model.safetensors", &b);
    write_test_file("config.json", "{}", 2);
    PX_CHECK_OK(px_model_file_open(test_folder(), &file));
    return file;
}

/* Three groups of 11, 20 and 1 columns. */
static const unsigned char shuffled[32] = {
    1, 0, 1, 1, 0, 2, 1, 1, 0, 1, 0, 1, 1, 1, 0, 1, 1, 0, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 0};

PX_TEST(columns_of_a_group_come_together_in_whole_blocks)
{
    px_model_file *file = open_shuffled(shuffled);
    PX_REQUIRE(file);
    found f = find_in(file, "l.weight", (px_coded_settings){.method = "gptq"});
    PX_CHECK_OK(f.status);
    PX_CHECK(f.dtype == PX_F32 && f.coded.ordered_dtype == PX_SCALED_U4);
    PX_REQUIRE(f.coded.ordered_cols == 96);
    uint32_t order[96], seen[32] = {0};
    px_coded_order(&f.coded, order);
    for (uint32_t i = 0; i < 96; i++) {
        PX_CHECK(order[i] < 32 && shuffled[order[i]] == i / 32);
        if (i % 32) PX_CHECK(order[i] >= order[i - 1]); /* ascending; the last one fills */
        seen[order[i]]++;
    }
    for (uint32_t c = 0; c < 32; c++) PX_CHECK(seen[c] > 0);
    px_model_file_close(file);
}

PX_TEST(ordered_blocks_mean_what_the_columns_do_and_fillers_nothing)
{
    px_model_file *file = open_shuffled(shuffled);
    PX_REQUIRE(file);
    found f = find_in(file, "l.weight", (px_coded_settings){.method = "gptq"});
    PX_CHECK_OK(f.status);
    PX_REQUIRE(f.coded.ordered_cols == 96);
    uint32_t order[96];
    float plain[32], meant[96];
    unsigned char blocks[3 * 64];
    px_coded_order(&f.coded, order);
    px_coded ordered = f.coded;
    ordered.order = order;
    for (uint32_t row = 0; row < 32; row++) {
        float sum[32] = {0};
        px_coded_assemble(&f.coded, PX_F32, (px_coded_part){row, 1, 32}, (unsigned char *)plain);
        px_coded_assemble(&ordered, PX_SCALED_U4, (px_coded_part){row, 1, 96}, blocks);
        px_dtype_to_f32(PX_SCALED_U4, blocks, meant, 96);
        for (uint32_t i = 0; i < 96; i++) sum[order[i]] += meant[i];
        PX_CHECK(memcmp(sum, plain, sizeof sum) == 0);
    }
    px_model_file_close(file);
}

PX_TEST(weights_of_equal_groups_have_the_same_order)
{
    const px_coded_settings gptq = {.method = "gptq"};
    px_model_file *file = open_shuffled(shuffled);
    PX_REQUIRE(file);
    found a = find_in(file, "l.weight", gptq), b = find_in(file, "l.weight", gptq);
    PX_CHECK(px_coded_same_order(&a.coded, &b.coded));
    unsigned char copy[128];
    memcpy(copy, a.coded.group_of, sizeof copy);
    b.coded.group_of = copy;
    PX_CHECK(px_coded_same_order(&a.coded, &b.coded));
    copy[0] = 0; /* the first column in group 0 */
    PX_CHECK(!px_coded_same_order(&a.coded, &b.coded));
    px_model_file_close(file);
}

PX_TEST(what_would_take_more_than_floats_stays_floats)
{
    px_model_file *file = /* 8 bits in groups of 16: two blocks of 68 bytes instead of 32 floats */
        open_tensors("{" TENSOR("l.weight", "I8", "[32,32]", 0, 1024) "," TENSOR(
                         "l.weight_scale", "F32", "[32,2]", 1024, 1280) "}",
            1280);
    PX_REQUIRE(file);
    found f = find_in(file, "l.weight", (px_coded_settings){.method = ""});
    PX_CHECK_OK(f.status);
    PX_CHECK(f.dtype == PX_F32 && !f.coded.ordered_cols);
    px_model_file_close(file);
}

PX_TEST(unknown_ways_are_refused_by_name)
{
    static const struct {
        const char *config, *words;
    } cases[] = {
        {"{\"quantization_config\":{\"quant_method\":\"hqq\"}}", "'hqq'"},
        {"{\"quantization_config\":{\"quant_method\":\"gptq\",\"checkpoint_format\":\"marlin\"}}",
            "'marlin'"},
        {"{\"quantization_config\":{\"quant_method\":\"awq\",\"version\":\"gemv_fast\"}}",
            "'gemv_fast'"},
        {"{\"quantization_config\":{\"quant_method\":\"fp8\",\"weight_block_size\":[128]}}",
            "weight_block_size"},
        {"{\"quantization_config\":{\"quant_method\":7}}", "quant_method"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *config = json_loads(cases[i].config, 0, NULL);
        px_coded_settings settings;
        px_status status = px_coded_settings_read(config, &settings);
        PX_CHECK(!px_is_ok(status) && strstr(status.text, cases[i].words));
        if (!strstr(status.text, cases[i].words)) printf("  got: %s\n", status.text);
        json_decref(config);
    }
    px_coded_settings settings;
    PX_CHECK_OK(px_coded_settings_read(NULL, &settings));
    PX_CHECK(!*settings.method);
}

PX_TEST_MAIN()
