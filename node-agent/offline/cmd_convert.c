/* cmd_convert.c - node-agent convert: any model that we read, as one GGUF file.
 *
 * Two passes over the weights, writing and checking; the file gets its name when both are done.
 */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/term.h"
#include "engine/model/convert.h"
#include "engine/text/text_export.h"
#include "kernels/quantize.h"
#include "offline/commands.h"
#include "offline/session.h"

enum { PATH_BYTES_MAX = 4096 };
static const int64_t JSON_EVERY_NS = PX_SEC / 2;

#define TYPES "f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, q2_k ... q6_k, iq4_nl, mxfp4"

const px_arg_spec px_cmd_convert_specs[] = {PX_SESSION_MODEL_SPEC,
    {"out", PX_ARG_STR, "FILE", NULL, "the GGUF file to write", .required = true},
    {"type", PX_ARG_STR, "TYPE", NULL,
        "of the weights: " TYPES "; keep: each tensor's own, bit for bit", .required = true},
    {"table-type", PX_ARG_STR, "TYPE", NULL,
        "of the embedding and the output matrix; default: TYPE, but q6_k where that has fewer "
        "bits"},
    {"threads", PX_ARG_INT, "N", "0", "worker threads; 0: one for each core", .max = 1024},
    {"json", PX_ARG_FLAG, NULL, NULL, "print JSON, one object a line: progress, then a report"},
    {0}};

static const px_command_doc doc = {
    .usage = "node-agent convert --model PATH --out FILE --type TYPE [options]",
    .summary = "Writes a model as one GGUF file of another type, and checks what it wrote.",
    .examples = "  node-agent convert --model models/NAME/1 --out NAME.q4_k.gguf --type q4_k"};

typedef struct convert_job {
    const px_args *args;
    px_model_file *file;
    px_gguf_writer *writer;
    px_convert *convert;
    px_team *team;
    px_progress *progress;
    const char *stage; /* whose clock runs */
    int64_t stage_ns, said_ns;
    bool json;
} convert_job;

/* --- Ctrl-C: the temporary file goes before the program does --- */

static atomic_bool interrupted;

static void on_signal(int number)
{
    (void)number;
    atomic_store(&interrupted, true);
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* --- progress --- */

static void on_progress(void *arg, double fraction, const char *what)
{
    convert_job *job = arg;
    int64_t now_ns = px_now_ns();
    if (job->stage != what) {
        job->stage = what;
        job->stage_ns = now_ns;
        job->said_ns = 0;
    }
    double passed = (double)(now_ns - job->stage_ns) / 1e9;
    double rate = passed > 0 ? fraction * (double)px_model_file_bytes(job->file) / passed : 0;
    double left = fraction > 0 ? passed / fraction * (1 - fraction) : 0;
    if (job->json && (now_ns - job->said_ns >= JSON_EVERY_NS || fraction >= 1)) {
        job->said_ns = now_ns;
        printf("{\"stage\":\"%s\",\"fraction\":%.4f,\"bytes_per_s\":%.0f,\"eta_s\":%.1f}\n", what,
            fraction, rate, left);
        fflush(stdout);
    }
    if (!job->progress) return;
    char note[96], bytes[32], eta[32];
    snprintf(note, sizeof note, "%s  %s/s  %s left", what, px_format_bytes((uint64_t)rate, bytes),
        px_format_duration((int64_t)(left * 1e9), eta));
    px_progress_update(job->progress, fraction, note);
}

/* --- report --- */

/* Root mean square of the errors, relative to that of the weights. */
static double relative_error(const px_convert_type *type)
{
    return type->value_sum > 0 ? sqrt(type->error_sum / type->value_sum) : 0;
}

static void print_text(const convert_job *job)
{
    const px_convert_report *report = px_convert_reported(job->convert);
    char bytes[32];
    for (uint32_t i = 0; i < report->fallback_count; i++) {
        const px_convert_fallback *f = &report->fallbacks[i];
        printf("%u tensor%s became %s: rows of %u (%s) are not whole %s blocks of %u\n", f->tensors,
            f->tensors == 1 ? "" : "s", px_dtype_of(f->to)->name, f->cols, f->name,
            px_dtype_of(f->from)->name, px_dtype_of(f->from)->block_elements);
    }
    if (report->requantised)
        printf("weights that were quantised already are quantised a second time; from the original "
               "they would err less\n");
    px_table *table = px_table_create(
        (const char *const[]){"TYPE", ">TENSORS", ">COPIED", ">SIZE", ">RMS ERROR", ">LARGEST"}, 6);
    for (int t = 0; t < PX_DTYPE_COUNT; t++) {
        const px_convert_type *type = &report->types[t];
        if (!type->tensors) continue;
        char tensors[16], copied[16], error[32], largest[32];
        snprintf(tensors, sizeof tensors, "%u", type->tensors);
        snprintf(copied, sizeof copied, "%u", type->copied);
        snprintf(error, sizeof error, "%.3f %%", 100 * relative_error(type));
        snprintf(largest, sizeof largest, "%.3g", type->largest_error);
        px_table_row(table, (const char *const[]){px_dtype_of((px_dtype)t)->name, tensors, copied,
                                px_format_bytes(type->bytes, bytes), error, largest});
    }
    px_table_print(table, stdout);
    px_table_free(table);
    printf("%s: %s, written and read back\n", px_args_str(job->args, "out"),
        px_format_bytes(px_gguf_writer_bytes(job->writer), bytes));
}

static void print_json(const convert_job *job)
{
    const px_convert_report *report = px_convert_reported(job->convert);
    json_t *types = json_object(), *fallbacks = json_array();
    for (int t = 0; t < PX_DTYPE_COUNT; t++) {
        const px_convert_type *type = &report->types[t];
        if (!type->tensors) continue;
        json_object_set_new(types, px_dtype_of((px_dtype)t)->name,
            json_pack("{s:I,s:I,s:I,s:f,s:f}", "tensors", (json_int_t)type->tensors, "copied",
                (json_int_t)type->copied, "bytes", (json_int_t)type->bytes, "rms_error",
                relative_error(type), "largest_error", type->largest_error));
    }
    for (uint32_t i = 0; i < report->fallback_count; i++) {
        const px_convert_fallback *f = &report->fallbacks[i];
        json_array_append_new(fallbacks,
            json_pack("{s:s,s:s,s:I,s:s}", "from", px_dtype_of(f->from)->name, "to",
                px_dtype_of(f->to)->name, "tensors", (json_int_t)f->tensors, "first", f->name));
    }
    json_t *root = json_pack("{s:s,s:I,s:b,s:o,s:o}", "out", px_args_str(job->args, "out"), "bytes",
        (json_int_t)px_gguf_writer_bytes(job->writer), "requantised", report->requantised, "types",
        types, "fallbacks", fallbacks);
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    PX_ASSERT(text);
    puts(text);
    free(text);
    json_decref(root);
}

/* --- the work --- */

static px_status parse_type(const char *name, px_dtype *out)
{
    if (!px_dtype_parse(name, out) || !px_can_quantize(*out))
        return px_args_fail("type '%s' is not one of " TYPES, name);
    return px_ok();
}

static px_status read_options(convert_job *job, px_convert_options *out)
{
    const char *type = px_args_str(job->args, "type");
    const char *table = px_args_str(job->args, "table-type");
    *out = (px_convert_options){.table_dtype = PX_DTYPE_COUNT,
        .team = job->team,
        .on_progress = on_progress,
        .progress_arg = job,
        .cancel = &interrupted};
    out->keep = strcmp(type, "keep") == 0;
    if (out->keep && table) return px_args_fail("--table-type does not go with --type keep");
    if (!out->keep) PX_TRY(parse_type(type, &out->dtype));
    return table ? parse_type(table, &out->table_dtype) : px_ok();
}

/* The folder with the model's tokenizer. */
static px_status put_text_side(const convert_job *job)
{
    const char *path = px_model_file_path(job->file), *slash = strrchr(path, '/');
    char folder[PATH_BYTES_MAX];
    int length = px_fs_is_dir(path) ? (int)strlen(path) : slash ? (int)(slash - path) : 0;
    if (snprintf(folder, sizeof folder, "%.*s", length ? length : 1, length ? path : ".") >=
        PATH_BYTES_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "%s: the path is too long", path);
    px_model_info info;
    px_plan_shape shape;
    PX_TRY(px_model_describe(job->file, &info, &shape));
    px_text_export_options options = {.vocabulary = info.vocabulary,
        .bos_id = info.bos_id,
        .eos_id = info.eos_count ? (int64_t)info.eos_ids[0] : -1};
    return px_text_export(folder, &options, job->writer);
}

static px_status write_file(convert_job *job)
{
    const char *out = px_args_str(job->args, "out");
    px_convert_options options;
    PX_TRY(read_options(job, &options));
    if (px_fs_is_dir(out)) return px_args_fail("--out %s is a folder; name a file", out);
    PX_TRY(px_model_file_open(px_args_str(job->args, "model"), &job->file));
    PX_TRY(px_gguf_writer_create(out, &job->writer));
    PX_TRY(px_convert_open(job->file, &options, job->writer, &job->convert));
    PX_TRY(px_convert_put_keys(job->convert));
    if (!px_model_file_gguf(job->file)) PX_TRY(put_text_side(job));
    catch_signals();
    PX_TRY(px_gguf_writer_begin(job->writer));
    PX_TRY(px_convert_write(job->convert));
    PX_TRY(px_gguf_writer_sync(job->writer));
    PX_TRY(px_convert_check(job->convert));
    return px_gguf_writer_finish(job->writer);
}

static px_status convert(const px_args *args)
{
    convert_job job = {.args = args, .json = px_args_flag(args, "json")};
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t threads = (uint32_t)px_args_int(args, "threads");
    if (!threads) threads = cores > 0 ? (uint32_t)cores : 1;
    PX_TRY(px_team_create(threads, false, &job.team));
    if (isatty(STDERR_FILENO) && !job.json) job.progress = px_progress_create(stderr, "convert");
    px_status status = write_file(&job);
    if (job.progress) px_progress_done(job.progress, px_is_ok(status) ? NULL : "failed");
    if (px_is_ok(status)) (job.json ? print_json : print_text)(&job);
    px_convert_free(job.convert);
    px_gguf_writer_free(job.writer);
    px_model_file_close(job.file);
    px_team_free(job.team);
    return status;
}

int px_cmd_convert(int argc, char **argv)
{
    px_args *args;
    bool help;
    px_status status = px_args_parse(px_cmd_convert_specs, &doc, argc, argv, &args, &help);
    if (px_is_ok(status) && help) {
        px_args_print_help(px_cmd_convert_specs, &doc, stdout);
        return 0;
    }
    if (px_is_ok(status)) {
        status = convert(args);
        px_args_free(args);
    }
    return px_is_ok(status) ? 0 : px_command_fail(status);
}
