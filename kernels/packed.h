/* packed.h - the layouts vector backends read weights and activations in. Internal.
 *
 * Weights: rows in groups of `lanes` (8 floats of AVX2, 16 of AVX-512), interleaved so that a SIMD
 * lane is an output row. A group is its columns in order, in units:
 *
 *   F32, F16        unit of 1:   { value[lanes] }
 *   BF16            unit of 2:   { value[lanes][2] }; the second of an odd last column is zero
 *   FP4             unit of 32:  { e8m0 scale[lanes]; codes }
 *   SCALED_U4       unit of 32:  { f32 scale[lanes]; u8 zero[lanes]; codes }
 *   SCALED_F8       unit of 32:  { f32 scale[lanes]; e4m3 value[32][lanes] }
 *   SCALED_F16      unit of 32:  { f32 scale[lanes]; f16 value[32][lanes] }
 *
 * Integers are in blocks of 32 columns, as many to a unit as have heads of 4 bytes for a lane: {
 * heads of its blocks; quants of its blocks }, so that no vector of quants lies across cache lines
 * and lines are read in their order. Where the last of two blocks is missing, its head is zero.
 * Before the units of each 256 columns a K type has { f16 d[lanes]; f16 dmin[lanes] or zeros }.
 *
 *                   blocks of a unit, head of one
 *   U4, U5, T4      2: f16 scale[lanes]
 *   U4_MIN, U5_MIN  1: f16 scale[lanes]; f16 min[lanes]
 *   S8              1: f16 scale[lanes]; s16 sum[lanes]
 *   U4_K, U5_K      2: u8 scale[lanes]; u8 min[lanes]
 *   U2_K            2: u8 scale_min[2][lanes]
 *   U3_K, U6_K      2: s8 scale[2][lanes]; no dmin
 *   T4_K            4: s8 scale[lanes]; no dmin
 *
 *   codes:   { u32 eight[4][lanes] }: nibble k of word j is column 8 j + k
 *   quants:  a plane of their low 8, 4 or 2 bits, then of U5, U6 and U3 one of their high 1, 2 or 1
 *            bits. A plane of b bits: { u8 byte[b][lanes][4] }; the bits of columns 4 s .. 4 s + 3,
 *            step s, are in the four bytes at [s b / 8], from bit s b % 8 on
 *   sum:     of a block's quants
 *
 *   value = scale * (quant - bias) + min          bias: 8 in U4, 16 in U5, 4 in U3_K, 32 in U6_K
 *   value = scale * iq4(quant)                    T4: the table of IQ4
 *   scale = d * its number                        K; [2]: for columns 0-15 and 16-31
 *   min = -dmin * its number                      K; in U2_K scales are low nibbles, mins high ones
 *   value = scale * e2m1(code) as in dtype.h      FP4
 *   value = scale * (code - zero), scale * value  SCALED
 *
 * Rows past the last are zero. Every block format becomes one of these exactly (but a NaN of E4M3
 * counts as 480 in SCALED_F8: no weight is one), in the bytes it has in the file or a few more: 6 %
 * with Q3_K and Q8_0, 3 with IQ4_XS, 2 with Q4_K and Q5_K.
 *
 * Activations, PX_ACT_Q8: blocks of 32 columns, each a px_q8_block: x ~ scale * quant + zero with
 * the zero in the middle of the block's range. A block with one large value, as the residual
 * stream of most models has, so uses all 8 bits; a scale alone would waste one, and measured on
 * SmolLM2 it makes 2.8 times the error variance in the logits. The product of a block is then
 *   scale_w * (scale * sum(quant_w quant) + zero * sum(quant_w)) + min * sum
 * where a tile makes the sum of the weights' quants itself, but for S8: there each would cost as
 * much as a product.
 */
#ifndef PX_KERNELS_PACKED_H
#define PX_KERNELS_PACKED_H

#include "kernels/kernels.h"

/* Inner loops are written once with constants for parameters; each use becomes its own code. */
#define PX_INLINE static inline __attribute__((always_inline))

/* The compiler takes this value as made here and now: it neither regroups the sum that made it nor
 * makes the parts of a long sum first and spills them. */
#define PX_KEEP(vector) __asm__("" : "+v"(vector))

typedef enum px_packing {
    PX_PACKING_FILE, /* px_matrix.layout 0 */
    PX_PACKING_F32,
    PX_PACKING_F16,
    PX_PACKING_BF16,
    PX_PACKING_U4,
    PX_PACKING_U4_MIN,
    PX_PACKING_U4_K,
    PX_PACKING_U5,
    PX_PACKING_U5_MIN,
    PX_PACKING_U5_K,
    PX_PACKING_U2_K,
    PX_PACKING_U3_K,
    PX_PACKING_U6_K,
    PX_PACKING_S8,
    PX_PACKING_T4,
    PX_PACKING_T4_K,
    PX_PACKING_FP4,
    PX_PACKING_SCALED_U4,
    PX_PACKING_SCALED_F8,
    PX_PACKING_SCALED_F16,
    PX_PACKING_COUNT
} px_packing;

/* How a packing of integers says its values; constants to what is compiled for one. */
typedef struct px_quant_form {
    uint8_t low_bits, high_bits; /* of the planes of its quants */
    uint8_t bias;
    bool mins;   /* its values have a min */
    bool super;  /* 256 columns have a d, and scales are integers: a K type */
    bool halves; /* scales are of 16 columns */
    bool table;  /* quants are places in px_iq4_values */
    bool sums;   /* blocks have the sum of their quants */
} px_quant_form;

static const px_quant_form px_quant_forms[PX_PACKING_COUNT] = {
    [PX_PACKING_U4] = {.low_bits = 4, .bias = 8},
    [PX_PACKING_U4_MIN] = {.low_bits = 4, .mins = true},
    [PX_PACKING_U4_K] = {.low_bits = 4, .mins = true, .super = true},
    [PX_PACKING_U5] = {.low_bits = 4, .high_bits = 1, .bias = 16},
    [PX_PACKING_U5_MIN] = {.low_bits = 4, .high_bits = 1, .mins = true},
    [PX_PACKING_U5_K] = {.low_bits = 4, .high_bits = 1, .mins = true, .super = true},
    [PX_PACKING_U2_K] = {.low_bits = 2, .mins = true, .super = true, .halves = true},
    [PX_PACKING_U3_K] = {.low_bits = 2, .high_bits = 1, .bias = 4, .super = true, .halves = true},
    [PX_PACKING_U6_K] = {.low_bits = 4, .high_bits = 2, .bias = 32, .super = true, .halves = true},
    [PX_PACKING_S8] = {.low_bits = 8, .sums = true},
    [PX_PACKING_T4] = {.low_bits = 4, .table = true},
    [PX_PACKING_T4_K] = {.low_bits = 4, .super = true, .table = true},
};

/* Bytes for each lane: a plane of so many bits of 32 columns. */
PX_INLINE size_t px_plane_bytes(uint32_t bits)
{
    return 4 * (size_t)bits;
}

/* The quants of a block. */
PX_INLINE size_t px_quants_bytes(const px_packing packing)
{
    return px_plane_bytes(px_quant_forms[packing].low_bits + px_quant_forms[packing].high_bits);
}

/* The head of a block; those of a unit; what is before each 256 columns of a K type. */
PX_INLINE size_t px_block_head_bytes(const px_packing packing)
{
    const px_quant_form form = px_quant_forms[packing];
    return form.super ? 2 - form.table : 2 + 2 * (form.mins || form.sums);
}

enum { PX_HEADS_BYTES = 4, PX_SUPER_BYTES = 4 };

PX_INLINE uint32_t px_unit_blocks(const px_packing packing)
{
    return PX_HEADS_BYTES / px_block_head_bytes(packing);
}

/* From the beginning of a unit, or of 256 columns of a K type, to its block `b`. */
PX_INLINE size_t px_head_at(const px_packing packing, uint32_t b)
{
    const uint32_t blocks = px_unit_blocks(packing);
    return (px_quant_forms[packing].super ? PX_SUPER_BYTES : 0) +
           b / blocks * (PX_HEADS_BYTES + blocks * px_quants_bytes(packing)) +
           b % blocks * px_block_head_bytes(packing);
}

PX_INLINE size_t px_quants_at(const px_packing packing, uint32_t b)
{
    const uint32_t in_unit = b % px_unit_blocks(packing);
    return px_head_at(packing, b - in_unit) + PX_HEADS_BYTES + in_unit * px_quants_bytes(packing);
}

px_packing px_packing_of(px_dtype dtype);
/* Are its products made of float32 activations? Else of PX_ACT_Q8. */
bool px_packing_takes_floats(px_packing packing);
/* FP4 or SCALED: codes with a scale, of those that take floats. */
bool px_packing_is_scaled(px_packing packing);
/* Bytes of one group of `lanes` rows. */
size_t px_packed_group_bytes(px_packing packing, uint32_t lanes, uint32_t cols);
size_t px_packed_bytes(px_dtype dtype, uint32_t lanes, uint32_t rows, uint32_t cols);
/* A whole group with vectors, the same bytes as packed.c's; false: not of this type or shape. */
typedef bool (*px_pack_group_fn)(
    const px_pack *op, const uint8_t *from, uint8_t *to, uint32_t lanes);
/* This part's groups; part 0 describes the matrix, layout = packing. `fast` may be NULL. */
void px_packed_fill(const px_pack *op, uint32_t lanes, px_pack_group_fn fast, px_part part);
/* One group of a packing that takes floats: `count` rows from `from` on into lanes 0, 1, ... */
void px_packed_put_floats(
    const px_pack *op, const uint8_t *from, uint32_t count, uint8_t *to, uint32_t lanes);

typedef struct px_q8_block {
    int8_t quant[32]; /* -127..127 */
    float scale, zero;
    float sum, half; /* of the 32 values scale * quant + zero; of the first 16: a min's factors */
    int32_t offset, offset_half; /* -128 times the sum of the 32 quants; of the first 16: where a
                                  * sum begins if its weights have a bias of 128 */
    uint8_t pad[8];              /* one cache line */
} px_q8_block;

/* --- products --------------------------------------------------------------------------------- */

/* One or more weight groups by some rows of x, over all columns or some: what is written to y, as
 * px_matmul says, when the last are done. */
typedef struct px_tile {
    const uint8_t *w, *x;      /* the first group; the first row of x; from the first column on */
    size_t w_stride, x_stride; /* bytes between groups; between rows of x */
    uint32_t cols;
    bool begins, ends; /* these are the first columns; the last */
    float *partial;    /* [groups][rows][lanes], 64-byte aligned: the sums from one run of columns
                        * to the next */
    uint8_t *sums; /* of quantised weights, 64-byte aligned, or NULL: PX_SUM_BYTES for each lane and
                    * block, where the first tile of some weights leaves the sums of their quants */
    bool again;    /* this is a later one: its weights lie in a cache */
    uint32_t w_rows; /* rows of the matrix from the first group on; the last group may lack some */
    float *y;        /* of the first group's first row, for the first row of x */
    size_t y_stride; /* in floats */
    const float *bias; /* [w_rows] or NULL */
    bool accumulate;
} px_tile;

enum { PX_SUM_BYTES = 4, PX_AHEAD_BYTES = 2048 };

/* The CPU reads ahead of a tile of one or two rows of x. One of more stays so long with each line
 * that it would wait for the next: it asks for what comes some blocks after `w`, which past a
 * group's end is the next group. */
PX_INLINE void px_ask_ahead(const uint8_t *w)
{
    __builtin_prefetch(w + PX_AHEAD_BYTES);
}

PX_INLINE bool px_asks_ahead(int rows)
{
    return rows > 2;
}

typedef void (*px_tile_fn)(const px_tile *op);

typedef px_tile_fn (*px_tile_find)(px_packing packing, uint32_t groups, uint32_t rows);

/* Weights taken apart once for several tiles of rows. */
typedef struct px_expansion {
    size_t (*bytes)(px_packing packing, uint32_t cols); /* of one group; 0: not worth it */
    /* The columns of one group; `to` is 64-byte aligned. */
    void (*fill)(px_packing packing, const uint8_t *w, uint32_t cols, uint8_t *to);
    px_tile_find find; /* tiles of such weights */
} px_expansion;

typedef struct px_tile_set {
    uint32_t rows;   /* most rows of x in a tile */
    uint32_t groups; /* groups of a tile, a power of two; where fewer are left, a smaller one */
    uint32_t few;    /* up to so many rows of x tiles have `groups_of_few` instead: there weights */
    uint32_t groups_of_few; /* must come fast, in one stream, or chains of sums hide each other */
    px_tile_find find;
    const px_expansion *expansion; /* NULL: none */
} px_tile_set;

typedef struct px_tiles {
    uint32_t lanes;
    px_tile_set q8, bf16; /* by the kind of x */
    px_tile_set floats, scaled;
} px_tiles;

void px_packed_matmul(const px_matmul *op, const px_tiles *tiles, px_part part);

#endif
