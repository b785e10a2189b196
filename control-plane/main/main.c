/* main.c - control-plane: the table of its commands. */
#include "base/args.h"

static const px_command commands[] = {{0}};

int main(int argc, char **argv)
{
    return px_command_main("control-plane",
        "Serves models from a cluster of node agents, and operates that cluster.", commands, argc,
        argv);
}
