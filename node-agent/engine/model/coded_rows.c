/* coded_rows.c - putting together rows of codes and scales; see coded.h. */
#include <string.h>

#include "engine/model/coded.h"

enum { BLOCK = 32, WORD_BITS = 32, ROWS_AT_ONCE = 16, CODES = 256 };

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
    return (float)((int)code_at(c, row, col) - (int)zero_at(c, row, px_coded_group_of(c, col)));
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

/* Does column `i` of the ordered block at `at` only fill it? Then it weighs nothing. */
static bool is_filler(const px_coded *c, uint32_t at, uint32_t i)
{
    return i && c->order[at + i] == c->order[at + i - 1];
}

static void put_bytes(const px_coded *c, uint32_t row, uint32_t at, unsigned char *to)
{
    const unsigned char *codes = c->codes + (size_t)row * c->code_words;
    if (!c->order) memcpy(to, codes + at, BLOCK);
    for (uint32_t i = 0; c->order && i < BLOCK; i++)
        to[i] = is_filler(c, at, i) ? 0 : codes[c->order[at + i]];
}

/* The same of codes that are no E4M3. */
static void put_bytes_as_halves(const px_coded *c, uint32_t row, uint32_t at, unsigned char *to)
{
    for (uint32_t i = 0; i < BLOCK; i++) {
        uint32_t col = c->order ? c->order[at + i] : at + i;
        bool empty = c->order && is_filler(c, at, i);
        uint16_t half = empty ? 0 : px_f32_to_f16(byte_at(c, row, col));
        memcpy(to + (size_t)i * 2, &half, sizeof half);
    }
}

/* Column `col` of 32 rows. */
static void put_turned_codes(
    const px_coded *c, px_dtype dtype, uint32_t row, uint32_t col, unsigned char *to)
{
    for (uint32_t i = 0; i < BLOCK; i++) {
        if (dtype == PX_SCALED_F8) {
            to[i] = c->codes[(size_t)(row + i) * c->code_words + col];
            continue;
        }
        uint16_t half = px_f32_to_f16(byte_at(c, row + i, col));
        memcpy(to + (size_t)i * 2, &half, sizeof half);
    }
}

/* What a row's blocks of one group have in common. */
typedef struct group_head {
    uint32_t group;
    float scale;
    unsigned char zero;
} group_head;

/* Some rows of one block of columns, as they lie or in c's order. */
typedef struct tile {
    uint32_t first_row, rows; /* of the tensor: row_step apart */
    uint32_t at;              /* the block's first column */
    group_head *heads;        /* [rows] */
    unsigned char *to;        /* the first row's block */
    size_t row_bytes;
} tile;

static uint32_t tile_row(const px_coded *c, const tile *t, uint32_t r)
{
    return t->first_row + r * c->row_step;
}

static void put_heads(const px_coded *c, px_dtype dtype, const tile *t)
{
    uint32_t group = px_coded_group_of(c, c->order ? c->order[t->at] : t->at);
    for (uint32_t r = 0; r < t->rows; r++) {
        group_head *head = &t->heads[r];
        unsigned char *to = t->to + r * t->row_bytes;
        if (group != head->group) {
            uint32_t row = tile_row(c, t, r);
            *head = (group_head){.group = group, .scale = scale_at(c, row, group)};
            if (c->coding != PX_CODING_BYTES) head->zero = (unsigned char)zero_at(c, row, group);
        }
        memcpy(to, &head->scale, sizeof head->scale);
        if (dtype == PX_SCALED_U4) to[sizeof head->scale] = head->zero;
    }
}

/* Codes of a tile, column by column. */
typedef uint8_t tile_codes[BLOCK][ROWS_AT_ONCE];

static void read_column(const px_coded *c, const tile *t, uint32_t col, uint8_t *restrict out)
{
    uint32_t rows = t->rows;
    if (c->coding == PX_CODING_GPTQ && c->bits != 3 && c->row_step == 1) {
        /* A word holds whole codes, and the words of rows stand side by side. */
        uint32_t each = WORD_BITS / c->bits, shift = col % each * c->bits;
        uint32_t mask = (1u << c->bits) - 1;
        const unsigned char *words =
            c->codes + ((size_t)(col / each) * c->code_words + t->first_row) * 4;
        if (rows == ROWS_AT_ONCE) /* a constant, so that all go at once */
            for (uint32_t r = 0; r < ROWS_AT_ONCE; r++)
                out[r] = (uint8_t)(word_at(words, r) >> shift & mask);
        else
            for (uint32_t r = 0; r < rows; r++)
                out[r] = (uint8_t)(word_at(words, r) >> shift & mask);
        return;
    }
    for (uint32_t r = 0; r < rows; r++) out[r] = (uint8_t)code_at(c, tile_row(c, t, r), col);
}

static void read_tile(const px_coded *c, const tile *t, tile_codes out)
{
    for (uint32_t i = 0; i < BLOCK; i++) {
        if (c->order && is_filler(c, t->at, i))
            for (uint32_t r = 0; r < t->rows; r++) out[i][r] = t->heads[r].zero;
        else
            read_column(c, t, c->order ? c->order[t->at + i] : t->at + i, out[i]);
    }
}

static void put_tile_nibbles(const tile *t, tile_codes codes)
{
    for (uint32_t r = 0; r < t->rows; r++) {
        unsigned char *to = t->to + r * t->row_bytes + sizeof(float) + 1;
        for (uint32_t i = 0; i < BLOCK; i += 2)
            to[i / 2] = (unsigned char)(codes[i][r] | codes[i + 1][r] << 4);
    }
}

/* What a code less its zero may be, as float16. */
typedef struct halves {
    uint16_t of[2 * CODES - 1]; /* from 1 - CODES on */
} halves;

static halves make_halves(void)
{
    halves table;
    for (int i = 0; i < 2 * CODES - 1; i++) table.of[i] = px_f32_to_f16((float)(i - (CODES - 1)));
    return table;
}

static void put_tile_halves(const tile *t, tile_codes codes, const halves *table)
{
    for (uint32_t r = 0; r < t->rows; r++) {
        unsigned char *to = t->to + r * t->row_bytes + sizeof(float);
        const uint16_t *less_zero = table->of + (CODES - 1) - t->heads[r].zero;
        for (uint32_t i = 0; i < BLOCK; i++, to += sizeof(uint16_t))
            memcpy(to, &less_zero[codes[i][r]], sizeof(uint16_t));
    }
}

static void put_codes(const px_coded *c, px_dtype dtype, const tile *t, const halves *table)
{
    if (c->coding != PX_CODING_BYTES && (c->order || dtype == PX_SCALED_F16)) {
        tile_codes codes;
        read_tile(c, t, codes);
        if (dtype == PX_SCALED_U4)
            put_tile_nibbles(t, codes);
        else
            put_tile_halves(t, codes, table);
        return;
    }
    for (uint32_t r = 0; r < t->rows; r++) {
        unsigned char *to = t->to + r * t->row_bytes + sizeof(float);
        uint32_t row = tile_row(c, t, r);
        switch (dtype) {
        case PX_SCALED_U4: put_nibbles(c, row, t->at, to + 1); break;
        case PX_SCALED_F8: put_bytes(c, row, t->at, to); break;
        default: put_bytes_as_halves(c, row, t->at, to);
        }
    }
}

static void put_values(const px_coded *c, uint32_t row, uint32_t cols, unsigned char *to)
{
    for (uint32_t i = 0; i < cols; i++) {
        uint32_t col = c->first_col + i;
        float value = scale_at(c, row, px_coded_group_of(c, col)) * number_at(c, row, col);
        memcpy(to + (size_t)i * 4, &value, sizeof value);
    }
}

/* Words of GPTQ and AWQ hold several columns or rows, and the next word of a row is far away: some
 * rows go together, so that a line of the cache is read once for them. */
static void put_rows(const px_coded *c, px_dtype dtype, uint32_t first, uint32_t rows,
    uint32_t cols, unsigned char *to)
{
    size_t block_bytes = px_dtype_of(dtype)->block_bytes;
    group_head heads[ROWS_AT_ONCE];
    tile t = {.first_row = c->first_row + first * c->row_step,
        .rows = rows,
        .heads = heads,
        .to = to,
        .row_bytes = px_dtype_bytes(dtype, cols)};
    halves table;
    if (dtype == PX_SCALED_F16) table = make_halves();
    for (uint32_t r = 0; r < rows; r++) heads[r].group = UINT32_MAX;
    for (uint32_t i = 0; i < cols; i += BLOCK, t.to += block_bytes) {
        t.at = c->first_col + i;
        put_heads(c, dtype, &t);
        put_codes(c, dtype, &t, &table);
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

void px_coded_assemble_turned(
    const px_coded *c, px_dtype dtype, px_coded_part part, unsigned char *to)
{
    const size_t block_bytes = px_dtype_of(dtype)->block_bytes;
    for (uint32_t r = 0; r < part.rows; r++) {
        uint32_t col = part.first_row + r, group = px_coded_group_of(c, col);
        for (uint32_t i = 0; i < part.cols; i += BLOCK, to += block_bytes) {
            float scale = scale_at(c, c->first_row + i, group);
            memcpy(to, &scale, sizeof scale);
            put_turned_codes(c, dtype, c->first_row + i, col, to + sizeof scale);
        }
    }
}
