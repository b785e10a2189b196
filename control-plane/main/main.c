/* main.c - control-plane: the table of its commands. */
#include "control/cli/commands.h"

static const px_command commands[] = {
    {"serve", px_cmd_serve, "run the control plane", px_cmd_serve_specs, false},
    {"status", px_cmd_status, "the cluster as a whole", px_cmd_status_specs, false},
    {"nodes", px_cmd_nodes, "the agents that have joined", px_cmd_nodes_specs, false},
    {"models", px_cmd_models, "what is deployed, and its load", px_cmd_models_specs, false},
    {"deploy", px_cmd_deploy, "place a model on agents and start it", px_cmd_deploy_specs, false},
    {"undeploy", px_cmd_undeploy, "stop a model", px_cmd_undeploy_specs, false},
    {"adapter", px_cmd_adapter, "LoRA adapters of a model that serves", px_cmd_adapter_specs,
        false},
    {"chat", px_cmd_chat, "talk with a model", px_cmd_chat_specs, false},
    {"generate", px_cmd_generate, "continue a text", px_cmd_generate_specs, false},
    {"embed", px_cmd_embed, "make vectors of texts", px_cmd_embed_specs, false},
    {"score", px_cmd_score, "tell how well documents answer a query", px_cmd_score_specs, false},
    {"events", px_cmd_events, "what happened in the cluster", px_cmd_events_specs, false},
    {"bench", px_cmd_bench, "put load on a server and measure it", px_cmd_bench_specs, false}, {0}};

int main(int argc, char **argv)
{
    return px_command_main("control-plane",
        "Serves models from a cluster of node agents, and operates that cluster.", commands, argc,
        argv);
}
