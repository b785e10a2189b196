/* decoder.h - from tokens to text: what tokenizer.json's "decoder" does, as a stream.
 *
 * A list of steps (Sequences are flattened), each a transducer of tokens; text comes out as soon as
 * no later token can change it, in whole characters. Decoding a list is pushing all of it, so
 * streaming and decoding cannot differ.
 * Kinds:   ByteLevel, ByteFallback, Metaspace, Fuse, Replace, Strip, WordPiece, BPEDecoder, CTC;
 * none: tokens joined by blanks. Source:  Hugging Face tokenizers, src/decoders. Threads: a decoder
 * is immutable once built; a state belongs to one thread.
 */
#ifndef PX_TEXT_DECODER_H
#define PX_TEXT_DECODER_H

#include <jansson.h>

#include "engine/text/pattern.h"

typedef struct px_decoder px_decoder;
typedef struct px_decoder_state px_decoder_state;

/* `config` is the JSON object; NULL or null: tokens joined by blanks. */
px_status px_decoder_create(const json_t *config, px_decoder **out) PX_MUST_USE;
void px_decoder_free(px_decoder *decoder);

px_status px_decoder_state_create(const px_decoder *decoder, px_decoder_state **out) PX_MUST_USE;
void px_decoder_state_free(px_decoder_state *state);
void px_decoder_state_reset(px_decoder_state *state);

/* The next token, valid UTF-8; appends to `out` what it completes. */
px_status px_decoder_push(px_decoder_state *state, px_slice token, px_buf *out) PX_MUST_USE;
/* The end: appends what was held back. */
px_status px_decoder_finish(px_decoder_state *state, px_buf *out) PX_MUST_USE;

#endif
