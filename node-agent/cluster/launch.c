/* launch.c - see launch.h. */
#include "cluster/launch.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parallel/plan.h"

enum {
    ADAPTERS_MAX = 64,
    WORDS_MAX = 64 + 2 * ADAPTERS_MAX + 48 * PX_LAUNCH_RANKS_MAX,
    ENV_MAX = 8,
    ARENA_WORD_MAX = 4096
};

/* The command as it grows. */
typedef struct builder {
    const px_msg_launch *launch;
    const px_launch_here *here;
    px_arena *arena;
    const char **argv;
    size_t count;
    bool full; /* the arena's limit */
} builder;

static void word(builder *b, const char *text)
{
    if (b->count + 1 < WORDS_MAX)
        b->argv[b->count++] = text;
    else
        b->full = true;
}

static void words(builder *b, const char *const *list)
{
    while (*list) word(b, *list++);
}

/* A formatted string of the arena. */
static const char *PX_PRINTF(2, 3) format(builder *b, const char *pattern, ...)
{
    char text[ARENA_WORD_MAX];
    va_list arguments;
    va_start(arguments, pattern);
    int length = vsnprintf(text, sizeof text, pattern, arguments);
    va_end(arguments);
    char *copy = length < 0 || (size_t)length >= sizeof text
                     ? NULL
                     : px_arena_copy(b->arena, text, (size_t)length);
    if (!copy) b->full = true;
    return copy ? copy : "";
}

static void option_text(builder *b, const char *name, const char *value)
{
    if (!value[0]) return;
    word(b, name);
    word(b, value);
}

static void option_number(builder *b, const char *name, uint64_t value)
{
    if (!value) return;
    word(b, name);
    word(b, format(b, "%llu", (unsigned long long)value));
}

/* ------------------------------------------------------------------------------- checks */

px_status px_launch_check_group(const char *name)
{
    size_t length = strlen(name);
    bool good = length >= 1 && length <= PX_GROUP_NAME_MAX && name[0] != '-';
    for (size_t i = 0; i < length && good; i++) good = name[i] > ' ' && name[i] < 127;
    if (good) return px_ok();
    return px_fail(PX_INVALID_ARGUMENT,
        "a group's name is 1 to %d printable characters without blanks, not led by '-'",
        PX_GROUP_NAME_MAX);
}

static px_status check_place(const px_msg_place *place, size_t rank)
{
    if (!place->agent[0] || !place->machine[0] || !place->address[0])
        return px_fail(PX_INVALID_ARGUMENT, "rank %zu has no agent, machine or address", rank);
    if (place->socket_path[0] != '/' || place->program[0] != '/')
        return px_fail(
            PX_INVALID_ARGUMENT, "rank %zu: socket and program must be absolute paths", rank);
    /* It becomes part of mpirun's host list. */
    if (strcspn(place->address, ", \t\n@;'\"\\") != strlen(place->address) ||
        place->address[0] == '-')
        return px_fail(PX_INVALID_ARGUMENT, "rank %zu: '%s' is no address", rank, place->address);
    return px_ok();
}

static px_status check_adapter(const Phalanx__V1__Adapter *adapter)
{
    if (adapter->name[0] && !strchr(adapter->name, '=') && adapter->path[0] == '/') return px_ok();
    return px_fail(PX_INVALID_ARGUMENT, "an adapter has no name or no absolute path");
}

static px_status check(const px_msg_launch *launch, const px_launch_here *here)
{
    uint64_t tp = launch->tp ? launch->tp : 1, pp = launch->pp ? launch->pp : 1;
    PX_TRY(px_launch_check_group(launch->group));
    if (tp > PX_PLAN_TP_MAX || pp > PX_PLAN_PP_MAX || tp * pp > PX_LAUNCH_RANKS_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "tp %llu x pp %llu is more than can be started",
            (unsigned long long)tp, (unsigned long long)pp);
    if (launch->n_ranks != tp * pp)
        return px_fail(PX_INVALID_ARGUMENT, "tp %llu x pp %llu needs %llu places, %zu were given",
            (unsigned long long)tp, (unsigned long long)pp, (unsigned long long)(tp * pp),
            launch->n_ranks);
    if (!launch->model_path[0] || !launch->secret[0])
        return px_fail(PX_INVALID_ARGUMENT, "the launch names no model or no secret");
    if (launch->n_adapters > ADAPTERS_MAX)
        return px_fail(
            PX_INVALID_ARGUMENT, "%zu adapters are more than %d", launch->n_adapters, ADAPTERS_MAX);
    for (size_t i = 0; i < launch->n_adapters; i++) PX_TRY(check_adapter(launch->adapters[i]));
    for (size_t r = 0; r < launch->n_ranks; r++) PX_TRY(check_place(launch->ranks[r], r));
    if (launch->n_ranks == 1 && strcmp(launch->ranks[0]->agent, here->agent) != 0)
        return px_fail(PX_INVALID_ARGUMENT, "the only rank belongs to agent '%s', not to '%s'",
            launch->ranks[0]->agent, here->agent);
    return px_ok();
}

bool px_launch_network(const char *const *addresses, size_t count, char out[32])
{
    uint32_t first = 0, differing = 0;
    for (size_t i = 0; i < count; i++) {
        struct in_addr address;
        if (inet_pton(AF_INET, addresses[i], &address) != 1) return false;
        uint32_t host_order = ntohl(address.s_addr);
        if (i == 0) first = host_order;
        differing |= first ^ host_order;
    }
    int bits = differing ? __builtin_clz(differing) : 32;
    if (count == 0 || bits < 8) return false;
    struct in_addr network = {
        .s_addr = htonl(first & ~(uint32_t)((UINT64_C(1) << (32 - bits)) - 1))};
    char text[INET_ADDRSTRLEN];
    snprintf(out, 32, "%s/%d", inet_ntop(AF_INET, &network, text, sizeof text), bits);
    return true;
}

/* ------------------------------------------------------------------------------ command */

static void serving_words(builder *b, const Phalanx__V1__Serving *serving)
{
    if (!serving) return;
    option_number(b, "--batch-size", serving->batch_size);
    option_number(b, "--max-latency-ms", serving->max_latency_ms);
    if (serving->scale_factor > 0) {
        word(b, "--scale-factor");
        word(b, format(b, "%g", serving->scale_factor));
    }
    option_number(b, "--queue-max", serving->queue_max);
    option_number(b, "--queue-tokens-max", serving->queue_tokens_max);
    if (serving->kv_park_bytes) {
        word(b, "--kv-park-bytes");
        word(b, format(b, "%lld", (long long)serving->kv_park_bytes));
    }
    option_text(b, "--kv-park-folder", serving->kv_park_folder);
    if (serving->no_prefix_cache) word(b, "--no-prefix-cache");
    option_text(b, "--speculate", serving->speculate);
    option_text(b, "--draft-model", serving->draft_model);
    option_number(b, "--speculate-max", serving->speculate_max);
}

static void rank_words(builder *b, const px_msg_place *place)
{
    const px_msg_launch *l = b->launch;
    words(
        b, (const char *[]){place->program, "rank", "--agent-socket", place->socket_path, "--group",
               l->group, "--model", l->model_path, "--listen", l->ranks[0]->address, NULL});
    option_number(b, "--generation", l->generation);
    option_text(b, "--served-name", l->served_name);
    option_number(b, "--tp", l->tp);
    option_number(b, "--pp", l->pp);
    option_number(b, "--threads", l->threads);
    option_number(b, "--context", l->context);
    option_text(b, "--kv-type", l->kv_type);
    option_text(b, "--kernels", l->kernels);
    option_number(b, "--kv-tokens", l->kv_tokens);
    option_number(b, "--seqs-max", l->seqs_max);
    serving_words(b, l->serving);
    bool leads = place == l->ranks[0]; /* it has the others load them too */
    for (size_t i = 0; i < l->n_adapters && leads; i++) {
        word(b, "--adapter");
        word(b, format(b, "%s=%s", l->adapters[i]->name, l->adapters[i]->path));
    }
}

static bool all_here(const px_msg_launch *launch, const px_launch_here *here)
{
    for (size_t r = 0; r < launch->n_ranks; r++)
        if (strcmp(launch->ranks[r]->machine, here->machine) != 0) return false;
    return true;
}

/* Agents of one machine may report several addresses; mpirun must see one host. */
static const char *host_of(const px_msg_launch *launch, const px_msg_place *place)
{
    for (size_t r = 0; r < launch->n_ranks; r++)
        if (strcmp(launch->ranks[r]->machine, place->machine) == 0)
            return launch->ranks[r]->address;
    return place->address;
}

/* Stay on the network the agents know each other by, and start daemons through this agent. */
static void over_machines(builder *b)
{
    const px_msg_launch *l = b->launch;
    const char *addresses[PX_LAUNCH_RANKS_MAX];
    char network[32];
    for (size_t r = 0; r < l->n_ranks; r++) addresses[r] = l->ranks[r]->address;
    /* Found through PATH, because Open MPI splits this value at blanks. The daemon stays attached,
     * so that its end is seen; it does not start others, so that each start is asked for. */
    words(b, (const char *[]){"--mca", "plm_rsh_agent", "node-agent remote-start", "--mca",
                 "plm_rsh_no_tree_spawn", "1", "--leave-session-attached", NULL});
    if (!px_launch_network(addresses, l->n_ranks, network)) return;
    const char *only = format(b, "%s", network);
    words(b, (const char *[]){
                 "--mca", "oob_tcp_if_include", only, "--mca", "btl_tcp_if_include", only, NULL});
}

static void mpirun_words(builder *b, bool remote)
{
    const px_msg_launch *l = b->launch;
    word(b, "mpirun");
    if (b->here->is_root) word(b, "--allow-run-as-root");
    /* Cores are the ranks' own business (threads, other groups); waiting ranks must not keep the
     * others from them. Ranks of one host meet in shared memory of their own (parallel/), and that
     * of Open MPI (vader) would stay behind in /dev/shm when a group is killed. */
    words(
        b, (const char *[]){"--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle",
               "1", "--mca", "pml", "ob1", "--mca", "btl", "tcp,self", NULL});
    if (remote)
        over_machines(b);
    else
        words(b, (const char *[]){"--mca", "btl_tcp_if_include", "127.0.0.0/8", NULL});
    for (size_t r = 0, run; r < l->n_ranks; r += run) {
        const px_msg_place *place = l->ranks[r];
        for (run = 1; r + run < l->n_ranks; run++)
            if (strcmp(l->ranks[r + run]->agent, place->agent) != 0) break;
        if (r > 0) word(b, ":");
        if (remote) { /* the launcher's working folder need not exist there */
            const char *host = format(b, "%s:%zu", host_of(l, place), run);
            words(b, (const char *[]){"-wdir", "/", "--host", host, NULL});
        }
        option_number(b, "-np", run);
        rank_words(b, place);
    }
}

/* What the launcher and its remote-start helpers find in their environment. */
static const char **environment(builder *b, bool remote)
{
    const px_launch_here *here = b->here;
    const char **env = px_arena_alloc(b->arena, ENV_MAX * sizeof *env);
    size_t count = 0;
    if (!env) return NULL;
    env[count++] = format(b, "TMPDIR=%s", here->scratch);
    if (remote) {
        int folder = (int)(strrchr(here->program, '/') - here->program);
        env[count++] = format(b, "PATH=%.*s:%s", folder, here->program, here->path);
        env[count++] = format(b, "PHALANX_SOCKET=%s", here->socket_path);
        env[count++] = format(b, "PHALANX_GROUP=%s", b->launch->group);
        env[count++] =
            format(b, "PHALANX_GENERATION=%llu", (unsigned long long)b->launch->generation);
    }
    PX_ASSERT(count < ENV_MAX);
    return env;
}

px_status px_launch_build(const px_msg_launch *launch, const px_launch_here *here, px_arena *arena,
    px_launch_command *out)
{
    PX_TRY(check(launch, here));
    builder b = {.launch = launch, .here = here, .arena = arena};
    b.argv = px_arena_alloc(arena, WORDS_MAX * sizeof *b.argv);
    if (!b.argv) return px_fail(PX_RESOURCE_EXHAUSTED, "the launch's command line is too long");
    bool single = launch->n_ranks == 1, remote = !all_here(launch, here);
    if (single)
        rank_words(&b, launch->ranks[0]);
    else
        mpirun_words(&b, remote);
    const char **env = environment(&b, remote && !single);
    if (b.full || !env)
        return px_fail(PX_RESOURCE_EXHAUSTED, "the launch's command line is too long");
    *out = (px_launch_command){
        .argv = b.argv, .env = env, .uses_mpirun = !single, .uses_remote_start = remote && !single};
    return px_ok();
}
