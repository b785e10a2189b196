/* test_gguf.c - GGUF files: what is read, and that no hostile file gets past a sentence. */
#include "engine/model/gguf.h"
#include "engine/model/model_file.h"

#include "model_bytes.h"
#include "test.h"

/* Two pairs and two tensors: F32 [2, 3] and Q8_0 [1, 32]. */
static void make_small(bytes *b, uint32_t version)
{
    gguf_head(b, version, 2, 2);
    gguf_str(b, "general.architecture", "llama");
    gguf_u32(b, "llama.block_count", 7);
    gguf_matrix(b, "a", 2, 3, 0, 0);
    gguf_matrix(b, "b", 1, 32, 8, 32);
    pad(b, 32);
    for (int i = 0; i < 32 + 34; i++) b->data[b->length++] = (unsigned char)i;
}

static px_status open_bytes(const bytes *b, px_gguf **out)
{
    return px_gguf_open(write_bytes("file.gguf", b), out);
}

/* Refused, with a sentence that holds `word`. */
static void check_refused(const bytes *b, const char *word)
{
    px_gguf *file = NULL;
    px_status status = open_bytes(b, &file);
    PX_CHECK(!px_is_ok(status) && file == NULL);
    PX_CHECK(strstr(status.text, word) != NULL);
    if (!strstr(status.text, word)) printf("  got: %s\n", status.text);
    px_gguf_close(file);
}

PX_TEST(pairs_and_tensors_are_read)
{
    for (uint32_t version = 2; version <= 3; version++) {
        bytes b;
        px_gguf *file = NULL;
        make_small(&b, version);
        PX_CHECK_OK(open_bytes(&b, &file));
        PX_REQUIRE(file);
        int64_t layers = 0;
        double real = 0;
        px_slice arch = {0};
        PX_CHECK(px_gguf_int(file, "llama.block_count", &layers) && layers == 7);
        PX_CHECK(px_gguf_real(file, "llama.block_count", &real) && real == 7);
        PX_CHECK(px_gguf_str(file, "general.architecture", &arch) && arch.length == 5);
        PX_CHECK(!px_gguf_int(file, "general.architecture", &layers));
        PX_CHECK(!px_gguf_str(file, "missing", &arch));
        PX_REQUIRE(px_gguf_tensor_count(file) == 2);
        const px_tensor *a = px_gguf_tensor_at(file, 0), *q = px_gguf_tensor_at(file, 1);
        PX_CHECK_STR(a->name, "a");
        PX_CHECK(a->dims == 2 && a->shape[0] == 2 && a->shape[1] == 3 && a->bytes == 24);
        PX_CHECK(q->dtype == PX_Q8_0 && q->bytes == 34);
        PX_CHECK(*(const unsigned char *)a->data == 0 && *(const unsigned char *)q->data == 32);
        px_gguf_close(file);
    }
}

PX_TEST(a_file_cut_at_any_byte_is_refused)
{
    bytes whole, cut;
    make_small(&whole, 3);
    for (size_t length = 0; length < whole.length; length++) {
        memcpy(cut.data, whole.data, length);
        cut.length = length;
        px_gguf *file = NULL;
        px_status status = open_bytes(&cut, &file);
        PX_CHECK(!px_is_ok(status) && strlen(status.text) > 10);
        px_gguf_close(file);
    }
}

PX_TEST(lying_counts_are_refused)
{
    bytes b;
    gguf_head(&b, 3, UINT64_MAX, 0);
    check_refused(&b, "tensors");
    gguf_head(&b, 3, 0, UINT64_MAX / 2);
    check_refused(&b, "keys");
    gguf_head(&b, 3, 0, 1); /* a string longer than the file */
    put_u64(&b, UINT64_MAX);
    put_u64(&b, 0), put_u64(&b, 0);
    check_refused(&b, "string");
    gguf_head(&b, 3, 0, 1); /* an array of 2^61 numbers */
    put_text(&b, "list");
    put_u32(&b, PX_GGUF_ARRAY), put_u32(&b, PX_GGUF_U64), put_u64(&b, UINT64_C(1) << 61);
    check_refused(&b, "array");
    gguf_head(&b, 3, 0, 1); /* arrays of arrays of arrays ... */
    put_text(&b, "deep");
    put_u32(&b, PX_GGUF_ARRAY);
    for (int i = 0; i < 64; i++) put_u32(&b, PX_GGUF_ARRAY), put_u64(&b, 1);
    check_refused(&b, "nested");
}

PX_TEST(wrong_tensors_are_refused_by_name)
{
    static const struct {
        uint64_t rows, cols, offset;
        uint32_t type;
        const char *word;
    } cases[] = {
        {1, 4, 0, 99, "type 99"}, /* unknown type */
        {1, 33, 0, 8, "whole"},   /* not whole blocks */
        {0, 4, 0, 0, "size"},     /* nothing */
        {UINT32_MAX, UINT32_MAX, 0, 0, "size"},
        {1, 4, 8, 0, "multiple"},          /* unaligned */
        {1, 4, UINT64_MAX - 31, 0, "end"}, /* overflow */
        {1, 400, 0, 0, "cut short"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bytes b;
        gguf_head(&b, 3, 1, 0);
        gguf_matrix(&b, "weird", cases[i].rows, cases[i].cols, cases[i].type, cases[i].offset);
        pad(&b, 32);
        put_u64(&b, 0), put_u64(&b, 0);
        check_refused(&b, cases[i].word);
        check_refused(&b, "weird");
    }
}

PX_TEST(names_and_keys_occur_once)
{
    bytes b;
    gguf_head(&b, 3, 0, 2);
    gguf_u32(&b, "same", 1);
    gguf_u32(&b, "same", 2);
    check_refused(&b, "twice");
    gguf_head(&b, 3, 2, 0);
    gguf_matrix(&b, "same", 1, 4, 0, 0);
    gguf_matrix(&b, "same", 1, 4, 0, 0);
    pad(&b, 32);
    put_u64(&b, 0), put_u64(&b, 0);
    check_refused(&b, "twice");
}

PX_TEST(other_files_are_refused)
{
    bytes b = {.length = 0};
    check_refused(&b, "not a GGUF");
    gguf_head(&b, 1, 0, 0);
    check_refused(&b, "version 1");
    gguf_head(&b, 0x03000000, 0, 0);
    check_refused(&b, "big-endian");
    gguf_head(&b, 3, 0, 1);
    gguf_u32(&b, "general.alignment", 24);
    check_refused(&b, "alignment");
}

/* Part `index` of `count` with one tensor "tINDEX"; only the first part has the model's pairs. */
static void write_part(uint32_t index, uint32_t count)
{
    bytes b;
    char name[64], tensor[8];
    snprintf(tensor, sizeof tensor, "t%u", index);
    gguf_head(&b, 3, 1, index ? 2 : 3);
    if (!index) gguf_str(&b, "general.name", "whole");
    gguf_u16(&b, "split.no", (uint16_t)index);
    gguf_u16(&b, "split.count", (uint16_t)count);
    gguf_matrix(&b, tensor, 1, 4, 0, 0);
    pad(&b, 32);
    for (int i = 0; i < 16; i++) b.data[b.length++] = (unsigned char)index;
    snprintf(name, sizeof name, "m-%05u-of-%05u.gguf", index + 1, count);
    write_bytes(name, &b);
}

PX_TEST(split_files_open_from_any_part)
{
    for (uint32_t i = 0; i < 3; i++) write_part(i, 3);
    static const char *const parts[] = {"m-00001-of-00003.gguf", "m-00003-of-00003.gguf"};
    for (int p = 0; p < 2; p++) {
        px_gguf *file = NULL;
        PX_CHECK_OK(px_gguf_open(test_path(parts[p]), &file));
        PX_REQUIRE(file);
        px_slice name = {0};
        PX_CHECK(px_gguf_str(file, "general.name", &name) && name.length == 5);
        PX_REQUIRE(px_gguf_tensor_count(file) == 3);
        for (uint32_t i = 0; i < 3; i++) {
            const px_tensor *tensor = px_gguf_tensor_at(file, i);
            PX_CHECK(*(const unsigned char *)tensor->data == (unsigned)(tensor->name[1] - '0'));
        }
        px_gguf_close(file);
    }
    unlink(test_path("m-00002-of-00003.gguf"));
    px_gguf *file = NULL;
    px_status status = px_gguf_open(test_path(parts[0]), &file);
    PX_CHECK(!px_is_ok(status) && strstr(status.text, "part 2 of 3"));
}

static px_status open_folder(void)
{
    px_model_file *file = NULL;
    px_status status = px_model_file_open(test_folder(), &file);
    if (px_is_ok(status)) px_model_file_close(file);
    return status;
}

PX_TEST(a_folder_is_its_only_model)
{
    bytes b;
    remove_test_folder();
    *test_folder_path = '\0';
    for (uint32_t i = 0; i < 3; i++) write_part(i, 3);
    gguf_head(&b, 3, 0, 0);
    write_bytes("mmproj-m.gguf", &b);
    PX_CHECK_OK(open_folder());
    unlink(test_path("m-00001-of-00003.gguf"));
    px_status status = open_folder();
    PX_CHECK(!px_is_ok(status) && strstr(status.text, "m-00001-of-00003.gguf"));
    write_part(0, 3);
    write_bytes("king-of-hill.gguf", &b);
    status = open_folder();
    PX_CHECK(!px_is_ok(status) && strstr(status.text, "several"));
    for (uint32_t i = 0; i < 3; i++) {
        char name[64];
        snprintf(name, sizeof name, "m-%05u-of-00003.gguf", i + 1);
        unlink(test_path(name));
    }
    PX_CHECK_OK(open_folder());
}

PX_TEST(types_that_we_lack_are_refused_by_name)
{
    static const struct {
        uint32_t number;
        const char *name;
    } lacking[] = {{16, "IQ2_XXS"}, {22, "IQ2_S"}, {34, "TQ1_0"}, {40, "NVFP4"}, {99, "unknown"}};
    for (size_t i = 0; i < sizeof lacking / sizeof *lacking; i++) {
        bytes b;
        gguf_head(&b, 3, 1, 0);
        gguf_matrix(&b, "a", 1, 256, lacking[i].number, 0);
        pad(&b, 32);
        check_refused(&b, lacking[i].name);
    }
}

PX_TEST_MAIN()
