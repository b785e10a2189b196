/* token_bytes.h - the bytes that each token adds to a text, for those who must know them one by
 * one, as grammars do.
 *
 * Found by decoding the token behind a plain one, so every decoder is right by being used; where
 * that shows half a character, the bytes are read from how the vocabulary writes them (byte-level
 * characters, or <0xHH>).
 * Threads: one at a time.
 */
#ifndef PX_TEXT_TOKEN_BYTES_H
#define PX_TEXT_TOKEN_BYTES_H

#include "engine/text/tokenizer.h"

typedef struct px_token_bytes px_token_bytes;

/* `tokenizer` is borrowed. */
px_token_bytes *px_token_bytes_create(const px_tokenizer *tokenizer);
void px_token_bytes_free(px_token_bytes *bytes);
/* Appends the bytes of `id`; nothing for special tokens and ids that stand for no text. */
void px_token_bytes_of(px_token_bytes *bytes, uint32_t id, px_buf *out);

#endif
