/* commands.h - the programs of control-plane. */
#ifndef PX_CONTROL_COMMANDS_H
#define PX_CONTROL_COMMANDS_H

#include "base/args.h"

int px_cmd_serve(int argc, char **argv);
int px_cmd_status(int argc, char **argv);
int px_cmd_nodes(int argc, char **argv);
int px_cmd_models(int argc, char **argv);
int px_cmd_deploy(int argc, char **argv);
int px_cmd_undeploy(int argc, char **argv);
int px_cmd_adapter(int argc, char **argv);
int px_cmd_chat(int argc, char **argv);
int px_cmd_generate(int argc, char **argv);
int px_cmd_embed(int argc, char **argv);
int px_cmd_score(int argc, char **argv);
int px_cmd_events(int argc, char **argv);
int px_cmd_bench(int argc, char **argv);

extern const px_arg_spec px_cmd_serve_specs[], px_cmd_status_specs[], px_cmd_nodes_specs[],
    px_cmd_models_specs[], px_cmd_deploy_specs[], px_cmd_undeploy_specs[], px_cmd_chat_specs[],
    px_cmd_adapter_specs[], px_cmd_generate_specs[], px_cmd_embed_specs[], px_cmd_score_specs[],
    px_cmd_events_specs[], px_cmd_bench_specs[];

#endif
