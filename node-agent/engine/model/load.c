/* load.c - describing a model and loading a rank's part of it.
 *
 * The part is a list of items, one for each weight: where its slice lies in the file and where it
 * goes. The list is made first, which checks every name, type and shape and sums the memory; then
 * one allocation, then the items are packed one after the other by the whole team. File pages are
 * given back as soon as their weight is packed, so weights are resident about once.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/assemble.h"
#include "engine/model/weights.h"

enum { ALIGN_BYTES = 64 };

/* --- description --- */

/* Quantised and BF16 weights may read activations of another kind than float32, in blocks that
 * places do not cut. */
static px_status widen_block(
    const px_arch *arch, const px_model_file *file, px_weight_id id, uint32_t *block)
{
    px_weight_view view;
    if (!px_arch_has(arch, id.role, id.layer)) return px_ok();
    PX_TRY(px_arch_find(arch, file, id, &view));
    if (px_dtype_of(view.dtype)->block_elements > 1 || view.dtype == PX_BF16) *block = PX_ACT_BLOCK;
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
        .vocabulary = arch->vocabulary,
        .experts = arch->experts.count,
        .experts_used = arch->experts.used,
        .ffn_expert = arch->experts.ffn,
        .ffn_shared = arch->experts.shared_ffn};
    static const px_role downs[] = {PX_ROLE_DOWN, PX_ROLE_EXPERT_DOWN, PX_ROLE_SHARED_DOWN};
    for (uint32_t i = 0; i < arch->layer_count; i++) {
        PX_TRY(widen_block(
            arch, file, (px_weight_id){.role = PX_ROLE_O, .layer = i}, &out->attn_block));
        for (size_t d = 0; d < sizeof downs / sizeof *downs; d++)
            PX_TRY(widen_block(
                arch, file, (px_weight_id){.role = downs[d], .layer = i}, &out->ffn_block));
        if (!arch->layers[i].routed && out->dense_layers_first == i) out->dense_layers_first++;
    }
    return px_ok();
}

/* Finds every weight of the model, and counts its elements. */
static px_status check_weights(
    const px_arch *arch, const px_model_file *file, uint64_t *out_parameters)
{
    *out_parameters = 0;
    px_weight_view view;
    for (px_weight_id id = {0}; id.role < PX_ROLE_COUNT; id.role++) {
        uint32_t layers = id.role < PX_ROLE_FIRST_IN_LAYER ? 1 : arch->layer_count;
        for (id.layer = 0; id.layer < layers; id.layer++) {
            uint32_t count = px_arch_count(arch, id.role, id.layer);
            for (id.expert = 0; id.expert < count; id.expert++) {
                PX_TRY(px_arch_find(arch, file, id, &view));
                *out_parameters += (uint64_t)view.rows * view.cols;
            }
        }
    }
    return px_ok();
}

static void make_info(const px_arch *arch, const px_model_file *file, px_model_info *out)
{
    bool is_latent = arch->latent.kv_rank != 0;
    *out = (px_model_info){.vocabulary = arch->vocabulary,
        .hidden = arch->hidden,
        .layers = arch->layer_count,
        .heads = arch->heads,
        .kv_heads = arch->kv_heads,
        .kv_heads_cached = is_latent ? 1 : arch->kv_heads,
        .k_dim = is_latent ? px_axis_size(arch, PX_AXIS_LATENT_DOWN) : arch->head_k,
        .v_dim = is_latent ? arch->latent.kv_rank : arch->head_v,
        .v_in_k = is_latent,
        .context = arch->context,
        .eos_count = arch->eos_count,
        .bos_id = arch->bos_id,
        .weight_bytes = px_model_file_bytes(file)};
    snprintf(out->arch, sizeof out->arch, "%s", px_arch_name(arch));
    memcpy(out->name, arch->title, sizeof out->name);
    memcpy(out->eos_ids, arch->eos_ids, sizeof out->eos_ids);
    for (size_t i = 0; i < sizeof arch->ropes / sizeof *arch->ropes; i++) {
        uint32_t from = arch->ropes[i].long_from;
        if (from && (!out->rotation_varies_from || from < out->rotation_varies_from))
            out->rotation_varies_from = from;
    }
}

static px_status describe(
    const px_model_file *file, px_arch *arch, px_model_info *out_info, px_plan_shape *out_shape)
{
    PX_TRY(px_arch_read(file, arch));
    uint64_t parameters;
    PX_TRY(check_weights(arch, file, &parameters));
    make_info(arch, file, out_info);
    out_info->parameters = parameters;
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
    px_matrix *matrix;   /* where it goes: one of these two */
    const float **vector;
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
    void *staged;
    size_t staged_bytes;
} loader;

/* The rows of `view` that the rank's place holds. */
static void cut(const px_model *model, px_role role, px_weight_view *view)
{
    px_range rows = px_axis_range(&model->arch, px_model_place(model), px_role_of(role)->rows);
    if (view->coded.coding) view->coded.first_row += rows.begin * view->coded.row_step;
    if (view->scales) view->scales += rows.begin * view->scale_row_bytes;
    view->data += rows.begin * view->row_bytes;
    view->rows = rows.count;
}

static bool is_vector(px_role role)
{
    return px_role_of(role)->cols == PX_AXIS_ONE;
}

/* `member` counts the experts or heads of this rank. */
static void set_destination(px_weights *to, px_weight_id id, uint32_t member, item *it)
{
    if (id.role < PX_ROLE_FIRST_OF_HEAD) {
        it->matrix = &to->matrix[id.role];
        it->vector = &to->vector[id.role];
        return;
    }
    px_expert *expert = &to->experts[member];
    switch (id.role) {
    case PX_ROLE_K_UP: it->matrix = &to->heads[member].k_up; break;
    case PX_ROLE_V_UP: it->matrix = &to->heads[member].v_up; break;
    case PX_ROLE_EXPERT_GATE: it->matrix = &expert->gate; break;
    case PX_ROLE_EXPERT_UP: it->matrix = &expert->up; break;
    case PX_ROLE_EXPERT_DOWN: it->matrix = &expert->down; break;
    case PX_ROLE_EXPERT_GATE_BIAS: it->vector = &expert->gate_bias; break;
    case PX_ROLE_EXPERT_UP_BIAS: it->vector = &expert->up_bias; break;
    case PX_ROLE_EXPERT_DOWN_BIAS: it->vector = &expert->down_bias; break;
    default: PX_ASSERT(!"a role of an expert");
    }
}

static px_status add_item(loader *l, px_weight_id id, uint32_t member, px_weights *to)
{
    px_role role = id.role;
    item *it = &l->items[l->count];
    *it = (item){.role = role, .offset = l->packed_bytes};
    set_destination(to, id, member, it);
    if (role == PX_ROLE_OUTPUT && l->model->arch.tied) id.role = PX_ROLE_EMBED;
    PX_TRY(px_arch_find(&l->model->arch, l->file, id, &it->from));
    if (role != PX_ROLE_EMBED) cut(l->model, role, &it->from);
    if (!it->from.rows || !it->from.cols) return px_ok();

    if (is_vector(role))
        it->bytes = it->from.rows * sizeof(float);
    else if (role != PX_ROLE_EMBED)
        it->bytes = l->options->kernels->pack_bytes(it->from.dtype, it->from.rows, it->from.cols);
    if (!it->bytes && px_weight_is_scattered(&it->from)) /* nothing to use in place: a copy */
        it->bytes = it->from.rows * px_dtype_bytes(it->from.dtype, it->from.cols);
    l->packed_bytes += (it->bytes + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
    l->file_bytes += it->from.rows * px_dtype_bytes(it->from.dtype, it->from.cols);
    l->count++;
    return px_ok();
}

/* Which of a role's weights this rank holds: of those of heads its own, else all. */
static px_range held(const px_model *model, px_role role, uint32_t layer)
{
    uint32_t count = px_arch_count(&model->arch, role, layer);
    bool of_head = role >= PX_ROLE_FIRST_OF_HEAD && role < PX_ROLE_FIRST_OF_EXPERT;
    return of_head && count ? px_model_place(model)->heads : (px_range){.begin = 0, .count = count};
}

static px_status add_layer(loader *l, uint32_t layer, px_weights *to)
{
    const px_arch *arch = &l->model->arch;
    if (arch->layers[layer].routed)
        to->experts = px_alloc_array(arch->experts.count, sizeof *to->experts);
    if (arch->latent.kv_rank) to->heads = px_alloc_array(arch->heads, sizeof *to->heads);
    for (px_weight_id id = {.role = PX_ROLE_FIRST_IN_LAYER, .layer = layer};
         id.role < PX_ROLE_COUNT; id.role++) {
        px_range members = held(l->model, id.role, layer);
        for (uint32_t i = 0; i < members.count; i++) {
            id.expert = members.begin + i;
            PX_TRY(add_item(l, id, i, to));
        }
    }
    return px_ok();
}

static px_status list_items(loader *l)
{
    px_model *model = l->model;
    uint32_t stage = px_model_stage(model);
    px_range layers = model->plan.stages[stage];
    const px_arch *arch = &model->arch;
    size_t of_layer = PX_ROLE_COUNT +
                      (size_t)arch->experts.count * (PX_ROLE_COUNT - PX_ROLE_FIRST_OF_EXPERT) +
                      (size_t)arch->heads * (PX_ROLE_FIRST_OF_EXPERT - PX_ROLE_FIRST_OF_HEAD);
    model->layers = px_alloc_array(layers.count, sizeof *model->layers);
    l->items = px_alloc_array(PX_ROLE_COUNT + of_layer * layers.count, sizeof *l->items);
    if (stage == 0) PX_TRY(add_item(l, (px_weight_id){.role = PX_ROLE_EMBED}, 0, &model->shared));
    if (stage == model->plan.pp - 1) {
        PX_TRY(add_item(l, (px_weight_id){.role = PX_ROLE_FINAL_NORM}, 0, &model->shared));
        PX_TRY(add_item(l, (px_weight_id){.role = PX_ROLE_OUTPUT}, 0, &model->shared));
    }
    for (uint32_t i = 0; i < layers.count; i++)
        PX_TRY(add_layer(l, layers.begin + i, &model->layers[i]));
    return px_ok();
}

static void free_layers(px_model *model)
{
    uint32_t count = model->layers ? model->plan.stages[px_model_stage(model)].count : 0;
    for (uint32_t i = 0; i < count; i++) {
        free(model->layers[i].experts);
        free(model->layers[i].heads);
    }
    free(model->layers);
}

px_status px_model_rank_bytes(
    const px_model_file *file, const px_plan *plan, int rank, uint64_t *out)
{
    px_model model = {.plan = *plan, .rank = rank};
    px_model_options options = {.kernels = px_kernels_scalar()};
    loader l = {.options = &options, .file = file, .model = &model};
    PX_TRY(px_arch_read(file, &model.arch));
    px_status status = list_items(&l);
    free(l.items);
    free_layers(&model);
    *out = l.file_bytes;
    return status;
}

/* --- packing --- */

typedef struct pack_job {
    const px_kernels *kernels;
    px_pack op;
    const px_weight_view *scattered;
    unsigned char *assembled;
} pack_job;

static void assemble_part(void *arg, uint32_t worker, uint32_t count)
{
    const pack_job *job = arg;
    size_t row_bytes = px_dtype_bytes(job->op.dtype, job->op.cols);
    px_part part = {.index = worker, .count = count};
    uint32_t begin, end;
    if (job->scattered->is_turned_blocks) {
        px_part_range(part, job->op.cols, 1, &begin, &end);
        px_weight_turn(job->scattered, begin, end, (float *)(void *)job->assembled);
        return;
    }
    px_part_range(part, job->op.rows, 1, &begin, &end);
    px_weight_assemble(
        job->scattered, (px_range){begin, end - begin}, job->assembled + begin * row_bytes);
}

static void pack_part(void *arg, uint32_t worker, uint32_t count)
{
    const pack_job *job = arg;
    job->kernels->pack(&job->op, (px_part){.index = worker, .count = count});
}

/* Room for a weight between being put together and being packed: one for all, as new memory costs
 * more than what is done in it. */
static px_status stage(loader *l, size_t bytes)
{
    if (bytes <= l->staged_bytes) return px_ok();
    px_big_free(l->staged, l->staged_bytes);
    l->staged = NULL;
    l->staged_bytes = 0;
    PX_TRY(px_big_alloc(bytes, "a weight being loaded", &l->staged));
    l->staged_bytes = bytes;
    return px_ok();
}

static px_status pack_matrix(loader *l, const item *it, void *to)
{
    const px_weight_view *from = &it->from;
    const px_kernels *kernels = l->options->kernels;
    pack_job job = {.kernels = kernels,
        .op = {.dtype = from->dtype,
            .rows = from->rows,
            .cols = from->cols,
            .from = from->data,
            .from_row_bytes = from->row_bytes,
            .to = to,
            .out = it->matrix},
        .scattered = from,
        .assembled = to};
    if (px_weight_is_scattered(from)) {
        job.op.from_row_bytes = px_dtype_bytes(from->dtype, from->cols);
        if (kernels->pack_bytes(from->dtype, from->rows, from->cols)) {
            PX_TRY(stage(l, from->rows * job.op.from_row_bytes));
            job.assembled = l->staged;
        }
        job.op.from = job.assembled;
        px_team_run(l->options->team, assemble_part, &job);
    }
    px_team_run(l->options->team, pack_part, &job);
    return px_ok();
}

static void load_vector(const item *it, float *to)
{
    for (uint32_t i = 0; i < it->from.rows; i++)
        px_dtype_to_f32(it->from.dtype, it->from.data + i * it->from.row_bytes, to + i, 1);
    *it->vector = to;
}

static px_status load_item(loader *l, const item *it)
{
    const px_weight_view *from = &it->from;
    void *to = it->bytes ? (unsigned char *)l->model->packed + it->offset : NULL;
    uint64_t bytes = from->rows * px_dtype_bytes(from->dtype, from->cols);
    if (is_vector(it->role)) {
        load_vector(it, to);
    } else if (it->role == PX_ROLE_EMBED) { /* a step reads a few rows of it, where they lie */
        *it->matrix = (px_matrix){.dtype = from->dtype,
            .rows = from->rows,
            .cols = from->cols,
            .row_bytes = from->row_bytes,
            .data = from->data};
    } else {
        PX_TRY(pack_matrix(l, it, to));
    }
    size_t span = from->col_bytes ? from->cols * from->col_bytes : from->rows * from->row_bytes;
    if (it->bytes)
        px_model_file_drop(l->file, from->data, span);
    else
        l->model->in_place_bytes += bytes;

    l->done_bytes += bytes;
    if (l->options->on_progress)
        l->options->on_progress(l->options->progress_arg,
            (double)l->done_bytes / (double)l->file_bytes, "loading weights");
    return px_ok();
}

/* A page fault maps the pages around it as well: the ends of neighbours that had been given back,
 * and slices of other ranks. */
static void drop_surroundings(const loader *l)
{
    for (size_t i = 0; i < l->count; i++) {
        const px_tensor *tensor = l->items[i].from.tensor;
        if (l->items[i].bytes) px_model_file_drop(l->file, tensor->data, tensor->bytes);
    }
}

static px_status load(loader *l)
{
    px_model *model = l->model;
    px_plan_shape shape;
    PX_TRY(describe(l->file, &model->arch, &model->info, &shape));
    PX_TRY(list_items(l));
    PX_TRY(px_big_alloc(l->packed_bytes, "the weights", &model->packed));
    model->packed_bytes = l->packed_bytes;
    for (size_t i = 0; i < l->count; i++) PX_TRY(load_item(l, &l->items[i]));
    drop_surroundings(l);
    return px_ok();
}

px_status px_model_load(px_model_file *file, const px_model_options *options, px_model **out)
{
    px_model *model = px_alloc(sizeof *model);
    model->plan = *options->plan;
    model->rank = options->rank;
    loader l = {.options = options, .file = file, .model = model};
    px_status status = load(&l);
    px_big_free(l.staged, l.staged_bytes);
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
    free_layers(model);
    free(model);
}

uint64_t px_model_resident_bytes(const px_model *model)
{
    return model->packed_bytes + model->in_place_bytes;
}
