/* outbox.h - answers on their way to one router: gathered by request, sent by step.
 *
 *   engine events -> px_answer (bounded) -> one EngineEvents message for all -> the stream
 *
 * When the stream is full, answers wait in their own bounded buffers; the one whose buffer runs
 * over is failed and no other notices. Everything a request said is sent before its end is.
 * Threads: the polling thread. Knows nothing of RPC: `send` does that.
 */
#ifndef PX_CLUSTER_OUTBOX_H
#define PX_CLUSTER_OUTBOX_H

#include "cluster/idmap.h"
#include "cluster/messages.h"
#include "engine/engine.h"

enum {
    PX_ANSWER_TEXT_MAX = 256 * 1024,
    PX_ANSWER_TOKENS_MAX = 32 * 1024,
    PX_ANSWER_PROMPT_MAX = 32 * 1024, /* tokens of a prompt that are told about */
    PX_OUTBOX_ANSWERS_MAX = 4096,
};

typedef struct px_outbox px_outbox;

typedef struct px_answer_part { /* what one of a request's answers said since it was last sent */
    px_buf text;
    px_buf tokens;   /* uint32_t */
    px_buf logprobs; /* px_logprobs of these, if asked for */
    bool has_end;
    Phalanx__V1__AnswerEnd end;
    px_buf values; /* float: the vector of an input */
    uint32_t prompt_tokens;
} px_answer_part;

typedef struct px_answer {
    uint64_t id;        /* the router's name for the request */
    uint64_t engine_id; /* the engine's, while `running` */
    bool running;       /* the engine still works on it: whoever ends it looks here */
    px_outbox *box;     /* NULL: the stream is gone; the answer lives until the engine lets go */

    px_buf prompt;         /* tokens of the prompt not sent yet, with what they were worth */
    px_answer_part *parts; /* [part_count] by index; made as they are heard of */
    uint32_t part_count;
    bool ended, is_queued; /* is_queued: has something to send */
    px_status failure;     /* with `ended`: not OK, or `done` counts */
    Phalanx__V1__Done done;
    struct px_answer *prev, *next, *next_queued;
} px_answer;

/* OK, or RESOURCE_EXHAUSTED: full, try again when the stream is writable. */
typedef px_status (*px_outbox_send_fn)(void *arg, const Phalanx__V1__EngineEvent *event);

struct px_outbox {
    px_outbox_send_fn send;
    void *arg;
    px_idmap by_id;
    px_answer *first, *queued_first, *queued_last;
};

void px_outbox_init(px_outbox *box, px_outbox_send_fn send, void *arg);
/* Every running answer is handed to `orphan` (to cancel it) and freed by px_answer_free() later;
 * the others are freed now. */
void px_outbox_done(px_outbox *box, void (*orphan)(void *arg, px_answer *answer), void *arg);

/* ALREADY_EXISTS: the id is in use; RESOURCE_EXHAUSTED: too many answers. */
px_status px_outbox_open(px_outbox *box, uint64_t id, px_answer **out) PX_MUST_USE;
px_answer *px_outbox_find(const px_outbox *box, uint64_t id); /* NULL: none */
/* Adds one engine event. False: the answer ran over its bound; it is failed, cancel it. Events of
 * an ended or orphaned answer are dropped. */
bool px_answer_add(px_answer *answer, const px_event *event);
void px_answer_fail(px_answer *answer, px_status why);
void px_answer_free(px_answer *answer); /* one that has no box any more */

/* Sends what is queued until nothing is left or the stream is full. Answers that have ended and
 * are sent, and no longer run, are freed. */
void px_outbox_flush(px_outbox *box);

#endif
