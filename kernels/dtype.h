/* dtype.h - the number formats weights, activations and KV may have, and their exact meaning.
 *
 * Source: ggml's block formats as the GGUF specification and gguf-py describe them; safetensors'
 * F8_E4M3 and F8_E5M2 (OCP 8-bit floats). The golden bytes are in tests/golden.
 *
 * The scaled formats stand in no file. Models whose codes and scales are separate tensors (F8 with
 * scales, GPTQ, AWQ) are put together in them while loading, exactly; a block is 32 elements:
 *
 *   SCALED_F8   { f32 scale; e4m3 code[32] }          value = scale * code
 *   SCALED_F16  { f32 scale; f16 code[32] }           value = scale * code
 *   SCALED_U4   { f32 scale; u8 zero; u8 pair[16] }   value = scale * (code - zero)
 *                                                     byte i: codes 2 i (low), 2 i + 1 (high)
 */
#ifndef PX_KERNELS_DTYPE_H
#define PX_KERNELS_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum px_dtype {
    PX_F32,
    PX_F16,
    PX_BF16,
    PX_F8_E4M3,
    PX_F8_E5M2,
    PX_Q8_0,
    PX_Q4_0,
    PX_Q4_1,
    PX_Q5_0,
    PX_Q5_1,
    PX_Q2_K,
    PX_Q3_K,
    PX_Q4_K,
    PX_Q5_K,
    PX_Q6_K,
    PX_IQ4_NL,
    PX_IQ4_XS,
    PX_MXFP4,
    PX_SCALED_F8,
    PX_SCALED_F16,
    PX_SCALED_U4,
    PX_I32, /* from here on: parts of other formats and indices in files, not weights */
    PX_I64,
    PX_U8,
    PX_F8_E8M0, /* scales that are powers of two */
    PX_I8,
    PX_I16,
    PX_F64,
    PX_DTYPE_COUNT
} px_dtype;

typedef struct px_dtype_traits {
    const char *name;        /* "q4_1" */
    uint32_t block_elements; /* 1 for plain types; a row is whole blocks */
    uint32_t block_bytes;
} px_dtype_traits;

const px_dtype_traits *px_dtype_of(px_dtype dtype);   /* never NULL */
bool px_dtype_parse(const char *name, px_dtype *out); /* "q4_1", "Q4_1" */
/* Bytes of a row of `elements`, a whole number of blocks. */
size_t px_dtype_bytes(px_dtype dtype, size_t elements);

/* Exact float32 meaning of `elements` values (whole blocks). The specification of every format. */
void px_dtype_to_f32(px_dtype dtype, const void *from, float *to, size_t elements);
/* Round to a type that KV may have: F32, F16, BF16 and Q8_0. Files are written by quantize.h. */
bool px_dtype_can_encode(px_dtype dtype);
void px_dtype_from_f32(px_dtype dtype, const float *from, void *to, size_t elements);

float px_f16_to_f32(uint16_t half);
uint16_t px_f32_to_f16(float value); /* round to nearest even */
float px_bf16_to_f32(uint16_t half);
uint16_t px_f32_to_bf16(float value);

#endif
