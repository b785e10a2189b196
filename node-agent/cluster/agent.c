/* agent.c - see agent.h. */
#include "cluster/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "cluster/door.h"
#include "cluster/host.h"
#include "cluster/measure.h"
#include "cluster/store.h"
#include "cluster/uplink.h"

enum { GRACE_S = 2, ORPHAN_CHECK_S = 1, LEAVE_POLL_MS = 50, LEAVE_S = 6, NAME_MAX_BYTES = 64 };

typedef struct px_agent {
    px_agent_settings settings;
    px_loop *loop;
    px_rpc *rpc;
    px_uplink *uplink;
    px_groups *groups;
    px_relay *relay;
    px_door *door;

    char name[NAME_MAX_BYTES + 1];
    px_host host;
    px_measure speed;
    char address[64]; /* empty until known */
    char program[PATH_MAX];
    char data[PATH_MAX], socket_path[PATH_MAX], scratch[PATH_MAX], logs[PATH_MAX];
    int64_t leave_by_ns; /* not 0: leaving */

    /* What the last registration borrows. */
    Phalanx__V1__Register registration;
    px_store store;
    Phalanx__V1__StoredModel *models, **model_pointers;
    Phalanx__V1__Gpu gpus[PX_HOST_GPUS_MAX], *gpu_pointers[PX_HOST_GPUS_MAX];
    px_msg_report *reports, **report_pointers;
    size_t report_count, report_capacity;
} px_agent;

/* ------------------------------------------------------------------------- registration */

static void list_models(px_agent *a)
{
    px_store_done(&a->store);
    free(a->models);
    free(a->model_pointers);
    a->models = NULL;
    a->model_pointers = NULL;
    if (!a->settings.models_dir) return;
    px_status status = px_store_scan(a->settings.models_dir, &a->store);
    if (!px_is_ok(status)) {
        px_log(PX_WARN, "models.unreadable", PX_S("message", status.text));
        return;
    }
    a->models = px_alloc_array(a->store.count, sizeof *a->models);
    a->model_pointers = px_alloc_array(a->store.count, sizeof *a->model_pointers);
    for (size_t i = 0; i < a->store.count; i++) {
        phalanx__v1__stored_model__init(&a->models[i]);
        a->models[i].name = a->store.models[i].name;
        a->models[i].path = a->store.models[i].path;
        a->models[i].bytes = a->store.models[i].bytes;
        a->model_pointers[i] = &a->models[i];
    }
}

static void list_gpus(px_agent *a)
{
    for (uint32_t i = 0; i < a->host.gpu_count; i++) {
        phalanx__v1__gpu__init(&a->gpus[i]);
        a->gpus[i].name = a->host.gpus[i];
        a->gpu_pointers[i] = &a->gpus[i];
    }
}

static void add_report(void *arg, px_msg_report *report)
{
    px_agent *a = arg;
    if (a->report_count == a->report_capacity) {
        size_t capacity = a->report_capacity ? 2 * a->report_capacity : 16;
        px_msg_report *larger = px_alloc_array(capacity, sizeof *larger);
        if (a->reports) memcpy(larger, a->reports, a->report_count * sizeof *larger);
        free(a->reports);
        free(a->report_pointers);
        a->reports = larger;
        a->report_pointers = px_alloc_array(capacity, sizeof *a->report_pointers);
        a->report_capacity = capacity;
    }
    a->reports[a->report_count++] = *report;
}

static void list_reports(px_agent *a)
{
    a->report_count = 0;
    px_groups_each(a->groups, add_report, a);
    for (size_t i = 0; i < a->report_count; i++) a->report_pointers[i] = &a->reports[i];
}

static Phalanx__V1__Register *registration(void *arg, px_status *out_why)
{
    px_agent *a = arg;
    if (!a->address[0]) {
        *out_why = px_host_address(a->settings.server, a->settings.address, a->address);
        if (!px_is_ok(*out_why)) return NULL;
    }
    list_models(a);
    list_gpus(a);
    list_reports(a);
    Phalanx__V1__Register *r = &a->registration;
    phalanx__v1__register__init(r);
    r->agent = a->name;
    r->machine = a->host.machine;
    r->address = a->address;
    r->cores = a->host.cores;
    r->memory_bytes = a->host.memory_bytes;
    r->memory_free_bytes = px_host_memory_free();
    r->gpus = a->gpu_pointers;
    r->n_gpus = a->host.gpu_count;
    r->bandwidth_bytes_s = a->speed.read_bytes_s;
    r->flops = a->speed.flops;
    r->models = a->model_pointers;
    r->n_models = a->store.count;
    r->socket_path = a->socket_path;
    r->program = a->program;
    r->version = (char *)PX_VERSION;
    r->ranks = a->report_pointers;
    r->n_ranks = a->report_count;
    return r;
}

/* ------------------------------------------------------------------- to the control plane */

static void send_message(void *arg, const px_msg_agent *message)
{
    px_uplink_send(((px_agent *)arg)->uplink, message);
}

static void on_report(void *arg, px_msg_report *report)
{
    px_msg_agent message = PHALANX__V1__AGENT_MESSAGE__INIT;
    message.kind_case = PX_AGENT(RANK);
    message.rank = report;
    send_message(arg, &message);
}

static void on_launch_ended(void *arg, Phalanx__V1__LaunchEnded *ended)
{
    px_msg_agent message = PHALANX__V1__AGENT_MESSAGE__INIT;
    message.kind_case = PX_AGENT(LAUNCH_ENDED);
    message.launch_ended = ended;
    send_message(arg, &message);
}

/* --------------------------------------------------------------- from the control plane */

/* A path relative to this agent means the same file to ranks that start elsewhere. */
static void launch(px_agent *a, const px_msg_launch *asked)
{
    char absolute[PATH_MAX];
    px_msg_launch launch = *asked;
    if (realpath(asked->model_path, absolute)) launch.model_path = absolute;
    px_groups_launch(a->groups, &launch);
}

static void on_control(void *arg, const px_msg_control *message)
{
    px_agent *a = arg;
    switch (message->kind_case) {
    case PX_CONTROL(LAUNCH): launch(a, message->launch); break;
    case PX_CONTROL(EXPECT): px_groups_expect(a->groups, message->expect); break;
    case PX_CONTROL(STOP):
        px_groups_stop(a->groups, message->stop->group, message->stop->generation);
        break;
    default: px_relay_control(a->relay, message); break;
    }
}

/* Registering told how things stood when the stream was dialled; this is how they stand now. */
static void on_up(void *arg)
{
    px_groups_each(((px_agent *)arg)->groups, on_report, arg);
}

static void on_down(void *arg)
{
    px_relay_lost(((px_agent *)arg)->relay);
}

static uint64_t memory_free(void *unused)
{
    return px_host_memory_free();
}

/* --------------------------------------------------------------------------------- life */

/* Ranks keep serving through an outage of the control plane, but not for ever: it may be gone, or
 * may have placed the group elsewhere. */
static void on_orphan_check(void *arg)
{
    px_agent *a = arg;
    int64_t alone_ns = px_now_ns() - px_uplink_last_up_ns(a->uplink);
    if (alone_ns > a->settings.orphan_ns)
        px_groups_stop_all(a->groups,
            px_fail(PX_UNAVAILABLE, "no control plane for %lld s", (long long)(alone_ns / PX_SEC)));
}

static void on_left(void *arg)
{
    px_rpc_stop(((px_agent *)arg)->rpc);
}

static void on_leave_poll(void *arg)
{
    px_agent *a = arg;
    bool late = px_now_ns() > a->leave_by_ns;
    if (px_groups_count(a->groups) > 0 && !late) {
        px_loop_after(a->loop, LEAVE_POLL_MS * PX_MS, on_leave_poll, a);
        return;
    }
    px_uplink_close(a->uplink);
    px_loop_after(a->loop, LEAVE_POLL_MS * PX_MS, on_left, a); /* lets the last words go out */
}

/* The first signal ends the ranks in order, the second at once (they die with this process). */
static void on_terminate(void *arg)
{
    px_agent *a = arg;
    if (a->leave_by_ns) return px_rpc_stop(a->rpc);
    a->leave_by_ns = px_now_ns() + LEAVE_S * PX_SEC;
    px_log(PX_INFO, "agent.leaving", PX_U("groups", px_groups_count(a->groups)));
    px_groups_stop_all(a->groups, px_fail(PX_UNAVAILABLE, "agent '%s' is leaving", a->name));
    on_leave_poll(a);
}

/* -------------------------------------------------------------------------------- start */

static px_status choose_name(px_agent *a)
{
    const char *name = a->settings.name ? a->settings.name : a->host.name;
    size_t length = strlen(name);
    bool good = length >= 1 && length <= NAME_MAX_BYTES && name[0] != '-' && name[0] != '.';
    for (size_t i = 0; i < length && good; i++)
        good = strchr("-_.", name[i]) || (name[i] >= '0' && name[i] <= '9') ||
               (name[i] >= 'a' && name[i] <= 'z') || (name[i] >= 'A' && name[i] <= 'Z');
    if (!good)
        return px_fail(PX_INVALID_ARGUMENT,
            "'%.80s' is no agent name: 1 to %d letters, digits, '-', '_' or '.' (see --name)", name,
            NAME_MAX_BYTES);
    memcpy(a->name, name, length + 1);
    return px_ok();
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    return remove(path);
}

static px_status join_path(char out[PATH_MAX], const char *folder, const char *name)
{
    if (snprintf(out, PATH_MAX, "%s/%s", folder, name) < PATH_MAX) return px_ok();
    return px_fail(PX_INVALID_ARGUMENT, "the data folder's path '%.60s…' is too long", folder);
}

/* The data folder is this process's alone, for as long as it holds the lock. */
static px_status take_data_folder(px_agent *a)
{
    char chosen[PATH_MAX], lock[PATH_MAX], owner[32];
    snprintf(chosen, sizeof chosen, "var/agent-%s", a->name);
    const char *folder = a->settings.data_dir ? a->settings.data_dir : chosen;
    PX_TRY(px_fs_make_dirs(folder, 0700));
    if (!realpath(folder, a->data)) return px_fail_errno(errno, "the data folder '%s'", folder);
    PX_TRY(join_path(lock, a->data, "agent.lock"));
    PX_TRY(join_path(a->socket_path, a->data, "agent.sock"));
    PX_TRY(join_path(a->scratch, a->data, "mpi"));
    PX_TRY(join_path(a->logs, a->data, "logs"));
    int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return px_fail_errno(errno, "cannot open '%s'", lock);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        close(fd);
        return px_fail(PX_FAILED_PRECONDITION,
            "another agent uses the data folder '%s'; give this one its own --data", a->data);
    }
    int length = snprintf(owner, sizeof owner, "%d\n", (int)getpid());
    if (ftruncate(fd, 0) != 0 || write(fd, owner, (size_t)length) != length)
        return px_fail_errno(errno, "cannot write '%s'", lock);
    nftw(a->scratch, remove_entry, 16, FTW_DEPTH | FTW_PHYS); /* left over from a crash */
    PX_TRY(px_fs_make_dirs(a->scratch, 0700));
    return px_fs_make_dirs(a->logs, 0700);
}

static px_status look_at_machine(px_agent *a)
{
    PX_TRY(px_host_look(&a->host));
    PX_TRY(choose_name(a));
    ssize_t length = readlink("/proc/self/exe", a->program, sizeof a->program - 1);
    if (length <= 0) return px_fail_errno(errno, "the program's own path cannot be read");
    a->program[length] = '\0';
    PX_TRY(take_data_folder(a));
    return px_measure_run(a->host.cores, &a->speed);
}

static px_status start(px_agent *a)
{
    const char *path = getenv("PATH");
    px_groups_options groups = {.here = {.agent = a->name,
                                    .machine = a->host.machine,
                                    .program = a->program,
                                    .socket_path = a->socket_path,
                                    .scratch = a->scratch,
                                    .path = path ? path : "/usr/local/bin:/usr/bin:/bin",
                                    .is_root = geteuid() == 0},
        .log_dir = a->logs,
        .silent_ns = a->settings.silent_ns,
        .step_ns = a->settings.step_ns,
        .load_ns = a->settings.load_ns,
        .grace_ns = GRACE_S * PX_SEC,
        .on_report = on_report,
        .on_launch_ended = on_launch_ended,
        .arg = a};
    a->groups = px_groups_create(a->loop, &groups);
    px_relay_options relay = {.groups = a->groups,
        .scratch = a->scratch,
        .grace_ns = GRACE_S * PX_SEC,
        .send = send_message,
        .arg = a};
    a->relay = px_relay_create(a->loop, &relay);
    px_door_options door = {.path = a->socket_path, .groups = a->groups, .relay = a->relay};
    PX_TRY(px_door_open(a->loop, &door, &a->door));
    px_uplink_options uplink = {.loop = a->loop,
        .rpc = a->rpc,
        .server = a->settings.server,
        .registration = registration,
        .on_up = on_up,
        .on_control = on_control,
        .on_down = on_down,
        .memory_free = memory_free,
        .arg = a};
    PX_TRY(px_uplink_start(&uplink, &a->uplink));
    px_loop_every(a->loop, ORPHAN_CHECK_S * PX_SEC, on_orphan_check, a);
    return px_ok();
}

px_status px_agent_run(const px_agent_settings *settings)
{
    px_agent *a = px_alloc(sizeof *a);
    a->settings = *settings;
    signal(SIGPIPE, SIG_IGN); /* a peer that went shows as an error where it is written to */
    PX_TRY(px_host_check_server(settings->server));
    PX_TRY(look_at_machine(a));
    PX_TRY(px_loop_create(&a->loop));
    PX_TRY(px_loop_on_terminate(a->loop, on_terminate, a));
    PX_TRY(px_rpc_create(a->loop, &a->rpc));
    PX_TRY(start(a));
    px_log(PX_INFO, "agent.started", PX_S("name", a->name), PX_U("cores", a->host.cores),
        PX_U("memory_bytes", a->host.memory_bytes), PX_U("read_bytes_s", a->speed.read_bytes_s),
        PX_U("flops", a->speed.flops), PX_U("gpus", a->host.gpu_count), PX_S("data", a->data));
    px_rpc_run(a->rpc);
    unlink(a->socket_path);
    return px_ok(); /* the process ends: memory and descriptors go with it */
}
