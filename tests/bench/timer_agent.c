/* timer_agent.c - node-agent with an engine whose forward is a timer, for serving_cost.py.
 *
 * What it runs is the agent's own code from the socket to the sampler; only the model is missing:
 * a step sleeps, and every answer says the same.
 */
#include "../test.h"

#include "../unit/engine/fake_engine.h" /* needs PX_CHECK */
#include "cluster/commands.h"

enum { STREAMS = 256, CONTEXT = 1024, STEP_MS = 20 };

static px_status open_timer(const px_engine_options *options, px_comm *comm, px_engine **out)
{
    static fake_model model = {.slots = STREAMS,
        .rows = 16 * STREAMS,
        .blocks = STREAMS * CONTEXT / PX_KV_BLOCK_TOKENS,
        .context = CONTEXT,
        .queue_max = STREAMS,
        .only_waits = true,
        .step_ns = STEP_MS * PX_MS};
    fake_now = &model;
    return px_engine_open_with(fake_parts, options, comm, out);
}

static int run_rank(int argc, char **argv)
{
    return px_rank_main(argc, argv, open_timer);
}

static const px_command commands[] = {
    {"join", px_cmd_join, "as node-agent join", px_cmd_join_specs, false},
    {"rank", run_rank, "as node-agent rank, without a model", px_cmd_rank_specs, true}, {0}};

int main(int argc, char **argv)
{
    return px_command_main("node-agent", "An agent whose models only wait.", commands, argc, argv);
}
