/* find.c - where a weight lies in the file: its tensor's name, the shape that must have, its rows.
 */
#include <stdio.h>
#include <string.h>

#include "engine/model/family.h"

void px_name_fill(
    const char *pattern, const char *prefix, px_weight_id id, char out[PX_TENSOR_NAME_MAX])
{
    static const char model[] = "model.";
    bool has_prefix = prefix && strncmp(pattern, model, strlen(model)) == 0;
    const uint32_t numbers[] = {id.layer, id.expert};
    size_t used = 0, filled = 0;
    if (has_prefix) {
        used = (size_t)snprintf(out, PX_TENSOR_NAME_MAX, "%s", prefix);
        pattern += strlen(model);
    }
    while (*pattern && used < PX_TENSOR_NAME_MAX - 11) {
        if (pattern[0] == '%' && pattern[1] == 'u') {
            used +=
                (size_t)snprintf(out + used, PX_TENSOR_NAME_MAX - used, "%u", numbers[filled++]);
            pattern += 2;
        } else {
            out[used++] = *pattern++;
        }
    }
    out[used] = '\0';
}

/* The tensor that holds a weight, by the first of its names that the file has. */
static px_status find_tensor(const px_arch *arch, const px_model_file *file, px_weight_id id,
    const px_tensor **out, px_take *out_take)
{
    char name[PX_TENSOR_NAME_MAX], first_name[PX_TENSOR_NAME_MAX] = "";
    const px_name *known;
    for (uint32_t i = 0; (known = px_family_name(arch->family, arch->from_gguf, id.role, i)); i++) {
        px_name_fill(known->pattern, arch->tensor_prefix, id, name);
        if (i == 0) memcpy(first_name, name, sizeof name);
        *out = px_coded_tensor(file, name);
        *out_take = known->take;
        if (*out) return px_ok();
    }
    if (*first_name)
        return px_fail(
            PX_NOT_FOUND, "tensor '%s' (%s) is missing", first_name, px_role_of(id.role)->what);
    return px_fail(PX_UNIMPLEMENTED, "%s models have no tensor for the %s in this format",
        arch->family->name, px_role_of(id.role)->what);
}

static void print_shape(const px_tensor *tensor, char out[96])
{
    int used = 0;
    for (uint32_t i = 0; i < tensor->dims; i++)
        used += snprintf(out + used, 96 - (size_t)used, i ? " x %llu" : "%llu",
            (unsigned long long)tensor->shape[i]);
}

static px_status check_shape(const px_tensor *tensor, const px_tensor *wanted, const char *what)
{
    const uint64_t *shape = tensor->shape;
    uint32_t dims = tensor->dims;
    while (dims > wanted->dims && *shape == 1) shape++, dims--; /* [1, n] is as good as [n] */
    if (dims == wanted->dims && memcmp(shape, wanted->shape, dims * sizeof *shape) == 0)
        return px_ok();
    char is[96], should[96];
    print_shape(tensor, is);
    print_shape(wanted, should);
    return px_fail(PX_INVALID_ARGUMENT, "tensor '%s' (%s) is %s, but the model's settings need %s",
        tensor->name, what, is, should);
}

px_placing px_take_place(const px_arch *arch, px_role role, px_take take, uint32_t rows)
{
    uint32_t q = px_axis_size(arch, PX_AXIS_Q), k = px_axis_size(arch, PX_AXIS_K),
             v = px_axis_size(arch, PX_AXIS_V);
    switch (take) {
    case PX_TAKE_ALL: break;
    case PX_TAKE_QKV:
        if (role == PX_ROLE_K || role == PX_ROLE_K_BIAS)
            return (px_placing){.begin = q, .step = 1, .total = q + k + v};
        if (role == PX_ROLE_V || role == PX_ROLE_V_BIAS)
            return (px_placing){.begin = q + k, .step = 1, .total = q + k + v};
        return (px_placing){.step = 1, .total = q + k + v};
    case PX_TAKE_FIRST_HALF: return (px_placing){.step = 1, .total = 2 * rows};
    case PX_TAKE_SECOND_HALF: return (px_placing){.begin = rows, .step = 1, .total = 2 * rows};
    case PX_TAKE_EXPERT:
    case PX_TAKE_EXPERT_MXFP4: return (px_placing){.step = 1, .total = rows, .stacked = true};
    case PX_TAKE_EXPERT_FIRST_HALF:
        return (px_placing){.step = 1, .total = 2 * rows, .stacked = true};
    case PX_TAKE_EXPERT_SECOND_HALF:
        return (px_placing){.begin = rows, .step = 1, .total = 2 * rows, .stacked = true};
    case PX_TAKE_EXPERT_EVEN:
    case PX_TAKE_EXPERT_MXFP4_EVEN:
        return (px_placing){.step = 2, .total = 2 * rows, .stacked = true};
    case PX_TAKE_EXPERT_ODD:
    case PX_TAKE_EXPERT_MXFP4_ODD:
        return (px_placing){.begin = 1, .step = 2, .total = 2 * rows, .stacked = true};
    case PX_TAKE_EXPERT_TURNED:
        return (px_placing){.step = 1, .total = rows, .stacked = true, .turned = true};
    case PX_TAKE_EXPERT_TURNED_EVEN:
        return (px_placing){.step = 2, .total = 2 * rows, .stacked = true, .turned = true};
    case PX_TAKE_EXPERT_TURNED_ODD:
        return (px_placing){
            .begin = 1, .step = 2, .total = 2 * rows, .stacked = true, .turned = true};
    case PX_TAKE_HEAD_KEY:
    case PX_TAKE_HEAD_VALUE: break; /* find_in_head() */
    }
    return (px_placing){.step = 1, .total = rows};
}

static bool is_mxfp4_parts(px_take take)
{
    return take == PX_TAKE_EXPERT_MXFP4 || take == PX_TAKE_EXPERT_MXFP4_EVEN ||
           take == PX_TAKE_EXPERT_MXFP4_ODD;
}

static px_tensor wanted_shape(const px_arch *arch, px_weight_id id, px_placing place, uint32_t cols)
{
    const px_role_traits *traits = px_role_of(id.role);
    px_tensor wanted = {.dims = 0};
    if (place.stacked) wanted.shape[wanted.dims++] = px_arch_count(arch, id.role, id.layer);
    if (place.turned) wanted.shape[wanted.dims++] = cols;
    if (traits->rows != PX_AXIS_ONE) wanted.shape[wanted.dims++] = place.total;
    if (!place.turned && traits->cols != PX_AXIS_ONE) wanted.shape[wanted.dims++] = cols;
    return wanted;
}

/* A weight of codes and scales; *out_found is false if it is none. */
static px_status find_coded(const px_arch *arch, const px_model_file *file, px_placing place,
    px_weight_id id, px_weight_view *view, bool *out_found)
{
    const px_coded_place at = {.rows = view->rows,
        .cols = view->cols,
        .first_row = place.begin,
        .row_step = place.step,
        .total_rows = place.total,
        .expert = place.stacked ? id.expert : 0,
        .experts = place.stacked ? arch->experts.count : 0};
    PX_TRY(px_coded_find(file, &arch->coded, view->tensor, &at, &view->coded, &view->dtype));
    *out_found = view->coded.coding != PX_CODING_NONE;
    uint64_t slab = view->tensor->bytes / (at.experts ? at.experts : 1);
    view->data = (const unsigned char *)view->tensor->data + at.expert * slab;
    view->row_bytes = slab / place.total;
    return px_ok();
}

/* MXFP4 as safetensors files have it: codes in one tensor, exponents in another. */
static px_status find_mxfp4_parts(const px_model_file *file, const px_tensor *blocks,
    px_placing place, px_weight_id id, px_weight_view *view)
{
    enum { BLOCK = 32, CODE_BYTES = 16 };
    const char *what = px_role_of(id.role)->what;
    char name[PX_TENSOR_NAME_MAX];
    snprintf(name, sizeof name, "%.*s_scales", (int)(strlen(blocks->name) - strlen("_blocks")),
        blocks->name);
    const px_tensor *scales = px_model_file_tensor(file, name);
    if (!scales) return px_fail(PX_NOT_FOUND, "tensor '%s' (%s) is missing", name, what);
    px_tensor wanted = {
        .dims = 4, .shape = {blocks->shape[0], place.total, view->cols / BLOCK, CODE_BYTES}};
    PX_TRY(check_shape(blocks, &wanted, what));
    wanted.dims = 3;
    PX_TRY(check_shape(scales, &wanted, what));
    if (blocks->dtype != PX_U8 || scales->dtype != PX_U8 || view->cols % BLOCK)
        return px_fail(
            PX_INVALID_ARGUMENT, "tensor '%s' (%s) does not hold MXFP4 bytes", blocks->name, what);
    size_t row = (size_t)id.expert * place.total + place.begin, scale_bytes = view->cols / BLOCK;
    view->dtype = PX_MXFP4;
    view->data = (const unsigned char *)blocks->data + row * scale_bytes * CODE_BYTES;
    view->row_bytes = place.step * scale_bytes * CODE_BYTES;
    view->scales = (const unsigned char *)scales->data + row * scale_bytes;
    view->scale_row_bytes = place.step * scale_bytes;
    return px_ok();
}

static px_status check_type(const px_tensor *tensor, bool must_be_plain, const char *what)
{
    const px_dtype_traits *dtype = px_dtype_of(tensor->dtype);
    bool plain = dtype->block_elements == 1 && tensor->dtype < PX_I32;
    if (tensor->dtype < PX_I32 && (plain || !must_be_plain)) return px_ok();
    return px_fail(PX_UNIMPLEMENTED, "tensor '%s' (%s) has type %s, which cannot be used there",
        tensor->name, what, dtype->name);
}

/* Latent attention's keys and values of a head, which follow each other in one tensor [heads *
 * (plain + value), rank]. The key's rows are our columns. */
static px_status find_in_head(const px_arch *arch, const px_model_file *file, px_take take,
    px_weight_id id, px_weight_view *view)
{
    const px_tensor *tensor = view->tensor;
    const char *what = px_role_of(id.role)->what;
    uint32_t plain = px_axis_size(arch, PX_AXIS_HEAD_PLAIN), rank = arch->latent.kv_rank;
    uint32_t of_head = plain + arch->head_v;
    px_tensor wanted = {.dims = 2, .shape = {(uint64_t)arch->heads * of_head, rank}};
    bool turned = take == PX_TAKE_HEAD_KEY;
    uint32_t first = id.head * of_head + (turned ? 0 : plain);
    const px_coded_place at = {.rows = turned ? plain : arch->head_v,
        .cols = rank,
        .first_row = first,
        .row_step = 1,
        .total_rows = arch->heads * of_head};
    if (tensor->dtype != PX_I32) PX_TRY(check_shape(tensor, &wanted, what));
    PX_TRY(px_coded_find(file, &arch->coded, tensor, &at, &view->coded, &view->dtype));
    if (view->coded.coding) {
        view->data = tensor->data;
        view->is_turned_blocks = turned;
        if (!turned) return px_ok();
        view->coded.ordered_cols = 0;
        view->dtype = px_coded_turned_type(&view->coded, plain);
        return px_ok();
    }
    PX_TRY(check_shape(tensor, &wanted, what));
    PX_TRY(check_type(tensor, false, what));
    size_t line_bytes = px_dtype_bytes(tensor->dtype, rank);
    view->data = (const unsigned char *)tensor->data + first * line_bytes;
    view->row_bytes = line_bytes;
    if (!turned) return px_ok();
    view->col_bytes = line_bytes;
    view->row_bytes = px_dtype_of(tensor->dtype)->block_bytes;
    if (px_dtype_of(tensor->dtype)->block_elements > 1) {
        view->is_turned_blocks = true;
        view->dtype = PX_F32;
    }
    return px_ok();
}

px_status px_arch_find(
    const px_arch *arch, const px_model_file *file, px_weight_id id, px_weight_view *out)
{
    const px_role_traits *traits = px_role_of(id.role);
    const px_tensor *tensor = NULL;
    px_take take = PX_TAKE_ALL;
    PX_TRY(find_tensor(arch, file, id, &tensor, &take));
    uint32_t rows = px_axis_size(arch, traits->rows), cols = px_axis_size(arch, traits->cols);
    px_placing place = px_take_place(arch, id.role, take, rows);
    *out = (px_weight_view){.tensor = tensor, .dtype = tensor->dtype, .rows = rows, .cols = cols};
    if (is_mxfp4_parts(take)) {
        if (tensor->shape[0] != arch->experts.count)
            return px_fail(PX_INVALID_ARGUMENT, "tensor '%s' is not of %u experts", tensor->name,
                arch->experts.count);
        return find_mxfp4_parts(file, tensor, place, id, out);
    }
    if (take == PX_TAKE_HEAD_KEY || take == PX_TAKE_HEAD_VALUE)
        return find_in_head(arch, file, take, id, out);
    px_tensor wanted = wanted_shape(arch, id, place, cols);
    bool must_be_plain = traits->cols == PX_AXIS_ONE || place.turned;
    if (tensor->dtype != PX_I32) PX_TRY(check_shape(tensor, &wanted, traits->what));
    if (!must_be_plain && id.role != PX_ROLE_EMBED) {
        bool found;
        PX_TRY(find_coded(arch, file, place, id, out, &found));
        if (found) return px_ok();
    }
    PX_TRY(check_type(tensor, must_be_plain, traits->what));
    const px_dtype_traits *dtype = px_dtype_of(tensor->dtype);
    size_t line_bytes = px_dtype_bytes(tensor->dtype, place.turned ? place.total : cols);
    size_t slab_bytes = line_bytes * (place.turned ? cols : place.total);
    size_t next_bytes = place.turned ? dtype->block_bytes : line_bytes; /* from row to row */
    out->data = (const unsigned char *)tensor->data + (place.stacked ? id.expert * slab_bytes : 0) +
                place.begin * next_bytes;
    out->row_bytes = place.step * next_bytes;
    out->col_bytes = place.turned ? line_bytes : 0;
    return px_ok();
}
