#!/usr/bin/env bash
# compare.sh - our kernels beside llama.cpp's on models of real shapes with random weights, interleaved in
# one run, and beside what the machine can do; prints one table.
#
#   tests/bench/compare.sh [--quick] [--shapes llama-3.2-1b,qwen3-0.6b] [--types Q4_0,Q4_1,Q8_0,Q4_K,F16,BF16]
#                          [--threads 1,2] [--rounds 5] [--kernels NAME] [--context 8192] [--json]
#
# --quick                            one shape, short runs: five rounds in some 25 minutes
# NODE_AGENT, KERNELS_BENCH, DECODE_BENCH   our programs; default build/bin/node-agent, build/bench/*
# LLAMA_BENCH, LLAMA_BATCHED_BENCH   llama.cpp's; without them, get-llama.sh builds them under build/llama
# RUN_WITH                           put before every program, e.g. "chrt -f 10" on a busy machine
#
# The models (0.3 to 2.5 GB each, one at a time) are written to build/synthetic and removed.
set -euo pipefail
cd "$(dirname "$0")/../.."

node_agent=${NODE_AGENT:-build/bin/node-agent}
kernels_bench=${KERNELS_BENCH:-build/bench/kernels_bench}
decode_bench=${DECODE_BENCH:-build/bench/decode_bench}
for program in "$node_agent" "$kernels_bench" "$decode_bench"; do
    [[ -x $program ]] || { echo "$program is missing: build it (cmake --build build --target $(basename "$program"))" >&2; exit 1; }
done
llama_bench=$(tests/bench/get-llama.sh llama-bench "${LLAMA_BENCH:-}")
llama_batched=$(tests/bench/get-llama.sh llama-batched-bench "${LLAMA_BATCHED_BENCH:-}")

venv=build/synthetic/venv
if ! "$venv/bin/python" -c 'import gguf' 2>/dev/null; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet gguf numpy
fi
exec "$venv/bin/python" tests/bench/compare.py --ours "$node_agent" --limits "$kernels_bench" \
    --decode "$decode_bench" --llama "$llama_bench" --llama-batched "$llama_batched" --folder build/synthetic "$@"
