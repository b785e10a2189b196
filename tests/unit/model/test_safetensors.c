/* test_safetensors.c - one file and shards; hostile headers end in a sentence. */
#include "engine/model/safetensors.h"

#include "model_bytes.h"
#include "test.h"

static const char small[] = "{\"__metadata__\":{\"format\":\"pt\"},"
                            "\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
                            "\"b\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[24,32]}}";

static px_status open_bytes(const bytes *b, px_safetensors **out)
{
    return px_safetensors_open_file(write_bytes("one.safetensors", b), out);
}

static void check_refused(const char *header, const char *word)
{
    bytes b;
    px_safetensors *file = NULL;
    safetensors(&b, header, 32);
    px_status status = open_bytes(&b, &file);
    PX_CHECK(!px_is_ok(status) && file == NULL && strstr(status.text, word));
    if (!strstr(status.text, word)) printf("  got: %s\n", status.text);
    px_safetensors_close(file);
}

static const px_tensor *find(const px_safetensors *file, const char *name)
{
    for (uint32_t i = 0; i < px_safetensors_count(file); i++)
        if (strcmp(px_safetensors_at(file, i)->name, name) == 0) return px_safetensors_at(file, i);
    return NULL;
}

PX_TEST(tensors_are_read)
{
    bytes b;
    px_safetensors *file = NULL;
    safetensors(&b, small, 32);
    PX_CHECK_OK(open_bytes(&b, &file));
    PX_REQUIRE(file && px_safetensors_count(file) == 2);
    const px_tensor *a = find(file, "a"), *v = find(file, "b");
    PX_REQUIRE(a && v);
    PX_CHECK(a->dtype == PX_F32 && a->dims == 2 && a->shape[0] == 2 && a->shape[1] == 3);
    PX_CHECK(v->dtype == PX_BF16 && v->dims == 1 && v->bytes == 8);
    PX_CHECK(*(const unsigned char *)v->data == 24);
    px_safetensors_close(file);
}

PX_TEST(a_file_cut_at_any_byte_is_refused)
{
    bytes whole, cut;
    safetensors(&whole, small, 32);
    for (size_t length = 0; length < whole.length; length++) {
        memcpy(cut.data, whole.data, length);
        cut.length = length;
        px_safetensors *file = NULL;
        px_status status = open_bytes(&cut, &file);
        PX_CHECK(!px_is_ok(status) && strlen(status.text) > 10);
        px_safetensors_close(file);
    }
}

PX_TEST(lying_headers_are_refused)
{
    check_refused("[]", "object");
    check_refused("{\"a\":1}", "'a'");
    check_refused("{\"a\":{\"dtype\":\"F99\",\"shape\":[1],\"data_offsets\":[0,4]}}", "F99");
    check_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", "shape");
    check_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", "size");
    check_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967295,4294967295,4294967295],"
                  "\"data_offsets\":[0,4]}}",
        "size");
    check_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,4]}}", "offsets");
    check_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", "offsets");
    check_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[9],\"data_offsets\":[0,36]}}", "cut short");
    check_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                  "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
        "overlap");
    bytes b = {.length = 0};
    px_safetensors *file = NULL;
    put_u64(&b, UINT64_MAX);
    PX_CHECK(open_bytes(&b, &file).code == PX_DATA_LOSS);
}

static void write_shards(const char *index)
{
    bytes b;
    safetensors(&b, small, 32);
    write_bytes("s1.safetensors", &b);
    safetensors(&b, "{\"c\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4);
    write_bytes("s2.safetensors", &b);
    write_test_file("model.safetensors.index.json", index, strlen(index));
}

static void check_index(const char *index, const char *word)
{
    px_safetensors *file = NULL;
    write_shards(index);
    px_status status = px_safetensors_open(test_folder(), &file);
    PX_CHECK(!px_is_ok(status) && strstr(status.text, word));
    PX_CHECK(status.code != PX_NOT_FOUND); /* or a GGUF file would be looked for, this text lost */
    px_safetensors_close(file);
}

PX_TEST(shards_are_one_model)
{
    px_safetensors *file = NULL;
    write_shards("{\"weight_map\":{\"a\":\"s1.safetensors\",\"b\":\"s1.safetensors\","
                 "\"c\":\"s2.safetensors\"}}");
    PX_CHECK_OK(px_safetensors_open(test_folder(), &file));
    PX_REQUIRE(file);
    PX_CHECK(px_safetensors_count(file) == 3 && find(file, "c"));
    px_safetensors_close(file);

    check_index("{}", "weight_map");
    check_index("{\"weight_map\":{\"c\":7}}", "file name");
    check_index("{\"weight_map\":{\"c\":\"../s2.safetensors\"}}", "plain");
    check_index("{\"weight_map\":{\"c\":\"s1.safetensors\"}}", "'c'");
    check_index("{\"weight_map\":{\"c\":\"gone.safetensors\"}}", "gone");
}

PX_TEST_MAIN()
