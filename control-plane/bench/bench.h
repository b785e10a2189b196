/* bench.h - one run of a load against a target, and what it measured.
 *
 * Open loop (rate > 0): requests are sent when their time has come, whatever the server does, and
 * count from that time on; a bound on concurrency makes late ones wait, and they then count from
 * when they are sent. Closed loop (rate 0): `concurrency` requests are kept under way.
 */
#ifndef PX_CONTROL_BENCH_H
#define PX_CONTROL_BENCH_H

#include "control/bench/measure.h"
#include "control/bench/target.h"

typedef struct px_bench_options {
    const char *model;
    const char *tenant; /* NULL: none is named */
    uint32_t requests;
    uint32_t skip_first;  /* of them: part of the load and of nothing that is measured */
    uint32_t warmups;     /* sent one after the other before, and not counted */
    uint32_t concurrency; /* 0: no bound (open loop only) */
    double rate;          /* requests per second; 0: closed loop */
    double burstiness;    /* see arrivals.h */
    uint64_t seed;
    uint32_t output_tokens;
    bool ignore_eos;
    double temperature;
    int64_t timeout_ns; /* of a request */
    px_goals goals;
    /* Called now and then with what has been completed; NULL: nobody asks. */
    void (*on_progress)(void *arg, uint32_t ended);
    void *arg;
} px_bench_options;

typedef struct px_bench_result {
    px_measures measures;
    px_status first_failure; /* OK when none failed */
    bool interrupted;        /* by SIGINT or SIGTERM: what had ended until then is measured */
} px_bench_result;

/* `prompts` are used in order, from the front again when there are more requests. The status is
 * that of a warm-up that failed; requests that fail are counted in the result. Frees the target. */
px_status px_bench_run(px_loop *loop, px_target *target, const px_prompts *prompts,
    const px_bench_options *options, px_bench_result *out) PX_MUST_USE;

#endif
