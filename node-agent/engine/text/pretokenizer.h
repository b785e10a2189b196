/* pretokenizer.h - cuts text into the pieces that the model encodes one by one.
 *
 * A list of steps (Sequences are flattened): Split, ByteLevel, Digits, Metaspace, Whitespace,
 * WhitespaceSplit, Punctuation, BertPreTokenizer, CharDelimiterSplit, FixedLength, UnicodeScripts.
 * A step cuts pieces further or rewrites their text.
 * Source:  Hugging Face tokenizers, src/pre_tokenizers.
 * Threads: immutable once built; a px_pieces belongs to one thread.
 */
#ifndef PX_TEXT_PRETOKENIZER_H
#define PX_TEXT_PRETOKENIZER_H

#include <jansson.h>

#include "engine/text/pattern.h"

typedef struct px_piece {
    uint32_t start, length; /* bytes of px_pieces.text */
    bool first;             /* it begins where the whole input begins */
} px_piece;

typedef struct px_piece_list {
    px_piece *data;
    size_t count, capacity;
} px_piece_list;

typedef struct px_pieces {
    px_buf text, spare_text;
    px_piece_list list, spare_list;
} px_pieces;

void px_pieces_init(px_pieces *pieces, size_t text_max);
void px_pieces_done(px_pieces *pieces);

typedef struct px_pretokenizer px_pretokenizer;

/* `config` is the JSON object, or NULL or null: *out = NULL, which cuts nothing. */
px_status px_pretokenizer_create(const json_t *config, px_pretokenizer **out) PX_MUST_USE;
void px_pretokenizer_free(px_pretokenizer *pretokenizer);

/* True if the last step writes bytes as byte-level characters. px_pretokenizer_leave_bytes() then
 * makes it leave the bytes as they are, for a model that works on bytes. */
bool px_pretokenizer_ends_in_bytes(const px_pretokenizer *pretokenizer);
void px_pretokenizer_leave_bytes(px_pretokenizer *pretokenizer);

/* Cuts pieces->text (valid UTF-8, any length below 2 GiB) into pieces->list. `first`: the text
 * begins the whole input. */
px_status px_pretokenizer_run(const px_pretokenizer *pretokenizer, px_matcher *matcher, bool first,
    px_pieces *pieces) PX_MUST_USE;

#endif
