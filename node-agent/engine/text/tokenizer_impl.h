/* tokenizer_impl.h - the parts of a px_tokenizer, for the two files that build one
 * (tokenizer_json.c, tokenizer_gguf.c) and the one that runs it (tokenizer.c).
 */
#ifndef PX_TEXT_TOKENIZER_IMPL_H
#define PX_TEXT_TOKENIZER_IMPL_H

#include <pthread.h>

#include "engine/text/added.h"
#include "engine/text/bpe.h"
#include "engine/text/decoder.h"
#include "engine/text/normalizer.h"
#include "engine/text/post_processor.h"
#include "engine/text/pretokenizer.h"
#include "engine/text/unigram.h"
#include "engine/text/vocab.h"
#include "engine/text/wordpiece.h"

typedef enum px_token_model {
    PX_MODEL_BPE,
    PX_MODEL_UNIGRAM,
    PX_MODEL_WORDPIECE,
    PX_MODEL_WORDLEVEL,
} px_token_model;

typedef struct px_encoder px_encoder; /* the work space of one encode; see tokenizer.c */

struct px_tokenizer {
    px_vocab vocab;
    px_added added;
    unsigned char *special; /* [vocab.size] 1: a special token */
    px_normalizer *normalizer;
    px_pretokenizer *pretokenizer;
    px_token_model model;
    px_bpe *bpe;
    px_unigram *unigram;
    px_wordpiece wordpiece;
    px_post_processor post;
    px_decoder *decoder;
    /* Idle work spaces: encode takes one or makes one, and puts it back, so that word caches
     * live on and threads do not wait for each other. */
    pthread_mutex_t idle_lock;
    px_encoder *idle;
    int idle_count;
};

/* An empty tokenizer; px_tokenizer_free() takes it in any state. */
px_tokenizer *px_tokenizer_alloc(void);
/* Registers an added token once the normalizer is there. */
px_status px_tokenizer_add_token(
    px_tokenizer *tokenizer, px_slice text, const px_added_token *token) PX_MUST_USE;
/* Call last: checks that the parts fit. */
px_status px_tokenizer_seal(px_tokenizer *tokenizer) PX_MUST_USE;

#endif
