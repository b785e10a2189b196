/* post_processor.h - the tokens that a tokenizer puts around a text of its own accord (BOS, [CLS]).
 *
 * Every kind that is in use for a single text comes down to ids before and ids after it:
 * TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel (nothing), Sequence.
 * Source:  Hugging Face tokenizers, src/processors.
 */
#ifndef PX_TEXT_POST_PROCESSOR_H
#define PX_TEXT_POST_PROCESSOR_H

#include <jansson.h>

#include "engine/text/tokenizer.h"

typedef struct px_post_processor { /* starts as {0} */
    px_ids before, after;
} px_post_processor;

/* `config` NULL or null: nothing. */
px_status px_post_processor_read(const json_t *config, px_post_processor *out) PX_MUST_USE;
void px_post_processor_done(px_post_processor *post);

#endif
