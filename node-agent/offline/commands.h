/* commands.h - the programs of node-agent that need no cluster; each file cmd_NAME.c is one.
 *
 * argv[0] is the command's name. Exit codes: 0 done, 1 failed, 2 usage. Errors: one line on stderr.
 */
#ifndef PX_OFFLINE_COMMANDS_H
#define PX_OFFLINE_COMMANDS_H

#include "base/args.h"

int px_cmd_run(int argc, char **argv);
int px_cmd_bench(int argc, char **argv);
int px_cmd_score(int argc, char **argv);
int px_cmd_embed(int argc, char **argv);
int px_cmd_tokenize(int argc, char **argv);
int px_cmd_render(int argc, char **argv);
int px_cmd_inspect(int argc, char **argv);
int px_cmd_convert(int argc, char **argv);

/* Tables for --help and completion. */
extern const px_arg_spec px_cmd_run_specs[], px_cmd_bench_specs[], px_cmd_score_specs[],
    px_cmd_embed_specs[], px_cmd_tokenize_specs[], px_cmd_render_specs[], px_cmd_inspect_specs[],
    px_cmd_convert_specs[];

#endif
