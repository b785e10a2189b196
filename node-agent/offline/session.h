/* session.h - what `run` and `bench` share: an engine on this command's ranks, and its events
 * awaited.
 */
#ifndef PX_OFFLINE_SESSION_H
#define PX_OFFLINE_SESSION_H

#include "base/args.h"
#include "engine/engine.h"
#include "offline/world.h"

/* Options that choose the model and how it runs: rows of a command's table, not code. */
/* clang-format off */
#define PX_SESSION_MODEL_SPEC                                                                      \
    {"model", PX_ARG_STR, "PATH", NULL, "model folder, GGUF file, or a folder that holds one",     \
        .required = true}
#define PX_SESSION_RANK_SPECS                                                                      \
    {"threads", PX_ARG_INT, "N", "0", "worker threads; 0: one for each core", .max = 1024},        \
    {"tp", PX_ARG_INT, "N", "0", "tensor-parallel ranks; 0: 1, or as mpirun started",              \
        .max = PX_PLAN_TP_MAX},                                                                    \
    {"pp", PX_ARG_INT, "N", "0", "pipeline stages; 0: 1", .max = PX_PLAN_PP_MAX},                  \
    {"kernels", PX_ARG_STR, "NAME", "auto",                                                        \
        "scalar (the specification), avx2, avx512, avx512_bf16 (BF16 weights by bfloat16); auto: " \
        "the best this CPU runs"},                 \
    {"kv-type", PX_ARG_STR, "TYPE", NULL,                                                          \
        "f32, f16, bf16, q8_0; default: f32 for f32 weights or scalar kernels, else f16"},         \
    {"pin", PX_ARG_FLAG, NULL, NULL, "bind each worker thread to a core (one rank on this host)"}
/* clang-format on */

typedef struct px_session_options {
    uint32_t seqs_max;                  /* at once */
    uint64_t kv_tokens;                 /* 0: the engine chooses */
    uint32_t batch_size;                /* 0: the engine's default */
    bool adapters;                      /* some may be loaded */
    const char *speculate, *draft_path; /* px_engine_options */
    uint32_t speculate_max;
} px_session_options;

typedef struct px_session px_session;
/* Rank 0's part of the command. Its status is the command's. */
typedef px_status (*px_session_fn)(void *arg, px_session *session);

/* Opens the engine on all ranks; rank 0 runs `fn`, the others follow; closes. */
px_status px_session_run(const px_args *args, const px_session_options *options, px_session_fn fn,
    void *arg) PX_MUST_USE;

px_engine *px_session_engine(px_session *session);
uint32_t px_session_threads(const px_session *session); /* of all ranks of this command */
/* Waits for the next event, or for SIGINT or SIGTERM (false, and again each time it comes). */
bool px_session_next(px_session *session, px_event *out);

#endif
