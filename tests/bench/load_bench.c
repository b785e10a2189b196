/* load_bench.c - how long a model takes to load from the page cache, beside reading its bytes once.
 *
 *   load_bench [--threads N] [--mib N] [--kernels NAME] [--type NAME] [--dir FOLDER] [--rounds N]
 *              [--model PATH]
 *
 * For each type a Llama of that type with random bytes for weights is written to FOLDER; or the one
 * model is taken that is named. It is brought into the page cache, and then in turn
 *
 *   read   read() from end to end into a small buffer by one thread, as `cat FILE > /dev/null` does
 *   keep   read() into fresh memory of the process by all threads: what a loader costs that only
 *          copies; half of it is the kernel clearing the pages
 *   load   opened, described, loaded and packed as a server does; beside it a server reads the
 *          tokenizer, which is timed by itself if the model has one
 *
 * Medians. The goal is load / read <= 1.2.
 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/args.h"
#include "base/clock.h"
#include "base/fs.h"
#include "engine/model/gguf_write.h"
#include "engine/model/model.h"
#include "engine/text/text.h"

enum { HIDDEN = 2048, FFN = 5632, HEADS = 16, VOCABULARY = 1024, PATH_BYTES = 512 };
enum { ROUNDS_MAX = 31, THREADS_MAX = 64, READ_BYTES = 256 << 10 };

static const px_arg_spec specs[] = {
    {"threads", PX_ARG_INT, "N", "2", "threads that load", .min = 1, .max = THREADS_MAX},
    {"mib", PX_ARG_INT, "N", "320", "size of the model", .min = 8, .max = 1 << 16},
    {"kernels", PX_ARG_STR, "NAME", "auto", "scalar, avx2, avx512"},
    {"type", PX_ARG_STR, "NAME", NULL, "only this type"},
    {"model", PX_ARG_STR, "PATH", NULL, "this model instead"},
    {"dir", PX_ARG_STR, "FOLDER", "/tmp", "where the model is written"},
    {"rounds", PX_ARG_INT, "N", "7", "of which the medians are told", .min = 1, .max = ROUNDS_MAX},
    {0}};
static const px_command_doc doc = {.usage = "load_bench [options]",
    .summary = "Times loading a model of each type against reading its bytes."};

static void die(px_status status)
{
    fprintf(stderr, "load_bench: %s\n", status.text);
    exit(1);
}

#define MUST(expr)                                                                                 \
    do {                                                                                           \
        px_status status_ = (expr);                                                                \
        if (!px_is_ok(status_)) die(status_);                                                      \
    } while (0)

/* --- the model --- */

typedef struct weight {
    const char *name;    /* of a layer's: what follows its number */
    uint32_t rows, cols; /* cols 1: a vector */
} weight;

static const weight shared[] = {{"token_embd.weight", VOCABULARY, HIDDEN},
    {"output_norm.weight", HIDDEN, 1}, {"output.weight", VOCABULARY, HIDDEN}};
static const weight layered[] = {{"attn_norm.weight", HIDDEN, 1}, {"attn_q.weight", HIDDEN, HIDDEN},
    {"attn_k.weight", HIDDEN, HIDDEN}, {"attn_v.weight", HIDDEN, HIDDEN},
    {"attn_output.weight", HIDDEN, HIDDEN}, {"ffn_norm.weight", HIDDEN, 1},
    {"ffn_gate.weight", FFN, HIDDEN}, {"ffn_up.weight", FFN, HIDDEN},
    {"ffn_down.weight", HIDDEN, FFN}};

static px_tensor tensor_of(const weight *w, px_dtype dtype, const char *name)
{
    px_tensor tensor = {.name = name, .dtype = w->cols == 1 ? PX_F32 : dtype, .dims = 2};
    tensor.shape[0] = w->rows;
    tensor.shape[1] = w->cols;
    if (w->cols == 1) tensor.dims = 1;
    tensor.bytes = px_dtype_bytes(tensor.dtype, (size_t)w->rows * w->cols);
    return tensor;
}

static void put_keys(px_gguf_writer *writer, uint32_t layers)
{
    px_gguf_put_text(writer, "general.architecture", "llama");
    px_gguf_put_u32(writer, "llama.block_count", layers);
    px_gguf_put_u32(writer, "llama.context_length", 4096);
    px_gguf_put_u32(writer, "llama.embedding_length", HIDDEN);
    px_gguf_put_u32(writer, "llama.feed_forward_length", FFN);
    px_gguf_put_u32(writer, "llama.attention.head_count", HEADS);
    px_gguf_put_f32(writer, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
}

static void add(px_gguf_writer *writer, const weight *list, size_t count, px_dtype dtype, int layer)
{
    for (size_t i = 0; i < count; i++) {
        char name[64];
        if (layer < 0)
            snprintf(name, sizeof name, "%s", list[i].name);
        else
            snprintf(name, sizeof name, "blk.%d.%s", layer, list[i].name);
        px_tensor tensor = tensor_of(&list[i], dtype, name);
        MUST(px_gguf_writer_add(writer, &tensor));
    }
}

static void fill(px_gguf_writer *writer, uint32_t tensor, uint64_t bytes)
{
    enum { WORDS = 1 << 15 };
    static uint64_t noise[WORDS];
    for (int i = 0; i < WORDS; i++)
        noise[i] = (i ? noise[i - 1] : tensor + 1) * 6364136223846793005u + 1442695040888963407u;
    for (uint64_t at = 0; at < bytes; at += sizeof noise)
        MUST(px_gguf_writer_write(
            writer, &(px_gguf_span){.tensor = tensor,
                        .offset = at,
                        .bytes = noise,
                        .length = bytes - at < sizeof noise ? bytes - at : sizeof noise}));
}

static uint64_t layer_bytes(px_dtype dtype)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < sizeof layered / sizeof *layered; i++)
        bytes += tensor_of(&layered[i], dtype, "").bytes;
    return bytes;
}

static void write_model(const char *path, px_dtype dtype, uint64_t wanted_bytes)
{
    enum { SHARED = sizeof shared / sizeof *shared, LAYERED = sizeof layered / sizeof *layered };
    uint32_t layers = (uint32_t)((wanted_bytes + layer_bytes(dtype) / 2) / layer_bytes(dtype));
    if (layers < 1) layers = 1;
    px_gguf_writer *writer;
    MUST(px_gguf_writer_create(path, &writer));
    put_keys(writer, layers);
    add(writer, shared, SHARED, dtype, -1);
    for (uint32_t l = 0; l < layers; l++) add(writer, layered, LAYERED, dtype, (int)l);
    MUST(px_gguf_writer_begin(writer));
    uint32_t tensor = 0;
    for (size_t i = 0; i < SHARED; i++)
        fill(writer, tensor++, tensor_of(&shared[i], dtype, "").bytes);
    for (uint32_t l = 0; l < layers; l++)
        for (size_t i = 0; i < LAYERED; i++)
            fill(writer, tensor++, tensor_of(&layered[i], dtype, "").bytes);
    MUST(px_gguf_writer_finish(writer));
    px_gguf_writer_free(writer);
}

/* --- reading --- */

enum { FILES_MAX = 64 };

typedef struct files { /* what a model's bytes are in */
    char paths[FILES_MAX][PATH_BYTES];
    size_t bytes[FILES_MAX], total_bytes;
    int count;
} files;

typedef struct reader {
    const char *path;
    uint32_t index, count;
    char *keep; /* where the file goes; NULL: nowhere */
    pthread_t thread;
} reader;

static void add_file(files *to, const char *path)
{
    if (to->count == FILES_MAX) die(px_fail(PX_INVALID_ARGUMENT, "%s: too many files", path));
    int fd = open(path, O_RDONLY);
    if (fd < 0) die(px_fail(PX_NOT_FOUND, "cannot open %s", path));
    size_t bytes = (size_t)lseek(fd, 0, SEEK_END);
    close(fd);
    snprintf(to->paths[to->count], PATH_BYTES, "%s", path);
    to->bytes[to->count++] = bytes;
    to->total_bytes += bytes;
}

static void find_files(const char *model, files *to)
{
    to->count = 0;
    to->total_bytes = 0;
    if (!px_fs_is_dir(model)) {
        add_file(to, model);
        return;
    }
    DIR *dir = opendir(model);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        const char *dot = strrchr(entry->d_name, '.');
        if (!dot || (strcmp(dot, ".gguf") && strcmp(dot, ".safetensors") && strcmp(dot, ".bin")))
            continue;
        char path[PATH_BYTES];
        snprintf(path, sizeof path, "%s/%s", model, entry->d_name);
        add_file(to, path);
    }
    if (dir) closedir(dir);
}

static void *read_part(void *arg)
{
    const reader *r = arg;
    char *buffer = r->keep ? NULL : malloc(READ_BYTES);
    int fd = open(r->path, O_RDONLY);
    off_t size = lseek(fd, 0, SEEK_END), begin = size / r->count * r->index;
    off_t end = r->index + 1 == r->count ? size : size / r->count * (r->index + 1);
    while (begin < end) {
        size_t most = end - begin < READ_BYTES ? (size_t)(end - begin) : READ_BYTES;
        ssize_t got = pread(fd, r->keep ? r->keep + begin : buffer, most, begin);
        if (got <= 0) break;
        begin += got;
    }
    close(fd);
    free(buffer);
    return NULL;
}

static void read_file(const char *path, uint32_t threads, char *keep)
{
    reader readers[THREADS_MAX];
    for (uint32_t i = 0; i < threads; i++) {
        readers[i] = (reader){.path = path, .index = i, .count = threads, .keep = keep};
        if (i) pthread_create(&readers[i].thread, NULL, read_part, &readers[i]);
    }
    read_part(&readers[0]);
    for (uint32_t i = 1; i < threads; i++) pthread_join(readers[i].thread, NULL);
}

static double ms_since(int64_t begin)
{
    return (double)(px_now_ns() - begin) / 1e6;
}

static double time_read(const files *model)
{
    int64_t begin = px_now_ns();
    for (int i = 0; i < model->count; i++) read_file(model->paths[i], 1, NULL);
    return ms_since(begin);
}

static double time_keep(const files *model, uint32_t threads)
{
    void *memory;
    size_t at = 0;
    int64_t begin = px_now_ns();
    MUST(px_big_alloc(model->total_bytes, "the files", &memory));
    for (int i = 0; i < model->count; at += model->bytes[i++])
        read_file(model->paths[i], threads, (char *)memory + at);
    double took = ms_since(begin);
    px_big_free(memory, model->total_bytes);
    return took;
}

/* --- loading --- */

typedef struct phases { /* milliseconds */
    double open, describe, load, total, text;
} phases;

static phases time_load(const char *path, const px_kernels *kernels, px_team *team)
{
    phases took = {0};
    px_model_file *file;
    px_model_info info;
    px_plan_shape shape;
    px_plan plan;
    px_model *model;
    px_text text = {0};
    int64_t begin = px_now_ns(), at = begin;
    MUST(px_model_file_open(path, &file));
    took.open = ms_since(at), at = px_now_ns();
    MUST(px_model_describe(file, &info, &shape));
    MUST(px_plan_make(&shape, 1, 1, NULL, &plan));
    took.describe = ms_since(at), at = px_now_ns();
    px_model_options options = {.kernels = kernels, .plan = &plan, .team = team};
    MUST(px_model_load(file, &options, &model));
    took.load = ms_since(at), took.total = ms_since(begin), at = px_now_ns();
    if (px_is_ok(px_text_open(path, file, &text))) took.text = ms_since(at);
    px_text_close(&text);
    px_model_free(model);
    px_model_file_close(file);
    return took;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, compare_doubles);
    return values[count / 2];
}

static void bench_model(const px_args *args, const char *path, const char *name,
    const px_kernels *kernels, px_team *team)
{
    int rounds = (int)px_args_int(args, "rounds");
    double read[ROUNDS_MAX], keep[ROUNDS_MAX], total[ROUNDS_MAX];
    double open_ms[ROUNDS_MAX], describe_ms[ROUNDS_MAX], load_ms[ROUNDS_MAX], text_ms[ROUNDS_MAX];
    static files model;
    find_files(path, &model);
    time_read(&model);
    for (int i = 0; i < rounds; i++) {
        read[i] = time_read(&model);
        keep[i] = time_keep(&model, px_team_count(team));
        phases took = time_load(path, kernels, team);
        total[i] = took.total, open_ms[i] = took.open, describe_ms[i] = took.describe;
        load_ms[i] = took.load, text_ms[i] = took.text;
    }
    double mb = (double)model.total_bytes / 1e6, whole = median(total, rounds);
    double read_ms = median(read, rounds), keep_ms = median(keep, rounds);
    printf("%-8s %4.0f MB  read %5.1f GB/s  keep %5.1f  load %5.1f  %6.1f ms (open %.1f, describe "
           "%.1f, pack %.1f)  load/read %5.2f  load/keep %5.2f",
        name, mb, mb / read_ms, mb / keep_ms, mb / whole, whole, median(open_ms, rounds),
        median(describe_ms, rounds), median(load_ms, rounds), whole / read_ms, whole / keep_ms);
    if (text_ms[0] > 0) printf("  text %.1f ms", median(text_ms, rounds));
    printf("\n");
    fflush(stdout);
}

static void bench_type(
    const px_args *args, px_dtype dtype, const px_kernels *kernels, px_team *team)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/load_bench.%d.gguf", px_args_str(args, "dir"), (int)getpid());
    write_model(path, dtype, (uint64_t)px_args_int(args, "mib") << 20);
    bench_model(args, path, px_dtype_of(dtype)->name, kernels, team);
    unlink(path);
}

int main(int argc, char **argv)
{
    static const px_dtype types[] = {PX_F32, PX_F16, PX_BF16, PX_Q8_0, PX_Q4_0, PX_Q4_1, PX_Q5_0,
        PX_Q5_1, PX_Q2_K, PX_Q3_K, PX_Q4_K, PX_Q5_K, PX_Q6_K, PX_IQ4_NL, PX_IQ4_XS, PX_MXFP4};
    px_args *args;
    bool help;
    MUST(px_args_parse(specs, &doc, argc, argv, &args, &help));
    if (help) {
        px_args_print_help(specs, &doc, stdout);
        return 0;
    }
    const px_kernels *kernels = px_kernels_find(px_args_str(args, "kernels"));
    px_team *team;
    if (!kernels) die(px_fail(PX_INVALID_ARGUMENT, "no such kernels on this CPU"));
    MUST(px_team_create((uint32_t)px_args_int(args, "threads"), false, &team));
    const char *only = px_args_str(args, "type"), *path = px_args_str(args, "model");
    if (path) bench_model(args, path, "model", kernels, team);
    for (size_t i = 0; i < sizeof types / sizeof *types && !path; i++)
        if (!only || strcmp(only, px_dtype_of(types[i])->name) == 0)
            bench_type(args, types[i], kernels, team);
    px_team_free(team);
    px_args_free(args);
    return 0;
}
