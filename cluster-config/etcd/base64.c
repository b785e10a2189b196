#include "etcd/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void px_base64_encode(px_buf *out, const void *bytes, size_t length)
{
    const unsigned char *in = bytes;
    for (size_t i = 0; i < length; i += 3) {
        size_t left = length - i;
        uint32_t bits = (uint32_t)in[i] << 16;
        if (left > 1) bits |= (uint32_t)in[i + 1] << 8;
        if (left > 2) bits |= in[i + 2];
        char quad[4] = {alphabet[bits >> 18], alphabet[bits >> 12 & 63],
            left > 1 ? alphabet[bits >> 6 & 63] : '=', left > 2 ? alphabet[bits & 63] : '='};
        px_buf_append(out, quad, sizeof quad);
    }
}

/* 0..63, or -1 for a character outside the alphabet. */
static int digit(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

char *px_base64_decode(px_arena *arena, px_slice text, size_t *out_length)
{
    if (text.length % 4 != 0) return NULL;
    size_t padding = 0;
    while (padding < 2 && padding < text.length && text.data[text.length - 1 - padding] == '=')
        padding++;
    size_t length = text.length / 4 * 3 - padding;
    unsigned char *out = px_arena_alloc(arena, length + 1);
    if (!out) return NULL;
    size_t written = 0;
    for (size_t i = 0; i < text.length; i += 4) {
        uint32_t bits = 0;
        for (size_t k = 0; k < 4; k++) {
            bool is_padding = i + k >= text.length - padding;
            int value = is_padding ? 0 : digit(text.data[i + k]);
            if (value < 0) return NULL;
            bits = bits << 6 | (uint32_t)value;
        }
        for (int shift = 16; shift >= 0 && written < length; shift -= 8)
            out[written++] = (unsigned char)(bits >> shift);
    }
    out[length] = '\0';
    *out_length = length;
    return (char *)out;
}
