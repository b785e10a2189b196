/* packed_matmul.c - the order of the tiles, so that what is read again lies in a cache:
 *
 *   for some rows of x             as many as a cache has room for, and their sums
 *     for the groups of a tile
 *       for some columns           their weights are in the second-level cache when read again
 *         for the rows of a tile   x of these columns and rows in the first
 *
 * A backend may take the weights of a run apart once for all its tiles; else the first tile leaves
 * the sums of their quants for the others. The arithmetic is in the backends' tiles. Sums of
 * products wait between runs of columns as they are, so an output is the same chain of additions,
 * and the same bits, wherever columns are cut.
 */
#include "kernels/packed.h"

#include <assert.h>

enum {
    X_BYTES = 2048 * 1024,      /* of the rows that pass a tile's groups */
    WEIGHTS_BYTES = 256 * 1024, /* of a tile's groups in a run of columns */
    COLS_GRAIN = 256,           /* a whole number of units of every packing */
    PARTIAL_FLOATS = 16 * 1024,
    MADE_BYTES = 112 * 1024,
    EXPANSION_PIECES = 8, /* tiles that pay for it */
};

static const px_tile_set *choose(const px_tiles *tiles, px_packing packing, px_act_kind kind)
{
    if (kind == PX_ACT_Q8) return &tiles->q8;
    if (kind == PX_ACT_BF16) return &tiles->bf16;
    return px_packing_is_scaled(packing) ? &tiles->scaled : &tiles->floats;
}

static size_t act_bytes(px_act_kind kind, uint32_t cols)
{
    if (kind == PX_ACT_Q8) return cols / 32 * sizeof(px_q8_block);
    return cols * (kind == PX_ACT_BF16 ? sizeof(uint16_t) : sizeof(float));
}

static uint32_t pieces_of(uint32_t rows, uint32_t most)
{
    return (rows + most - 1) / most;
}

/* On the stack. */
typedef struct workspace {
    _Alignas(64) float partial[PARTIAL_FLOATS]; /* sums between runs of columns */
    _Alignas(64) uint8_t made[MADE_BYTES];      /* a run's weights taken apart, or their sums */
} workspace;

/* One part's product. */
typedef struct product {
    const px_matmul *op;
    const px_tiles *tiles;
    const px_tile_set *set;
    px_packing packing;
    size_t group_bytes, grain_bytes; /* of all columns of a group; of COLS_GRAIN */
    size_t expanded_bytes;           /* of COLS_GRAIN taken apart; 0: they never are */
    uint32_t groups_most;
} product;

/* Some rows of x by the groups of a tile. */
typedef struct stripe {
    uint32_t row, rows, pieces;
    bool expanded;    /* the weights of a run are taken apart first */
    bool leaves_sums; /* the first tile of a run leaves the sums of quants for the others */
    uint32_t group, groups;
    uint32_t run; /* columns before the sums wait for the next; all, where weights are read once */
} stripe;

/* Rows of x that pass a tile's groups together: in the fewest slices that do, of nearly one size
 * and of whole tiles. */
static uint32_t rows_of_slice(const product *p)
{
    uint32_t rows = X_BYTES / (uint32_t)p->op->x->row_bytes;
    uint32_t room = PARTIAL_FLOATS / (p->groups_most * p->tiles->lanes);
    if (rows > room) rows = room;
    uint32_t tile = p->set->rows, all = p->op->x->rows;
    rows = rows < tile ? tile : rows / tile * tile;
    return pieces_of(pieces_of(all, pieces_of(all, rows)), tile) * tile;
}

static uint32_t run_of_cols(const product *p, const stripe *s)
{
    size_t room = s->expanded ? MADE_BYTES : WEIGHTS_BYTES;
    size_t grains = room / (p->groups_most * (s->expanded ? p->expanded_bytes : p->grain_bytes));
    size_t run = (grains ? grains : 1) * COLS_GRAIN;
    uint32_t cols = p->op->w->cols;
    size_t sums = MADE_BYTES / (p->groups_most * p->tiles->lanes * PX_SUM_BYTES); /* blocks */
    if (s->leaves_sums && run > sums * 32) run = sums * 32 / COLS_GRAIN * COLS_GRAIN;
    return s->pieces > 1 && run < cols ? (uint32_t)run : cols;
}

static void expand(const product *p, const stripe *s, px_tile *tile, uint8_t *to)
{
    size_t bytes = p->set->expansion->bytes(p->packing, tile->cols);
    for (uint32_t g = 0; g < s->groups; g++)
        p->set->expansion->fill(
            p->packing, tile->w + g * p->group_bytes, tile->cols, to + g * bytes);
    tile->w = to;
    tile->w_stride = bytes;
}

static void multiply_stripe(const product *p, const stripe *s, px_tile *tile, workspace *space)
{
    const px_matrix *w = p->op->w;
    const px_act *x = p->op->x;
    px_tile_find find = s->expanded ? p->set->expansion->find : p->set->find;
    uint32_t first = s->group * p->tiles->lanes;
    const uint8_t *weights = (const uint8_t *)w->data + s->group * p->group_bytes;
    const uint8_t *rows = (const uint8_t *)x->data + s->row * x->row_bytes;
    tile->w_rows = w->rows - first;
    tile->bias = p->op->bias ? p->op->bias + first : NULL;
    for (uint32_t col = 0; col < w->cols; col += tile->cols) {
        tile->cols = w->cols - col < s->run ? w->cols - col : s->run;
        tile->begins = col == 0;
        tile->ends = col + tile->cols == w->cols;
        tile->w = weights + col / COLS_GRAIN * p->grain_bytes;
        tile->w_stride = p->group_bytes;
        if (s->expanded) expand(p, s, tile, space->made);
        tile->x = rows + act_bytes(x->kind, col);
        tile->y = p->op->y + s->row * p->op->y_stride + first;
        tile->partial = space->partial;
        tile->sums = s->leaves_sums ? space->made : NULL;
        tile->again = false;
        /* Whole tiles first: the first reads weights from memory, and has the most to do meanwhile.
         */
        for (uint32_t row = 0, count; row < s->rows; row += count) {
            count = s->rows - row < p->set->rows ? s->rows - row : p->set->rows;
            find(p->packing, s->groups, count)(tile);
            tile->x += count * x->row_bytes;
            tile->y += count * p->op->y_stride;
            tile->partial += (size_t)count * s->groups * p->tiles->lanes;
            tile->again = !s->expanded;
        }
    }
}

void px_packed_matmul(const px_matmul *op, const px_tiles *tiles, px_part part)
{
    const px_matrix *w = op->w;
    const px_act *x = op->x;
    px_packing packing = (px_packing)w->layout;
    const px_tile_set *set = choose(tiles, packing, x->kind);
    assert(x->cols == w->cols && packing == px_packing_of(w->dtype));
    if (!x->rows) return;
    workspace space;
    product p = {.op = op,
        .tiles = tiles,
        .set = set,
        .packing = packing,
        .group_bytes = px_packed_group_bytes(packing, tiles->lanes, w->cols),
        .grain_bytes = px_packed_group_bytes(packing, tiles->lanes, COLS_GRAIN),
        .expanded_bytes = set->expansion ? set->expansion->bytes(packing, COLS_GRAIN) : 0,
        .groups_most = x->rows <= set->few ? set->groups_of_few : set->groups};
    px_tile tile = {
        .x_stride = x->row_bytes, .y_stride = op->y_stride, .accumulate = op->accumulate};
    uint32_t begin, end, slice = rows_of_slice(&p);
    px_part_range(part, (w->rows + tiles->lanes - 1) / tiles->lanes, 1, &begin, &end);
    for (uint32_t row = 0; row < x->rows; row += slice) {
        stripe s = {.row = row, .rows = x->rows - row < slice ? x->rows - row : slice};
        s.pieces = pieces_of(s.rows, set->rows);
        s.expanded = p.expanded_bytes && s.pieces >= EXPANSION_PIECES;
        s.leaves_sums =
            x->kind == PX_ACT_Q8 && !px_quant_forms[packing].sums && s.pieces > 1 && !s.expanded;
        s.run = run_of_cols(&p, &s);
        for (s.group = begin; s.group < end; s.group += s.groups) {
            s.groups = p.groups_most;
            while (s.groups > end - s.group) s.groups /= 2;
            multiply_stripe(&p, &s, &tile, &space);
        }
    }
}
