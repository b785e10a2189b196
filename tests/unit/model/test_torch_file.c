/* test_torch_file.c - torch.save's files: what is in them, and that nothing in them is run. */
#include "engine/model/torch_file.h"

#include "engine/model/pickle.h"
#include "engine/model/zip.h"
#include "kernels/dtype.h"
#include "model_bytes.h"
#include "test.h"

static void path_of(const char *name, char out[512])
{
    const char *tail = strstr(__FILE__, "tests/unit/");
    int root = tail ? (int)(tail - __FILE__) : 0;
    snprintf(out, 512, "%.*stests/golden/data/torch/%s", root, __FILE__, name);
}

static px_status open_data(const char *name, px_torch **out)
{
    char path[512];
    path_of(name, path);
    return px_torch_open_file(path, out);
}

static void read_data(const char *name, bytes *out)
{
    char path[512];
    path_of(name, path);
    FILE *file = fopen(path, "rb");
    out->length = file ? fread(out->data, 1, sizeof out->data, file) : 0;
    if (file) fclose(file);
}

static const px_tensor *find(const px_torch *file, const char *name)
{
    for (uint32_t i = 0; i < px_torch_count(file); i++)
        if (strcmp(px_torch_at(file, i)->name, name) == 0) return px_torch_at(file, i);
    return NULL;
}

/* "a" and "b" as make_torch.py says. */
static void check_tensors(const px_torch *file)
{
    const px_tensor *a = find(file, "a"), *b = find(file, "b");
    PX_REQUIRE(a && b);
    PX_CHECK(a->dtype == PX_F32 && a->dims == 2 && a->shape[0] == 2 && a->shape[1] == 3);
    PX_CHECK(b->dtype == PX_BF16 && b->dims == 1 && b->shape[0] == 4 && b->bytes == 8);
    float values[6];
    px_dtype_to_f32(a->dtype, a->data, values, 6);
    for (int i = 0; i < 6; i++) PX_CHECK(values[i] == (float)i);
    px_dtype_to_f32(b->dtype, b->data, values, 4);
    for (int i = 0; i < 4; i++) PX_CHECK(values[i] == (float)(i + 1));
}

PX_TEST(a_plain_state_dict_is_read_in_place)
{
    px_torch *file = NULL;
    PX_CHECK_OK(open_data("plain.pt", &file));
    PX_REQUIRE(file && px_torch_count(file) == 2);
    check_tensors(file);
    PX_CHECK(px_torch_is_mapped(file, find(file, "a")->data));
    px_torch_close(file);
}

PX_TEST(a_training_loops_checkpoint_gives_its_model)
{
    px_torch *file = NULL;
    PX_CHECK_OK(open_data("nested.pt", &file));
    PX_REQUIRE(file && px_torch_count(file) == 2);
    check_tensors(file);
    PX_CHECK(!px_torch_is_mapped(file, find(file, "a")->data)); /* turned: put in order */
    px_torch_close(file);
}

PX_TEST(tensors_may_share_a_storage_and_skip_elements)
{
    px_torch *file = NULL;
    PX_CHECK_OK(open_data("shared.pt", &file));
    PX_REQUIRE(file && px_torch_count(file) == 4); /* without the empty one */
    check_tensors(file);
    const px_tensor *f8 = find(file, "f8"), *one = find(file, "one");
    PX_REQUIRE(f8 && one);
    PX_CHECK(f8->dtype == PX_F8_E4M3 && f8->bytes == 6);
    PX_CHECK(one->dims == 1 && one->shape[0] == 1);
    float seven;
    px_dtype_to_f32(one->dtype, one->data, &seven, 1);
    PX_CHECK(seven == 7);
    px_torch_close(file);
}

static void check_refused(px_status status, px_torch *file, const char *words)
{
    PX_CHECK(!px_is_ok(status) && file == NULL && strstr(status.text, words));
    if (!strstr(status.text, words)) printf("  got: %s\n", status.text);
    px_torch_close(file);
}

PX_TEST(what_would_be_run_is_named_and_refused)
{
    px_torch *file = NULL;
    check_refused(open_data("call.pt", &file), file, "posix.system");
    check_refused(open_data("old.pt", &file), file, "torch.save(torch.load(");
}

static void check_all_cuts(const bytes *whole)
{
    const char *path = write_bytes("cut.pt", whole);
    for (size_t length = whole->length; length-- > 0;) {
        px_torch *file = NULL;
        PX_CHECK(truncate(path, (off_t)length) == 0);
        px_status status = px_torch_open_file(path, &file);
        PX_CHECK(!px_is_ok(status) && strlen(status.text) > 10);
        px_torch_close(file);
    }
}

PX_TEST(a_file_cut_at_any_byte_is_refused)
{
    static const char *const names[] = {"plain.pt", "nested.pt", "shared.pt"};
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        bytes whole;
        read_data(names[n], &whole);
        PX_REQUIRE(whole.length > 1000);
        check_all_cuts(&whole);
    }
}

/* Whatever a byte becomes, the file is refused or its tensors can be read to their last byte. */
PX_TEST(no_wrong_byte_leads_outside_the_file)
{
    bytes b;
    read_data("shared.pt", &b);
    for (size_t at = 0; at < b.length; at++) {
        unsigned char right = b.data[at];
        b.data[at] = (unsigned char)(right ^ (1u << at % 8 | 0x80));
        px_torch *file = NULL;
        px_status status = px_torch_open_file(write_bytes("wrong.pt", &b), &file);
        PX_CHECK(px_is_ok(status) || strlen(status.text) > 10);
        for (uint32_t i = 0; file && i < px_torch_count(file); i++) {
            const px_tensor *tensor = px_torch_at(file, i);
            const volatile unsigned char *data = tensor->data;
            for (uint64_t k = 0; k < tensor->bytes; k++) (void)data[k];
        }
        px_torch_close(file);
        b.data[at] = right;
    }
}

/* --- pickles by hand --- */

static px_status read_pickle(
    const char *text, size_t length, px_arena *arena, px_pickle_value **out)
{
    px_arena_init(arena, 1 << 20);
    return px_pickle_read((px_slice){.data = text, .length = length}, arena, out);
}

#define READ(text) read_pickle(text, sizeof text - 1, &arena, &value)

PX_TEST(protocol_0_is_read_too)
{
    px_arena arena;
    px_pickle_value *value = NULL;
    /* {'n': 7, 'l': [True, 2.5, 'x']} */
    PX_CHECK_OK(READ("(dp0\nVn\np1\nI7\nsVl\np2\n(lp3\nI01\naF2.5\naVx\np4\nas."));
    PX_REQUIRE(value && value->kind == PX_PICKLE_DICT && value->count == 4);
    const px_pickle_value *list = value->items[3];
    PX_CHECK(value->items[1]->number == 7 && list->kind == PX_PICKLE_LIST && list->count == 3);
    PX_CHECK(list->items[0]->truth && list->items[1]->real == 2.5);
    px_arena_done(&arena);
}

PX_TEST(numbers_and_the_memo_are_read)
{
    px_arena arena;
    px_pickle_value *value = NULL;
    /* (-2, 258, 2**40, 1.5, same object twice) */
    PX_CHECK_OK(
        READ("\x80\x02(J\xfe\xff\xff\xffM\x02\x01\x8a\x06\0\0\0\0\0\x01G\x3f\xf8\0\0\0\0\0\0"
             "]q\0h\0t."));
    PX_REQUIRE(value && value->kind == PX_PICKLE_TUPLE && value->count == 6);
    PX_CHECK(value->items[0]->number == -2 && value->items[1]->number == 258);
    PX_CHECK(value->items[2]->number == (int64_t)1 << 40 && value->items[3]->real == 1.5);
    PX_CHECK(value->items[4] == value->items[5]);
    px_arena_done(&arena);
}

PX_TEST(wrong_pickles_end_in_a_sentence)
{
    static const struct {
        const char *text;
        size_t length;
        const char *words;
    } wrong[] = {
#define WRONG(text, words) {text, sizeof text - 1, words}
        WRONG("", "middle"),
        WRONG(".", "stack"),
        WRONG("(.", "stack"),
        WRONG("\x80\x09.", "protocol 9"),
        WRONG("cbuiltins\neval\n.", "builtins.eval"),
        WRONG("\x80\x04\x8c\x05posix\x8c\x06system\x93.", "posix.system"),
        WRONG("ios\nsystem\n.", "opcode 0x69"),
        WRONG("X\xff\xff\xff\xff", "middle"),
        WRONG("h\x05.", "memo"),
        WRONG("Nr\xff\xff\xff\x7f.", "memo"),
        WRONG("NNa.", "list"),
        WRONG("}(Nu.", "dict"),
        WRONG("u.", "mark"),
        WRONG("NNR.", "called"),
        WRONG("ccollections\nOrderedDict\n]\x85R}b]R.", "called"),
        WRONG("\x8a\x09\1\2\3\4\5\6\7\x08\x09.", "64 bits"),
        WRONG("Ixyz\n.", "number"),
        WRONG("NQ.", "storage"),
        WRONG("ctorch._utils\n_rebuild_tensor_v2\n)R.", "storage"),
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        px_arena arena;
        px_pickle_value *value = NULL;
        px_status status = read_pickle(wrong[i].text, wrong[i].length, &arena, &value);
        PX_CHECK(!px_is_ok(status) && strstr(status.text, wrong[i].words));
        if (!strstr(status.text, wrong[i].words)) printf("  %zu got: %s\n", i, status.text);
        px_arena_done(&arena);
    }
}

PX_TEST(a_compressed_archive_is_refused_by_name)
{
    bytes b;
    px_zip zip;
    read_data("plain.pt", &b);
    PX_CHECK_OK(px_zip_open((px_slice){.data = (char *)b.data, .length = b.length}, &zip));
    PX_CHECK(zip.count >= 3 && px_zip_find(&zip, (px_slice){"plain/data.pkl", 14}));
    px_zip_close(&zip);
    for (size_t at = 0; at + 46 < b.length; at++)
        if (memcmp(b.data + at, "PK\1\2", 4) == 0) b.data[at + 10] = 8; /* deflate */
    px_status status = px_zip_open((px_slice){.data = (char *)b.data, .length = b.length}, &zip);
    PX_CHECK(status.code == PX_UNIMPLEMENTED && strstr(status.text, "compressed"));
}

/* --- zip64: how archives beyond 4 GiB or 65,535 entries are written --- */

static void put_u16(bytes *b, uint16_t value)
{
    put(b, &value, sizeof value);
}

static uint32_t u32_at(const bytes *b, size_t at)
{
    uint32_t value;
    memcpy(&value, b->data + at, sizeof value);
    return value;
}

/* An entry of the directory whose numbers stand in an extra field; returns its length in `from`. */
static size_t put_entry64(bytes *to, const bytes *from, size_t at)
{
    enum { ENTRY = 46, EXTRA = 28 };
    uint16_t name, extra;
    memcpy(&name, from->data + at + 28, sizeof name);
    memcpy(&extra, from->data + at + 30, sizeof extra);
    size_t head = to->length;
    put(to, from->data + at, ENTRY + name);
    put_u16(to, 1);
    put_u16(to, EXTRA - 4);
    put_u64(to, u32_at(from, at + 24)); /* bytes, packed bytes, offset */
    put_u64(to, u32_at(from, at + 20));
    put_u64(to, u32_at(from, at + 42));
    put(to, from->data + at + ENTRY + name, extra);
    memset(to->data + head + 20, 0xff, 8);
    memset(to->data + head + 42, 0xff, 4);
    extra += EXTRA;
    memcpy(to->data + head + 30, &extra, sizeof extra);
    return ENTRY + name + (extra - EXTRA);
}

static void to_zip64(const bytes *from, bytes *to)
{
    size_t end = from->length - 22, at = u32_at(from, end + 16);
    uint64_t count = u32_at(from, end + 8) & 0xffff;
    to->length = 0;
    put(to, from->data, at);
    uint64_t directory = to->length;
    for (uint64_t i = 0; i < count; i++) at += put_entry64(to, from, at);
    uint64_t end64 = to->length;
    put_u32(to, 0x06064b50);
    put_u64(to, 44);
    put_u16(to, 45);
    put_u16(to, 45);
    put_u32(to, 0);
    put_u32(to, 0);
    put_u64(to, count);
    put_u64(to, count);
    put_u64(to, end64 - directory);
    put_u64(to, directory);
    put_u32(to, 0x07064b50);
    put_u32(to, 0);
    put_u64(to, end64);
    put_u32(to, 1);
    size_t old_end = to->length;
    put(to, from->data + end, 22);
    memset(to->data + old_end + 8, 0xff, 12);
}

PX_TEST(a_zip64_archive_is_read_and_refused_when_cut)
{
    bytes plain, large;
    px_torch *file = NULL;
    read_data("plain.pt", &plain);
    PX_REQUIRE(plain.length > 1000);
    to_zip64(&plain, &large);
    PX_CHECK_OK(px_torch_open_file(write_bytes("large.pt", &large), &file));
    PX_REQUIRE(file && px_torch_count(file) == 2);
    check_tensors(file);
    px_torch_close(file);
    check_all_cuts(&large);
}

PX_TEST(no_wrong_byte_of_zip64_leads_outside_the_file)
{
    bytes plain, large;
    read_data("plain.pt", &plain);
    to_zip64(&plain, &large);
    for (size_t at = 0; at < large.length; at++) {
        unsigned char right = large.data[at];
        px_zip zip;
        large.data[at] = (unsigned char)(right + 1 + at % 255);
        px_slice archive = {.data = (char *)large.data, .length = large.length};
        if (px_is_ok(px_zip_open(archive, &zip))) {
            for (uint32_t i = 0; i < zip.count; i++) {
                px_slice content = zip.entries[i].content;
                PX_CHECK(content.data >= archive.data &&
                         content.length <= archive.length - (size_t)(content.data - archive.data));
            }
            px_zip_close(&zip);
        }
        large.data[at] = right;
    }
}

PX_TEST_MAIN()
