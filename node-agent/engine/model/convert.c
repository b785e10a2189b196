/* convert.c - the work of a conversion: chunks of rows, read, rounded, written and read back.
 *
 * A chunk is some rows of one tensor. Chunks are numbered through the file, so that workers can
 * take the next one and each chunk's hash has its place.
 */
#include "engine/model/convert.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/assemble.h"
#include "engine/model/convert_impl.h"
#include "kernels/quantize.h"

enum {
    CHUNK_ELEMENTS = 1 << 18,
    CHUNKS_A_RUN = 64, /* between two reports of progress, for each worker */
    ROW_ELEMENTS_MAX = 1 << 24,
};

/* --- life ------------------------------------------------------------------------------------- */

static uint32_t chunk_rows(const px_planned *planned)
{
    return planned->cols < CHUNK_ELEMENTS ? CHUNK_ELEMENTS / planned->cols : 1;
}

static uint64_t chunks_of(const px_planned *planned)
{
    uint32_t rows = chunk_rows(planned);
    return (planned->rows + rows - 1) / rows;
}

static px_status declare(px_convert *convert)
{
    for (uint32_t i = 0; i < convert->tensor_count; i++) {
        px_planned *planned = &convert->tensors[i];
        if (planned->cols > ROW_ELEMENTS_MAX)
            return px_fail(PX_INVALID_ARGUMENT, "tensor '%s' has rows of %u elements; at most %d",
                planned->like.name, planned->cols, ROW_ELEMENTS_MAX);
        planned->like.bytes = planned->rows * px_dtype_bytes(planned->like.dtype, planned->cols);
        px_convert_type *type = &convert->report.types[planned->like.dtype];
        type->tensors++;
        type->copied += planned->copied;
        type->bytes += planned->like.bytes;
        type->elements += planned->rows * planned->cols;
        convert->chunk_count += chunks_of(planned);
        PX_TRY(px_gguf_writer_add(convert->writer, &planned->like));
    }
    convert->hashes = px_alloc_array(convert->chunk_count + 1, sizeof *convert->hashes);
    return px_ok();
}

px_status px_convert_open(const px_model_file *file, const px_convert_options *options,
    px_gguf_writer *writer, px_convert **out)
{
    px_convert *convert = px_alloc(sizeof *convert);
    convert->options = *options;
    convert->file = file;
    convert->writer = writer;
    px_status status = px_convert_plan(convert);
    if (px_is_ok(status)) status = declare(convert);
    if (!px_is_ok(status)) {
        px_convert_free(convert);
        return px_prefix(status, "%s", px_model_file_path(file));
    }
    *out = convert;
    return px_ok();
}

void px_convert_free(px_convert *convert)
{
    if (!convert) return;
    for (uint32_t i = 0; i < convert->tensor_count; i++) free(convert->tensors[i].pieces);
    free(convert->tensors);
    free(convert->hashes);
    px_pooling_free(convert->pooling);
    px_arena_done(&convert->memory);
    free(convert);
}

const px_convert_report *px_convert_reported(const px_convert *convert)
{
    return &convert->report;
}

/* --- reading a source ------------------------------------------------------------------------- */

/* The piece that fills a row, and which of its rows that is. */
static const px_piece *piece_of(const px_planned *planned, uint64_t row, uint32_t *out_row)
{
    for (uint32_t i = 0; i < planned->piece_count; i++) {
        const px_piece *piece = &planned->pieces[i];
        uint64_t off = row - piece->row_begin;
        if (row < piece->row_begin || off % piece->row_step ||
            off / piece->row_step >= piece->from.rows)
            continue;
        uint32_t at = (uint32_t)(off / piece->row_step), pairs = piece->pair_rows;
        /* Neighbours 2 i, 2 i + 1 of a head were i and i + half. */
        if (pairs) at = at / pairs * pairs + at % pairs / 2 + at % 2 * (pairs / 2);
        *out_row = at;
        return piece;
    }
    PX_ASSERT(!"a row that no piece fills");
    return NULL;
}

typedef struct chunk {
    const px_planned *planned;
    uint32_t tensor;
    uint64_t index; /* of all chunks */
    uint64_t first;
    uint32_t rows;
} chunk;

/* A worker's memory and what it found out. */
typedef struct bench {
    float *values, *back;
    unsigned char *bytes; /* a chunk in its new type */
    unsigned char *row;   /* a source row */
    px_convert_type types[PX_DTYPE_COUNT];
} bench;

static void read_copied(const chunk *c, unsigned char *to)
{
    size_t bytes = px_dtype_bytes(c->planned->like.dtype, c->planned->cols);
    for (uint32_t i = 0; i < c->rows; i++) {
        uint32_t row;
        const px_piece *piece = piece_of(c->planned, c->first + i, &row);
        px_weight_assemble(&piece->from, (px_range){row, 1}, to + i * bytes);
    }
}

static void read_values(const chunk *c, bench *b)
{
    uint32_t cols = c->planned->cols;
    for (uint32_t i = 0; i < c->rows; i++) {
        uint32_t row;
        const px_piece *piece = piece_of(c->planned, c->first + i, &row);
        float *values = b->values + (size_t)i * cols;
        px_weight_assemble(&piece->from, (px_range){row, 1}, b->row);
        px_dtype_to_f32(piece->from.dtype, b->row, values, cols);
        for (uint32_t k = 0; piece->offset != 0 && k < cols; k++) values[k] += piece->offset;
    }
}

/* --- the jobs --------------------------------------------------------------------------------- */

typedef struct job {
    px_convert *convert;
    px_status (*work)(struct job *job, bench *b, const chunk *c);
    const px_gguf *written; /* when checking */
    bench *benches;
    uint64_t *first_chunks; /* of each tensor; and one more */
    uint64_t end;
    _Atomic uint64_t next;
    atomic_flag failing;
    px_status failure;
    _Atomic bool failed;
} job;

static bool all_finite(const float *values, size_t count)
{
    float sum = 0;
    for (size_t i = 0; i < count; i++) sum += values[i] * 0; /* NaN from then on */
    return sum == 0;
}

/* Eight bytes at a time; every bit of the input moves half of the result. */
static uint64_t hash_of(const unsigned char *bytes, size_t length)
{
    const uint64_t odd = 0x9e3779b97f4a7c15;
    uint64_t hash = length * odd;
    for (size_t i = 0; i < length; i += 8) {
        uint64_t word = 0;
        memcpy(&word, bytes + i, length - i < 8 ? length - i : 8);
        hash = (hash ^ word) * odd;
        hash ^= hash >> 32;
    }
    return hash;
}

static px_status write_chunk(job *j, bench *b, const chunk *c)
{
    const px_planned *planned = c->planned;
    size_t elements = (size_t)c->rows * planned->cols;
    size_t row_bytes = px_dtype_bytes(planned->like.dtype, planned->cols);
    if (planned->copied) {
        read_copied(c, b->bytes);
    } else {
        read_values(c, b);
        if (!all_finite(b->values, elements))
            return px_fail(
                PX_DATA_LOSS, "tensor '%s' holds values that are not finite", planned->like.name);
        px_quantize(planned->like.dtype, b->values, b->bytes, elements);
    }
    j->convert->hashes[c->index] = hash_of(b->bytes, c->rows * row_bytes);
    return px_gguf_writer_write(j->convert->writer, &(px_gguf_span){.tensor = c->tensor,
                                                        .offset = c->first * row_bytes,
                                                        .bytes = b->bytes,
                                                        .length = c->rows * row_bytes});
}

static void add_errors(const chunk *c, bench *b)
{
    px_convert_type *type = &b->types[c->planned->like.dtype];
    size_t elements = (size_t)c->rows * c->planned->cols;
    float largest = 0, off_sum = 0, value_sum = 0;
    for (size_t i = 0; i < elements; i++) {
        float off = fabsf(b->back[i] - b->values[i]);
        largest = off > largest ? off : largest;
        off_sum += off * off;
        value_sum += b->values[i] * b->values[i];
    }
    type->largest_error = largest > type->largest_error ? (double)largest : type->largest_error;
    type->error_sum += (double)off_sum;
    type->value_sum += (double)value_sum;
}

static px_status check_chunk(job *j, bench *b, const chunk *c)
{
    const px_planned *planned = c->planned;
    size_t elements = (size_t)c->rows * planned->cols;
    size_t row_bytes = px_dtype_bytes(planned->like.dtype, planned->cols);
    const unsigned char *bytes =
        (const unsigned char *)px_gguf_tensor_at(j->written, c->tensor)->data +
        c->first * row_bytes;
    if (hash_of(bytes, c->rows * row_bytes) != j->convert->hashes[c->index])
        return px_fail(PX_DATA_LOSS, "tensor '%s' reads back other bytes than were written",
            planned->like.name);
    if (planned->copied) return px_ok();
    read_values(c, b);
    px_dtype_to_f32(planned->like.dtype, bytes, b->back, elements);
    if (!all_finite(b->back, elements))
        return px_fail(PX_OUT_OF_RANGE, "tensor '%s' holds values that %s cannot express",
            planned->like.name, px_dtype_of(planned->like.dtype)->name);
    add_errors(c, b);
    return px_ok();
}

static chunk chunk_at(const job *j, uint64_t index)
{
    uint32_t low = 0, high = j->convert->tensor_count; /* the last that begins at or before it */
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (j->first_chunks[middle] <= index)
            low = middle;
        else
            high = middle;
    }
    chunk c = {.planned = &j->convert->tensors[low], .tensor = low, .index = index};
    uint32_t rows = chunk_rows(c.planned);
    c.first = (index - j->first_chunks[low]) * rows;
    c.rows = c.planned->rows - c.first < rows ? (uint32_t)(c.planned->rows - c.first) : rows;
    return c;
}

static bool is_cancelled(const px_convert *convert)
{
    return convert->options.cancel && atomic_load(convert->options.cancel);
}

static void fail(job *j, px_status status)
{
    if (atomic_flag_test_and_set(&j->failing)) return; /* the first one is told */
    j->failure = status;
    atomic_store(&j->failed, true);
}

static void run_part(void *arg, uint32_t worker, uint32_t count)
{
    job *j = arg;
    (void)count;
    while (!atomic_load(&j->failed) && !is_cancelled(j->convert)) {
        uint64_t index = atomic_fetch_add(&j->next, 1);
        if (index >= j->end) return;
        chunk c = chunk_at(j, index);
        px_status status = j->work(j, &j->benches[worker], &c);
        if (!px_is_ok(status)) fail(j, status);
    }
}

static px_status make_benches(job *j, uint32_t workers)
{
    size_t most = CHUNK_ELEMENTS;
    for (uint32_t i = 0; i < j->convert->tensor_count; i++)
        if (j->convert->tensors[i].cols > most) most = j->convert->tensors[i].cols;
    j->benches = px_alloc_array(workers, sizeof *j->benches);
    for (uint32_t w = 0; w < workers; w++) { /* no type takes more than 8 bytes a weight */
        void *memory;
        PX_TRY(px_big_alloc(most * 24, "converting", &memory));
        j->benches[w].values = memory;
        j->benches[w].back = j->benches[w].values + most;
        j->benches[w].bytes = (unsigned char *)(j->benches[w].back + most);
        j->benches[w].row = j->benches[w].bytes + most * 8;
    }
    return px_ok();
}

static void free_benches(job *j, uint32_t workers)
{
    size_t most = CHUNK_ELEMENTS;
    for (uint32_t i = 0; i < j->convert->tensor_count; i++)
        if (j->convert->tensors[i].cols > most) most = j->convert->tensors[i].cols;
    for (uint32_t w = 0; j->benches && w < workers; w++)
        px_big_free(j->benches[w].values, most * 24);
    free(j->benches);
}

static void gather_errors(job *j, uint32_t workers)
{
    for (uint32_t w = 0; w < workers; w++) {
        for (int t = 0; t < PX_DTYPE_COUNT; t++) {
            px_convert_type *all = &j->convert->report.types[t];
            const px_convert_type *some = &j->benches[w].types[t];
            if (some->largest_error > all->largest_error) all->largest_error = some->largest_error;
            all->error_sum += some->error_sum;
            all->value_sum += some->value_sum;
        }
    }
}

static px_status run(job *j, const char *what)
{
    px_convert *convert = j->convert;
    px_team *team = convert->options.team;
    uint32_t workers = px_team_count(team);
    j->first_chunks = px_alloc_array(convert->tensor_count + 1, sizeof *j->first_chunks);
    for (uint32_t i = 0; i < convert->tensor_count; i++)
        j->first_chunks[i + 1] = j->first_chunks[i] + chunks_of(&convert->tensors[i]);
    px_status status = make_benches(j, workers);
    for (uint64_t done = 0; px_is_ok(status) && done < convert->chunk_count; done = j->end) {
        uint64_t most = done + CHUNKS_A_RUN * workers;
        j->end = most < convert->chunk_count ? most : convert->chunk_count;
        atomic_store(&j->next, done);
        px_team_run(team, run_part, j);
        if (atomic_load(&j->failed)) status = j->failure;
        if (px_is_ok(status) && is_cancelled(convert))
            status = px_fail(PX_CANCELLED, "interrupted");
        if (convert->options.on_progress)
            convert->options.on_progress(
                convert->options.progress_arg, (double)j->end / (double)convert->chunk_count, what);
    }
    if (px_is_ok(status)) gather_errors(j, workers);
    free_benches(j, workers);
    free(j->first_chunks);
    return status;
}

px_status px_convert_write(px_convert *convert)
{
    job j = {.convert = convert, .work = write_chunk, .failing = ATOMIC_FLAG_INIT};
    return run(&j, "writing");
}

/* The table says what was declared; the header's keys were read with it. */
static px_status check_table(const px_convert *convert, const px_gguf *written)
{
    bool same = px_gguf_tensor_count(written) == convert->tensor_count;
    for (uint32_t i = 0; same && i < convert->tensor_count; i++) {
        const px_tensor *is = px_gguf_tensor_at(written, i), *want = &convert->tensors[i].like;
        same = strcmp(is->name, want->name) == 0 && is->dtype == want->dtype &&
               is->bytes == want->bytes;
    }
    return same ? px_ok()
                : px_fail(PX_DATA_LOSS, "the file's table of tensors reads back differently");
}

px_status px_convert_check(px_convert *convert)
{
    px_gguf *written;
    PX_TRY(px_gguf_open(px_gguf_writer_path(convert->writer), &written));
    px_status status = check_table(convert, written);
    job j = {
        .convert = convert, .work = check_chunk, .written = written, .failing = ATOMIC_FLAG_INIT};
    if (px_is_ok(status)) status = run(&j, "checking");
    px_gguf_close(written);
    return status;
}
