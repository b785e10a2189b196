#!/usr/bin/env bash
# compare-serving.sh - clients that stream from our whole stack, beside the peers' servers, under the
# same load in the same run.
#
#   tests/bench/compare-serving.sh [--clients 1,8,32] [--rounds 3] [--ours 'NAME=MODEL [OPTIONS]' ..]
#                                  [--llama 'NAME=MODEL.gguf [OPTIONS]' ..]
#                                  [--vllm 'NAME=FOLDER [OPTIONS]' ..] [--skip N] [--json]
#
# OPTIONS are those of `control-plane deploy`, as 'bf16=FOLDER --kernels avx512_bf16', or of the peer's
# server, as 'fp32=FOLDER --dtype float32'. With --skip N each client's first N requests, the first of
# which all come at once, are load but not measured.
# Without --ours and --llama both serve the quickstart's SmolLM2. Every model named is a column; the
# load generator is `control-plane bench` for all of them.
#
# BIN           our programs; default build/bin
# LLAMA_SERVER  llama.cpp's llama-server; without it, it is built once under build/llama
# VLLM          a Python that has vLLM's CPU build, for --vllm
set -euo pipefail
cd "$(dirname "$0")/../.."

bin=${BIN:-build/bin}
[[ -x $bin/control-plane ]] || { echo "$bin/control-plane is missing: build first, or set BIN" >&2; exit 1; }
llama_server=$(tests/bench/get-llama.sh llama-server "${LLAMA_SERVER:-}")
python=${PX_PYTHON:-build/venv/bin/python}
[[ -x $python ]] || python=python3
PX_BIN=$(realpath "$bin") exec "$python" tests/bench/compare_serving.py --llama-server "$llama_server" "$@"
