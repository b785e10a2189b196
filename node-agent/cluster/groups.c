/* groups.c - see groups.h. */
#include "cluster/groups.h"

#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "cluster/host.h"

enum { TICK_MS = 250, TELL_PROGRESS_MS = 200, TELL_STEPS_MS = 1000, ADDRESS_BYTES_MAX = 256 };

typedef struct group group;

struct px_rank {
    group *group;
    uint32_t index;
    px_rank_state state;
    px_wire *wire; /* NULL: not connected (yet, or any more) */
    int pid_fd;    /* -1: none */
    uint32_t pid;
    uint64_t oom_kills; /* of the machine, when it reported first */
    int64_t heard_ns, progressed_ns, told_ns;
    double progress, told_progress;
    uint64_t steps, told_steps, resident_bytes, step_age_us;
    char address[ADDRESS_BYTES_MAX];
    px_status end;
};

struct group {
    px_groups *owner;
    char name[PX_GROUP_NAME_MAX + 1];
    uint64_t generation;
    char *secret;
    px_launcher *launcher; /* NULL: another agent launches it, or it has ended */
    bool ending;
    px_status why;
    int64_t kill_at_ns; /* while ending */
    px_rank **ranks; /* up to PX_LAUNCH_RANKS_MAX; each stays where it is while its wire is open */
    size_t rank_count;
    group *next;
};

struct px_groups {
    px_groups_options options;
    px_loop *loop;
    group *first;
    unsigned count;
    int64_t ticked_ns; /* when the watchdog looked last */
};

/* ------------------------------------------------------------------------------ reports */

static void fill_report(const px_rank *rank, px_msg_report *out)
{
    phalanx__v1__rank_report__init(out);
    out->group = rank->group->name;
    out->generation = rank->group->generation;
    out->rank = rank->index;
    out->state = (Phalanx__V1__RankState)rank->state;
    out->progress = rank->progress;
    out->engine_address = (char *)rank->address;
    out->resident_bytes = rank->resident_bytes;
    out->steps = rank->steps;
    out->message = (char *)rank->end.text;
    out->code = rank->end.code;
    out->pid = rank->pid;
}

static void tell(px_rank *rank)
{
    const px_groups_options *options = &rank->group->owner->options;
    px_msg_report report;
    rank->told_ns = px_now_ns();
    rank->told_progress = rank->progress;
    rank->told_steps = rank->steps;
    fill_report(rank, &report);
    options->on_report(options->arg, &report);
}

static void tell_launch_ended(group *g, int exit_code, const char *message)
{
    Phalanx__V1__LaunchEnded ended = PHALANX__V1__LAUNCH_ENDED__INIT;
    ended.group = g->name;
    ended.generation = g->generation;
    ended.exit_code = exit_code;
    ended.message = (char *)message;
    g->owner->options.on_launch_ended(g->owner->options.arg, &ended);
}

void px_groups_each(
    const px_groups *groups, void (*fn)(void *arg, px_msg_report *report), void *arg)
{
    for (const group *g = groups->first; g; g = g->next)
        for (size_t i = 0; i < g->rank_count; i++) {
            px_msg_report report;
            fill_report(g->ranks[i], &report);
            fn(arg, &report);
        }
}

/* ------------------------------------------------------------------------------- ending */

static void signal_rank(const px_rank *rank, int number)
{
    if (rank->pid_fd >= 0) syscall(SYS_pidfd_send_signal, rank->pid_fd, number, NULL, 0);
}

static void end_rank(px_rank *rank, px_status why)
{
    if (rank->state == PX_RANK_ENDED) return;
    rank->state = PX_RANK_ENDED;
    rank->end = why;
    px_log(px_is_ok(why) ? PX_INFO : PX_WARN, "rank.ended", PX_S("group", rank->group->name),
        PX_U("generation", rank->group->generation), PX_U("rank", rank->index),
        PX_U("pid", rank->pid), PX_S("message", why.text));
    tell(rank);
}

/* End all that is here of the group. Ranks that run end when their wire closes. */
static void end_group(group *g, px_status why)
{
    if (g->ending) return;
    g->ending = true;
    g->why = why;
    g->kill_at_ns = px_now_ns() + g->owner->options.grace_ns;
    if (g->launcher) px_launcher_stop(g->launcher, g->owner->options.grace_ns);
    for (size_t i = 0; i < g->rank_count; i++) {
        if (g->ranks[i]->wire)
            signal_rank(g->ranks[i], SIGTERM);
        else
            end_rank(g->ranks[i], why);
    }
}

static void free_group(group *g)
{
    for (size_t i = 0; i < g->rank_count; i++) {
        if (g->ranks[i]->pid_fd >= 0) close(g->ranks[i]->pid_fd);
        free(g->ranks[i]);
    }
    free(g->ranks);
    free(g->secret);
    free(g);
}

static bool has_gone(const group *g)
{
    if (!g->ending || g->launcher) return false;
    for (size_t i = 0; i < g->rank_count; i++)
        if (g->ranks[i]->wire) return false;
    return true;
}

static void on_launch_exit(void *arg, int exit_code, const char *message)
{
    group *g = arg;
    g->launcher = NULL;
    px_log(g->ending ? PX_INFO : PX_WARN, "launch.ended", PX_S("group", g->name),
        PX_U("generation", g->generation), PX_I("code", exit_code), PX_S("message", message));
    tell_launch_ended(g, exit_code, message);
    end_group(g, px_fail(PX_UNAVAILABLE, "%s", message));
}

/* ----------------------------------------------------------------------------- watchdog */

static px_status stuck_because(
    const px_rank *rank, const px_groups_options *options, int64_t now_ns)
{
    int64_t silent = now_ns - rank->heard_ns, still = now_ns - rank->progressed_ns;
    if (rank->state == PX_RANK_EXPECTED && still > options->load_ns)
        return px_fail(PX_DEADLINE_EXCEEDED, "rank %u did not report within %lld s", rank->index,
            (long long)(options->load_ns / PX_SEC));
    if (!rank->wire) return px_ok();
    if (silent > options->silent_ns)
        return px_fail(PX_DEADLINE_EXCEEDED,
            "rank %u (pid %u) has given no sign of life for %lld s", rank->index, rank->pid,
            (long long)(silent / PX_SEC));
    if (rank->state < PX_RANK_READY && still > options->load_ns)
        return px_fail(PX_DEADLINE_EXCEEDED,
            "rank %u (pid %u) made no progress for %lld s while loading", rank->index, rank->pid,
            (long long)(still / PX_SEC));
    if (rank->step_age_us > (uint64_t)options->step_ns / 1000)
        return px_fail(PX_DEADLINE_EXCEEDED, "rank %u (pid %u) has been in one step for %llu s",
            rank->index, rank->pid, (unsigned long long)rank->step_age_us / 1000000);
    return px_ok();
}

static void watch(group *g, int64_t now_ns)
{
    for (size_t i = 0; i < g->rank_count && !g->ending; i++) {
        px_rank *rank = g->ranks[i];
        px_status stuck = stuck_because(rank, &g->owner->options, now_ns);
        if (px_is_ok(stuck)) continue;
        rank->state = PX_RANK_STUCK;
        rank->end = stuck;
        px_log(PX_ERROR, "rank.stuck", PX_S("group", g->name), PX_U("generation", g->generation),
            PX_U("rank", rank->index), PX_S("message", stuck.text));
        tell(rank);
        end_group(g, stuck);
    }
}

/* When this process was stopped or starved, its ranks may have been, too: their silence was ours.
 */
static void forgive(px_groups *groups, int64_t slept_ns)
{
    for (group *g = groups->first; g; g = g->next)
        for (size_t i = 0; i < g->rank_count; i++) {
            g->ranks[i]->heard_ns += slept_ns;
            g->ranks[i]->progressed_ns += slept_ns;
        }
}

static void on_tick(void *arg)
{
    px_groups *groups = arg;
    int64_t now_ns = px_now_ns(), late_ns = now_ns - groups->ticked_ns - TICK_MS * PX_MS;
    if (late_ns > TICK_MS * PX_MS) forgive(groups, late_ns);
    groups->ticked_ns = now_ns;
    for (group **at = &groups->first; *at;) {
        group *g = *at;
        watch(g, now_ns);
        if (has_gone(g)) {
            *at = g->next;
            groups->count--;
            free_group(g);
            continue;
        }
        if (g->ending && now_ns >= g->kill_at_ns)
            for (size_t i = 0; i < g->rank_count; i++)
                if (g->ranks[i]->wire) signal_rank(g->ranks[i], SIGKILL);
        at = &g->next;
    }
}

/* -------------------------------------------------------------------------------- table */

static group *find(const px_groups *groups, const char *name, uint64_t generation)
{
    for (group *g = groups->first; g; g = g->next)
        if (g->generation == generation && strcmp(g->name, name) == 0) return g;
    return NULL;
}

static px_rank *find_rank(group *g, uint32_t index)
{
    for (size_t i = 0; i < g->rank_count; i++)
        if (g->ranks[i]->index == index) return g->ranks[i];
    return NULL;
}

/* Adds the ranks that are not there yet. */
static void add_ranks(group *g, const uint32_t *indices, size_t count)
{
    int64_t now_ns = px_now_ns();
    for (size_t i = 0; i < count; i++) {
        if (find_rank(g, indices[i])) continue;
        PX_ASSERT(g->rank_count < PX_LAUNCH_RANKS_MAX);
        px_rank *rank = px_alloc(sizeof *rank);
        *rank = (px_rank){
            .group = g, .index = indices[i], .pid_fd = -1, .progressed_ns = now_ns, .end = px_ok()};
        g->ranks[g->rank_count++] = rank;
    }
}

/* A new generation takes the place of older ones; an older one than what is here is refused. */
static px_status make_room(px_groups *groups, const char *name, uint64_t generation)
{
    for (group *g = groups->first; g; g = g->next) {
        if (strcmp(g->name, name) != 0) continue;
        if (g->generation > generation)
            return px_fail(PX_FAILED_PRECONDITION, "generation %llu of '%s' is newer",
                (unsigned long long)g->generation, name);
        if (g->generation < generation)
            end_group(g,
                px_fail(PX_ABORTED, "replaced by generation %llu", (unsigned long long)generation));
    }
    if (groups->count == PX_GROUPS_MAX)
        return px_fail(PX_RESOURCE_EXHAUSTED, "%d groups are on this agent already", PX_GROUPS_MAX);
    return px_ok();
}

typedef struct wanted { /* what Launch and Expect have in common */
    const char *name, *secret;
    uint64_t generation;
    const uint32_t *ranks;
    size_t rank_count;
} wanted;

static px_status get_group(px_groups *groups, const wanted *want, group **out)
{
    PX_TRY(px_launch_check_group(want->name));
    for (size_t i = 0; i < want->rank_count; i++)
        if (want->ranks[i] >= PX_LAUNCH_RANKS_MAX)
            return px_fail(PX_INVALID_ARGUMENT, "rank %u is out of range", want->ranks[i]);
    if (!want->secret[0]) return px_fail(PX_INVALID_ARGUMENT, "the group has no secret");
    group *g = find(groups, want->name, want->generation);
    if (g && g->ending)
        return px_fail(PX_FAILED_PRECONDITION, "generation %llu of '%s' has ended",
            (unsigned long long)want->generation, want->name);
    if (!g) {
        PX_TRY(make_room(groups, want->name, want->generation));
        g = px_alloc(sizeof *g);
        *g = (group){.owner = groups, .generation = want->generation, .next = groups->first};
        snprintf(g->name, sizeof g->name, "%s", want->name);
        g->secret = px_strdup(want->secret);
        g->ranks = px_alloc_array(PX_LAUNCH_RANKS_MAX, sizeof *g->ranks);
        groups->first = g;
        groups->count++;
    }
    add_ranks(g, want->ranks, want->rank_count);
    *out = g;
    return px_ok();
}

void px_groups_expect(px_groups *groups, const Phalanx__V1__Expect *expect)
{
    group *g;
    wanted want = {.name = expect->group,
        .secret = expect->secret,
        .generation = expect->generation,
        .ranks = expect->ranks,
        .rank_count = expect->n_ranks};
    px_status status = get_group(groups, &want, &g);
    if (!px_is_ok(status))
        px_log(PX_WARN, "group.unexpected", PX_S("group", expect->group),
            PX_S("message", status.text));
}

/* The launch cannot start: the group, if it came to be, ends, and the operator hears why. */
static void refuse_launch(px_groups *groups, const px_msg_launch *launch, px_status why)
{
    group unknown = {.owner = groups, .generation = launch->generation};
    group *g = find(groups, launch->group, launch->generation);
    px_log(PX_ERROR, "launch.refused", PX_S("group", launch->group), PX_S("message", why.text));
    if (!g) snprintf(unknown.name, sizeof unknown.name, "%s", launch->group);
    tell_launch_ended(g ? g : &unknown, 1, why.text);
    if (g) end_group(g, why);
}

void px_groups_launch(px_groups *groups, const px_msg_launch *launch)
{
    uint32_t mine[PX_LAUNCH_RANKS_MAX];
    wanted want = {.name = launch->group,
        .secret = launch->secret,
        .generation = launch->generation,
        .ranks = mine};
    for (size_t r = 0; r < launch->n_ranks && r < PX_LAUNCH_RANKS_MAX; r++)
        if (strcmp(launch->ranks[r]->agent, groups->options.here.agent) == 0)
            mine[want.rank_count++] = (uint32_t)r;
    group *g;
    px_status status = get_group(groups, &want, &g);
    if (px_is_ok(status) && g->launcher) return; /* said twice */
    if (px_is_ok(status)) {
        px_launcher_options options = {.launch = launch,
            .here = &groups->options.here,
            .log_dir = groups->options.log_dir,
            .on_exit = on_launch_exit,
            .arg = g};
        status = px_launcher_start(groups->loop, &options, &g->launcher);
    }
    if (!px_is_ok(status)) return refuse_launch(groups, launch, status);
    px_log(PX_INFO, "launch.started", PX_S("group", g->name), PX_U("generation", g->generation),
        PX_U("ranks", launch->n_ranks), PX_S("model", launch->model_path));
}

void px_groups_stop(px_groups *groups, const char *name, uint64_t generation)
{
    group *g = find(groups, name, generation);
    if (g) end_group(g, px_fail(PX_CANCELLED, "stopped"));
}

void px_groups_stop_all(px_groups *groups, px_status why)
{
    for (group *g = groups->first; g; g = g->next) end_group(g, why);
}

unsigned px_groups_count(const px_groups *groups)
{
    return groups->count;
}

bool px_groups_expects(const px_groups *groups, const char *name, uint64_t generation)
{
    const group *g = find(groups, name, generation);
    return g && !g->ending && g->rank_count > 0;
}

bool px_groups_launches(const px_groups *groups, const char *name, uint64_t generation)
{
    const group *g = find(groups, name, generation);
    return g && g->launcher && !g->ending;
}

void px_groups_blame(px_groups *groups, const char *name, uint64_t generation, const char *message)
{
    group *g = find(groups, name, generation);
    if (g && g->launcher) px_launcher_blame(g->launcher, message);
}

px_groups *px_groups_create(px_loop *loop, const px_groups_options *options)
{
    px_groups *groups = px_alloc(sizeof *groups);
    *groups = (px_groups){.options = *options, .loop = loop, .ticked_ns = px_now_ns()};
    px_loop_every(loop, TICK_MS * PX_MS, on_tick, groups);
    return groups;
}

/* -------------------------------------------------------------------------------- ranks */

px_status px_groups_admit(px_groups *groups, px_wire *wire, const px_msg_beat *beat,
    px_rank **out_rank, const char **out_secret)
{
    const px_msg_report *report = beat->report;
    if (!report) return px_fail(PX_INVALID_ARGUMENT, "the beat holds no report");
    group *g = find(groups, report->group, report->generation);
    px_rank *rank = g && !g->ending ? find_rank(g, report->rank) : NULL;
    if (!rank)
        return px_fail(PX_PERMISSION_DENIED,
            "no rank %u of '%.60s' generation %llu is expected here", report->rank, report->group,
            (unsigned long long)report->generation);
    if (rank->wire || rank->state != PX_RANK_EXPECTED)
        return px_fail(PX_ALREADY_EXISTS, "rank %u of '%.60s' has reported already (pid %u)",
            report->rank, report->group, rank->pid);
    pid_t pid;
    uid_t uid;
    PX_TRY(px_wire_peer(wire, &pid, &uid));
    rank->pid = (uint32_t)pid;
    rank->oom_kills = px_host_oom_kills();
    rank->pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (rank->pid_fd < 0) return px_fail(PX_UNAVAILABLE, "pid %d has ended already", (int)pid);
    rank->wire = wire;
    *out_rank = rank;
    *out_secret = g->secret;
    px_rank_beat(rank, beat);
    return px_ok();
}

/* A rank's word on its state; it cannot go back to an earlier one. */
static px_rank_state next_state(const px_rank *rank, const px_msg_report *report)
{
    px_rank_state said = (px_rank_state)report->state;
    px_rank_state least = rank->state == PX_RANK_EXPECTED ? PX_RANK_STARTED : rank->state;
    if (said > PX_RANK_ENDED || rank->state > PX_RANK_ENDED) return least;
    return said > least ? said : least;
}

static px_status stated_end(const px_msg_report *report)
{
    bool known = report->code > 0 && report->code < PX_CODE_COUNT;
    if (report->code == 0) return px_ok();
    return px_fail(known ? (px_code)report->code : PX_UNKNOWN, "%s", report->message);
}

void px_rank_beat(px_rank *rank, const px_msg_beat *beat)
{
    const px_msg_report *report = beat->report;
    if (!report || rank->state == PX_RANK_ENDED) return;
    int64_t now_ns = px_now_ns();
    px_rank_state state = next_state(rank, report);
    double progress = isfinite(report->progress) ? fmin(fmax(report->progress, 0), 1) : 0;
    rank->heard_ns = now_ns;
    if (progress > rank->progress || state != rank->state) rank->progressed_ns = now_ns;
    rank->progress = progress;
    rank->resident_bytes = report->resident_bytes;
    rank->steps = report->steps;
    rank->step_age_us = beat->step_age_us;
    snprintf(rank->address, sizeof rank->address, "%s", report->engine_address);
    if (state == PX_RANK_ENDED) {
        px_status why = stated_end(report);
        end_rank(rank, why);
        end_group(
            rank->group, px_is_ok(why) ? px_fail(PX_ABORTED, "rank %u ended", rank->index) : why);
        return;
    }
    bool changed = state != rank->state;
    rank->state = state;
    if (changed && state == PX_RANK_READY)
        px_log(PX_INFO, "rank.ready", PX_S("group", rank->group->name),
            PX_U("generation", rank->group->generation), PX_U("rank", rank->index),
            PX_U("pid", rank->pid), PX_S("address", rank->address));
    bool progressed =
        rank->progress != rank->told_progress && now_ns - rank->told_ns >= TELL_PROGRESS_MS * PX_MS;
    bool stepped =
        rank->steps != rank->told_steps && now_ns - rank->told_ns >= TELL_STEPS_MS * PX_MS;
    if (changed || progressed || stepped) tell(rank);
}

/* It had no last word, and its exit status is its parent's alone to read: mpirun's. */
static px_status sudden_death(const px_rank *rank)
{
    return px_fail(PX_UNAVAILABLE, "rank %u (pid %u) died%s", rank->index, rank->pid,
        px_host_oom_kills() > rank->oom_kills
            ? "; the kernel has killed a process for want of memory since it started"
            : "");
}

void px_rank_gone(px_rank *rank, px_status why)
{
    group *g = rank->group;
    rank->wire = NULL;
    end_rank(rank, g->ending ? g->why : sudden_death(rank));
    end_group(g, rank->end);
}
