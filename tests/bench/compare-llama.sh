#!/usr/bin/env bash
# compare-llama.sh - our prefill and decode speed beside llama.cpp's, interleaved in one run, and two
# MPI ranks of one thread beside one process of two.
#
#   tests/bench/compare-llama.sh [MODEL.gguf] [--rounds 5] [--json]
#
# NODE_AGENT   our program; default build/bin/node-agent
# LLAMA_BENCH  llama.cpp's llama-bench; without it, get-llama.sh builds it once under build/llama
set -euo pipefail
cd "$(dirname "$0")/../.."

node_agent=${NODE_AGENT:-build/bin/node-agent}
model=models/SmolLM2-135M-Instruct/1/SmolLM2-135M-Instruct.Q4_1.gguf
if [[ ${1:-} && $1 != --* ]]; then
    model=$1
    shift
fi
[[ -x $node_agent ]] || { echo "$node_agent is missing: build first, or set NODE_AGENT" >&2; exit 1; }
[[ -e $model ]] || { echo "$model is missing: cluster-config/quickstart.sh fetches it" >&2; exit 1; }

llama_bench=$(tests/bench/get-llama.sh llama-bench "${LLAMA_BENCH:-}")
exec python3 tests/bench/compare_llama.py --ours "$node_agent" --llama "$llama_bench" --model "$model" "$@"
