/* wording.h - what the engine said, put into words: text, stop strings, events.
 *
 *   px_output (a token, or the end) -> detokeniser -> stop strings -> px_event, whole characters
 *
 * This is the caller's half of an answer. It runs on the caller's thread, beside the forward of the
 * next step, so the engine may have said more when a stop string is found: what comes behind is
 * dropped, and the answer is what it would have been.
 *
 * Owns:    the text of one output. The detokeniser, the stop strings and the count of tokens told
 *          are the sequence's, and from submit to its end the caller's thread's.
 * Threads: caller's thread.
 */
#ifndef PX_ENGINE_WORDING_H
#define PX_ENGINE_WORDING_H

#include "engine/seq.h"

typedef struct px_output { /* the rest of a DONE stands in the sequence */
    uint32_t slot;         /* in px_caller_side.live; ADAPTER: of the adapter */
    uint32_t token;
    uint8_t kind;         /* px_event_kind: TOKEN, PROMPT, DONE or ADAPTER */
    uint8_t has_text;     /* no end token */
    uint8_t is_last;      /* DONE follows, and not for a failure */
    uint8_t has_logprobs; /* also those that only rank the answer */
    px_logprobs logprobs;
} px_output;

typedef struct px_wording {
    uint32_t tokens_known; /* the tokenizer's; vocabularies are padded with ids that say nothing */
    px_seq *seq;           /* whose output is being told; NULL: nobody's */
    px_output output;
    px_buf decoded, text; /* of it: before and after the stop strings */
    size_t told;          /* bytes of `text` */
} px_wording;

void px_wording_init(px_wording *wording, uint32_t tokens_known);
void px_wording_done(px_wording *wording);

/* Before anything is computed: its text stands where the tokens it is resumed with lead.
 * INVALID_ARGUMENT: they had ended the answer. */
px_status px_wording_resume(px_wording *wording, px_seq *seq) PX_MUST_USE;
/* The sequence's next output; its events follow by px_wording_next(). True: a stop string ends the
 * answer here (seq->is_over), and the engine need not go on. */
bool px_wording_take(px_wording *wording, px_seq *seq, const px_output *output);
/* The next event of the output taken; false: all of it was told. */
bool px_wording_next(px_wording *wording, px_event *out);

#endif
