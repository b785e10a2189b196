/* run_answer.h - what `run` prints: tokens or text as they come, and a summary at the end.
 *
 * One answer streams. Several come mixed: as text each is printed when it ends, as JSON every token
 * says whose it is.
 */
#ifndef PX_OFFLINE_RUN_ANSWER_H
#define PX_OFFLINE_RUN_ANSWER_H

#include "base/choices.h"
#include "engine/engine.h"

typedef struct px_run_answer {
    bool as_json; /* an object a line */
    px_choices choices;
} px_run_answer;

void px_run_answer_begin(px_run_answer *answer, bool as_json, uint32_t count);
void px_run_answer_take(px_run_answer *answer, const px_event *event); /* any but the last */
/* The summary: a JSON object on stdout, or figures on stderr. `done` is OK. */
void px_run_answer_end(px_run_answer *answer, const px_event *done, const px_engine_stats *stats);
/* Ends the line that was being printed, if there is one; also where the request failed. */
void px_run_answer_break(const px_run_answer *answer);
void px_run_answer_done(px_run_answer *answer);

#endif
