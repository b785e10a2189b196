/* target.h - the server that a benchmark asks: ours over gRPC, or anyone's OpenAI HTTP.
 *
 * Threads: one; every callback comes from within run(). A request ends with one on_done;
 *          what is under way when the target is freed ends in there, with CANCELLED.
 */
#ifndef PX_CONTROL_TARGET_H
#define PX_CONTROL_TARGET_H

#include "base/loop.h"
#include "control/bench/prompts.h"

typedef struct px_target_usage { /* as the server counts; 0: it did not say */
    uint32_t prompt_tokens, output_tokens;
} px_target_usage;

typedef struct px_target_ask {
    const px_prompt *prompt; /* borrowed until on_done */
    const char *model;       /* "": the only one */
    const char *tenant;      /* whose request it is, over gRPC; NULL: nobody's in particular */
    uint32_t max_tokens;
    bool ignore_eos;
    double temperature;
    uint64_t seed;
    int64_t timeout_ns; /* 0: none */
    /* A part of the answer came, with so many tokens (1 where the server does not say). */
    void (*on_part)(void *arg, uint32_t tokens);
    void (*on_done)(void *arg, px_status status, px_target_usage usage);
    void *arg;
} px_target_ask;

typedef struct px_target px_target;
struct px_target {
    void (*ask)(px_target *target, const px_target_ask *ask); /* `ask` is copied */
    void (*run)(px_target *target);                           /* until stop() */
    void (*stop)(px_target *target);
    void (*free)(px_target *target);
};

/* `loop` is borrowed. `server`: "host:port" of a control plane. */
px_status px_target_grpc(px_loop *loop, const char *server, px_target **out) PX_MUST_USE;
/* `base`: "http://host:port" or with a path up to and with "/v1"; `key` for the Authorization
 * header, or NULL. */
px_status px_target_openai(
    px_loop *loop, const char *base, const char *key, px_target **out) PX_MUST_USE;

#endif
