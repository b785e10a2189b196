/* commands.h - the programs of node-agent that take part in a cluster. */
#ifndef PX_CLUSTER_COMMANDS_H
#define PX_CLUSTER_COMMANDS_H

#include "base/args.h"

int px_cmd_join(int argc, char **argv);
int px_cmd_rank(int argc, char **argv);
int px_cmd_remote_start(int argc, char **argv); /* mpirun's plm_rsh_agent; hidden */

extern const px_arg_spec px_cmd_join_specs[], px_cmd_rank_specs[], px_cmd_remote_start_specs[];

#endif
