/* main.c - node-agent: the table of its commands. */
#include "offline/commands.h"
#ifdef PX_HAVE_CLUSTER
#include "cluster/commands.h"
#endif

static const px_command commands[] = {
    {"run", px_cmd_run, "answer one prompt and stream the text", px_cmd_run_specs, false},
    {"score", px_cmd_score, "log-likelihood and logits of given tokens", px_cmd_score_specs, false},
    {"embed", px_cmd_embed, "the vector of a text", px_cmd_embed_specs, false},
    {"bench", px_cmd_bench, "measure prefill and decode speed", px_cmd_bench_specs, false},
    {"tokenize", px_cmd_tokenize, "text to ids and back", px_cmd_tokenize_specs, false},
    {"render", px_cmd_render, "render conversations with a chat template", px_cmd_render_specs,
        false},
    {"inspect", px_cmd_inspect, "what a model file holds and needs", px_cmd_inspect_specs, false},
    {"convert", px_cmd_convert, "write a model as one GGUF file", px_cmd_convert_specs, false},
#ifdef PX_HAVE_CLUSTER
    {"join", px_cmd_join, "offer this host to a control plane", px_cmd_join_specs, false},
    {"rank", px_cmd_rank, "one rank of a model (started by an agent or mpirun)", px_cmd_rank_specs,
        false},
    {"remote-start", px_cmd_remote_start, "start mpirun's daemon through the cluster",
        px_cmd_remote_start_specs, true},
#endif
    {0}};

int main(int argc, char **argv)
{
    return px_command_main("node-agent",
        "Runs models on this host: alone, under mpirun, or as part of a Phalanx cluster.", commands,
        argc, argv);
}
