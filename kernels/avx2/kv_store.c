/* kv_store.c - rounding K and V rows to the cache's type and placing them as kv.h lays them out. */
#include "kernels/avx2/avx2.h"
#include "kernels/avx2/kv.h"

#include <assert.h>

PX_INLINE __m128i to_bf16(__m256 v)
{
    __m256i bits = _mm256_castps_si256(v), one = _mm256_set1_epi32(1);
    __m256i even = _mm256_and_si256(_mm256_srli_epi32(bits, 16), one);
    __m256i up = _mm256_add_epi32(_mm256_add_epi32(bits, even), _mm256_set1_epi32(0x7fff));
    __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    __m256i wide = _mm256_srli_epi32(_mm256_blendv_epi8(up, quiet, nan), 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
}

/* 32 values to a Q8_0 block, the same bytes as px_dtype_from_f32. */
static void encode_q8(const float *from, uint8_t *to)
{
    __m256 v[4], largest = _mm256_setzero_ps();
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_loadu_ps(from + 8 * i);
        largest = _mm256_max_ps(largest, _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v[i]));
    }
    uint16_t half = (uint16_t)_cvtss_sh(px_max8(largest) / 127.0f, _MM_FROUND_TO_NEAREST_INT);
    memcpy(to, &half, 2);
    __m256 scale = _mm256_set1_ps(_cvtsh_ss(half));
    __m256 some = _mm256_cmp_ps(scale, _mm256_setzero_ps(), _CMP_NEQ_UQ);
    for (int i = 0; i < 4; i++) {
        __m256 q = _mm256_and_ps(_mm256_div_ps(v[i], scale), some);
        q = _mm256_min_ps(_mm256_max_ps(q, _mm256_set1_ps(-127)), _mm256_set1_ps(127));
        __m256i wide = _mm256_cvtps_epi32(q);
        __m128i words =
            _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
        _mm_storel_epi64((__m128i *)(to + 2 + 8 * i), _mm_packs_epi16(words, words));
    }
}

/* Rounds a row as px_dtype_from_f32 does. */
static void encode_row(px_dtype dtype, const float *from, uint8_t *to, uint32_t count)
{
    uint32_t i = 0;
    if (dtype == PX_Q8_0) {
        for (; i < count; i += 32) encode_q8(from + i, to + i / 32 * PX_KV_Q8_BLOCK_BYTES);
        return;
    }
    for (; i + 8 <= count && dtype != PX_F32; i += 8) {
        __m256 v = _mm256_loadu_ps(from + i);
        __m128i halves =
            dtype == PX_F16 ? _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT) : to_bf16(v);
        _mm_storeu_si128((__m128i *)(to + 2 * (size_t)i), halves);
    }
    px_dtype_from_f32(dtype, from + i, to + px_dtype_bytes(dtype, i), count - i);
}

/* One K row into its lane: `bytes` wide elements, 16 lanes apart. */
static void scatter(const uint8_t *row, uint8_t *to, uint32_t count, size_t bytes)
{
    for (size_t d = 0; d < count; d++) {
        memcpy(to + d * PX_KV_BLOCK_TOKENS * bytes, row + d * bytes, bytes);
    }
}

static void store_k(const px_kv_layer *kv, const float *from, uint8_t *head, uint32_t slot)
{
    enum { PIECE = 256 };
    uint8_t row[PIECE * 4];
    for (uint32_t d = 0; d < kv->k_dim; d += PIECE) {
        uint32_t count = kv->k_dim - d < PIECE ? kv->k_dim - d : PIECE;
        uint8_t *to = head + px_dtype_bytes(kv->dtype, (size_t)d * PX_KV_BLOCK_TOKENS);
        encode_row(kv->dtype, from + d, row, count);
        switch (kv->dtype) {
        case PX_Q8_0:
            for (uint32_t b = 0; b < count / 32; b++) {
                const uint8_t *block = row + b * PX_KV_Q8_BLOCK_BYTES;
                memcpy(to + 2 * (size_t)slot, block, 2);
                scatter(block + 2, to + 2 * PX_KV_BLOCK_TOKENS + slot, 32, 1);
                to += PX_KV_Q8_BLOCK_BYTES * PX_KV_BLOCK_TOKENS;
            }
            break;
        case PX_F32: scatter(row, to + 4 * (size_t)slot, count, 4); break;
        default: scatter(row, to + 2 * (size_t)slot, count, 2);
        }
    }
}

void px_avx2_kv_store(const px_kv_store *op, px_part part)
{
    const px_kv_layer *kv = op->kv;
    uint32_t begin, end;
    px_part_range(part, op->rows * kv->kv_heads, 1, &begin, &end);
    for (uint32_t u = begin; u < end; u++) {
        size_t row = u / kv->kv_heads;
        uint32_t head = u % kv->kv_heads;
        uint32_t slot = op->at[row].position % PX_KV_BLOCK_TOKENS;
        uint32_t block = op->at[row].blocks[op->at[row].position / PX_KV_BLOCK_TOKENS];
        const float *k = op->k + row * op->k_stride + (size_t)head * kv->k_dim;
        const float *v = kv->v.base ? op->v + row * op->v_stride + (size_t)head * kv->v_dim : k;
        uint32_t stride = px_kv_v_stride(kv);
        if (kv->v.base) store_k(kv, k, px_kv_share(&kv->k, head, block), slot);
        encode_row(kv->dtype, v,
            px_kv_share(px_kv_v_plane(kv), head, block) +
                px_dtype_bytes(kv->dtype, (size_t)slot * stride),
            stride);
    }
}
