/* choices.h - several answers to one request, on the caller's side.
 *
 *   events of its sequences, mixed -> told at once, under the answer's index          best_of == n
 *                                  -> held back until all have ended; then the n best  best_of > n
 *
 * One that fails ends them all: the request's status is its.
 * Ranking: the mean of the tokens' log probabilities, as OpenAI's API has it ("the highest log
 *          probability per token"); equals by index.
 * Owns:    what is held back, in at most PX_CHOICES_HELD_BYTES_MAX; never the sequences, which
 *          stay until px_choices_next() gave DONE.
 * Threads: caller's thread.
 */
#ifndef PX_ENGINE_CHOICES_H
#define PX_ENGINE_CHOICES_H

#include "engine/seq.h"

enum { PX_CHOICES_HELD_BYTES_MAX = 64 << 20 };

typedef struct px_choices {
    px_seq *first; /* and the others behind it */
    uint32_t count, wanted, open;
    bool is_failing;   /* since the last event: the open ones should be cancelled */
    px_status failure; /* the first */

    px_buf *held;     /* [count]; NULL: nothing is held back */
    px_seq **best;    /* [wanted] the best first; once all have ended */
    uint32_t telling; /* index in `best` */
    size_t told;      /* bytes of what it held */
} px_choices;

/* Of the sequences from `first` on, `wanted` are told. */
px_choices *px_choices_create(px_seq *first, uint32_t wanted);
void px_choices_free(px_choices *choices); /* NULL is fine */

/* An event of one of its sequences, DONE where it ended. True: it is to be told, as it is now. */
bool px_choices_take(px_choices *choices, const px_seq *seq, px_event *event);
/* None is open: the next event of what is left to tell, and DONE as the last. */
void px_choices_next(px_choices *choices, px_event *out);

#endif
