/* packed.c - repacks weights from the file's blocks into the layouts of packed.h, once at load. */
#include "kernels/packed.h"

#include <assert.h>
#include <string.h>

#include "kernels/dtype_blocks.h"

px_packing px_packing_of(px_dtype dtype)
{
    switch (dtype) {
    case PX_F32: return PX_PACKING_F32;
    case PX_F16: return PX_PACKING_F16;
    case PX_F8_E4M3: return PX_PACKING_F16; /* subsets of float16 */
    case PX_F8_E5M2: return PX_PACKING_F16;
    case PX_BF16: return PX_PACKING_BF16;
    case PX_Q4_0: return PX_PACKING_U4;
    case PX_Q4_1: return PX_PACKING_U4_MIN;
    case PX_Q4_K: return PX_PACKING_U4_K;
    case PX_Q8_0: return PX_PACKING_S8;
    case PX_Q5_0: return PX_PACKING_S8;
    case PX_IQ4_NL: return PX_PACKING_S8;
    case PX_Q5_1: return PX_PACKING_S8_MIN;
    case PX_MXFP4: return PX_PACKING_FP4;
    case PX_SCALED_U4: return PX_PACKING_SCALED_U4;
    case PX_SCALED_F8: return PX_PACKING_SCALED_F8;
    case PX_SCALED_F16: return PX_PACKING_SCALED_F16;
    case PX_Q3_K: return PX_PACKING_S8_K;
    case PX_Q6_K: return PX_PACKING_S8_K;
    case PX_IQ4_XS: return PX_PACKING_S8_K;
    case PX_Q2_K: return PX_PACKING_S8_K_MIN;
    case PX_Q5_K: return PX_PACKING_S8_K_MIN;
    default: assert(!"a type with arithmetic"); return PX_PACKING_FILE;
    }
}

bool px_packing_takes_floats(px_packing packing)
{
    switch (packing) {
    case PX_PACKING_F32:
    case PX_PACKING_F16:
    case PX_PACKING_BF16: return true;
    default: return px_packing_is_scaled(packing);
    }
}

bool px_packing_is_scaled(px_packing packing)
{
    return packing == PX_PACKING_FP4 || packing == PX_PACKING_SCALED_U4 ||
           packing == PX_PACKING_SCALED_F8 || packing == PX_PACKING_SCALED_F16;
}

/* Columns and bytes for each lane of a unit. */
static const struct {
    uint32_t cols, lane_bytes;
} units[PX_PACKING_COUNT] = {
    [PX_PACKING_F32] = {1, 4},
    [PX_PACKING_F16] = {1, 2},
    [PX_PACKING_BF16] = {2, 4},
    [PX_PACKING_U4] = {32, 2 + 2 + 16},
    [PX_PACKING_U4_MIN] = {32, 4 + 2 + 16},
    [PX_PACKING_U4_K] = {256, 4 + 8 * (2 + 2 + 16)},
    [PX_PACKING_S8] = {32, 2 + 2 + 32},
    [PX_PACKING_S8_MIN] = {32, 4 + 2 + 32},
    [PX_PACKING_S8_K] = {256, 2 + 8 * (2 + 4 + 32)},
    [PX_PACKING_S8_K_MIN] = {256, 4 + 8 * (4 + 4 + 32)},
    [PX_PACKING_FP4] = {32, 1 + 16},
    [PX_PACKING_SCALED_U4] = {32, 4 + 1 + 16},
    [PX_PACKING_SCALED_F8] = {32, 4 + 32},
    [PX_PACKING_SCALED_F16] = {32, 4 + 64},
};

size_t px_packed_group_bytes(px_packing packing, uint32_t lanes, uint32_t cols)
{
    assert(packing > PX_PACKING_FILE && packing < PX_PACKING_COUNT);
    assert(cols % units[packing].cols == 0 || packing == PX_PACKING_BF16);
    return ((size_t)cols + units[packing].cols - 1) / units[packing].cols *
           units[packing].lane_bytes * lanes;
}

size_t px_packed_bytes(px_dtype dtype, uint32_t lanes, uint32_t rows, uint32_t cols)
{
    size_t groups = ((size_t)rows + lanes - 1) / lanes;
    return groups * px_packed_group_bytes(px_packing_of(dtype), lanes, cols);
}

/* --- one row of a unit into its lane ---------------------------------------------------------- */

static void put_u16(uint8_t *to, uint32_t lane, const uint8_t *from)
{
    memcpy(to + 2 * (size_t)lane, from, 2);
}

static void put_f16(uint8_t *to, uint32_t lane, float value)
{
    uint16_t half = px_f32_to_f16(value);
    memcpy(to + 2 * (size_t)lane, &half, 2);
}

static uint32_t word(const uint8_t *from, int index)
{
    uint32_t value;
    memcpy(&value, from + 4 * index, 4);
    return value;
}

static void put_word(uint8_t *to, uint32_t lanes, uint32_t lane, int step, uint32_t value)
{
    memcpy(to + ((size_t)step * lanes + lane) * 4, &value, 4);
}

static void put_s16(uint8_t *to, uint32_t lane, int value)
{
    int16_t number = (int16_t)value;
    memcpy(to + 2 * (size_t)lane, &number, 2);
}

static int sum_of(const int8_t *quants, int count)
{
    int sum = 0;
    for (int i = 0; i < count; i++) sum += quants[i];
    return sum;
}

/* 32 bytes, one for each column */
static void put_bytes(uint8_t *to, uint32_t lanes, uint32_t lane, const int8_t *quants)
{
    for (int s = 0; s < 8; s++) {
        put_word(to, lanes, lane, s, word((const uint8_t *)quants, s));
    }
}

/* The sum of 32 nibbles times `scale`, then the nibbles, from eight words that hold the columns of
 * one step each in their low nibbles. */
static void put_nibbles(
    uint8_t *to, uint32_t lanes, uint32_t lane, const uint32_t steps[8], int scale)
{
    uint32_t pairs = 0; /* two sums of up to 16 * 15 */
    for (int s = 0; s < 8; s++) pairs += (steps[s] & 0x00ff00ff) + (steps[s] >> 8 & 0x00ff00ff);
    put_s16(to, lane, scale * (int)((pairs & 0xffff) + (pairs >> 16)));
    to += 2 * (size_t)lanes;
    for (int j = 0; j < 4; j++) {
        put_word(to, lanes, lane, j, steps[2 * j] | steps[2 * j + 1] << 4);
    }
}

/* Q4_0, Q4_1: byte i holds columns i (low) and i + 16 (high). */
static void put_split_nibbles(uint8_t *to, uint32_t lanes, uint32_t lane, const uint8_t *from)
{
    uint32_t steps[8];
    for (int s = 0; s < 8; s++) steps[s] = word(from, s % 4) >> (s / 4 * 4) & 0x0f0f0f0f;
    put_nibbles(to, lanes, lane, steps, 1);
}

static void put_u4_k(uint8_t *to, uint32_t lanes, uint32_t lane, const uint8_t *block)
{
    uint8_t scales[8], mins[8];
    px_k_scales(block + 4, scales, mins);
    put_u16(to, lane, block);
    put_u16(to + 2 * (size_t)lanes, lane, block + 2);
    to += 4 * (size_t)lanes;
    for (int b = 0; b < 8; b++, to += 20 * (size_t)lanes) {
        /* 32 bytes hold one block of 32 in their low and the next in their high nibbles */
        uint32_t steps[8];
        for (int s = 0; s < 8; s++) {
            steps[s] = word(block + 16 + b / 2 * 32, s) >> (b % 2 * 4) & 0x0f0f0f0f;
        }
        to[lane] = scales[b];
        to[lanes + lane] = mins[b];
        put_nibbles(to + 2 * (size_t)lanes, lanes, lane, steps, scales[b]);
    }
}

/* What a K super-block says about its sixteen groups of 16, as integers. */
typedef struct k_scales {
    const uint8_t *d, *dmin; /* float16 in the block; dmin NULL if there are no mins */
    int8_t scale[16];
    uint8_t min[16];
} k_scales;

static k_scales take_k_scales(px_dtype dtype, const uint8_t *block)
{
    k_scales out = {0};
    uint8_t scales[8], mins[8];
    int8_t signed_scales[8];
    switch (dtype) {
    case PX_Q2_K:
        out.d = block + 80, out.dmin = block + 82;
        for (int g = 0; g < 16; g++) out.scale[g] = block[g] & 15, out.min[g] = block[g] >> 4;
        break;
    case PX_Q3_K:
        out.d = block + 108;
        px_q3_k_scales(block + 96, out.scale);
        break;
    case PX_Q5_K:
        out.d = block, out.dmin = block + 2;
        px_k_scales(block + 4, scales, mins);
        for (int g = 0; g < 16; g++) {
            out.scale[g] = (int8_t)scales[g / 2];
            out.min[g] = mins[g / 2];
        }
        break;
    case PX_Q6_K:
        out.d = block + 208;
        memcpy(out.scale, block + 192, 16);
        break;
    case PX_IQ4_XS:
        out.d = block;
        px_iq4_xs_scales(block, signed_scales);
        for (int g = 0; g < 16; g++) out.scale[g] = signed_scales[g / 2];
        break;
    default: assert(!"a type packed as S8_K");
    }
    return out;
}

static void put_s8_k(
    uint8_t *to, uint32_t lanes, uint32_t lane, px_dtype dtype, const uint8_t *block)
{
    px_block parts;
    px_block_unpack_of(dtype)(block, &parts);
    k_scales k = take_k_scales(dtype, block);
    put_u16(to, lane, k.d);
    to += 2 * (size_t)lanes;
    if (k.dmin) {
        put_u16(to, lane, k.dmin);
        to += 2 * (size_t)lanes;
    }
    for (int b = 0; b < 8; b++) {
        for (int half = 0; half < 2; half++, to += lanes) to[lane] = (uint8_t)k.scale[2 * b + half];
        for (int half = 0; half < 2 && k.dmin; half++, to += lanes) to[lane] = k.min[2 * b + half];
        int32_t sum = 0;
        for (int half = 0; half < 2; half++) {
            sum += k.scale[2 * b + half] * sum_of(parts.quants + 32 * b + 16 * half, 16);
        }
        memcpy(to + 4 * (size_t)lane, &sum, 4);
        to += 4 * (size_t)lanes;
        put_bytes(to, lanes, lane, parts.quants + 32 * b);
        to += 32 * (size_t)lanes;
    }
}

static void put_s8(uint8_t *to, uint32_t lanes, uint32_t lane, px_packing packing, px_dtype dtype,
    const uint8_t *block)
{
    px_block parts;
    px_block_unpack_of(dtype)(block, &parts);
    put_f16(to, lane, parts.scale[0]);
    to += 2 * (size_t)lanes;
    if (packing == PX_PACKING_S8_MIN) {
        put_f16(to, lane, -parts.min[0]);
        to += 2 * (size_t)lanes;
    }
    put_s16(to, lane, sum_of(parts.quants, 32));
    put_bytes(to + 2 * (size_t)lanes, lanes, lane, parts.quants);
}

static void put_block(uint8_t *to, uint32_t lanes, uint32_t lane, px_packing packing,
    px_dtype dtype, const uint8_t *block)
{
    switch (packing) {
    case PX_PACKING_U4:
        put_u16(to, lane, block);
        put_split_nibbles(to + 2 * (size_t)lanes, lanes, lane, block + 2);
        break;
    case PX_PACKING_U4_MIN:
        put_u16(to, lane, block);
        put_u16(to + 2 * (size_t)lanes, lane, block + 2);
        put_split_nibbles(to + 4 * (size_t)lanes, lanes, lane, block + 4);
        break;
    case PX_PACKING_U4_K: put_u4_k(to, lanes, lane, block); break;
    case PX_PACKING_S8_K:
    case PX_PACKING_S8_K_MIN: put_s8_k(to, lanes, lane, dtype, block); break;
    default: put_s8(to, lanes, lane, packing, dtype, block);
    }
}

/* --- whole groups ----------------------------------------------------------------------------- */

static void put_row(
    uint8_t *to, uint32_t lanes, uint32_t lane, const px_pack *op, const uint8_t *from)
{
    px_packing packing = px_packing_of(op->dtype);
    const px_dtype_traits *traits = px_dtype_of(op->dtype);
    assert(units[packing].cols == traits->block_elements);
    for (uint32_t c = 0; c < op->cols; c += traits->block_elements) {
        put_block(to, lanes, lane, packing, op->dtype, from);
        from += traits->block_bytes;
        to += (size_t)units[packing].lane_bytes * lanes;
    }
}

void px_packed_fill(const px_pack *op, uint32_t lanes, px_pack_group_fn fast, px_part part)
{
    px_packing packing = px_packing_of(op->dtype);
    size_t group_bytes = px_packed_group_bytes(packing, lanes, op->cols);
    if (part.index == 0) {
        *op->out = (px_matrix){.dtype = op->dtype,
            .rows = op->rows,
            .cols = op->cols,
            .layout = packing,
            .data = op->to};
    }
    uint32_t begin, end;
    px_part_range(part, (op->rows + lanes - 1) / lanes, 1, &begin, &end);
    for (uint32_t group = begin; group < end; group++) {
        uint8_t *to = (uint8_t *)op->to + group * group_bytes;
        uint32_t first = group * lanes;
        uint32_t count = op->rows - first < lanes ? op->rows - first : lanes;
        const uint8_t *from = (const uint8_t *)op->from + first * op->from_row_bytes;
        if (count == lanes && fast && fast(op, from, to, lanes)) continue;
        if (count < lanes) memset(to, 0, group_bytes);
        if (px_packing_takes_floats(packing)) {
            px_packed_put_floats(op, from, count, to, lanes);
            continue;
        }
        for (uint32_t lane = 0; lane < count; lane++) {
            put_row(to, lanes, lane, op, from + lane * op->from_row_bytes);
        }
    }
}
