/* charsmap.h - SentencePiece's compiled normalisation rules ("Precompiled").
 *
 * Format: u32 bytes of the trie; the trie, a Darts double array of u32; then the replacement
 * texts, each ended by NUL. A rule's value is the offset of its replacement.
 * Source:  SentencePiece's normalizer.cc; Darts-clone's unit layout.
 * Owns:    a copy of the map.
 * Threads: immutable once built.
 */
#ifndef PX_TEXT_CHARSMAP_H
#define PX_TEXT_CHARSMAP_H

#include "base/memory.h"

typedef struct px_charsmap px_charsmap;

/* From the bytes as SentencePiece stores them, copied. INVALID_ARGUMENT when they are broken. */
px_status px_charsmap_create(px_slice bytes, px_charsmap **out) PX_MUST_USE;
/* The same from base64, as JSON holds it. */
px_status px_charsmap_from_base64(px_slice text, px_charsmap **out) PX_MUST_USE;
void px_charsmap_free(px_charsmap *map);
/* Appends valid text, normalised grapheme by grapheme, else character by character. false: the
 * first character is replaced by nothing. */
bool px_charsmap_apply(const px_charsmap *map, px_slice text, px_buf *out);

#endif
