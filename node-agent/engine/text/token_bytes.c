#include "engine/text/token_bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/byte_level.h"

enum { TEXT_BYTES_MAX = 1 << 20 };

struct px_token_bytes {
    const px_tokenizer *tokenizer;
    px_detok *detok;
    int64_t before;       /* a plain token; -1: there is none */
    size_t before_length; /* of its text, alone */
    px_buf text;
};

/* The text of `before`, unless -1, and `id`, into bytes->text. */
static px_status decode_behind(px_token_bytes *bytes, int64_t before, uint32_t id)
{
    px_buf_reset(&bytes->text);
    px_detok_reset(bytes->detok);
    px_status status = px_ok();
    if (before >= 0) status = px_detok_push(bytes->detok, (uint32_t)before, &bytes->text);
    if (px_is_ok(status)) status = px_detok_push(bytes->detok, id, &bytes->text);
    if (px_is_ok(status)) px_detok_finish(bytes->detok, &bytes->text);
    return status;
}

px_token_bytes *px_token_bytes_create(const px_tokenizer *tokenizer)
{
    static const char *const plain[] = {"a", "e", "x", "0", "A"};
    px_token_bytes *bytes = px_alloc(sizeof *bytes);
    *bytes = (px_token_bytes){.tokenizer = tokenizer, .before = -1};
    bytes->detok = px_detok_create(tokenizer, true);
    px_buf_init(&bytes->text, TEXT_BYTES_MAX);
    for (size_t i = 0; i < sizeof plain / sizeof *plain && bytes->before < 0; i++) {
        int64_t id = px_tokenizer_id(tokenizer, plain[i], 1);
        if (id < 0 || !px_is_ok(decode_behind(bytes, -1, (uint32_t)id))) continue;
        bytes->before = id;
        bytes->before_length = bytes->text.length;
    }
    return bytes;
}

void px_token_bytes_free(px_token_bytes *bytes)
{
    if (!bytes) return;
    px_detok_free(bytes->detok);
    px_buf_done(&bytes->text);
    free(bytes);
}

/* <0xHH> */
static bool read_fallback(px_slice token, px_buf *out)
{
    unsigned byte;
    char end;
    if (token.length != 6 || sscanf(token.data, "<0x%2X%c", &byte, &end) != 2 || end != '>')
        return false;
    px_buf_putc(out, (char)byte);
    return true;
}

void px_token_bytes_of(px_token_bytes *bytes, uint32_t id, px_buf *out)
{
    static const char replacement[] = "\xef\xbf\xbd";
    px_slice token = px_tokenizer_token(bytes->tokenizer, id);
    if (!token.data || px_tokenizer_is_special(bytes->tokenizer, id)) return;
    if (!px_is_ok(decode_behind(bytes, bytes->before, id))) return;
    size_t skip = bytes->before >= 0 ? bytes->before_length : 0;
    if (bytes->text.length <= skip) return;
    const char *text = bytes->text.data + skip;
    bool is_broken = strstr(text, replacement) && !memmem(token.data, token.length, replacement, 3);
    if (!is_broken)
        px_buf_append(out, text, bytes->text.length - skip);
    else if (!read_fallback(token, out))
        px_byte_level_read(token.data, token.length, out);
}
