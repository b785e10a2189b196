/* The agent's unix socket and what it lets through: frames, and a daemon's command line. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/daemon.h"
#include "cluster/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void judge(const px_msg_remote_ask *ask)
{
    px_arena arena;
    px_daemon_words words = {.list = ask->argv, .count = ask->n_argv};
    const char *const *argv = NULL;
    px_arena_init(&arena, 256 * 1024);
    px_status status = px_daemon_command(&words, &arena, &argv);
    /* Whatever is let through runs orted, and nothing of it reaches a shell or another program. */
    if (px_is_ok(status)) PX_ASSERT(strcmp(argv[0], "orted") == 0);
    for (size_t i = 1; argv && argv[i]; i += 3) {
        PX_ASSERT(strcmp(argv[i], "-mca") == 0 && strcmp(argv[i + 1], "plm_rsh_agent") != 0);
        PX_ASSERT(!strpbrk(argv[i + 2], " \t\n\"'`$\\|<>&"));
    }
    px_arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t at = 0;
    while (at < size) {
        px_msg_local *message;
        size_t used = 0;
        px_status status = px_wire_decode(data + at, size - at, &message, &used);
        if (!px_is_ok(status) || !message) break;
        PX_ASSERT(used > 0 && used <= size - at);
        if (message->kind_case == PX_LOCAL(REMOTE_START)) judge(message->remote_start);
        phalanx__v1__local_message__free_unpacked(message, NULL);
        at += used;
    }
    return 0;
}
