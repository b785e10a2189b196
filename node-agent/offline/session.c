/* session.c - see session.h. */
#include "offline/session.h"

#include <signal.h>
#include <unistd.h>

#include "base/term.h"
#include "engine/doorbell.h"

struct px_session {
    const px_args *args;
    const px_session_options *options;
    px_session_fn fn;
    void *arg;
    px_engine *engine;
    px_progress *progress;
    uint32_t threads;
    px_doorbell bell; /* rung by the engine */
};

/* Signals reach the process, not a session: one bell for them, looked at by every wait. */
static px_doorbell *volatile signal_bell;
static atomic_uint signals_caught;

static void on_signal(int number)
{
    atomic_fetch_add(&signals_caught, 1);
    if (signal_bell) px_doorbell_ring(signal_bell);
}

static void catch_signals(px_doorbell *bell)
{
    signal_bell = bell;
    /* Once: the second Ctrl-C ends a program that the first one did not. */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static void on_wake(void *arg)
{
    px_session *session = arg;
    px_doorbell_ring(&session->bell);
}

static void on_progress(void *arg, double fraction, const char *what)
{
    px_session *session = arg;
    if (session->progress) px_progress_update(session->progress, fraction, what);
}

static px_status run_rank(void *arg, px_comm *comm, const px_world *world)
{
    px_session session = *(const px_session *)arg;
    const px_args *args = session.args;
    bool leads = px_comm_rank(comm) == 0;
    session.threads = world->threads_each * (uint32_t)world->ranks;
    px_engine_options options = {
        .model_path = px_args_str(args, "model"),
        .threads = world->threads_each,
        .tp = world->tp,
        .pp = world->pp,
        .kernels = px_args_str(args, "kernels"),
        .kv_type = px_args_str(args, "kv-type"),
        .pin = px_args_flag(args, "pin"),
        .seqs_max = session.options->seqs_max,
        .queue_max = session.options->seqs_max,
        .kv_tokens = session.options->kv_tokens,
        .kv_park_bytes = -1,
        .adapter_bytes = session.options->adapters ? 0 : UINT64_MAX,
        .no_prefix_cache = true, /* what is measured is computed */
        .speculate = session.options->speculate,
        .draft_path = session.options->draft_path,
        .speculate_max = session.options->speculate_max,
        .scale_factor = 1,
        .batch_size = session.options->batch_size,
        .on_progress = on_progress,
        .on_wake = on_wake,
        .arg = &session,
    };
    if (leads && isatty(STDERR_FILENO)) session.progress = px_progress_create(stderr, "loading");
    px_status status = px_engine_open(&options, comm, &session.engine);
    if (session.progress) px_progress_done(session.progress, NULL);
    PX_TRY(status);
    if (leads) {
        catch_signals(&session.bell);
        status = session.fn(session.arg, &session);
        signal_bell = NULL;
    } else {
        status = px_engine_follow(session.engine);
    }
    px_engine_close(session.engine);
    return status;
}

px_status px_session_run(
    const px_args *args, const px_session_options *options, px_session_fn fn, void *arg)
{
    px_session session = {.args = args, .options = options, .fn = fn, .arg = arg};
    return px_world_run((uint32_t)px_args_int(args, "tp"), (uint32_t)px_args_int(args, "pp"),
        (uint32_t)px_args_int(args, "threads"), run_rank, &session);
}

px_engine *px_session_engine(px_session *session)
{
    return session->engine;
}

uint32_t px_session_threads(const px_session *session)
{
    return session->threads;
}

bool px_session_next(px_session *session, px_event *out)
{
    for (;;) {
        uint32_t seen = px_doorbell_look(&session->bell);
        if (atomic_exchange(&signals_caught, 0)) return false;
        if (px_engine_poll(session->engine, out)) return true;
        px_doorbell_wait(&session->bell, seen, PX_SEC);
    }
}
