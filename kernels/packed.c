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
    case PX_Q5_0: return PX_PACKING_U5;
    case PX_Q5_1: return PX_PACKING_U5_MIN;
    case PX_Q5_K: return PX_PACKING_U5_K;
    case PX_Q2_K: return PX_PACKING_U2_K;
    case PX_Q3_K: return PX_PACKING_U3_K;
    case PX_Q6_K: return PX_PACKING_U6_K;
    case PX_Q8_0: return PX_PACKING_S8;
    case PX_IQ4_NL: return PX_PACKING_T4;
    case PX_IQ4_XS: return PX_PACKING_T4_K;
    case PX_MXFP4: return PX_PACKING_FP4;
    case PX_SCALED_U4: return PX_PACKING_SCALED_U4;
    case PX_SCALED_F8: return PX_PACKING_SCALED_F8;
    case PX_SCALED_F16: return PX_PACKING_SCALED_F16;
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

/* Columns of a unit of what is no integer, and its bytes for each lane. */
static const struct {
    uint32_t cols, lane_bytes;
} units[PX_PACKING_COUNT] = {
    [PX_PACKING_F32] = {1, 4},
    [PX_PACKING_F16] = {1, 2},
    [PX_PACKING_BF16] = {2, 4},
    [PX_PACKING_FP4] = {32, 1 + 16},
    [PX_PACKING_SCALED_U4] = {32, 4 + 1 + 16},
    [PX_PACKING_SCALED_F8] = {32, 4 + 32},
    [PX_PACKING_SCALED_F16] = {32, 4 + 64},
};

size_t px_packed_group_bytes(px_packing packing, uint32_t lanes, uint32_t cols)
{
    assert(packing > PX_PACKING_FILE && packing < PX_PACKING_COUNT);
    if (!px_packing_takes_floats(packing)) {
        const bool super = px_quant_forms[packing].super;
        const uint32_t blocks = cols / 32, of_unit = px_unit_blocks(packing);
        assert(cols % (super ? 256 : 32) == 0);
        return (size_t)lanes *
               ((blocks + of_unit - 1) / of_unit * PX_HEADS_BYTES +
                   blocks * px_quants_bytes(packing) + (super ? cols / 256 * PX_SUPER_BYTES : 0));
    }
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

typedef struct cursor { /* where a row's next field goes: those of all lanes lie together */
    uint8_t *to;
    uint32_t lanes, lane;
} cursor;

static void put(cursor *at, const void *field, size_t bytes)
{
    memcpy(at->to + at->lane * bytes, field, bytes);
    at->to += at->lanes * bytes;
}

static void put_u8(cursor *at, int value)
{
    put(at, &(uint8_t){(uint8_t)value}, 1);
}

static void put_16(cursor *at, int value)
{
    put(at, &(uint16_t){(uint16_t)value}, 2);
}

/* Bits [from, from + bits) of each of 32 quants. */
static void put_plane(cursor *at, const uint8_t *quants, int from, int bits)
{
    uint8_t bytes[8][4] = {0};
    for (int c = 0; c < 32; c++) {
        int part = quants[c] >> from & ((1 << bits) - 1), step = c / 4;
        bytes[step * bits / 8][c % 4] |= (uint8_t)(part << step * bits % 8);
    }
    for (int i = 0; i < bits; i++) put(at, bytes[i], 4);
}

static void put_quants(cursor *at, const px_quant_form *form, const uint8_t *quants)
{
    put_plane(at, quants, 0, form->low_bits);
    if (form->high_bits) put_plane(at, quants, form->low_bits, form->high_bits);
}

/* As they are stored, from what they say. */
static void store_quants(const px_quant_form *form, const int8_t *values, int count, uint8_t *out)
{
    for (int i = 0; i < count; i++) {
        int code = 0;
        while (form->table && px_iq4_values[code] != values[i]) code++;
        out[i] = (uint8_t)(form->table ? code : values[i] + form->bias);
    }
}

static int sum_of(const int8_t quants[32])
{
    int sum = 0;
    for (int i = 0; i < 32; i++) sum += quants[i];
    return sum;
}

/* Its head and its quants. */
static void put_block(
    cursor head, cursor quants, px_packing packing, px_dtype dtype, const uint8_t *block)
{
    const px_quant_form *form = &px_quant_forms[packing];
    px_block parts;
    uint8_t stored[32];
    px_block_unpack_of(dtype)(block, &parts);
    store_quants(form, parts.quants, 32, stored);
    put_16(&head, px_f32_to_f16(parts.scale[0]));
    if (form->mins) put_16(&head, px_f32_to_f16(-parts.min[0]));
    if (form->sums) put_16(&head, sum_of(parts.quants));
    put_quants(&quants, form, stored);
}

/* What a K super-block says about its sixteen groups of 16, as integers. */
typedef struct k_scales {
    const uint8_t *d, *dmin; /* float16 in the block; dmin NULL if there are no mins */
    int8_t scale[16];
    uint8_t min[16];
} k_scales;

static void take_k_scales(const uint8_t *block, k_scales *out)
{
    uint8_t scales[8], mins[8];
    px_k_scales(block + 4, scales, mins);
    out->d = block, out->dmin = block + 2;
    for (int g = 0; g < 16; g++) {
        out->scale[g] = (int8_t)scales[g / 2];
        out->min[g] = mins[g / 2];
    }
}

static k_scales take_scales(px_dtype dtype, const uint8_t *block)
{
    k_scales out = {0};
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
    case PX_Q4_K:
    case PX_Q5_K: take_k_scales(block, &out); break;
    case PX_Q6_K:
        out.d = block + 208;
        memcpy(out.scale, block + 192, 16);
        break;
    case PX_IQ4_XS:
        out.d = block;
        px_iq4_xs_scales(block, signed_scales);
        for (int g = 0; g < 16; g++) out.scale[g] = signed_scales[g / 2];
        break;
    default: assert(!"a type of super-blocks");
    }
    return out;
}

/* The head of a block; `scale` and `min` are of its halves. */
static void put_k_head(cursor at, px_packing packing, const int8_t *scale, const uint8_t *min)
{
    switch (packing) {
    case PX_PACKING_U4_K:
    case PX_PACKING_U5_K:
        put_u8(&at, scale[0]);
        put_u8(&at, min[0]);
        break;
    case PX_PACKING_U2_K:
        for (int half = 0; half < 2; half++) put_u8(&at, scale[half] | min[half] << 4);
        break;
    case PX_PACKING_T4_K: put_u8(&at, scale[0]); break;
    default:
        for (int half = 0; half < 2; half++) put_u8(&at, scale[half]);
    }
}

/* The place of `bytes` for each lane further on. */
static cursor further(cursor at, size_t bytes)
{
    at.to += at.lanes * bytes;
    return at;
}

static void put_super_block(cursor at, px_packing packing, px_dtype dtype, const uint8_t *block)
{
    const px_quant_form *form = &px_quant_forms[packing];
    px_block parts;
    uint8_t stored[256];
    px_block_unpack_of(dtype)(block, &parts);
    store_quants(form, parts.quants, 256, stored);
    k_scales k = take_scales(dtype, block);
    cursor d = at;
    put(&d, k.d, 2);
    put(&d, k.dmin ? k.dmin : (const uint8_t[2]){0}, 2);
    for (uint32_t b = 0; b < 8; b++) {
        cursor quants = further(at, px_quants_at(packing, b));
        put_k_head(further(at, px_head_at(packing, b)), packing, k.scale + 2 * b, k.min + 2 * b);
        put_quants(&quants, form, stored + 32 * b);
    }
}

/* --- whole groups ----------------------------------------------------------------------------- */

static void put_row(
    uint8_t *to, uint32_t lanes, uint32_t lane, const px_pack *op, const uint8_t *from)
{
    px_packing packing = px_packing_of(op->dtype);
    const px_dtype_traits *traits = px_dtype_of(op->dtype);
    const bool super = px_quant_forms[packing].super;
    const uint32_t most = super ? 8 : px_unit_blocks(packing);
    cursor at = {to, lanes, lane};
    for (uint32_t left = op->cols / 32, blocks; left; left -= blocks) {
        blocks = left < most ? left : most;
        for (uint32_t b = 0; b < blocks && !super; b++, from += traits->block_bytes)
            put_block(further(at, px_head_at(packing, b)), further(at, px_quants_at(packing, b)),
                packing, op->dtype, from);
        if (super) {
            put_super_block(at, packing, op->dtype, from);
            from += traits->block_bytes;
        } else if (blocks < most) {
            cursor missing = further(at, px_head_at(packing, blocks));
            put_16(&missing, 0);
        }
        at = further(at, px_packed_group_bytes(packing, 1, 32 * blocks));
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
