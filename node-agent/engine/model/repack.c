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
#include "engine/model/first_touch.h"

/* Of packed memory: half a second-level cache, so that what was cleared is still there when it is
 * written. */
enum { PIECE_BYTES = 1 << 20 };
/* Of the file: what may stay mapped behind the work; of a single weight, behind each worker. */
enum { LAG_BYTES = 32 << 20, TRAIL_BYTES = 8 << 20 };
enum { PAGE_BYTES = 4 << 10, HUGE_PAGE_BYTES = 2 << 20 };

typedef struct repacking {
    const px_repack *op;
    unsigned char *staged; /* [workers][staged_bytes]: rows between being put together and packed */
    size_t staged_bytes;
    px_first_touch memory;
    px_slice *passed; /* [count]: room to put tensors in the file's order */
    size_t dropped;   /* items that worker 0 has given back */
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

/* Where an item's rows from `row` on begin in its memory; `row` begins a piece, or is the end. */
static size_t bytes_before(const px_repack_item *item, uint32_t row, const px_kernels *kernels)
{
    const px_weight_view *from = &item->from;
    if (row == from->rows) return px_repack_bytes(item, kernels);
    bool packed = kernels->pack_bytes(from->dtype, from->rows, from->cols) != 0;
    return packed ? kernels->pack_bytes(from->dtype, row, from->cols)
                  : row * px_dtype_bytes(from->dtype, from->cols);
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
    if (item->to) op.to = item->to + bytes_before(item, rows.begin, kernels);
    if (px_weight_is_scattered(from)) {
        bool packed = kernels->pack_bytes(from->dtype, rows.count, from->cols) != 0;
        op.from_row_bytes = px_dtype_bytes(from->dtype, from->cols);
        op.from = packed ? staged : op.to;
        px_weight_assemble(from, rows, (void *)(uintptr_t)op.from);
    }
    kernels->pack(&op, (px_part){.count = 1});
    if (rows.begin == 0) {
        *item->matrix = matrix;
        item->matrix->rows = from->rows;
        item->matrix->order = item->order;
    }
}

/* The memory that these rows go to, to its last byte: what is written before it is touched would
 * be cleared by whoever touches it. */
static void touch(repacking *r, const px_repack_item *item, px_range rows)
{
    const px_kernels *kernels = r->op->options->kernels;
    size_t begin = bytes_before(item, rows.begin, kernels);
    size_t end = bytes_before(item, rows.begin + rows.count, kernels);
    px_first_touch_range(&r->memory, item->to + begin, end - begin);
}

static void repack_piece(repacking *r, const px_repack_item *item, px_range rows, uint32_t worker)
{
    if (item->to) touch(r, item, rows);
    if (is_vector(item))
        repack_vector(item);
    else if (item->by_row)
        use_in_place(item);
    else
        repack_rows(item, rows, r->op->options->kernels,
            r->staged ? r->staged + worker * r->staged_bytes : NULL);
}

/* --- giving the file back ----------------------------------------------------------------------
 */

static int compare_places(const void *a, const void *b)
{
    const px_slice *x = a, *y = b;
    return (x->data > y->data) - (x->data < y->data);
}

/* Giving back a part of a huge page takes the page apart and halts every worker: so the tensors of
 * items [begin, end) go at once, those that follow one another as one, and a worker that has not
 * yet read all of them maps some pages again, which the last call, for all items, finds. */
static void drop(const repacking *r, size_t begin, size_t end)
{
    size_t count = 0;
    for (size_t i = begin; i < end; i++) {
        const px_tensor *tensor = r->op->items[i].from.tensor;
        if (r->op->items[i].to && px_model_file_is_mapped(r->op->file, tensor))
            r->passed[count++] = (px_slice){.data = tensor->data, .length = tensor->bytes};
    }
    qsort(r->passed, count, sizeof *r->passed, compare_places);
    for (size_t i = 0, next; i < count; i = next) {
        const char *from = r->passed[i].data, *to = from + r->passed[i].length;
        for (next = i + 1; next < count && r->passed[next].data < to + PAGE_BYTES; next++)
            to = r->passed[next].data + r->passed[next].length;
        px_model_file_drop(from, (uint64_t)(to - from));
    }
}

/* Behind worker 0, as others are about as far. */
static void drop_passed(repacking *r, size_t next)
{
    uint64_t bytes = 0;
    for (size_t i = r->dropped; i < next; i++) bytes += px_repack_file_bytes(&r->op->items[i]);
    if (bytes < LAG_BYTES) return;
    drop(r, r->dropped, next);
    r->dropped = next;
}

/* Rows of a weight that a worker has read one after the other. */
typedef struct trail {
    uintptr_t begin, end;
} trail;

static void drop_trail(const repacking *r, const px_repack_item *item, px_range rows, trail *of)
{
    const px_weight_view *from = &item->from;
    if (!item->to || from->col_bytes || !px_model_file_is_mapped(r->op->file, from->tensor)) return;
    uintptr_t begin = (uintptr_t)from->data + rows.begin * from->row_bytes;
    if (begin != of->end)
        of->begin = (begin + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
    of->end = begin + rows.count * from->row_bytes;
    uintptr_t whole = of->end / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
    if (whole < of->begin + TRAIL_BYTES) return;
    px_model_file_drop((const void *)of->begin, whole - of->begin);
    of->begin = whole;
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
    trail behind = {0};
    for (uint32_t piece; px_deal_next(&deal, &piece);) {
        px_range rows = {.begin = piece * most};
        rows.count = all - rows.begin < most ? all - rows.begin : most;
        repack_piece(r, item, rows, worker);
        drop_trail(r, item, rows, &behind);
        uint64_t bytes = px_repack_file_bytes(item) / all * rows.count;
        uint64_t done = atomic_fetch_add(&r->done_bytes, bytes) + bytes;
        if (worker == 0) tell(r, done); /* in the thread that loads */
    }
}

static void repack_part(void *arg, uint32_t worker, uint32_t workers)
{
    (void)workers;
    repacking *r = arg;
    for (size_t i = 0; i < r->op->count; i++) {
        if (worker == 0) drop_passed(r, i);
        repack_item(r, &r->op->items[i], worker);
    }
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

px_status px_repack_all(const px_repack *op)
{
    repacking r = {.op = op};
    uint32_t workers = px_team_count(op->options->team);
    measure(&r);
    size_t staged_bytes = workers * r.staged_bytes;
    if (staged_bytes) {
        void *staged;
        PX_TRY(px_big_alloc(staged_bytes, "weights being loaded", &staged));
        r.staged = staged;
    }
    r.passed = px_alloc_array(op->count, sizeof *r.passed);
    px_first_touch_init(&r.memory, op->memory, op->memory_bytes);
    px_team_run(op->options->team, repack_part, &r);
    tell(&r, r.file_bytes);
    drop(&r, 0, op->count);
    px_first_touch_done(&r.memory);
    free(r.passed);
    px_big_free(r.staged, staged_bytes);
    return px_ok();
}
