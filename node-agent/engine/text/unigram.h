/* unigram.h - SentencePiece's unigram model: the cut of a text with the greatest sum of scores.
 *
 * Viterbi over a trie of the vocabulary: O(length x longest token). A character that no token
 * covers costs the least score minus 10; neighbouring unknown characters become one unknown token,
 * or the tokens <0x..> of their bytes. Source:  Kudo 2018; Hugging Face tokenizers' models/unigram.
 * Owns:    the trie; borrows the vocabulary.
 * Threads: immutable once built; a px_unigram_work belongs to one thread.
 */
#ifndef PX_TEXT_UNIGRAM_H
#define PX_TEXT_UNIGRAM_H

#include "engine/text/tokenizer.h"
#include "engine/text/vocab.h"

typedef struct px_unigram px_unigram;
typedef struct px_unigram_work px_unigram_work;

/* scores[vocab->size], copied. unknown_id PX_NO_TOKEN: unknown text is refused. */
px_status px_unigram_create(const px_vocab *vocab, const double *scores, uint32_t unknown_id,
    bool byte_fallback, px_unigram **out) PX_MUST_USE;
void px_unigram_free(px_unigram *unigram);
px_unigram_work *px_unigram_work_create(void);
void px_unigram_work_free(px_unigram_work *work);
px_status px_unigram_encode(
    const px_unigram *unigram, px_unigram_work *work, px_slice text, px_ids *ids) PX_MUST_USE;

#endif
