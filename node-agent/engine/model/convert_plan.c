/* convert_plan.c - what tensors a converted file has: their names, types, and where rows come from.
 *
 * From config.json's formats: every weight that the architecture has goes where the family's GGUF
 * names put it; experts become stacks, and fused tensors get several weights. From a GGUF: its
 * tensors as they are called there.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/convert_impl.h"
#include "engine/model/family.h"
#include "kernels/quantize.h"

enum { LOOK_BACK = 64 };
static const size_t MEMORY_BYTES_MAX = 256u << 20;

/* --- types ------------------------------------------------------------------------------------ */

static bool is_float(px_dtype dtype)
{
    return px_dtype_of(dtype)->block_elements == 1;
}

/* The type for rows that are not whole blocks of `wanted`; bits as near as can be. */
static px_dtype coarser_blocks(px_dtype wanted)
{
    switch (wanted) {
    case PX_Q2_K:
    case PX_Q3_K:
    case PX_IQ4_XS: return PX_IQ4_NL;
    case PX_Q4_K: return PX_Q5_0;
    case PX_Q5_K: return PX_Q5_1;
    case PX_Q6_K: return PX_Q8_0;
    default: return PX_F16;
    }
}

static void report_fallback(px_convert *convert, const px_planned *planned, px_dtype wanted)
{
    px_convert_report *report = &convert->report;
    for (uint32_t i = 0; i < report->fallback_count; i++) {
        px_convert_fallback *known = &report->fallbacks[i];
        if (known->from != wanted || known->to != planned->like.dtype) continue;
        known->tensors++;
        return;
    }
    if (report->fallback_count == PX_CONVERT_FALLBACKS_MAX) return;
    report->fallbacks[report->fallback_count++] = (px_convert_fallback){.from = wanted,
        .to = planned->like.dtype,
        .tensors = 1,
        .cols = planned->cols,
        .name = planned->like.name};
}

static px_dtype fitting(px_dtype wanted, uint32_t cols)
{
    while (cols % px_dtype_of(wanted)->block_elements) wanted = coarser_blocks(wanted);
    return wanted;
}

/* Bits of a weight, in sixteenths. */
static uint32_t bits_of(px_dtype dtype)
{
    const px_dtype_traits *traits = px_dtype_of(dtype);
    return traits->block_bytes * 8 * 16 / traits->block_elements;
}

static px_dtype table_type(const px_convert_options *options)
{
    if (options->table_dtype != PX_DTYPE_COUNT) return options->table_dtype;
    return bits_of(options->dtype) < bits_of(PX_Q6_K) ? PX_Q6_K : options->dtype;
}

/* The one type of all pieces; PX_DTYPE_COUNT: they differ. */
static px_dtype source_type(const px_planned *planned)
{
    px_dtype dtype = planned->pieces[0].from.dtype;
    for (uint32_t i = 1; i < planned->piece_count; i++)
        if (planned->pieces[i].from.dtype != dtype) return PX_DTYPE_COUNT;
    return dtype;
}

static void choose_type(px_convert *convert, px_planned *planned)
{
    const px_convert_options *options = &convert->options;
    px_dtype source = source_type(planned), wanted;
    px_tensor_kind kind = planned->kind;
    uint32_t number;
    bool can_keep = source != PX_DTYPE_COUNT && px_gguf_type_number(source, &number);
    bool from_gguf = px_model_file_gguf(convert->file) != NULL;
    if (kind == PX_KIND_KEPT || (options->keep && can_keep && (from_gguf || kind != PX_KIND_SMALL)))
        wanted = source;
    else if (kind == PX_KIND_SMALL)
        wanted = PX_F32;
    else if (options->keep)
        wanted = PX_F16; /* F8 is a part of it; codes with scales of their own are rounded */
    else
        wanted = kind == PX_KIND_TABLE ? table_type(options) : options->dtype;
    planned->like.dtype = fitting(wanted, planned->cols);
    if (planned->like.dtype != wanted) report_fallback(convert, planned, wanted);
    planned->copied = source == planned->like.dtype;
    for (uint32_t i = 0; i < planned->piece_count; i++)
        if (planned->pieces[i].offset != 0) planned->copied = false;
    bool rounded = source == PX_DTYPE_COUNT || !is_float(source);
    if (!planned->copied && rounded && !is_float(planned->like.dtype))
        convert->report.requantised = true;
}

/* --- the list --------------------------------------------------------------------------------- */

static px_status too_large(void)
{
    return px_fail(PX_RESOURCE_EXHAUSTED, "the model's names and tables take too much memory");
}

static px_planned *append(px_convert *convert)
{
    if (convert->tensor_count == convert->tensor_capacity) {
        uint32_t capacity = convert->tensor_capacity ? 2 * convert->tensor_capacity : 256;
        px_planned *grown = px_alloc_array(capacity, sizeof *grown);
        if (convert->tensor_count)
            memcpy(grown, convert->tensors, convert->tensor_count * sizeof *grown);
        free(convert->tensors);
        convert->tensors = grown;
        convert->tensor_capacity = capacity;
    }
    return &convert->tensors[convert->tensor_count++];
}

static void add_piece(px_planned *planned, const px_piece *piece)
{
    if (planned->piece_count == planned->piece_capacity) {
        uint32_t capacity = planned->piece_capacity ? 2 * planned->piece_capacity : 1;
        px_piece *grown = px_alloc_array(capacity, sizeof *grown);
        if (planned->piece_count)
            memcpy(grown, planned->pieces, planned->piece_count * sizeof *grown);
        free(planned->pieces);
        planned->pieces = grown;
        planned->piece_capacity = capacity;
    }
    planned->pieces[planned->piece_count++] = *piece;
}

/* Float32 values that lie in memory: `like` says how it is called and what shape it has. */
static void add_values(px_convert *convert, px_tensor like, const float *values)
{
    uint32_t rows = (uint32_t)like.shape[0], cols = like.dims > 1 ? (uint32_t)like.shape[1] : 1;
    px_planned *planned = append(convert);
    *planned = (px_planned){.like = like, .rows = rows, .cols = cols, .kind = PX_KIND_SMALL};
    add_piece(planned, &(px_piece){.row_step = 1,
                           .from = {.dtype = PX_F32,
                               .rows = rows,
                               .cols = cols,
                               .data = (const unsigned char *)values,
                               .row_bytes = cols * sizeof *values}});
    choose_type(convert, planned);
}

/* A vector that no file holds: rotation tables. */
static px_status add_table(
    px_convert *convert, const char *name, const float *values, uint32_t count)
{
    float *copy = px_arena_alloc(&convert->memory, count * sizeof *copy);
    if (!copy) return too_large();
    memcpy(copy, values, count * sizeof *copy);
    add_values(convert, (px_tensor){.name = name, .dims = 1, .shape = {count}}, copy);
    return px_ok();
}

/* --- from a description ----------------------------------------------------------------------- */

static bool is_norm(px_role role)
{
    switch (role) {
    case PX_ROLE_FINAL_NORM:
    case PX_ROLE_ATTN_NORM:
    case PX_ROLE_Q_DOWN_NORM:
    case PX_ROLE_KV_DOWN_NORM:
    case PX_ROLE_Q_NORM:
    case PX_ROLE_K_NORM:
    case PX_ROLE_ATTN_POST_NORM:
    case PX_ROLE_FFN_NORM:
    case PX_ROLE_FFN_POST_NORM: return true;
    default: return false;
    }
}

static px_tensor_kind kind_of(px_role role)
{
    const px_role_traits *traits = px_role_of(role);
    if (role == PX_ROLE_EMBED || role == PX_ROLE_OUTPUT) return PX_KIND_TABLE;
    bool small = traits->rows == PX_AXIS_ONE || traits->cols == PX_AXIS_ONE;
    return small || role == PX_ROLE_ROUTER ? PX_KIND_SMALL : PX_KIND_MATRIX;
}

/* Rows of a head that the family's GGUF files hold for rotation of neighbours, where the source has
 * them for rotation of halves. */
static uint32_t pair_rows(const px_arch *arch, px_role role)
{
    bool rotated =
        role == PX_ROLE_Q || role == PX_ROLE_K || role == PX_ROLE_Q_BIAS || role == PX_ROLE_K_BIAS;
    return rotated && arch->family->gguf_pairs_rows && !arch->rope_interleaved ? arch->head_k : 0;
}

/* The tensor of this name, if one of the last ones is called so. */
static px_planned *find_planned(px_convert *convert, const char *name)
{
    uint32_t count = convert->tensor_count, first = count > LOOK_BACK ? count - LOOK_BACK : 0;
    for (uint32_t i = count; i-- > first;)
        if (strcmp(convert->tensors[i].like.name, name) == 0) return &convert->tensors[i];
    return NULL;
}

static px_status plan_tensor(px_convert *convert, px_weight_id id, const px_placing *place,
    const char *name, px_planned **out)
{
    const px_arch *arch = &convert->arch;
    const px_role_traits *traits = px_role_of(id.role);
    *out = find_planned(convert, name);
    if (*out) return px_ok();
    char *copy = px_arena_copy(&convert->memory, name, strlen(name));
    if (!copy) return too_large();
    *out = append(convert);
    **out = (px_planned){.like = {.name = copy},
        .rows = place->total,
        .cols = px_axis_size(arch, traits->cols),
        .kind = kind_of(id.role)};
    px_tensor *like = &(*out)->like;
    if (place->stacked) {
        like->shape[like->dims++] = px_arch_count(arch, id.role, id.layer);
        (*out)->rows *= px_arch_count(arch, id.role, id.layer);
    }
    if (traits->rows != PX_AXIS_ONE) like->shape[like->dims++] = place->total;
    if (traits->cols != PX_AXIS_ONE) like->shape[like->dims++] = (*out)->cols;
    return px_ok();
}

static px_status plan_weight(px_convert *convert, px_weight_id id)
{
    const px_arch *arch = &convert->arch;
    const px_name *known = px_family_name(arch->family, true, id.role, 0);
    if (!known)
        return px_fail(PX_UNIMPLEMENTED, "GGUF has no name for the %s of %s models",
            px_role_of(id.role)->what, arch->family->name);
    px_piece piece = {
        .pair_rows = pair_rows(arch, id.role), .offset = is_norm(id.role) ? arch->norm_offset : 0};
    PX_TRY(px_arch_find(arch, convert->file, id, &piece.from));
    px_placing place = px_take_place(arch, id.role, known->take, piece.from.rows);
    char name[PX_TENSOR_NAME_MAX];
    px_name_fill(known->pattern, NULL, id, name);
    px_planned *planned;
    PX_TRY(plan_tensor(convert, id, &place, name, &planned));
    piece.row_begin = place.begin + (place.stacked ? (uint64_t)id.expert * place.total : 0);
    piece.row_step = place.step;
    add_piece(planned, &piece);
    return px_ok();
}

static px_status plan_role(px_convert *convert, px_role role, uint32_t layer)
{
    const px_arch *arch = &convert->arch;
    uint32_t count = px_arch_count(arch, role, layer);
    for (uint32_t expert = 0; expert < count; expert++)
        PX_TRY(
            plan_weight(convert, (px_weight_id){.role = role, .layer = layer, .expert = expert}));
    return px_ok();
}

static px_status plan_rotation(px_convert *convert)
{
    px_config config;
    px_rope_settings rope;
    const px_rope_freqs *freqs = &convert->arch.ropes[0];
    uint32_t pairs = freqs->dims / 2;
    PX_TRY(px_config_open(convert->file, &config));
    px_status status = px_config_rope(&config, NULL, &rope);
    px_config_done(&config);
    PX_TRY(status);
    if (rope.scaling.kind == PX_ROPE_LONG) {
        PX_TRY(add_table(convert, "rope_factors_long.weight", rope.scaling.long_factors, pairs));
        return add_table(convert, "rope_factors_short.weight", rope.scaling.short_factors, pairs);
    }
    if (rope.scaling.kind != PX_ROPE_LLAMA3) return px_ok();
    float divisors[PX_ROPE_PAIRS_MAX];
    for (uint32_t i = 0; i < pairs; i++)
        divisors[i] = (float)(pow(rope.theta, -2.0 * i / freqs->dims) / (double)freqs->freq[i]);
    return add_table(convert, "rope_freqs.weight", divisors, pairs);
}

/* What makes one vector of the hidden states, where the model says so. */
static px_status plan_pooling(px_convert *convert)
{
    static const char *const names[][2] = {
        {"dense_2.weight", "dense_2.bias"}, {"dense_3.weight", "dense_3.bias"}};
    px_pooling_dense dense;
    PX_TRY(px_pooling_open(convert->file, &convert->pooling));
    px_pooling_info info = px_pooling_describe(convert->pooling);
    for (uint32_t i = 0; px_pooling_dense_at(convert->pooling, i, &dense); i++) {
        if (!dense.is_plain || i == 2 || (info.is_scores && i == 1))
            return px_fail(PX_UNIMPLEMENTED,
                "GGUF holds no more than two dense layers without activation after pooling");
        const char *weight = info.is_scores ? "cls.output.weight" : names[i][0];
        const char *bias = info.is_scores ? "cls.output.bias" : names[i][1];
        add_values(convert, (px_tensor){.name = weight, .dims = 2, .shape = {dense.out, dense.in}},
            dense.weight);
        if (dense.bias)
            add_values(
                convert, (px_tensor){.name = bias, .dims = 1, .shape = {dense.out}}, dense.bias);
    }
    return px_ok();
}

static px_status plan_from_arch(px_convert *convert)
{
    const px_arch *arch = &convert->arch;
    PX_TRY(px_arch_read(convert->file, &convert->arch));
    for (px_role role = 0; role < PX_ROLE_FIRST_IN_LAYER; role++)
        PX_TRY(plan_role(convert, role, 0));
    for (uint32_t layer = 0; layer < arch->layer_count; layer++)
        for (px_role role = PX_ROLE_FIRST_IN_LAYER; role < PX_ROLE_COUNT; role++)
            PX_TRY(plan_role(convert, role, layer));
    for (uint32_t i = 0; i < convert->tensor_count; i++) /* all pieces are known now */
        choose_type(convert, &convert->tensors[i]);
    PX_TRY(plan_rotation(convert));
    return plan_pooling(convert);
}

/* --- from a GGUF ------------------------------------------------------------------------------ */

static px_tensor_kind kind_of_tensor(const px_tensor *tensor)
{
    if (tensor->dtype >= PX_I32 || strncmp(tensor->name, "rope_", 5) == 0) return PX_KIND_KEPT;
    if (tensor->dims == 1 || strstr(tensor->name, "ffn_gate_inp")) return PX_KIND_SMALL;
    bool table = strcmp(tensor->name, "token_embd.weight") == 0 ||
                 strcmp(tensor->name, "output.weight") == 0;
    return table ? PX_KIND_TABLE : PX_KIND_MATRIX;
}

static px_status plan_from_tensors(px_convert *convert)
{
    for (uint32_t t = 0; t < px_model_file_tensor_count(convert->file); t++) {
        const px_tensor *tensor = px_model_file_tensor_at(convert->file, t);
        uint32_t cols = (uint32_t)tensor->shape[tensor->dims - 1];
        uint64_t rows = 1;
        for (uint32_t d = 0; d + 1 < tensor->dims; d++) rows *= tensor->shape[d];
        if (rows > UINT32_MAX)
            return px_fail(PX_INVALID_ARGUMENT, "tensor '%s' has too many rows", tensor->name);
        px_planned *planned = append(convert);
        *planned = (px_planned){
            .like = *tensor, .rows = rows, .cols = cols, .kind = kind_of_tensor(tensor)};
        planned->like.data = NULL;
        add_piece(planned, &(px_piece){.row_step = 1,
                               .from = {.tensor = tensor,
                                   .dtype = tensor->dtype,
                                   .rows = (uint32_t)rows,
                                   .cols = cols,
                                   .data = tensor->data,
                                   .row_bytes = px_dtype_bytes(tensor->dtype, cols)}});
        choose_type(convert, planned);
    }
    return px_ok();
}

px_status px_convert_plan(px_convert *convert)
{
    px_arena_init(&convert->memory, MEMORY_BYTES_MAX);
    return px_model_file_gguf(convert->file) ? plan_from_tensors(convert) : plan_from_arch(convert);
}
