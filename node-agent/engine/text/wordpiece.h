/* wordpiece.h - WordPiece: the longest token first, again and again; and WordLevel: whole words.
 *
 * Source:  BERT's tokenization.py; Hugging Face tokenizers' models/wordpiece, models/wordlevel.
 * Threads: pure functions over an immutable vocabulary.
 */
#ifndef PX_TEXT_WORDPIECE_H
#define PX_TEXT_WORDPIECE_H

#include "engine/text/tokenizer.h"
#include "engine/text/vocab.h"

typedef struct px_wordpiece {
    const px_vocab *vocab; /* borrowed */
    uint32_t unknown_id;   /* PX_NO_TOKEN: unknown words are refused */
    char prefix[16];       /* before every piece but the first: "##"; or, with first_prefix, "" */
    char first_prefix[8];  /* before the first piece: GGUF writes words as "▁word" */
    size_t word_runes_max; /* a longer word is unknown */
} px_wordpiece;

px_status px_wordpiece_encode(const px_wordpiece *model, px_slice word, px_ids *ids) PX_MUST_USE;
px_status px_wordlevel_encode(const px_wordpiece *model, px_slice word, px_ids *ids) PX_MUST_USE;

#endif
