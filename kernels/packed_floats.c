/* packed_floats.c - repacks the weights whose products take float32 activations: plain floats, and
 * codes with a float scale for each 32.
 *
 * A group is written from its first column to its last, all lanes of some columns at a time, so
 * that what is being written stays in the first-level cache.
 */
#include <assert.h>
#include <string.h>

#include "kernels/packed.h"

enum { BLOCK = 32, COLS_AT_ONCE = 64 };

/* --- plain floats ----------------------------------------------------------------------------- */

typedef struct halves_of_bytes { /* the float16 that each 8-bit float is */
    uint16_t half[256];
} halves_of_bytes;

static halves_of_bytes make_halves(px_dtype dtype)
{
    halves_of_bytes table;
    for (int i = 0; i < 256; i++) {
        uint8_t byte = (uint8_t)i;
        float value;
        px_dtype_to_f32(dtype, &byte, &value, 1);
        table.half[i] = px_f32_to_f16(value);
    }
    return table;
}

static void put_u32s(uint8_t *to, size_t step, const uint8_t *from, uint32_t count)
{
    for (uint32_t c = 0; c < count; c++) memcpy(to + c * step, from + (size_t)c * 4, 4);
}

static void put_u16s(uint8_t *to, size_t step, const uint8_t *from, uint32_t count)
{
    for (uint32_t c = 0; c < count; c++) memcpy(to + c * step, from + (size_t)c * 2, 2);
}

static void put_bytes_as_halves(
    uint8_t *to, size_t step, const uint8_t *from, uint32_t count, const halves_of_bytes *table)
{
    for (uint32_t c = 0; c < count; c++) memcpy(to + c * step, &table->half[from[c]], 2);
}

/* A row of bfloat16 in pairs. */
static void put_pairs(uint8_t *to, size_t step, const uint8_t *from, uint32_t count)
{
    put_u32s(to, step, from, count / 2);
    if (count % 2) {
        memcpy(to + count / 2 * step, from + (size_t)(count - 1) * 2, 2);
        memset(to + count / 2 * step + 2, 0, 2);
    }
}

static void put_plain(
    const px_pack *op, const uint8_t *from, uint32_t count, uint8_t *to, uint32_t lanes)
{
    size_t from_bytes = px_dtype_of(op->dtype)->block_bytes, to_bytes = from_bytes == 4 ? 4 : 2;
    halves_of_bytes table;
    if (from_bytes == 1) table = make_halves(op->dtype);
    for (uint32_t first = 0; first < op->cols; first += COLS_AT_ONCE) {
        uint32_t cols = op->cols - first < COLS_AT_ONCE ? op->cols - first : COLS_AT_ONCE;
        for (uint32_t lane = 0; lane < count; lane++) {
            const uint8_t *row = from + lane * op->from_row_bytes + first * from_bytes;
            if (op->dtype == PX_BF16) {
                put_pairs(
                    to + ((size_t)first / 2 * lanes + lane) * 4, (size_t)lanes * 4, row, cols);
                continue;
            }
            uint8_t *at = to + ((size_t)first * lanes + lane) * to_bytes;
            switch (from_bytes) {
            case 1: put_bytes_as_halves(at, lanes * to_bytes, row, cols, &table); break;
            case 2: put_u16s(at, lanes * to_bytes, row, cols); break;
            default: put_u32s(at, lanes * to_bytes, row, cols);
            }
        }
    }
}

/* --- codes with scales ------------------------------------------------------------------------ */

/* The low nibbles of eight bytes. */
static uint32_t gather_nibbles(uint64_t bytes)
{
    bytes &= 0x0f0f0f0f0f0f0f0f;
    bytes = (bytes | bytes >> 4) & 0x00ff00ff00ff00ff;
    bytes = (bytes | bytes >> 8) & 0x0000ffff0000ffff;
    return (uint32_t)(bytes | bytes >> 16);
}

/* { e8m0; 16 bytes: low nibbles are columns 0-15, high nibbles 16-31 } */
static void put_mxfp4(const uint8_t *block, uint8_t *to, uint32_t lanes, uint32_t lane)
{
    to[lane] = block[0];
    to += lanes;
    for (uint32_t j = 0; j < 4; j++) {
        uint64_t bytes;
        memcpy(&bytes, block + 1 + j % 2 * 8, sizeof bytes);
        uint32_t eight = gather_nibbles(j < 2 ? bytes : bytes >> 4);
        memcpy(to + ((size_t)j * lanes + lane) * 4, &eight, 4);
    }
}

static void put_scaled(
    px_dtype dtype, const uint8_t *block, uint8_t *to, uint32_t lanes, uint32_t lane)
{
    memcpy(to + 4 * (size_t)lane, block, 4);
    block += 4;
    to += 4 * (size_t)lanes;
    switch (dtype) {
    case PX_SCALED_U4:
        to[lane] = *block++;
        put_u32s(to + lanes + 4 * (size_t)lane, 4 * (size_t)lanes, block, 4);
        break;
    case PX_SCALED_F8:
        for (uint32_t c = 0; c < BLOCK; c++) to[c * lanes + lane] = block[c];
        break;
    default: put_u16s(to + 2 * (size_t)lane, 2 * (size_t)lanes, block, BLOCK);
    }
}

void px_packed_put_floats(
    const px_pack *op, const uint8_t *from, uint32_t count, uint8_t *to, uint32_t lanes)
{
    const px_dtype_traits *traits = px_dtype_of(op->dtype);
    if (traits->block_elements == 1) {
        put_plain(op, from, count, to, lanes);
        return;
    }
    assert(traits->block_elements == BLOCK);
    size_t unit_bytes = px_packed_group_bytes(px_packing_of(op->dtype), lanes, BLOCK);
    for (uint32_t c = 0; c < op->cols; c += BLOCK, to += unit_bytes, from += traits->block_bytes) {
        for (uint32_t lane = 0; lane < count; lane++) {
            const uint8_t *block = from + lane * op->from_row_bytes;
            if (op->dtype == PX_MXFP4) {
                put_mxfp4(block, to, lanes, lane);
            } else {
                put_scaled(op->dtype, block, to, lanes, lane);
            }
        }
    }
}
