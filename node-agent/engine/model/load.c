/* load.c - describing a model and loading a rank's part of it.
 *
 * The part is a list of items, one for each weight: where its slice lies in the file and where it
 * goes. The list is made first, which checks every name, type and shape and sums the memory; then
 * one allocation, which the whole team fills (repack.h).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/repack.h"
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
        .generates = arch->head == PX_HEAD_TOKENS && !arch->both_ways,
        .both_ways = arch->both_ways,
        .context = arch->context,
        .eos_count = arch->eos_count,
        .bos_id = arch->bos_id,
        .weight_bytes = px_model_file_bytes(file)};
    snprintf(out->arch, sizeof out->arch, "%s", px_arch_name(arch));
    memcpy(out->name, arch->title, sizeof out->name);
    memcpy(out->eos_ids, arch->eos_ids, sizeof out->eos_ids);
    for (size_t i = 0; i < sizeof arch->ropes / sizeof *arch->ropes; i++) {
        const px_rope_freqs *rope = &arch->ropes[i];
        uint32_t *from = rope->dynamic ? &out->rotation_grows_from : &out->rotation_turns_at;
        if (rope->long_from && (!*from || rope->long_from < *from)) *from = rope->long_from;
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

px_status px_model_check_generates(const px_model_info *info)
{
    if (info->generates) return px_ok();
    return px_fail(PX_FAILED_PRECONDITION,
        "the model '%s' makes embeddings or scores of texts, and no text itself", info->name);
}

/* --- the list of what to load --- */

typedef struct loader {
    const px_model_options *options;
    const px_model_file *file;
    px_model *model;
    px_repack_item *items;
    size_t count, count_max;
    size_t order_bytes; /* of all orders of columns, which lie before all weights */
    size_t packed_bytes;
} loader;

static size_t align(size_t bytes)
{
    return (bytes + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
}

/* What an item takes of the packed memory, which has a weight after the other. */
static size_t packed_bytes(const loader *l, const px_repack_item *item)
{
    return align(px_repack_bytes(item, l->options->kernels));
}

static size_t order_bytes(const px_repack_item *item)
{
    return align(item->from.cols * sizeof(uint32_t));
}

/* The rows of `view` that the rank's place holds. */
static void cut(const px_model *model, px_role role, px_weight_view *view)
{
    px_range rows = px_axis_range(&model->arch, px_model_place(model), px_role_of(role)->rows);
    if (view->coded.coding) view->coded.first_row += rows.begin * view->coded.row_step;
    if (view->scales) view->scales += rows.begin * view->scale_row_bytes;
    view->data += rows.begin * view->row_bytes;
    view->rows = rows.count;
}

/* `member` counts the experts or heads of this rank. */
static void set_destination(px_weights *to, px_weight_id id, uint32_t member, px_repack_item *it)
{
    if (id.role < PX_ROLE_FIRST_OF_HEAD) {
        if (px_role_of(id.role)->cols == PX_AXIS_ONE)
            it->vector = &to->vector[id.role];
        else
            it->matrix = &to->matrix[id.role];
        return;
    }
    px_expert *expert = to->experts ? &to->experts[member] : NULL; /* a head's layer may be dense */
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

/* The order that another weight has which reads the same rows; NULL: none has the same. Of experts
 * those of one read the same, of heads all of a role. */
static px_order *shared_order(const loader *l, const px_repack_item *it)
{
    px_role first = px_role_reader(it->id.role).first;
    bool of_expert = first >= PX_ROLE_FIRST_OF_EXPERT;
    for (size_t i = l->count; i-- > 0 && l->items[i].id.layer == it->id.layer;) {
        const px_repack_item *other = &l->items[i];
        if (other->order && px_role_reader(other->id.role).first == first &&
            (!of_expert || other->id.expert == it->id.expert) &&
            px_coded_same_order(&other->from.coded, &it->from.coded))
            return other->order;
    }
    return NULL;
}

/* The columns are to stand in the order that fills blocks of one scale. */
static void order_columns(loader *l, px_repack_item *it)
{
    px_model *model = l->model;
    it->from.dtype = it->from.coded.ordered_dtype;
    it->from.cols = it->from.coded.ordered_cols;
    it->order = shared_order(l, it);
    if (it->order) return;
    if (!model->orders) model->orders = px_alloc_array(l->count_max, sizeof *model->orders);
    it->order = &model->orders[model->order_count++];
    it->order->shelf = px_role_reader(it->id.role).shelf;
    l->order_bytes += order_bytes(it);
}

static px_status add_item(loader *l, px_weight_id id, uint32_t member, px_weights *to)
{
    px_role role = id.role;
    px_repack_item *it = &l->items[l->count];
    *it = (px_repack_item){.id = id, .by_row = role == PX_ROLE_EMBED};
    set_destination(to, id, member, it);
    if (role == PX_ROLE_OUTPUT && l->model->arch.tied) id.role = PX_ROLE_EMBED;
    PX_TRY(px_arch_find(&l->model->arch, l->file, id, &it->from));
    if (role != PX_ROLE_EMBED) cut(l->model, role, &it->from);
    if (!it->from.rows || !it->from.cols) return px_ok();
    if (it->from.coded.ordered_cols) order_columns(l, it);
    l->packed_bytes += packed_bytes(l, it);
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
    l->count_max = PX_ROLE_COUNT + of_layer * layers.count;
    l->items = px_alloc_array(l->count_max, sizeof *l->items);
    if (stage == 0) PX_TRY(add_item(l, (px_weight_id){.role = PX_ROLE_EMBED}, 0, &model->shared));
    if (stage == model->plan.pp - 1) {
        PX_TRY(add_item(l, (px_weight_id){.role = PX_ROLE_FINAL_NORM}, 0, &model->shared));
        if (arch->head == PX_HEAD_TOKENS)
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

/* --- loading --- */

/* The list, and where each of its items goes: `packed` is where the memory will begin. */
static px_status lay_out(loader *l)
{
    px_model *model = l->model;
    px_plan_shape shape;
    PX_TRY(describe(l->file, &model->arch, &model->info, &shape));
    PX_TRY(list_items(l));
    model->packed_bytes = l->order_bytes + l->packed_bytes;
    for (size_t i = 0; i < l->count; i++)
        if (!packed_bytes(l, &l->items[i]))
            model->in_place_bytes += px_repack_file_bytes(&l->items[i]);
    return px_ok();
}

/* What the forward's sizes follow from: which matrices there are, of what types. */
static void outline_items(loader *l)
{
    for (size_t i = 0; i < l->count; i++) {
        const px_repack_item *item = &l->items[i];
        if (item->matrix)
            *item->matrix = (px_matrix){.dtype = item->from.dtype,
                .rows = item->from.rows,
                .cols = item->from.cols,
                .order = item->order};
    }
}

/* The order of a weight's columns, made at `to` if it is not there yet; returns its end. */
static unsigned char *place_order(px_repack_item *item, unsigned char *to)
{
    if (!item->order->from) {
        px_coded_order(&item->from.coded, (uint32_t *)(void *)to);
        item->order->from = (const uint32_t *)(const void *)to;
        to += order_bytes(item);
    }
    item->from.coded.order = item->order->from;
    return to;
}

static px_status fill(loader *l)
{
    px_model *model = l->model;
    PX_TRY(px_big_alloc(model->packed_bytes, "the weights", &model->packed));
    unsigned char *order = model->packed, *weights = order + l->order_bytes, *next = weights;
    for (size_t i = 0; i < l->count; i++) {
        px_repack_item *item = &l->items[i];
        if (item->order) order = place_order(item, order);
        size_t bytes = packed_bytes(l, item);
        item->to = bytes ? next : NULL;
        next += bytes;
    }
    return px_repack_all(&(px_repack){.file = l->file,
        .options = l->options,
        .items = l->items,
        .count = l->count,
        .memory = weights,
        .memory_bytes = l->packed_bytes});
}

static px_status make(
    const px_model_file *file, const px_model_options *options, bool is_outline, px_model **out)
{
    px_model *model = px_alloc(sizeof *model);
    model->plan = *options->plan;
    model->rank = options->rank;
    loader l = {.options = options, .file = file, .model = model};
    px_status status = lay_out(&l);
    if (px_is_ok(status) && is_outline) outline_items(&l);
    if (px_is_ok(status) && !is_outline) status = fill(&l);
    free(l.items);
    if (!px_is_ok(status)) {
        px_model_free(model);
        return px_prefix(status, "%s", px_model_file_path(file));
    }
    *out = model;
    return px_ok();
}

px_status px_model_outline(
    const px_model_file *file, const px_model_options *options, px_model **out)
{
    return make(file, options, true, out);
}

px_status px_model_load(px_model_file *file, const px_model_options *options, px_model **out)
{
    return make(file, options, false, out);
}

void px_model_free(px_model *model)
{
    if (!model) return;
    px_big_free(model->packed, model->packed_bytes);
    free(model->orders);
    free_layers(model);
    free(model);
}

uint64_t px_model_resident_bytes(const px_model *model)
{
    return model->packed_bytes + model->in_place_bytes;
}
