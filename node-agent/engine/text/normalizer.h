/* normalizer.h - what tokenizer.json's "normalizer" does to text before it is cut.
 *
 * A list of steps (Sequences are flattened), each from text to text: NFC, NFD, NFKC, NFKD,
 * Lowercase, Strip, StripAccents, Replace, Prepend, Nmt, ByteLevel, BertNormalizer, Precompiled.
 * Source:  Hugging Face tokenizers, src/normalizers.
 * Threads: immutable once built; the work belongs to one thread.
 */
#ifndef PX_TEXT_NORMALIZER_H
#define PX_TEXT_NORMALIZER_H

#include <jansson.h>

#include "engine/text/pattern.h"

typedef struct px_normalizer px_normalizer;

/* `config` is the JSON object, or NULL or null: *out = NULL, which normalises nothing. */
px_status px_normalizer_create(const json_t *config, px_normalizer **out) PX_MUST_USE;
/* The same, after a step PRECOMPILED by this map as SentencePiece stores it; empty: no such step.
 */
px_status px_normalizer_create_after(
    px_slice map, const json_t *config, px_normalizer **out) PX_MUST_USE;
void px_normalizer_free(px_normalizer *normalizer);

/* Replaces *text (valid UTF-8) by its normal form; `spare` is work space, its contents are lost.
 * *first becomes false if the start of the text was taken away: what is left begins later. */
px_status px_normalizer_run(const px_normalizer *normalizer, px_matcher *matcher, px_buf *text,
    px_buf *spare, bool *first) PX_MUST_USE;

/* {"String": s} or {"Regex": r} (or just s) as a pattern; shared with pre-tokenizers and decoders.
 */
px_status px_pattern_from_json(
    const json_t *config, const char *where, px_pattern **out) PX_MUST_USE;

/* A required string member, with its length (it may hold NUL bytes). */
px_status px_json_slice(
    const json_t *object, const char *key, const char *where, px_slice *out) PX_MUST_USE;

#endif
