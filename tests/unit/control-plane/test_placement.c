/* Which agent gets which rank: what an operator would expect to see in `control-plane models`. */
#include "control/cluster/placement.h"
#include "test.h"

#define GIB (UINT64_C(1) << 30)

static px_placement_agent agent(const char *name, const char *machine, uint32_t cores)
{
    return (px_placement_agent){.name = name,
        .machine = machine,
        .cores = cores,
        .memory_free_bytes = 8 * GIB,
        .bandwidth_bytes_s = 40 * GIB};
}

PX_TEST(spreads_over_distinct_agents)
{
    px_placement_agent agents[] = {agent("a", "m1", 2), agent("b", "m2", 2), agent("c", "m3", 2)};
    uint32_t at[3];
    PX_CHECK_OK(px_place(&(px_placement_request){.world = 3}, agents, 3, at));
    PX_CHECK(at[0] == 0 && at[1] == 1 && at[2] == 2);
}

PX_TEST(prefers_idle_then_larger_then_faster)
{
    px_placement_agent agents[] = {
        agent("a", "m1", 2), agent("b", "m2", 2), agent("c", "m3", 8), agent("d", "m4", 8)};
    agents[2].ranks = 1;
    uint32_t at[1];
    PX_CHECK_OK(px_place(&(px_placement_request){.world = 1}, agents, 4, at));
    PX_CHECK(at[0] == 3);
    agents[3].ranks = 1;
    agents[1].bandwidth_bytes_s *= 2;
    PX_CHECK_OK(px_place(&(px_placement_request){.world = 1}, agents, 4, at));
    PX_CHECK(at[0] == 1);
}

PX_TEST(noise_in_measured_bandwidth_does_not_decide)
{
    px_placement_agent agents[] = {agent("a", "m1", 2), agent("b", "m1", 2), agent("c", "m2", 2)};
    agents[1].bandwidth_bytes_s *= 2;                                /* the same memory as a's */
    agents[2].bandwidth_bytes_s += agents[2].bandwidth_bytes_s / 10; /* hardly more */
    uint32_t at[1];
    PX_CHECK_OK(px_place(&(px_placement_request){.world = 1}, agents, 3, at));
    PX_CHECK(at[0] == 0);
}

PX_TEST(several_ranks_on_one_agent_when_the_rest_is_gone)
{
    px_placement_agent agents[] = {agent("a", "m1", 2)};
    uint32_t at[3];
    PX_CHECK_OK(px_place(&(px_placement_request){.world = 3}, agents, 1, at));
    PX_CHECK(at[0] == 0 && at[1] == 0 && at[2] == 0);
}

PX_TEST(ranks_of_one_machine_are_neighbours)
{
    px_placement_agent agents[] = {
        agent("a", "m1", 2), agent("b", "m2", 2), agent("c", "m1", 2), agent("d", "m2", 2)};
    uint32_t at[4];
    PX_CHECK_OK(px_place(&(px_placement_request){.world = 4}, agents, 4, at));
    PX_CHECK(at[0] == 0 && at[1] == 2 && at[2] == 1 && at[3] == 3);
}

PX_TEST(only_named_agents_and_those_with_the_model)
{
    px_placement_agent agents[] = {agent("a", "m1", 2), agent("b", "m2", 2), agent("c", "m3", 2)};
    const char only[2][PX_NAME_BYTES] = {"b", "c"};
    uint32_t at[2];
    px_placement_request request = {.world = 2, .only = only, .only_count = 2};
    PX_CHECK_OK(px_place(&request, agents, 3, at));
    PX_CHECK(at[0] == 1 && at[1] == 2);
    agents[2].has_model = true;
    PX_CHECK_OK(px_place(&request, agents, 3, at));
    PX_CHECK(at[0] == 2 && at[1] == 2);
    px_status status = px_place(&request, agents, 1, at);
    PX_CHECK(status.code == PX_UNAVAILABLE && strstr(status.text, "(b, ...) has joined"));
}

PX_TEST(nobody_joined)
{
    uint32_t at[1];
    px_status status = px_place(&(px_placement_request){.world = 1}, NULL, 0, at);
    PX_CHECK(status.code == PX_UNAVAILABLE && strstr(status.text, "node-agent join"));
}

PX_TEST(refuses_with_the_arithmetic)
{
    px_placement_agent agents[] = {agent("a", "m1", 2), agent("b", "m2", 2)};
    agents[0].memory_free_bytes = 3 * GIB;
    agents[1].memory_free_bytes = 5 * GIB;
    uint32_t at[2];
    px_placement_request request = {.world = 2, .model_bytes = 9 * GIB};
    px_status status = px_place(&request, agents, 2, at);
    PX_CHECK(status.code == PX_RESOURCE_EXHAUSTED);
    PX_CHECK(strstr(status.text, "each of 2 ranks needs 4.6 GiB"));
    PX_CHECK(strstr(status.text, "room for 1 of them (most free: 5.0 GiB on b)"));
    /* Two ranks of a smaller model both fit on the larger agent only. */
    request.model_bytes = 7 * GIB / 2;
    agents[0].memory_free_bytes = 1 * GIB;
    PX_CHECK_OK(px_place(&request, agents, 2, at));
    PX_CHECK(at[0] == 1 && at[1] == 1);
}

PX_TEST_MAIN()
