/* coded.c - finding weights of codes and scales; see coded.h. */
#include "engine/model/coded.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

enum { NAME_MAX_BYTES = 160, BLOCK = 32, WORD_BITS = 32 };

/* --- what config.json says --- */

static px_status check_method(const px_coded_settings *settings)
{
    static const char *const known[] = {
        "", "fp8", "fbgemm_fp8", "compressed-tensors", "modelopt", "gptq", "awq", "mxfp4"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(settings->method, known[i]) == 0) return px_ok();
    return px_fail(PX_UNIMPLEMENTED,
        "weights quantised by '%s' are not supported; known: fp8, fbgemm_fp8, compressed-tensors, "
        "modelopt, gptq, awq, mxfp4",
        settings->method);
}

/* Variants of GPTQ and AWQ that keep their codes in another order. */
static px_status check_layout(const px_coded_settings *settings, const char *layout)
{
    static const char *const known[] = {"", "gptq", "gptq_v2", "gemm", "exllama", "autoawq"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(layout, known[i]) == 0) return px_ok();
    return px_fail(PX_UNIMPLEMENTED,
        "%s weights in the layout '%.40s' are not supported; known: gptq, gptq_v2, gemm",
        settings->method, layout);
}

static px_status read_block(const json_t *block, px_coded_settings *out)
{
    if (!block || json_is_null(block)) return px_ok();
    json_int_t rows = json_integer_value(json_array_get(block, 0));
    json_int_t cols = json_integer_value(json_array_get(block, 1));
    if (json_array_size(block) != 2 || rows < 1 || cols < 1 || rows > 1 << 20 || cols > 1 << 20)
        return px_fail(PX_INVALID_ARGUMENT,
            "config.json: 'weight_block_size' must be two numbers, rows and columns");
    out->block_rows = (uint32_t)rows;
    out->block_cols = (uint32_t)cols;
    return px_ok();
}

px_status px_coded_settings_read(const json_t *config, px_coded_settings *out)
{
    static const char where[] = "config.json's quantization_config";
    *out = (px_coded_settings){.method = ""};
    const json_t *object = json_object_get(config, "quantization_config");
    if (!json_is_object(object)) object = json_object_get(config, "compression_config");
    if (!json_is_object(object)) return px_ok();
    const char *method = "", *layout = "", *version = "", *backend = "";
    PX_TRY(px_json_get_str(object, "method", where, &method));
    PX_TRY(px_json_get_str(object, "quant_method", where, &method));
    snprintf(out->method, sizeof out->method, "%s", method);
    PX_TRY(check_method(out));
    if (strcmp(method, "gptq") == 0) PX_TRY(px_json_get_str(object, "format", where, &layout));
    if (strcmp(method, "gptq") == 0)
        PX_TRY(px_json_get_str(object, "checkpoint_format", where, &layout));
    if (strcmp(method, "awq") == 0) {
        PX_TRY(px_json_get_str(object, "version", where, &version));
        PX_TRY(px_json_get_str(object, "backend", where, &backend));
    }
    PX_TRY(check_layout(out, layout));
    PX_TRY(check_layout(out, version));
    PX_TRY(check_layout(out, backend));
    out->zeros_as_written = strcmp(layout, "gptq_v2") == 0;
    return read_block(json_object_get(object, "weight_block_size"), out);
}

/* --- finding --- */

/* `name` without ".weight" and with `tail`. */
static const px_tensor *sibling(const px_model_file *file, const char *name, const char *tail)
{
    static const char weight[] = ".weight";
    char full[NAME_MAX_BYTES];
    size_t length = strlen(name);
    if (length < sizeof weight || strcmp(name + length - strlen(weight), weight) != 0) return NULL;
    int stem = (int)(length - strlen(weight));
    if (snprintf(full, sizeof full, "%.*s%s", stem, name, tail) >= (int)sizeof full) return NULL;
    return px_model_file_tensor(file, full);
}

const px_tensor *px_coded_tensor(const px_model_file *file, const char *name)
{
    const px_tensor *found = px_model_file_tensor(file, name);
    if (!found) found = sibling(file, name, ".qweight");
    if (!found) found = sibling(file, name, ".weight_packed");
    return found;
}

/* The tensor that takes the place of `old` at the end of `tensor`'s name. */
static const px_tensor *companion(
    const px_model_file *file, const px_tensor *tensor, const char *old, const char *tail)
{
    char name[NAME_MAX_BYTES];
    int stem = (int)(strlen(tensor->name) - strlen(old));
    if (snprintf(name, sizeof name, "%.*s%s", stem, tensor->name, tail) >= (int)sizeof name)
        return NULL;
    return px_model_file_tensor(file, name);
}

static bool ends_with(const char *text, const char *tail)
{
    size_t length = strlen(text), tail_length = strlen(tail);
    return length >= tail_length && strcmp(text + length - tail_length, tail) == 0;
}

static px_status check_matrix(const px_tensor *tensor, uint64_t rows, uint64_t cols)
{
    uint64_t is_rows = tensor->dims == 2 ? tensor->shape[0] : 0;
    if (is_rows == rows && tensor->shape[1] == cols) return px_ok();
    return px_fail(PX_INVALID_ARGUMENT,
        "tensor '%s' is %llu x %llu, but its weight needs %llu x %llu", tensor->name,
        (unsigned long long)is_rows, (unsigned long long)(tensor->dims == 2 ? tensor->shape[1] : 0),
        (unsigned long long)rows, (unsigned long long)cols);
}

static px_status check_type(const px_tensor *tensor, px_dtype dtype)
{
    if (tensor->dtype == dtype) return px_ok();
    return px_fail(PX_INVALID_ARGUMENT, "tensor '%s' has type %s, but its weight needs %s",
        tensor->name, px_dtype_of(tensor->dtype)->name, px_dtype_of(dtype)->name);
}

static px_status take_scales(const px_tensor *tensor, px_coded *out)
{
    px_dtype dtype = tensor->dtype == PX_U8 ? PX_F8_E8M0 : tensor->dtype; /* microscaling */
    if (px_dtype_of(dtype)->block_elements != 1 || (dtype >= PX_I32 && dtype != PX_F8_E8M0))
        return px_fail(PX_INVALID_ARGUMENT, "tensor '%s' has type %s, but scales are floats",
            tensor->name, px_dtype_of(dtype)->name);
    out->scales = tensor->data;
    out->scale = dtype;
    return px_ok();
}

static bool is_codes(px_dtype dtype)
{
    return dtype == PX_F8_E4M3 || dtype == PX_F8_E5M2 || dtype == PX_I8;
}

static uint64_t div_up(uint64_t a, uint64_t b)
{
    return (a + b - 1) / b;
}

/* How many rows and columns share a scale, from the shape of the scales of one slab. */
static px_status take_blocks(const px_tensor *scales, const uint64_t shape[2],
    const px_coded_settings *settings, const px_coded_place *place, px_coded *out)
{
    out->block_cols = place->cols;
    out->scale_row_step = shape[1];
    out->scale_col_step = 1;
    if (shape[0] == 1 && shape[1] == 1) {
        out->block_rows = place->total_rows;
        return px_ok();
    }
    if (shape[0] == place->total_rows && shape[1] == 1) {
        out->block_rows = 1;
        return px_ok();
    }
    out->block_rows = settings->block_rows ? settings->block_rows : 128;
    out->block_cols = settings->block_cols ? settings->block_cols : 128;
    if (shape[0] == div_up(place->total_rows, out->block_rows) &&
        shape[1] == div_up(place->cols, out->block_cols))
        return px_ok();
    if (place->total_rows % shape[0] == 0 && place->cols % shape[1] == 0) { /* says so itself */
        out->block_rows = place->total_rows / (uint32_t)shape[0];
        out->block_cols = place->cols / (uint32_t)shape[1];
        return px_ok();
    }
    return px_fail(PX_INVALID_ARGUMENT,
        "tensor '%s' is %llu x %llu; a weight of %u x %u in blocks of %u x %u needs %llu x %llu "
        "scales",
        scales->name, (unsigned long long)shape[0], (unsigned long long)shape[1], place->total_rows,
        place->cols, out->block_rows, out->block_cols,
        (unsigned long long)div_up(place->total_rows, out->block_rows),
        (unsigned long long)div_up(place->cols, out->block_cols));
}

static px_status find_bytes(const px_model_file *file, const px_coded_settings *settings,
    const px_tensor *tensor, const px_coded_place *place, px_coded *out)
{
    const px_tensor *scales = companion(file, tensor, "", "_scale_inv");
    if (!scales) scales = companion(file, tensor, "", "_scale");
    if (!scales && tensor->dtype != PX_I8 && !*settings->method) return px_ok(); /* plain floats */
    if (!scales)
        return px_fail(PX_NOT_FOUND, "tensor '%s' has no scales ('%s_scale_inv' or '%s_scale')",
            tensor->name, tensor->name, tensor->name);
    uint32_t slabs = place->experts ? place->experts : 1;
    /* What follows the slabs' own dimension: nothing, rows, or rows and columns. */
    uint32_t skip = place->experts && scales->dims > 1 ? 1 : 0;
    uint64_t shape[2] = {1, 1};
    for (uint32_t i = skip; i < scales->dims && i - skip < 2; i++)
        shape[i - skip] = scales->shape[i];
    if (scales->dims > 2 + skip || (skip && scales->shape[0] != slabs))
        return px_fail(PX_INVALID_ARGUMENT,
            "tensor '%s' has %u dimensions, which does not fit '%s'", scales->name, scales->dims,
            tensor->name);
    if (place->experts && !skip && scales->shape[0] == slabs) shape[0] = 1; /* one for each slab */
    PX_TRY(take_scales(scales, out));
    PX_TRY(take_blocks(scales, shape, settings, place, out));
    size_t slab = (size_t)(shape[0] * shape[1]);
    if (place->experts && scales->shape[0] == slabs)
        out->scales += place->expert * slab * px_dtype_of(scales->dtype)->block_bytes;
    out->coding = PX_CODING_BYTES;
    out->code = tensor->dtype;
    out->codes = (const unsigned char *)tensor->data +
                 (size_t)place->expert * place->total_rows * place->cols;
    out->code_words = place->cols;
    return px_ok();
}

/* Which group a column is of, where groups are no runs of columns. */
static px_status take_groups(const px_tensor *groups, uint32_t count, uint32_t cols, px_coded *out)
{
    PX_TRY(check_type(groups, PX_I32));
    if (groups->dims != 1 || groups->shape[0] != cols)
        return px_fail(PX_INVALID_ARGUMENT,
            "tensor '%s' does not name a group for each of %u columns", groups->name, cols);
    const unsigned char *data = groups->data;
    bool runs = cols % count == 0;
    for (uint32_t c = 0; c < cols; c++) {
        uint32_t group;
        memcpy(&group, data + (size_t)c * 4, sizeof group);
        if (group >= count)
            return px_fail(PX_INVALID_ARGUMENT, "tensor '%s' names group %u of %u", groups->name,
                group, count);
        runs = runs && group == c / (cols / count);
    }
    if (runs) return px_ok();
    out->group_of = data;
    out->groups = count;
    return px_ok();
}

static px_status need(const px_tensor *tensor, const px_tensor *of, const char *what)
{
    if (tensor) return px_ok();
    return px_fail(PX_NOT_FOUND, "tensor '%s' has no %s beside it", of->name, what);
}

/* GPTQ and AWQ: words of codes, [groups, out] scales, words of zeros. */
static px_status find_words(const px_model_file *file, const px_coded_settings *settings,
    const px_tensor *tensor, const px_coded_place *place, px_coded *out)
{
    const char *old = ".qweight";
    const px_tensor *scales = companion(file, tensor, old, ".scales"),
                    *zeros = companion(file, tensor, old, ".qzeros"),
                    *groups = companion(file, tensor, old, ".g_idx");
    uint32_t rows = place->total_rows, cols = place->cols;
    PX_TRY(check_type(tensor, PX_I32));
    PX_TRY(need(scales, tensor, ".scales"));
    PX_TRY(need(zeros, tensor, ".qzeros"));
    PX_TRY(check_type(zeros, PX_I32));
    uint64_t lines = tensor->dims == 2 ? tensor->shape[0] : 0;
    bool awq = strcmp(settings->method, "awq") == 0;
    uint64_t bits = awq ? 4 : lines * WORD_BITS / cols;
    if ((bits != 2 && bits != 3 && bits != 4 && bits != 8) || bits * cols % WORD_BITS ||
        bits * rows % WORD_BITS)
        return px_fail(PX_UNIMPLEMENTED, "tensor '%s' would have codes of %llu bits for %u x %u",
            tensor->name, (unsigned long long)bits, rows, cols);
    uint32_t row_words = (uint32_t)(bits * rows / WORD_BITS);
    uint64_t count = scales->dims == 2 ? scales->shape[0] : 0;
    if (!count || count > cols)
        return px_fail(PX_INVALID_ARGUMENT, "tensor '%s' has no scales for groups", scales->name);
    PX_TRY(check_matrix(tensor, awq ? cols : bits * cols / WORD_BITS, awq ? row_words : rows));
    PX_TRY(check_matrix(scales, count, rows));
    PX_TRY(check_matrix(zeros, count, row_words));
    PX_TRY(take_scales(scales, out));
    if (groups && !awq) PX_TRY(take_groups(groups, (uint32_t)count, cols, out));
    if (!out->group_of && cols % count)
        return px_fail(PX_INVALID_ARGUMENT, "%u columns cannot be %llu even groups ('%s')", cols,
            (unsigned long long)count, scales->name);
    out->coding = awq ? PX_CODING_AWQ : PX_CODING_GPTQ;
    out->bits = (uint32_t)bits;
    out->codes = tensor->data;
    out->code_words = (uint32_t)tensor->shape[1];
    out->zeros = zeros->data;
    out->zero_words = row_words;
    out->block_rows = 1;
    out->block_cols = cols / (uint32_t)count;
    out->scale_row_step = 1;
    out->scale_col_step = rows;
    /* One more for every code of a word, as it was taken away: with carries between them. */
    if (!awq && !settings->zeros_as_written)
        out->zero_carry = bits == 2 ? 0x55555555 : bits == 4 ? 0x11111111 : 0x01010101;
    return px_ok();
}

/* compressed-tensors: words of codes along the row, offset by half their range. */
static px_status find_packed(
    const px_model_file *file, const px_tensor *tensor, const px_coded_place *place, px_coded *out)
{
    const char *old = "_packed";
    const px_tensor *scales = companion(file, tensor, old, "_scale"),
                    *zeros = companion(file, tensor, old, "_zero_point"),
                    *groups = companion(file, tensor, old, "_g_idx");
    uint32_t rows = place->total_rows, cols = place->cols;
    PX_TRY(check_type(tensor, PX_I32));
    PX_TRY(need(scales, tensor, "_scale"));
    uint64_t words = tensor->dims == 2 ? tensor->shape[1] : 0;
    uint64_t bits = words ? words * WORD_BITS / cols : 0;
    if ((bits != 2 && bits != 4 && bits != 8) || bits * cols % WORD_BITS)
        return px_fail(PX_UNIMPLEMENTED, "tensor '%s' would have codes of %llu bits for %u x %u",
            tensor->name, (unsigned long long)bits, rows, cols);
    uint64_t count = scales->dims == 2 ? scales->shape[1] : 1;
    if (!count || count > cols || cols % count)
        return px_fail(
            PX_INVALID_ARGUMENT, "tensor '%s' has no scales for even groups", scales->name);
    PX_TRY(check_matrix(tensor, rows, bits * cols / WORD_BITS));
    PX_TRY(check_matrix(scales, rows, count));
    PX_TRY(take_scales(scales, out));
    if (groups) PX_TRY(take_groups(groups, (uint32_t)count, cols, out));
    if (zeros) {
        PX_TRY(check_type(zeros, PX_I32));
        PX_TRY(check_matrix(zeros, div_up(rows * bits, WORD_BITS), count));
        out->zeros = zeros->data;
        out->zero_words = (uint32_t)count;
    }
    out->coding = PX_CODING_PACKED;
    out->bits = (uint32_t)bits;
    out->codes = tensor->data;
    out->code_words = (uint32_t)words;
    out->zero_of_all = 1u << (bits - 1);
    out->block_rows = 1;
    out->block_cols = cols / (uint32_t)count;
    out->scale_row_step = count;
    out->scale_col_step = 1;
    return px_ok();
}

/* --- blocks, and an order of the columns that fills them --- */

/* The format whose blocks hold this exactly, if groups are whole blocks. */
static px_dtype block_type(const px_coded *coded)
{
    if (coded->coding == PX_CODING_BYTES && coded->code == PX_F8_E4M3) return PX_SCALED_F8;
    return coded->coding != PX_CODING_BYTES && coded->bits <= 4 ? PX_SCALED_U4 : PX_SCALED_F16;
}

static px_dtype type_as_it_lies(const px_coded *coded)
{
    bool whole = coded->block_cols % BLOCK == 0 || coded->block_cols >= coded->cols;
    return coded->group_of || !whole || coded->cols % BLOCK ? PX_F32 : block_type(coded);
}

px_dtype px_coded_turned_type(const px_coded *coded, uint32_t rows)
{
    bool of_bytes = coded->coding == PX_CODING_BYTES && coded->row_step == 1;
    bool whole = coded->block_rows % BLOCK == 0 && coded->first_row % BLOCK == 0;
    return of_bytes && whole && rows % BLOCK == 0 ? block_type(coded) : PX_F32;
}

/* How many columns each group has; to be freed. */
static uint32_t *count_columns(const px_coded *coded)
{
    uint32_t *counts = px_alloc_array(coded->groups, sizeof *counts);
    for (uint32_t c = 0; c < coded->cols; c++) counts[px_coded_group_of(coded, c)]++;
    return counts;
}

/* Blocks that are not full may take more than plain floats. */
static void consider_order(px_coded *coded)
{
    px_dtype dtype = block_type(coded);
    uint32_t *counts = count_columns(coded);
    uint64_t blocks = 0;
    for (uint32_t g = 0; g < coded->groups; g++) blocks += div_up(counts[g], BLOCK);
    free(counts);
    if (blocks * px_dtype_of(dtype)->block_bytes >= coded->cols * sizeof(float)) return;
    coded->ordered_cols = (uint32_t)blocks * BLOCK;
    coded->ordered_dtype = dtype;
}

void px_coded_order(const px_coded *coded, uint32_t *out)
{
    uint32_t *next = count_columns(coded), begin = 0; /* where a group's next column goes */
    for (uint32_t g = 0; g < coded->groups; g++) {
        uint32_t count = next[g];
        next[g] = begin;
        begin += (uint32_t)div_up(count, BLOCK) * BLOCK;
    }
    for (uint32_t c = 0; c < coded->cols; c++) out[next[px_coded_group_of(coded, c)]++] = c;
    for (uint32_t g = 0; g < coded->groups; g++)
        for (; next[g] % BLOCK; next[g]++) out[next[g]] = out[next[g] - 1];
    free(next);
}

bool px_coded_same_order(const px_coded *a, const px_coded *b)
{
    if (a->cols != b->cols || a->ordered_cols != b->ordered_cols) return false;
    if (!a->group_of || !b->group_of)
        return a->group_of == b->group_of && a->block_cols == b->block_cols;
    return a->group_of == b->group_of ||
           memcmp(a->group_of, b->group_of, (size_t)a->cols * sizeof(uint32_t)) == 0;
}

/* --- what a tensor is --- */

px_status px_coded_find(const px_model_file *file, const px_coded_settings *settings,
    const px_tensor *tensor, const px_coded_place *place, px_coded *out, px_dtype *out_dtype)
{
    *out = (px_coded){.first_row = place->first_row, .row_step = place->row_step};
    *out_dtype = tensor->dtype;
    if (is_codes(tensor->dtype))
        PX_TRY(find_bytes(file, settings, tensor, place, out));
    else if (ends_with(tensor->name, ".qweight") && !place->experts)
        PX_TRY(find_words(file, settings, tensor, place, out));
    else if (ends_with(tensor->name, ".weight_packed") && !place->experts)
        PX_TRY(find_packed(file, tensor, place, out));
    if (!out->coding) return px_ok();
    out->cols = place->cols;
    out->groups = out->groups ? out->groups : (uint32_t)div_up(out->cols, out->block_cols);
    *out_dtype = type_as_it_lies(out);
    if (*out_dtype == PX_F32) consider_order(out);
    return px_ok();
}
