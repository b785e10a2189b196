/* repack.c - see repack.h.
 *
 *   item   0        1    2                 ...     weights, in the order of the file's layers
 *   piece  0 1 2    3    4 5 6 7 8 9       ...     rows of one of them
 *
 * Each item's pieces are dealt as a step's products are (px_team_deal): a worker first touches, and
 * so on a machine of several nodes has near it, the share of a weight that it will read.
 */
#include "engine/model/repack.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "engine/model/assemble.h"

/* Of packed memory: several huge pages, so that few are touched by two workers. */
enum { PIECE_BYTES = 4 << 20 };

typedef struct repacking {
    const px_repack *op;
    unsigned char *staged; /* [workers][staged_bytes]: rows between being put together and packed */
    size_t staged_bytes;
    uint64_t file_bytes;
    _Atomic uint64_t done_bytes;
} repacking;

static bool is_vector(const px_repack_item *item)
{
    return item->vector != NULL;
}

size_t px_repack_bytes(const px_repack_item *item, const px_kernels *kernels)
{
    const px_weight_view *from = &item->from;
    if (is_vector(item)) return from->rows * sizeof(float);
    if (item->by_row) return 0;
    size_t bytes = kernels->pack_bytes(from->dtype, from->rows, from->cols);
    if (bytes || !px_weight_is_scattered(from)) return bytes;
    return px_repack_file_bytes(item); /* nothing to use in place: a copy */
}

uint64_t px_repack_file_bytes(const px_repack_item *item)
{
    return item->from.rows * px_dtype_bytes(item->from.dtype, item->from.cols);
}

/* --- one piece -------------------------------------------------------------------------------- */

/* Rows in a piece: all, if the weight is not packed or its rows cannot be had one by one. */
static uint32_t piece_rows(const px_repack_item *item, const px_kernels *kernels)
{
    size_t bytes = px_repack_bytes(item, kernels);
    if (!bytes || is_vector(item) || item->from.is_turned_blocks) return item->from.rows;
    size_t wanted = PIECE_BYTES / (bytes / item->from.rows + 1) / PX_PACK_ROWS * PX_PACK_ROWS;
    if (wanted < PX_PACK_ROWS) wanted = PX_PACK_ROWS;
    return wanted < item->from.rows ? (uint32_t)wanted : item->from.rows;
}

static void repack_vector(const px_repack_item *item)
{
    float *to = (float *)(void *)item->to;
    for (uint32_t i = 0; i < item->from.rows; i++)
        px_dtype_to_f32(item->from.dtype, item->from.data + i * item->from.row_bytes, to + i, 1);
    *item->vector = to;
}

static void use_in_place(const px_repack_item *item)
{
    *item->matrix = (px_matrix){.dtype = item->from.dtype,
        .rows = item->from.rows,
        .cols = item->from.cols,
        .row_bytes = item->from.row_bytes,
        .data = item->from.data};
}

static void repack_rows(
    const px_repack_item *item, px_range rows, const px_kernels *kernels, unsigned char *staged)
{
    const px_weight_view *from = &item->from;
    px_matrix matrix;
    px_pack op = {.dtype = from->dtype,
        .rows = rows.count,
        .cols = from->cols,
        .from = from->data + rows.begin * from->row_bytes,
        .from_row_bytes = from->row_bytes,
        .to = item->to,
        .out = &matrix};
    size_t before = kernels->pack_bytes(from->dtype, rows.begin, from->cols);
    if (px_weight_is_scattered(from)) {
        bool packed = kernels->pack_bytes(from->dtype, rows.count, from->cols) != 0;
        op.from_row_bytes = px_dtype_bytes(from->dtype, from->cols);
        op.from = packed ? staged : item->to + rows.begin * op.from_row_bytes;
        px_weight_assemble(from, rows, (void *)(uintptr_t)op.from);
    }
    if (item->to) op.to = item->to + before;
    kernels->pack(&op, (px_part){.count = 1});
    if (rows.begin == 0) {
        *item->matrix = matrix;
        item->matrix->rows = from->rows;
        item->matrix->order = item->order;
    }
}

/* Back to the kernel, at most once read again by who shares a page. */
static void drop(const px_repack *op, const px_repack_item *item, px_range rows)
{
    const px_weight_view *from = &item->from;
    if (!item->to) return;
    if (!from->col_bytes)
        px_model_file_drop(op->file, from->data + rows.begin * from->row_bytes,
            (uint64_t)rows.count * from->row_bytes);
    else if (rows.begin + rows.count == from->rows) /* each piece has read of every line */
        px_model_file_drop(op->file, from->data, (uint64_t)from->cols * from->col_bytes);
}

static void repack_piece(repacking *r, const px_repack_item *item, px_range rows, uint32_t worker)
{
    if (is_vector(item))
        repack_vector(item);
    else if (item->by_row)
        use_in_place(item);
    else
        repack_rows(item, rows, r->op->options->kernels,
            r->staged ? r->staged + worker * r->staged_bytes : NULL);
    drop(r->op, item, rows);
}

/* --- all of them ------------------------------------------------------------------------------ */

static void tell(repacking *r, uint64_t done)
{
    const px_model_options *options = r->op->options;
    if (options->on_progress)
        options->on_progress(
            options->progress_arg, (double)done / (double)r->file_bytes, "loading weights");
}

static void repack_item(repacking *r, const px_repack_item *item, uint32_t worker)
{
    uint32_t most = piece_rows(item, r->op->options->kernels), all = item->from.rows;
    px_deal deal = px_team_deal(r->op->options->team, worker, (all + most - 1) / most);
    for (uint32_t piece; px_deal_next(&deal, &piece);) {
        px_range rows = {.begin = piece * most};
        rows.count = all - rows.begin < most ? all - rows.begin : most;
        repack_piece(r, item, rows, worker);
        uint64_t bytes = px_repack_file_bytes(item) / all * rows.count;
        uint64_t done = atomic_fetch_add(&r->done_bytes, bytes) + bytes;
        if (worker == 0) tell(r, done); /* in the thread that loads */
    }
}

static void repack_part(void *arg, uint32_t worker, uint32_t workers)
{
    (void)workers;
    repacking *r = arg;
    for (size_t i = 0; i < r->op->count; i++) repack_item(r, &r->op->items[i], worker);
}

/* The bytes of all, and the most that a piece needs to be put together. */
static void measure(repacking *r)
{
    const px_kernels *kernels = r->op->options->kernels;
    for (size_t i = 0; i < r->op->count; i++) {
        const px_repack_item *item = &r->op->items[i];
        uint32_t most = piece_rows(item, kernels);
        size_t staged = most * px_dtype_bytes(item->from.dtype, item->from.cols);
        if (px_weight_is_scattered(&item->from) && staged > r->staged_bytes)
            r->staged_bytes = (staged + 63) / 64 * 64;
        r->file_bytes += px_repack_file_bytes(item);
    }
}

/* A page fault maps the pages around it as well: the ends of pieces that had been given back, and
 * slices of other ranks. */
static void drop_surroundings(const px_repack *op)
{
    for (size_t i = 0; i < op->count; i++) {
        const px_tensor *tensor = op->items[i].from.tensor;
        if (op->items[i].to) px_model_file_drop(op->file, tensor->data, tensor->bytes);
    }
}

px_status px_repack_all(const px_repack *op)
{
    repacking r = {.op = op};
    uint32_t workers = px_team_count(op->options->team);
    measure(&r);
    size_t staged_bytes = workers * r.staged_bytes;
    px_status status = px_ok();
    if (staged_bytes) {
        void *staged;
        PX_TRY_GOTO(px_big_alloc(staged_bytes, "weights being loaded", &staged), out);
        r.staged = staged;
    }
    px_team_run(op->options->team, repack_part, &r);
    tell(&r, r.file_bytes);
    drop_surroundings(op);
out:
    px_big_free(r.staged, staged_bytes);
    return status;
}
