/* elementwise.c - norms, residuals and rotary positions, eight at a time. */
#include "kernels/avx2/avx2.h"

#include <math.h>

#include "kernels/vector/piece.h"

/* Up to eight values; lanes past `count` are zero. */
PX_INLINE __m256 load_some(const float *from, uint32_t count)
{
    return count >= 8 ? _mm256_loadu_ps(from) : _mm256_maskload_ps(from, px_first8(count));
}

PX_INLINE void store_some(float *to, uint32_t count, __m256 value)
{
    if (count >= 8) {
        _mm256_storeu_ps(to, value);
    } else {
        _mm256_maskstore_ps(to, px_first8(count), value);
    }
}

static void rmsnorm_row(const px_rmsnorm *op, const float *x, float *y)
{
    uint32_t cols = op->cols;
    __m256 sums[4] = {
        _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    for (uint32_t c = 0, lane = 0; c < cols; c += 8, lane = (lane + 1) % 4) {
        __m256 v = load_some(x + c, cols - c);
        sums[lane] = _mm256_fmadd_ps(v, v, sums[lane]);
    }
    float squares =
        px_sum8(_mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3])));
    __m256 factor = _mm256_set1_ps(1.0f / sqrtf(squares / (float)cols + op->eps));
    __m256 offset = _mm256_set1_ps(op->weight_offset);
    for (uint32_t c = 0; c < cols; c += 8) {
        __m256 v = _mm256_mul_ps(load_some(x + c, cols - c), factor);
        if (op->weight) {
            v = _mm256_mul_ps(v, _mm256_add_ps(offset, load_some(op->weight + c, cols - c)));
        }
        store_some(y + c, cols - c, v);
    }
}

void px_avx2_rmsnorm(const px_rmsnorm *op, px_part part)
{
    uint32_t begin, end;
    px_part_range(part, op->rows * op->groups, 1, &begin, &end);
    for (uint32_t u = begin; u < end; u++) {
        size_t row = u / op->groups, group = u % op->groups;
        rmsnorm_row(op, op->x + row * op->x_stride + group * op->cols,
            op->y + row * op->y_stride + group * op->cols);
    }
}

void px_avx2_add(const px_add *op, px_part part)
{
    uint32_t begin, end;
    px_part_range(part, op->rows * pieces_of_row(op->cols), 1, &begin, &end);
    __m256 scale = _mm256_set1_ps(op->scale);
    for (uint32_t i = begin; i < end; i++) {
        piece p = piece_at(i, op->cols);
        const float *x = op->x + p.row * op->x_stride;
        float *y = op->y + p.row * op->y_stride;
        for (uint32_t c = p.begin; c < p.end; c += 8) {
            uint32_t left = p.end - c;
            store_some(y + c, left,
                _mm256_fmadd_ps(scale, load_some(x + c, left), load_some(y + c, left)));
        }
    }
}

/* Halves apart: (i, i + half). Each lane is a pair. */
static void rotate_halves(float *x, const float *cosine, const float *sine, uint32_t half)
{
    for (uint32_t i = 0; i < half; i += 8) {
        uint32_t left = half - i;
        __m256 a = load_some(x + i, left), b = load_some(x + half + i, left);
        __m256 c = load_some(cosine + i, left), s = load_some(sine + i, left);
        store_some(x + i, left, _mm256_fmsub_ps(a, c, _mm256_mul_ps(b, s)));
        store_some(x + half + i, left, _mm256_fmadd_ps(b, c, _mm256_mul_ps(a, s)));
    }
}

/* Neighbours: (2 i, 2 i + 1). Four pairs a vector: x c + swapped(x) (-s, s). */
static void rotate_neighbours(float *x, const float *cosine, const float *sine, uint32_t half)
{
    const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
    const __m256 signs = _mm256_setr_ps(-0.0f, 0, -0.0f, 0, -0.0f, 0, -0.0f, 0);
    for (uint32_t i = 0; i < half; i += 4) {
        uint32_t left = half - i < 4 ? half - i : 4;
        __m256 v = load_some(x + 2 * i, 2 * left);
        __m256 c = _mm256_permutevar8x32_ps(load_some(cosine + i, left), twice);
        __m256 s = _mm256_permutevar8x32_ps(load_some(sine + i, left), twice);
        __m256 swapped = _mm256_mul_ps(_mm256_permute_ps(v, 0xb1), _mm256_xor_ps(s, signs));
        store_some(x + 2 * i, 2 * left, _mm256_fmadd_ps(v, c, swapped));
    }
}

void px_avx2_rope(const px_rope *op, px_part part)
{
    uint32_t begin, end, half = op->dims / 2;
    px_part_range(part, op->rows * op->heads, 1, &begin, &end);
    for (uint32_t u = begin; u < end; u++) {
        size_t row = u / op->heads, head = u % op->heads;
        float *x = op->x + row * op->x_stride + head * op->head_dim + op->offset;
        (op->interleaved ? rotate_neighbours : rotate_halves)(
            x, op->cos + row * half, op->sin + row * half, half);
    }
}
