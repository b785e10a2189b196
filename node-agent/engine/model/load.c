/* load.c - describing a model and loading a rank's part of it.
 *
 * The part is a list of items, one for each weight: where its slice lies in the file and where it
 * goes. The list is made first, which checks every name, type and shape and sums the memory; then
 * one allocation, then the items are packed one after the other by the whole team. File pages are
 * given back as soon as their weight is packed, so weights are resident about once.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/model/weights.h"

enum { ALIGN_BYTES = 64 };

/* --- description --- */

static uint32_t lcm(uint32_t a, uint32_t b)
{
    uint32_t x = a, y = b;
    while (y) {
        uint32_t rest = x % y;
        x = y;
        y = rest;
    }
    return a / x * b;
}

/* Makes *block a multiple of the block size of this weight's columns. */
static px_status widen_block(
    const px_arch *arch, const px_model_file *file, px_role role, uint32_t layer, uint32_t *block)
{
    px_weight_view view;
    PX_TRY(px_arch_find(arch, file, role, layer, &view));
    *block = lcm(*block, px_dtype_of(view.dtype)->block_elements);
    return px_ok();
}

static px_status make_shape(const px_arch *arch, const px_model_file *file, px_plan_shape *out)
{
    *out = (px_plan_shape){.layers = arch->layer_count,
        .hidden = arch->hidden,
        .heads = arch->heads,
        .kv_heads = arch->kv_heads,
        .head_dim_k = arch->head_k,
        .head_dim_v = arch->head_v,
        .attn_block = 1,
        .ffn = arch->ffn,
        .ffn_block = 1,
        .vocabulary = arch->vocabulary};
    for (uint32_t i = 0; i < arch->layer_count; i++) {
        PX_TRY(widen_block(arch, file, PX_ROLE_O, i, &out->attn_block));
        PX_TRY(widen_block(arch, file, PX_ROLE_DOWN, i, &out->ffn_block));
    }
    return px_ok();
}

static px_status check_weights(const px_arch *arch, const px_model_file *file)
{
    px_weight_view view;
    for (px_role role = 0; role < PX_ROLE_COUNT; role++) {
        if (!px_arch_has(arch, role)) continue;
        uint32_t layers = role < PX_ROLE_FIRST_IN_LAYER ? 1 : arch->layer_count;
        for (uint32_t i = 0; i < layers; i++) PX_TRY(px_arch_find(arch, file, role, i, &view));
    }
    return px_ok();
}

static void make_info(const px_arch *arch, const px_model_file *file, px_model_info *out)
{
    *out = (px_model_info){.vocabulary = arch->vocabulary,
        .hidden = arch->hidden,
        .layers = arch->layer_count,
        .heads = arch->heads,
        .kv_heads = arch->kv_heads,
        .kv_heads_cached = arch->kv_heads,
        .k_dim = arch->head_k,
        .v_dim = arch->head_v,
        .context = arch->context,
        .eos_count = arch->eos_count,
        .bos_id = arch->bos_id,
        .weight_bytes = px_model_file_bytes(file)};
    strncpy(out->arch, px_arch_name(arch), sizeof out->arch - 1);
    memcpy(out->name, arch->title, sizeof out->name);
    memcpy(out->eos_ids, arch->eos_ids, sizeof out->eos_ids);
    for (uint32_t i = 0; i < px_model_file_tensor_count(file); i++) {
        const px_tensor *tensor = px_model_file_tensor_at(file, i);
        uint64_t elements = 1;
        for (uint32_t d = 0; d < tensor->dims; d++) elements *= tensor->shape[d];
        out->parameters += elements;
    }
}

static px_status describe(
    const px_model_file *file, px_arch *arch, px_model_info *out_info, px_plan_shape *out_shape)
{
    PX_TRY(px_arch_read(file, arch));
    PX_TRY(check_weights(arch, file));
    make_info(arch, file, out_info);
    return make_shape(arch, file, out_shape);
}

px_status px_model_describe(
    const px_model_file *file, px_model_info *out_info, px_plan_shape *out_shape)
{
    px_arch arch;
    return px_prefix(describe(file, &arch, out_info, out_shape), "%s", px_model_file_path(file));
}

/* --- the list of what to load --- */

typedef struct item {
    px_role role;
    px_weight_view from; /* this rank's slice */
    px_weights *to;
    size_t offset, bytes; /* in the packed memory; 0 bytes: used in place */
} item;

typedef struct loader {
    const px_model_options *options;
    const px_model_file *file;
    px_model *model;
    item *items;
    size_t count;
    size_t packed_bytes;
    uint64_t file_bytes, done_bytes;
} loader;

/* The rows and columns of `view` that the rank's place holds. */
static px_status cut(const px_model *model, px_role role, px_weight_view *view)
{
    const px_role_traits *traits = px_role_of(role);
    px_range rows = px_axis_range(&model->arch, px_model_place(model), traits->rows);
    px_range cols = px_axis_range(&model->arch, px_model_place(model), traits->cols);
    const px_dtype_traits *dtype = px_dtype_of(view->dtype);
    if (cols.begin % dtype->block_elements || cols.count % dtype->block_elements)
        return px_fail(PX_INVALID_ARGUMENT,
            "tensor '%s' (%s) cannot be cut at column %u inside a %s block of %u",
            view->tensor->name, traits->what, cols.begin, dtype->name, dtype->block_elements);
    view->data += rows.begin * view->row_bytes + px_dtype_bytes(view->dtype, cols.begin);
    view->rows = rows.count;
    view->cols = cols.count;
    return px_ok();
}

static bool is_vector(px_role role)
{
    return px_role_of(role)->cols == PX_AXIS_ONE;
}

static px_status add_item(loader *l, px_role role, uint32_t layer, px_weights *to)
{
    const px_arch *arch = &l->model->arch;
    px_role source = role == PX_ROLE_OUTPUT && arch->tied ? PX_ROLE_EMBED : role;
    item *it = &l->items[l->count];
    *it = (item){.role = role, .to = to, .offset = l->packed_bytes};
    PX_TRY(px_arch_find(arch, l->file, source, layer, &it->from));
    if (role != PX_ROLE_EMBED) PX_TRY(cut(l->model, role, &it->from));
    if (!it->from.rows || !it->from.cols) return px_ok();

    if (is_vector(role))
        it->bytes = it->from.rows * sizeof(float);
    else if (role != PX_ROLE_EMBED)
        it->bytes = l->options->kernels->pack_bytes(it->from.dtype, it->from.rows, it->from.cols);
    l->packed_bytes += (it->bytes + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
    l->file_bytes += it->from.rows * px_dtype_bytes(it->from.dtype, it->from.cols);
    l->count++;
    return px_ok();
}

static px_status list_items(loader *l)
{
    px_model *model = l->model;
    uint32_t stage = px_model_stage(model);
    px_range layers = model->plan.stages[stage];
    l->items = px_alloc_array((size_t)PX_ROLE_COUNT * (layers.count + 1), sizeof *l->items);
    if (stage == 0) PX_TRY(add_item(l, PX_ROLE_EMBED, 0, &model->shared));
    if (stage == model->plan.pp - 1) {
        PX_TRY(add_item(l, PX_ROLE_FINAL_NORM, 0, &model->shared));
        PX_TRY(add_item(l, PX_ROLE_OUTPUT, 0, &model->shared));
    }
    for (uint32_t i = 0; i < layers.count; i++)
        for (px_role role = PX_ROLE_FIRST_IN_LAYER; role < PX_ROLE_COUNT; role++)
            if (px_arch_has(&model->arch, role))
                PX_TRY(add_item(l, role, layers.begin + i, &model->layers[i]));
    return px_ok();
}

px_status px_model_rank_bytes(
    const px_model_file *file, const px_plan *plan, int rank, uint64_t *out)
{
    px_model model = {.plan = *plan, .rank = rank};
    px_model_options options = {.kernels = px_kernels_scalar()};
    loader l = {.options = &options, .file = file, .model = &model};
    PX_TRY(px_arch_read(file, &model.arch));
    model.layers = px_alloc_array(plan->stages[px_model_stage(&model)].count, sizeof(px_weights));
    px_status status = list_items(&l);
    free(l.items);
    free(model.layers);
    *out = l.file_bytes;
    return status;
}

/* --- packing --- */

typedef struct pack_job {
    const px_kernels *kernels;
    px_pack op;
} pack_job;

static void pack_part(void *arg, uint32_t worker, uint32_t count)
{
    const pack_job *job = arg;
    job->kernels->pack(&job->op, (px_part){.index = worker, .count = count});
}

static void pack_matrix(loader *l, const item *it, void *to)
{
    pack_job job = {.kernels = l->options->kernels,
        .op = {.dtype = it->from.dtype,
            .rows = it->from.rows,
            .cols = it->from.cols,
            .from = it->from.data,
            .from_row_bytes = it->from.row_bytes,
            .to = to,
            .out = &it->to->matrix[it->role]}};
    px_team_run(l->options->team, pack_part, &job);
}

static void load_item(loader *l, const item *it)
{
    const px_weight_view *from = &it->from;
    unsigned char *to = it->bytes ? (unsigned char *)l->model->packed + it->offset : NULL;
    uint64_t bytes = from->rows * px_dtype_bytes(from->dtype, from->cols);
    if (is_vector(it->role)) {
        px_dtype_to_f32(from->dtype, from->data, (float *)(void *)to, from->rows);
        it->to->vector[it->role] = (const float *)(const void *)to;
    } else if (it->role == PX_ROLE_EMBED) { /* a step reads a few rows of it, where they lie */
        it->to->matrix[it->role] = (px_matrix){.dtype = from->dtype,
            .rows = from->rows,
            .cols = from->cols,
            .row_bytes = from->row_bytes,
            .data = from->data};
    } else {
        pack_matrix(l, it, to);
    }
    if (it->bytes)
        px_model_file_drop(l->file, from->data, from->rows * from->row_bytes);
    else
        l->model->in_place_bytes += bytes;

    l->done_bytes += bytes;
    if (l->options->on_progress)
        l->options->on_progress(l->options->progress_arg,
            (double)l->done_bytes / (double)l->file_bytes, "loading weights");
}

static px_status load(loader *l)
{
    px_model *model = l->model;
    px_plan_shape shape;
    PX_TRY(describe(l->file, &model->arch, &model->info, &shape));
    model->layers =
        px_alloc_array(model->plan.stages[px_model_stage(model)].count, sizeof *model->layers);
    PX_TRY(list_items(l));
    PX_TRY(px_big_alloc(l->packed_bytes, "the weights", &model->packed));
    model->packed_bytes = l->packed_bytes;
    for (size_t i = 0; i < l->count; i++) load_item(l, &l->items[i]);
    return px_ok();
}

px_status px_model_load(px_model_file *file, const px_model_options *options, px_model **out)
{
    px_model *model = px_alloc(sizeof *model);
    model->plan = *options->plan;
    model->rank = options->rank;
    loader l = {.options = options, .file = file, .model = model};
    px_status status = load(&l);
    free(l.items);
    if (!px_is_ok(status)) {
        px_model_free(model);
        return px_prefix(status, "%s", px_model_file_path(file));
    }
    *out = model;
    return px_ok();
}

void px_model_free(px_model *model)
{
    if (!model) return;
    px_big_free(model->packed, model->packed_bytes);
    free(model->layers);
    free(model);
}

const px_model_info *px_model_get_info(const px_model *model)
{
    return &model->info;
}
const px_plan *px_model_get_plan(const px_model *model)
{
    return &model->plan;
}
uint64_t px_model_resident_bytes(const px_model *model)
{
    return model->packed_bytes + model->in_place_bytes;
}
