/* coded.c - finding and putting together weights of codes and scales; see coded.h. */
#include "engine/model/coded.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"

enum { NAME_MAX_BYTES = 160, BLOCK = 32, WORD_BITS = 32, ROWS_AT_ONCE = 16 };

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
    if (!runs) out->group_of = data;
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

/* The format whose blocks hold this exactly. */
static px_dtype dtype_for(const px_coded *coded, uint32_t cols)
{
    bool whole = coded->block_cols % BLOCK == 0 || coded->block_cols >= cols;
    if (coded->group_of || !whole || cols % BLOCK) return PX_F32;
    if (coded->coding == PX_CODING_BYTES && coded->code == PX_F8_E4M3) return PX_SCALED_F8;
    return coded->coding != PX_CODING_BYTES && coded->bits <= 4 ? PX_SCALED_U4 : PX_SCALED_F16;
}

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
    if (out->coding) *out_dtype = dtype_for(out, place->cols);
    return px_ok();
}

/* --- putting together --- */

static uint32_t word_at(const unsigned char *words, size_t index)
{
    uint32_t word;
    memcpy(&word, words + index * sizeof word, sizeof word);
    return word;
}

/* Where AWQ keeps output r of a word's eight. */
static uint32_t awq_shift(uint32_t row)
{
    static const uint8_t nibble[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    return 4u * nibble[row % 8];
}

/* Number `index` of a stream of codes, word i of which is at words[i * step]. */
static uint32_t code_of_stream(
    const px_coded *c, const unsigned char *words, size_t step, uint32_t index)
{
    size_t bit = (size_t)index * c->bits, word = bit / WORD_BITS, shift = bit % WORD_BITS;
    uint64_t pair = word_at(words, word * step);
    if (shift + c->bits > WORD_BITS) pair |= (uint64_t)word_at(words, (word + 1) * step) << 32;
    return (uint32_t)(pair >> shift) & ((1u << c->bits) - 1);
}

static uint32_t code_at(const px_coded *c, size_t row, uint32_t col)
{
    switch (c->coding) {
    case PX_CODING_GPTQ: return code_of_stream(c, c->codes + row * 4, c->code_words, col);
    case PX_CODING_AWQ:
        return word_at(c->codes, (size_t)col * c->code_words + row / 8) >>
                   awq_shift((uint32_t)row) &
               15;
    default: return code_of_stream(c, c->codes + row * c->code_words * 4, 1, col);
    }
}

static uint32_t group_at(const px_coded *c, uint32_t col)
{
    return c->group_of ? word_at(c->group_of, col) : col / c->block_cols;
}

static float scale_at(const px_coded *c, size_t row, uint32_t group)
{
    size_t index = row / c->block_rows * c->scale_row_step + group * c->scale_col_step;
    float scale;
    px_dtype_to_f32(c->scale, c->scales + index * px_dtype_of(c->scale)->block_bytes, &scale, 1);
    return scale;
}

static uint32_t zero_at(const px_coded *c, uint32_t row, uint32_t group)
{
    if (!c->zeros) return c->zero_of_all;
    const unsigned char *line = c->zeros + (size_t)group * c->zero_words * 4;
    if (c->coding == PX_CODING_AWQ) return word_at(line, row / 8) >> awq_shift(row) & 15;
    if (c->coding == PX_CODING_PACKED)
        return code_of_stream(c, c->zeros + (size_t)group * 4, c->zero_words, row);
    if (c->bits == 3) return (code_of_stream(c, line, 1, row) + (c->zero_carry & 1)) & 7;
    uint32_t each = WORD_BITS / c->bits;
    uint32_t word = word_at(line, row / each) + c->zero_carry;
    return word >> (row % each * c->bits) & ((1u << c->bits) - 1);
}

/* The code of BYTES as a number. */
static float byte_at(const px_coded *c, size_t row, uint32_t col)
{
    const unsigned char *at = c->codes + row * c->code_words + col;
    float value;
    if (c->code == PX_I8) return (float)(int8_t)*at;
    px_dtype_to_f32(c->code, at, &value, 1);
    return value;
}

/* The code less its zero. */
static float number_at(const px_coded *c, uint32_t row, uint32_t col)
{
    if (c->coding == PX_CODING_BYTES) return byte_at(c, row, col);
    return (float)((int)code_at(c, row, col) - (int)zero_at(c, row, group_at(c, col)));
}

/* 32 columns of a row as four bits each, in order; `col` begins a block. */
static void put_nibbles(const px_coded *c, uint32_t row, uint32_t col, unsigned char *to)
{
    if (c->coding == PX_CODING_AWQ) {
        const unsigned char *words = c->codes + ((size_t)col * c->code_words + row / 8) * 4;
        uint32_t shift = awq_shift(row);
        for (size_t i = 0; i < BLOCK; i += 2) {
            uint32_t even = word_at(words, i * c->code_words) >> shift & 15;
            uint32_t odd = word_at(words, (i + 1) * c->code_words) >> shift & 15;
            to[i / 2] = (unsigned char)(even | odd << 4);
        }
        return;
    }
    if (c->bits == 4) { /* a word holds eight columns in our order */
        bool gptq = c->coding == PX_CODING_GPTQ;
        const unsigned char *words = c->codes + (gptq ? row : (size_t)row * c->code_words) * 4;
        for (size_t i = 0; i < BLOCK / 8; i++) {
            uint32_t word = word_at(words, (col / 8 + i) * (gptq ? c->code_words : 1));
            memcpy(to + i * 4, &word, sizeof word);
        }
        return;
    }
    for (uint32_t i = 0; i < BLOCK; i += 2)
        to[i / 2] = (unsigned char)(code_at(c, row, col + i) | code_at(c, row, col + i + 1) << 4);
}

static void put_halves(const px_coded *c, uint32_t row, uint32_t col, unsigned char *to)
{
    for (uint32_t i = 0; i < BLOCK; i++) {
        uint16_t half = px_f32_to_f16(number_at(c, row, col + i));
        memcpy(to + (size_t)i * 2, &half, sizeof half);
    }
}

/* What a row's blocks of one group have in common. */
typedef struct group_head {
    uint32_t group;
    float scale;
    unsigned char zero;
} group_head;

static void put_block(const px_coded *c, px_dtype dtype, uint32_t row, uint32_t col,
    group_head *head, unsigned char *to)
{
    uint32_t group = group_at(c, col);
    if (group != head->group) {
        *head = (group_head){.group = group, .scale = scale_at(c, row, group)};
        if (dtype == PX_SCALED_U4) head->zero = (unsigned char)zero_at(c, row, group);
    }
    memcpy(to, &head->scale, sizeof head->scale);
    to += sizeof head->scale;
    switch (dtype) {
    case PX_SCALED_U4:
        *to = head->zero;
        put_nibbles(c, row, col, to + 1);
        break;
    case PX_SCALED_F8: memcpy(to, c->codes + (size_t)row * c->code_words + col, BLOCK); break;
    default: put_halves(c, row, col, to);
    }
}

static void put_values(const px_coded *c, uint32_t row, uint32_t cols, unsigned char *to)
{
    for (uint32_t i = 0; i < cols; i++) {
        uint32_t col = c->first_col + i;
        float value = scale_at(c, row, group_at(c, col)) * number_at(c, row, col);
        memcpy(to + (size_t)i * 4, &value, sizeof value);
    }
}

/* Words of GPTQ and AWQ hold several columns or rows, and the next word of a row is far away: some
 * rows go together, so that a line of the cache is read once for them. */
static void put_rows(const px_coded *c, px_dtype dtype, uint32_t first, uint32_t rows,
    uint32_t cols, unsigned char *to)
{
    size_t row_bytes = px_dtype_bytes(dtype, cols), block_bytes = px_dtype_of(dtype)->block_bytes;
    group_head heads[ROWS_AT_ONCE];
    for (uint32_t r = 0; r < rows; r++) heads[r].group = UINT32_MAX;
    for (uint32_t i = 0; i < cols; i += BLOCK) {
        for (uint32_t r = 0; r < rows; r++) {
            put_block(c, dtype, c->first_row + (first + r) * c->row_step, c->first_col + i,
                &heads[r], to + r * row_bytes + i / BLOCK * block_bytes);
        }
    }
}

void px_coded_assemble(const px_coded *c, px_dtype dtype, px_coded_part part, unsigned char *to)
{
    size_t row_bytes = px_dtype_bytes(dtype, part.cols);
    for (uint32_t r = 0; r < part.rows; r += ROWS_AT_ONCE, to += ROWS_AT_ONCE * row_bytes) {
        uint32_t rows = part.rows - r < ROWS_AT_ONCE ? part.rows - r : ROWS_AT_ONCE;
        if (dtype != PX_F32) put_rows(c, dtype, part.first_row + r, rows, part.cols, to);
        for (uint32_t i = 0; i < rows && dtype == PX_F32; i++)
            put_values(c, c->first_row + (part.first_row + r + i) * c->row_step, part.cols,
                to + i * row_bytes);
    }
}
