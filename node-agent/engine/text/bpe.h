/* bpe.h - byte-pair encoding: joins neighbours by rank until no pair has a rule.
 *
 * The rule for a pair comes from a list of merges, or (SentencePiece) from the scores of the
 * vocabulary: any two neighbours whose joined text is a token may join, the best score first. Equal
 * ranks join from the left. A word of n symbols takes O(n log n), whatever it holds.
 * Source:  Sennrich et al. 2016; Hugging Face tokenizers' models/bpe; SentencePiece's bpe_model.
 * Owns:    the table of merges; borrows the vocabulary.
 * Threads: immutable once built; a px_bpe_work belongs to one thread.
 */
#ifndef PX_TEXT_BPE_H
#define PX_TEXT_BPE_H

#include "engine/text/bpe_merges.h"
#include "engine/text/tokenizer.h"
#include "engine/text/vocab.h"

typedef struct px_bpe px_bpe;
typedef struct px_bpe_work px_bpe_work; /* symbols, queue, a cache of words: for one px_bpe only */

typedef struct px_bpe_options {
    bool byte_level;    /* words are bytes; the vocabulary is written in byte-level characters */
    bool byte_fallback; /* an unknown character becomes the tokens <0x..> of its bytes */
    bool fuse_unknown;  /* neighbouring unknown characters become one unknown token */
    bool ignore_merges; /* a word that is a token is that token */
    bool join_unknown;  /* characters without a token may join into one (SentencePiece) */
    bool
        drop_unknown; /* unknown characters vanish; else, without an unknown_id, they are refused */
    uint32_t unknown_id;        /* or PX_NO_TOKEN */
    const char *subword_prefix; /* before every symbol but the first; NULL: none */
    const char *word_suffix;    /* after the last symbol; NULL: none */
} px_bpe_options;

/* `vocab` is sealed and borrowed, the options' texts are copied. *merges, sealed or empty, is taken
 * and left empty. */
px_bpe *px_bpe_create(const px_vocab *vocab, const px_bpe_options *options, px_merges *merges);
void px_bpe_free(px_bpe *bpe);
/* Ranks by score instead of merges; scores[vocab->size]. */
px_status px_bpe_use_scores(px_bpe *bpe, const float *scores) PX_MUST_USE;
/* Call last. */
void px_bpe_seal(px_bpe *bpe);

px_status px_bpe_work_create(px_bpe_work **out) PX_MUST_USE;
void px_bpe_work_free(px_bpe_work *work);

/* At least PX_BPE_SLACK bytes after `word` must be readable. Appends the ids. */
enum { PX_BPE_SLACK = 32 };
px_status px_bpe_encode(
    const px_bpe *bpe, px_bpe_work *work, px_slice word, px_ids *ids) PX_MUST_USE;

#endif
