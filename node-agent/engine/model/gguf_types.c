/* gguf_types.c - the format's numbers for the types of tensors. Source: ggml's enum ggml_type. */
#include "engine/model/gguf.h"

static const struct {
    uint32_t number;
    px_dtype dtype;
} type_numbers[] = {{0, PX_F32}, {1, PX_F16}, {2, PX_Q4_0}, {3, PX_Q4_1}, {6, PX_Q5_0},
    {7, PX_Q5_1}, {8, PX_Q8_0}, {10, PX_Q2_K}, {11, PX_Q3_K}, {12, PX_Q4_K}, {13, PX_Q5_K},
    {14, PX_Q6_K}, {20, PX_IQ4_NL}, {23, PX_IQ4_XS}, {26, PX_I32}, {27, PX_I64}, {30, PX_BF16},
    {39, PX_MXFP4}};

bool px_gguf_dtype(uint32_t number, px_dtype *out)
{
    for (size_t i = 0; i < sizeof type_numbers / sizeof *type_numbers; i++) {
        if (type_numbers[i].number != number) continue;
        *out = type_numbers[i].dtype;
        return true;
    }
    return false;
}

const char *px_gguf_type_name(uint32_t number)
{
    static const char *const names[] = {[9] = "Q8_1",
        [15] = "Q8_K",
        "IQ2_XXS",
        "IQ2_XS",
        "IQ3_XXS",
        "IQ1_S",
        [21] = "IQ3_S",
        "IQ2_S",
        [24] = "I8",
        "I16",
        [28] = "F64",
        "IQ1_M",
        [31] = "Q4_0_4_4",
        "Q4_0_4_8",
        "Q4_0_8_8",
        "TQ1_0",
        "TQ2_0",
        [40] = "NVFP4"};
    bool known = number < sizeof names / sizeof *names && names[number];
    return known ? names[number] : "unknown here";
}

bool px_gguf_type_number(px_dtype dtype, uint32_t *out)
{
    for (size_t i = 0; i < sizeof type_numbers / sizeof *type_numbers; i++) {
        if (type_numbers[i].dtype != dtype) continue;
        *out = type_numbers[i].number;
        return true;
    }
    return false;
}
