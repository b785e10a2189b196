/* commands.h - the programs of node-agent that take part in a cluster. */
#ifndef PX_CLUSTER_COMMANDS_H
#define PX_CLUSTER_COMMANDS_H

#include "base/args.h"
#include "engine/engine.h"

int px_cmd_join(int argc, char **argv);
int px_cmd_rank(int argc, char **argv);
int px_cmd_remote_start(int argc, char **argv); /* mpirun's plm_rsh_agent; hidden */

/* px_cmd_rank() with an engine that is opened otherwise: a benchmark's, whose forward is a timer.
 */
typedef px_status (*px_rank_open_fn)(
    const px_engine_options *options, px_comm *comm, px_engine **out);
int px_rank_main(int argc, char **argv, px_rank_open_fn open);

extern const px_arg_spec px_cmd_join_specs[], px_cmd_rank_specs[], px_cmd_remote_start_specs[];

#endif
