/* test_convert.c - what is written as GGUF reads back, and nothing is left where work failed. */
#include "engine/model/convert.h"

#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>

#include "model_bytes.h"
#include "test.h"

enum { ROWS = 6, COLS = 256 };

static int files_like(const char *name)
{
    int count = 0;
    DIR *dir = opendir(test_folder());
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        count += strncmp(entry->d_name, name, strlen(name)) == 0;
    if (dir) closedir(dir);
    return count;
}

/* A file with one matrix, one vector and keys of every kind; values(i) fills the matrix. */
static px_status write_small(const char *path, float (*value)(int))
{
    static const px_tensor matrix = {
        .name = "m", .dtype = PX_F32, .dims = 2, .shape = {ROWS, COLS}};
    static const px_tensor vector = {.name = "v", .dtype = PX_F32, .dims = 1, .shape = {5}};
    static const px_slice texts[] = {{"one", 3}, {"", 0}, {"th\0ee", 5}};
    static const float reals[] = {1.5f, -2};
    static const int32_t wholes[] = {7, -8, 9};
    float values[ROWS * COLS], five[5] = {1, 2, 3, 4, 5};
    for (int i = 0; i < ROWS * COLS; i++) values[i] = value(i);
    px_gguf_writer *w;
    PX_TRY(px_gguf_writer_create(path, &w));
    px_gguf_put_text(w, "general.architecture", "nobody's");
    px_gguf_put_u32(w, "n", 7);
    px_gguf_put_f32(w, "f", 0.5f);
    px_gguf_put_bool(w, "b", true);
    px_gguf_put_strs(w, "texts", texts, 3);
    px_gguf_put_f32s(w, "reals", reals, 2);
    px_gguf_put_i32s(w, "wholes", wholes, 3);
    PX_CHECK(px_gguf_writer_has(w, "reals") && !px_gguf_writer_has(w, "real"));
    px_status status = px_gguf_writer_add(w, &matrix);
    if (px_is_ok(status)) status = px_gguf_writer_add(w, &vector);
    if (px_is_ok(status)) status = px_gguf_writer_begin(w);
    const px_gguf_span spans[] = {{1, 0, five, sizeof five}, /* in any order, in parts */
        {0, 4096, values + 1024, sizeof values - 4096}, {0, 0, values, 4096}};
    for (int i = 0; i < 3 && px_is_ok(status); i++) status = px_gguf_writer_write(w, &spans[i]);
    if (px_is_ok(status)) status = px_gguf_writer_sync(w);
    if (px_is_ok(status)) status = px_gguf_writer_finish(w);
    px_gguf_writer_free(w);
    return status;
}

static float wave(int i)
{
    return sinf((float)i * 0.37f) * (float)(1 + i / COLS);
}

PX_TEST(what_is_written_reads_back)
{
    const char *path = test_path("small.gguf");
    PX_CHECK_OK(write_small(path, wave));
    PX_CHECK(files_like("small.gguf") == 1);
    px_gguf *file = NULL;
    PX_CHECK_OK(px_gguf_open(path, &file));
    PX_REQUIRE(file);
    int64_t n;
    double f;
    bool b;
    px_gguf_array list;
    px_slice texts[3];
    PX_CHECK(px_gguf_int(file, "n", &n) && n == 7);
    PX_CHECK(px_gguf_real(file, "f", &f) && f == 0.5);
    PX_CHECK(px_gguf_bool(file, "b", &b) && b);
    PX_CHECK(px_gguf_array_get(file, "reals", &list) && px_gguf_array_real(&list, 1) == -2);
    PX_CHECK(px_gguf_array_get(file, "wholes", &list) && px_gguf_array_int(&list, 1) == -8);
    PX_CHECK(px_gguf_array_get(file, "texts", &list) && list.count == 3);
    px_gguf_array_strings(&list, texts);
    PX_CHECK(texts[1].length == 0 && texts[2].length == 5 && !memcmp(texts[2].data, "th\0ee", 5));
    PX_REQUIRE(px_gguf_tensor_count(file) == 2);
    const px_tensor *m = px_gguf_tensor_at(file, 0), *v = px_gguf_tensor_at(file, 1);
    PX_CHECK(m->dims == 2 && m->shape[0] == ROWS && m->shape[1] == COLS && v->dims == 1);
    const float *got = m->data;
    for (int i = 0; i < ROWS * COLS; i++) PX_CHECK(got[i] == wave(i));
    PX_CHECK(((const float *)v->data)[4] == 5);
    px_gguf_close(file);
}

/* --- conversion --- */

typedef struct conversion {
    px_model_file *file;
    px_team *team;
    px_gguf_writer *writer;
    px_convert *convert;
} conversion;

/* Everything up to the check; the caller goes on from there. */
static px_status begin(conversion *c, const char *from, const char *to, px_convert_options options)
{
    PX_TRY(px_team_create(2, false, &c->team));
    options.team = c->team;
    PX_TRY(px_model_file_open(from, &c->file));
    PX_TRY(px_gguf_writer_create(to, &c->writer));
    PX_TRY(px_convert_open(c->file, &options, c->writer, &c->convert));
    PX_TRY(px_convert_put_keys(c->convert));
    PX_TRY(px_gguf_writer_begin(c->writer));
    PX_TRY(px_convert_write(c->convert));
    return px_gguf_writer_sync(c->writer);
}

static void end(conversion *c)
{
    px_convert_free(c->convert);
    px_gguf_writer_free(c->writer);
    px_model_file_close(c->file);
    px_team_free(c->team);
}

PX_TEST(a_file_of_any_architecture_is_converted_and_checked)
{
    const char *from = test_path("from.gguf"), *to = test_path("to.gguf");
    PX_CHECK_OK(write_small(from, wave));
    conversion c = {0};
    PX_CHECK_OK(
        begin(&c, from, to, (px_convert_options){.dtype = PX_Q4_K, .table_dtype = PX_DTYPE_COUNT}));
    PX_CHECK_OK(px_convert_check(c.convert));
    PX_CHECK_OK(px_gguf_writer_finish(c.writer));
    const px_convert_report *report = px_convert_reported(c.convert);
    const px_convert_type *q4_k = &report->types[PX_Q4_K];
    PX_CHECK(q4_k->tensors == 1 && q4_k->bytes == ROWS * 144 && q4_k->largest_error > 0);
    PX_CHECK(sqrt(q4_k->error_sum / q4_k->value_sum) < 0.08);
    PX_CHECK(report->types[PX_F32].copied == 1 && !report->requantised);
    end(&c);
    px_gguf *file = NULL;
    int64_t n;
    PX_CHECK_OK(px_gguf_open(to, &file));
    PX_REQUIRE(file);
    PX_CHECK(px_gguf_int(file, "n", &n) && n == 7); /* keys go along */
    PX_CHECK(px_gguf_int(file, "general.file_type", &n) && n == 15);
    px_gguf_close(file);
}

PX_TEST(a_byte_that_changed_on_the_way_is_found)
{
    const char *from = test_path("from.gguf"), *to = test_path("spoilt.gguf");
    PX_CHECK_OK(write_small(from, wave));
    conversion c = {0};
    PX_CHECK_OK(
        begin(&c, from, to, (px_convert_options){.dtype = PX_Q8_0, .table_dtype = PX_DTYPE_COUNT}));
    FILE *file = fopen(px_gguf_writer_path(c.writer), "r+b");
    PX_REQUIRE(file);
    fseek(file, (long)px_gguf_writer_bytes(c.writer) - 700, SEEK_SET); /* inside the matrix */
    int byte = fgetc(file);
    fseek(file, -1, SEEK_CUR);
    fputc(byte ^ 4, file);
    fclose(file);
    px_status status = px_convert_check(c.convert);
    PX_CHECK(status.code == PX_DATA_LOSS && strstr(status.text, "'m'"));
    end(&c);
    PX_CHECK(files_like("spoilt.gguf") == 0);
}

static float with_nan(int i)
{
    return i == 700 ? NAN : wave(i);
}
static float with_large(int i)
{
    return i == 700 ? 1e30f : wave(i);
}

PX_TEST(values_that_cannot_be_written_are_named)
{
    const char *from = test_path("from.gguf"), *to = test_path("never.gguf");
    px_convert_options options = {.dtype = PX_Q4_0, .table_dtype = PX_DTYPE_COUNT};
    conversion nan = {0}, large = {0};
    PX_CHECK_OK(write_small(from, with_nan));
    px_status status = begin(&nan, from, to, options);
    PX_CHECK(strstr(status.text, "'m' holds values that are not finite"));
    end(&nan);
    options.dtype = PX_F16;
    PX_CHECK_OK(write_small(from, with_large));
    PX_CHECK_OK(begin(&large, from, to, options));
    status = px_convert_check(large.convert);
    PX_CHECK(status.code == PX_OUT_OF_RANGE && strstr(status.text, "f16"));
    end(&large);
    PX_CHECK(files_like("never.gguf") == 0);
}

PX_TEST(an_interruption_and_a_full_disk_leave_what_was_there)
{
    const char *from = test_path("from.gguf"), *to = test_path("old.gguf");
    PX_CHECK_OK(write_small(from, wave));
    PX_CHECK_OK(write_small(to, wave));
    atomic_bool cancel;
    atomic_init(&cancel, true);
    conversion cancelled = {0}, full = {0};
    px_convert_options options = {
        .dtype = PX_Q8_0, .table_dtype = PX_DTYPE_COUNT, .cancel = &cancel};
    px_status status = begin(&cancelled, from, to, options);
    PX_CHECK(status.code == PX_CANCELLED);
    end(&cancelled);
    struct rlimit before, small;
    PX_REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
    small = before;
    small.rlim_cur = 512;
    signal(SIGXFSZ, SIG_IGN);
    PX_REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
    options.cancel = NULL;
    status = begin(&full, from, to, options);
    setrlimit(RLIMIT_FSIZE, &before);
    PX_CHECK(!px_is_ok(status) && strstr(status.text, "cannot write"));
    end(&full);
    px_gguf *old = NULL;
    PX_CHECK(files_like("old.gguf") == 1);
    PX_CHECK_OK(px_gguf_open(to, &old));
    PX_CHECK(old && px_gguf_tensor_at(old, 0)->dtype == PX_F32);
    px_gguf_close(old);
}

PX_TEST_MAIN()
