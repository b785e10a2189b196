/* daemon.c - see daemon.h. */
#include "cluster/daemon.h"

#include <ctype.h>
#include <string.h>

enum { WORDS_MAX = 256, WORD_BYTES_MAX = 16 * 1024 };

/* A parameter of Open MPI that may be set, and what its value may look like. */
typedef struct rule {
    const char *key;
    const char *exact; /* the only value allowed; or NULL: */
    const char *chars; /* besides letters and digits */
    bool dropped;      /* accepted and left out */
} rule;

static const rule rules[] = {
    {.key = "ess", .exact = "env"},
    {.key = "ess_base_jobid", .chars = ""},
    {.key = "ess_base_vpid", .chars = ""},
    {.key = "ess_base_num_procs", .chars = ""},
    {.key = "orte_node_regex", .chars = "[]:,.@()-_"},
    {.key = "orte_hnp_uri", .chars = ".:;/,[]-_"},
    {.key = "orte_leave_session_attached", .exact = "1"},
    /* It would make the daemon run a program of the asker's choice. Nothing is started from there.
     */
    {.key = "plm_rsh_agent", .exact = "node-agent remote-start", .dropped = true},
    {.key = "plm_rsh_no_tree_spawn", .exact = "1"},
    {.key = "plm", .exact = "rsh"},
    {.key = "pml", .exact = "ob1"},
    {.key = "btl", .exact = "tcp,self"},
    {.key = "oob_tcp_if_include", .chars = "./"},
    {.key = "btl_tcp_if_include", .chars = "./"},
    {.key = "mpi_yield_when_idle", .exact = "1"},
    {.key = "rmaps_base_oversubscribe", .exact = "1"},
    {.key = "hwloc_base_binding_policy", .exact = "none"},
    {.key = "pmix", .chars = "^,_"},
};

static const rule *find_rule(const char *key)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (strcmp(rules[i].key, key) == 0) return &rules[i];
    return NULL;
}

static bool allows(const rule *r, const char *value)
{
    if (r->exact) return strcmp(value, r->exact) == 0;
    for (const char *c = value; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr(r->chars, *c)) return false;
    return value[0] != '\0';
}

/* A word as the shell would have left it: no blanks around it, no double quotes around it. */
static px_status plain_word(const char *word, px_arena *arena, const char **out)
{
    size_t length = strnlen(word, WORD_BYTES_MAX);
    while (length && isspace((unsigned char)word[0])) word++, length--;
    while (length && isspace((unsigned char)word[length - 1])) length--;
    if (length >= 2 && word[0] == '"' && word[length - 1] == '"') word++, length -= 2;
    *out = length < WORD_BYTES_MAX ? px_arena_copy(arena, word, length) : NULL;
    return *out ? px_ok() : px_fail(PX_PERMISSION_DENIED, "a word of the command is too long");
}

px_status px_daemon_command(
    const px_daemon_words *asked, px_arena *arena, const char *const **out_argv)
{
    if (asked->count < 1 || asked->count > WORDS_MAX || asked->count % 3 != 1)
        return px_fail(PX_PERMISSION_DENIED,
            "a remote start is 'orted' with pairs of parameters, not %zu words", asked->count);
    const char **argv = px_arena_alloc(arena, (asked->count + 1) * sizeof *argv);
    if (!argv) return px_fail(PX_PERMISSION_DENIED, "the command is too long");
    size_t count = 0;
    const char *program;
    PX_TRY(plain_word(asked->list[0], arena, &program));
    if (strcmp(program, "orted") != 0)
        return px_fail(
            PX_PERMISSION_DENIED, "only 'orted' is started from afar, not '%.80s'", program);
    argv[count++] = program;
    for (size_t i = 1; i < asked->count; i += 3) {
        const char *option, *key, *value;
        PX_TRY(plain_word(asked->list[i], arena, &option));
        PX_TRY(plain_word(asked->list[i + 1], arena, &key));
        PX_TRY(plain_word(asked->list[i + 2], arena, &value));
        if (strcmp(option, "-mca") != 0 && strcmp(option, "--mca") != 0)
            return px_fail(PX_PERMISSION_DENIED, "orted's option '%.80s' is not allowed", option);
        const rule *r = find_rule(key);
        if (!r)
            return px_fail(PX_PERMISSION_DENIED, "orted's parameter '%.80s' is not allowed", key);
        if (!allows(r, value))
            return px_fail(
                PX_PERMISSION_DENIED, "orted's parameter %s may not be '%.80s'", key, value);
        if (r->dropped) continue;
        argv[count++] = "-mca";
        argv[count++] = key;
        argv[count++] = value;
    }
    *out_argv = argv;
    return px_ok();
}
