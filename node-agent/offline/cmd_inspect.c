/* cmd_inspect.c - node-agent inspect: what a model file holds, what running it takes, and whether
 * that fits here.
 *
 * Reads descriptions only; no weights are touched. A report is gathered first, then printed as
 * text or as one JSON object.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/json.h"
#include "base/term.h"
#include "engine/kv/kvpool.h"
#include "engine/kv/kvsize.h"
#include "engine/need.h"
#include "engine/parts.h"
#include "offline/commands.h"
#include "offline/session.h"
#include "parallel/cpus.h"

enum { TOKENIZER_BYTES_MAX = 256 << 20, PATH_BYTES_MAX = 4096 };

const px_arg_spec px_cmd_inspect_specs[] = {PX_SESSION_MODEL_SPEC,
    {"context", PX_ARG_INT, "N", "0", "reckon with sequences of N tokens; 0: the model's context",
        .max = 1 << 28},
    {"seqs", PX_ARG_INT, "N", "1", "reckon with N sequences at once", .min = 1, .max = 65536},
    {"tp", PX_ARG_INT, "N", "1", "tensor-parallel ranks", .min = 1, .max = PX_PLAN_TP_MAX},
    {"pp", PX_ARG_INT, "N", "1", "pipeline stages", .min = 1, .max = PX_PLAN_PP_MAX},
    {"kv-type", PX_ARG_STR, "TYPE", "f16", "f32, f16, bf16, q8_0"},
    {"json", PX_ARG_FLAG, NULL, NULL, "print JSON, one object a line"}, {0}};

static const px_command_doc doc = {.usage = "node-agent inspect --model PATH [options]",
    .summary = "Shows a model's architecture, types, tokenizer and the memory it needs.",
    .examples = "node-agent inspect --model model.gguf --context 8192 --seqs 16 --tp 2"};

typedef struct type_sum {
    uint32_t tensors;
    uint64_t bytes;
} type_sum;

typedef struct rank_need {
    px_range layers, heads, kv_heads, ffn;
    uint64_t weight_bytes, kv_bytes, work_bytes;
} rank_need;

typedef struct report {
    px_model_file *file;
    px_model_info info;
    px_plan_shape shape;
    px_plan plan;
    type_sum types[PX_DTYPE_COUNT];
    char tokenizer[96];
    bool has_template;
    px_dtype kv_type;
    uint32_t context, seqs, ranks, threads;
    const px_kernels *kernels;
    uint64_t kv_token_bytes; /* of the whole model */
    rank_need needs[PX_PLAN_TP_MAX * PX_PLAN_PP_MAX];
    uint64_t need_bytes, available_bytes;
} report;

/* --- text --------------------------------------------------------------------------------- */

static void inspect_gguf_text(report *r, const px_gguf *gguf)
{
    px_slice model = {0}, pre = {0}, template_text;
    (void)px_gguf_str(gguf, "tokenizer.ggml.model", &model);
    (void)px_gguf_str(gguf, "tokenizer.ggml.pre", &pre);
    if (model.length)
        snprintf(r->tokenizer, sizeof r->tokenizer, pre.length ? "%.*s (%.*s)" : "%.*s%.*s",
            (int)(model.length < 40 ? model.length : 40), model.data,
            (int)(pre.length < 40 ? pre.length : 40), pre.length ? pre.data : "");
    r->has_template = px_gguf_str(gguf, "tokenizer.chat_template", &template_text);
}

static bool find_in_folder(const report *r, const char *name, char out[PATH_BYTES_MAX])
{
    int used = snprintf(out, PATH_BYTES_MAX, "%s/%s", px_model_file_path(r->file), name);
    return used < PATH_BYTES_MAX && px_fs_is_file(out);
}

static px_status inspect_folder_text(report *r)
{
    char path[PATH_BYTES_MAX];
    json_t *json = NULL;
    if (find_in_folder(r, "tokenizer.json", path)) {
        PX_TRY(px_json_load(path, TOKENIZER_BYTES_MAX, &json));
        const char *type =
            json_string_value(json_object_get(json_object_get(json, "model"), "type"));
        snprintf(r->tokenizer, sizeof r->tokenizer, "%.40s", type ? type : "of unknown type");
        json_decref(json);
    }
    if (find_in_folder(r, "tokenizer_config.json", path)) {
        PX_TRY(px_json_load(path, TOKENIZER_BYTES_MAX, &json));
        r->has_template = json_object_get(json, "chat_template") != NULL;
        json_decref(json);
    }
    r->has_template = r->has_template || find_in_folder(r, "chat_template.jinja", path);
    return px_ok();
}

/* --- memory ------------------------------------------------------------------------------- */

static px_status reckon_rank(report *r, uint32_t rank)
{
    const px_plan_place *place = &r->plan.places[px_plan_place_of(&r->plan, (int)rank)];
    px_range layers = r->plan.stages[px_plan_stage(&r->plan, (int)rank)];
    uint64_t blocks =
        (r->context + PX_KV_BLOCK_TOKENS - 1) / PX_KV_BLOCK_TOKENS * (uint64_t)r->seqs;
    px_kv_shape shape = px_forward_kv_shape_of(&r->info, &r->plan, (int)rank);
    rank_need *need = &r->needs[rank];
    *need = (rank_need){.layers = layers,
        .heads = place->heads,
        .kv_heads = place->kv_heads,
        .ffn = place->ffn,
        .kv_bytes = blocks * px_kvpool_block_bytes(shape, r->kv_type)};
    px_need held;
    px_need_options options = {
        .model = {.kernels = r->kernels, .rank = (int)rank, .plan = &r->plan},
        .kv_type = r->kv_type,
        .threads = r->threads,
        .vocabulary = r->info.vocabulary,
        .limits = px_parts_default_limits(&r->info, r->seqs, r->context)};
    PX_TRY(px_need_reckon(r->file, &options, &held));
    need->weight_bytes = held.weight_bytes;
    need->work_bytes = px_need_work_bytes(&held);
    r->need_bytes += need->weight_bytes + need->kv_bytes + need->work_bytes;
    return px_ok();
}

static px_status choose_kv_type(report *r, const char *name)
{
    if (!px_dtype_parse(name, &r->kv_type) || !px_dtype_can_encode(r->kv_type))
        return px_fail(
            PX_INVALID_ARGUMENT, "KV type '%s' is not one of f32, f16, bf16, q8_0", name);
    uint32_t block = px_dtype_of(r->kv_type)->block_elements;
    if (r->info.k_dim % block || r->info.v_dim % block)
        return px_fail(PX_INVALID_ARGUMENT,
            "KV type '%s' comes in blocks of %u; heads have %u and %u", name, block, r->info.k_dim,
            r->info.v_dim);
    uint64_t v_bytes = r->info.v_in_k ? 0 : px_dtype_bytes(r->kv_type, r->info.v_dim);
    r->kv_token_bytes = (uint64_t)r->info.layers * r->info.kv_heads_cached *
                        (px_dtype_bytes(r->kv_type, r->info.k_dim) + v_bytes);
    return px_ok();
}

static px_status gather(report *r, const px_args *args)
{
    PX_TRY(px_model_file_open(px_args_str(args, "model"), &r->file));
    PX_TRY(px_model_describe(r->file, &r->info, &r->shape));
    for (uint32_t i = 0; i < px_model_file_tensor_count(r->file); i++) {
        const px_tensor *tensor = px_model_file_tensor_at(r->file, i);
        r->types[tensor->dtype].tensors++;
        r->types[tensor->dtype].bytes += tensor->bytes;
    }
    const px_gguf *gguf = px_model_file_gguf(r->file);
    if (gguf)
        inspect_gguf_text(r, gguf);
    else
        PX_TRY(inspect_folder_text(r));

    r->context = (uint32_t)px_args_int(args, "context");
    if (!r->context) r->context = r->info.context;
    r->seqs = (uint32_t)px_args_int(args, "seqs");
    PX_TRY(choose_kv_type(r, px_args_str(args, "kv-type")));
    PX_TRY(px_plan_make(&r->shape, (uint32_t)px_args_int(args, "tp"),
        (uint32_t)px_args_int(args, "pp"), NULL, &r->plan));
    r->ranks = r->plan.tp * r->plan.pp;
    r->kernels = px_kernels_find(NULL);
    r->threads = px_cpus_allowed() / r->ranks ? px_cpus_allowed() / r->ranks : 1;
    for (uint32_t i = 0; i < r->ranks; i++) PX_TRY(reckon_rank(r, i));
    r->available_bytes = px_memory_available();
    return px_ok();
}

/* --- printing ----------------------------------------------------------------------------- */

static bool fits(const report *r)
{
    return r->need_bytes <= r->available_bytes;
}

static json_t *types_json(const report *r)
{
    json_t *types = json_object();
    for (int i = 0; i < PX_DTYPE_COUNT; i++)
        if (r->types[i].tensors)
            json_object_set_new(types, px_dtype_of((px_dtype)i)->name,
                json_pack("{s:I,s:I}", "tensors", (json_int_t)r->types[i].tensors, "bytes",
                    (json_int_t)r->types[i].bytes));
    return types;
}

static json_t *ranks_json(const report *r)
{
    json_t *ranks = json_array();
    for (uint32_t i = 0; i < r->ranks; i++) {
        const rank_need *need = &r->needs[i];
        json_array_append_new(
            ranks, json_pack("{s:i,s:i,s:i,s:i,s:i,s:I,s:I,s:I}", "rank", (int)i, "layers",
                       (int)need->layers.count, "heads", (int)need->heads.count, "kv_heads",
                       (int)need->kv_heads.count, "ffn", (int)need->ffn.count, "weight_bytes",
                       (json_int_t)need->weight_bytes, "kv_bytes", (json_int_t)need->kv_bytes,
                       "work_bytes", (json_int_t)need->work_bytes));
    }
    return ranks;
}

static json_t *ends_json(const report *r)
{
    json_t *ends = json_array();
    for (uint32_t i = 0; i < r->info.eos_count; i++)
        json_array_append_new(ends, json_integer((json_int_t)r->info.eos_ids[i]));
    return ends;
}

static void print_json(const report *r)
{
    const px_model_info *info = &r->info;
    json_t *memory = json_pack("{s:i,s:i,s:s,s:I,s:I,s:I,s:b,s:o}", "context", (int)r->context,
        "seqs", (int)r->seqs, "kv_type", px_dtype_of(r->kv_type)->name, "kv_bytes_per_token",
        (json_int_t)r->kv_token_bytes, "need_bytes", (json_int_t)r->need_bytes, "available_bytes",
        (json_int_t)r->available_bytes, "fits", fits(r), "ranks", ranks_json(r));
    json_t *root =
        json_pack("{s:s,s:s,s:s,s:I,s:I,s:o}", "architecture", info->arch, "name", info->name,
            "format", px_model_file_format(r->file), "parameters", (json_int_t)info->parameters,
            "weight_bytes", (json_int_t)info->weight_bytes, "types", types_json(r));
    json_object_update_new(
        root, json_pack("{s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i}", "layers", (int)info->layers, "hidden",
                  (int)info->hidden, "heads", (int)info->heads, "kv_heads", (int)info->kv_heads,
                  "ffn", (int)r->shape.ffn, "vocabulary", (int)info->vocabulary, "context",
                  (int)info->context, "experts", (int)r->shape.experts));
    json_object_update_new(
        root, json_pack("{s:s,s:b,s:o,s:o}", "tokenizer", r->tokenizer, "chat_template",
                  r->has_template, "eos_ids", ends_json(r), "memory", memory));
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    PX_ASSERT(text);
    puts(text);
    free(text);
    json_decref(root);
}

static void print_facts(const report *r)
{
    const px_model_info *info = &r->info;
    char bytes[32];
    printf("name           %s\n", info->name);
    printf("architecture   %s, %s\n", info->arch, px_model_file_format(r->file));
    printf("parameters     %.1f million, %s\n", (double)info->parameters / 1e6,
        px_format_bytes(info->weight_bytes, bytes));
    for (int i = 0; i < PX_DTYPE_COUNT; i++)
        if (r->types[i].tensors)
            printf("  %-12s %u tensors, %s\n", px_dtype_of((px_dtype)i)->name, r->types[i].tensors,
                px_format_bytes(r->types[i].bytes, bytes));
    printf("shape          %u layers of %u, MLP %u, %u heads, %u KV heads of %u and %u\n",
        info->layers, info->hidden, r->shape.ffn, info->heads, info->kv_heads, r->shape.head_dim_k,
        r->shape.head_dim_v);
    if (r->shape.experts)
        printf("experts        %u, %u used for a token, of %u\n", r->shape.experts,
            r->shape.experts_used, r->shape.ffn_expert);
    printf("vocabulary     %u\n", info->vocabulary);
    printf("context        %u\n", info->context);
    printf("tokenizer      %s\n", *r->tokenizer ? r->tokenizer : "none");
    printf("chat template  %s\n", r->has_template ? "yes" : "no");
    printf("ends           ");
    for (uint32_t i = 0; i < info->eos_count; i++) printf(i ? ", %u" : "%u", info->eos_ids[i]);
    printf("%s\n", info->eos_count ? "" : "none");
}

static void print_memory(const report *r)
{
    const px_model_info *info = &r->info;
    char text[9][32], need[32], available[32];
    if (info->v_in_k)
        printf("\nKV of a token: %u layers x a latent of %u (%u and %u rotated) %s = %" PRIu64
               " bytes, on every rank\n",
            info->layers, info->k_dim, info->v_dim, info->k_dim - info->v_dim,
            px_dtype_of(r->kv_type)->name, r->kv_token_bytes);
    else
        printf("\nKV of a token: %u layers x %u heads x (%u + %u) %s = %" PRIu64 " bytes\n",
            info->layers, info->kv_heads_cached, info->k_dim, info->v_dim,
            px_dtype_of(r->kv_type)->name, r->kv_token_bytes);
    printf("Memory for %u sequence%s of %u tokens on %u rank%s:\n", r->seqs,
        r->seqs == 1 ? "" : "s", r->context, r->ranks, r->ranks == 1 ? "" : "s");
    px_table *table =
        px_table_create((const char *const[]){">RANK", ">LAYERS", ">HEADS", ">KV HEADS", ">MLP",
                            ">WEIGHTS", ">KV", ">WORK", ">TOTAL"},
            9);
    for (uint32_t i = 0; i < r->ranks; i++) {
        const rank_need *n = &r->needs[i];
        const uint32_t counts[] = {
            i, n->layers.count, n->heads.count, n->kv_heads.count, n->ffn.count};
        const char *cells[9];
        for (int c = 0; c < 5; c++) snprintf(text[c], sizeof text[c], "%u", counts[c]);
        px_format_bytes(n->weight_bytes, text[5]);
        px_format_bytes(n->kv_bytes, text[6]);
        px_format_bytes(n->work_bytes, text[7]);
        px_format_bytes(n->weight_bytes + n->kv_bytes + n->work_bytes, text[8]);
        for (int c = 0; c < 9; c++) cells[c] = text[c];
        px_table_row(table, cells);
    }
    px_table_print(table, stdout);
    px_table_free(table);
    printf("%s: %s needed, %s available\n", fits(r) ? "Fits here" : "Does not fit here",
        px_format_bytes(r->need_bytes, need), px_format_bytes(r->available_bytes, available));
}

static px_status inspect(const px_args *args)
{
    report *r = px_alloc(sizeof *r); /* too large for a stack */
    px_status status = gather(r, args);
    if (px_is_ok(status) && px_args_flag(args, "json")) {
        print_json(r);
    } else if (px_is_ok(status)) {
        print_facts(r);
        print_memory(r);
    }
    px_model_file_close(r->file);
    free(r);
    return status;
}

int px_cmd_inspect(int argc, char **argv)
{
    px_args *args;
    bool help;
    px_status status = px_args_parse(px_cmd_inspect_specs, &doc, argc, argv, &args, &help);
    if (px_is_ok(status) && help) {
        px_args_print_help(px_cmd_inspect_specs, &doc, stdout);
        return 0;
    }
    if (px_is_ok(status)) {
        status = inspect(args);
        px_args_free(args);
    }
    return px_is_ok(status) ? 0 : px_command_fail(status);
}
