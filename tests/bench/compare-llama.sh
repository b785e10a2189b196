#!/usr/bin/env bash
# compare-llama.sh - our prefill and decode speed beside llama.cpp's, interleaved in one run, and two
# MPI ranks of one thread beside one process of two.
#
#   tests/bench/compare-llama.sh [MODEL.gguf] [--rounds 5] [--json]
#
# NODE_AGENT   our program; default build/bin/node-agent
# LLAMA_BENCH  llama.cpp's llama-bench; without it, it is built once under build/llama (ten minutes)
#              from the source that the PyPI package llama-cpp-python carries
set -euo pipefail
cd "$(dirname "$0")/../.."

node_agent=${NODE_AGENT:-build/bin/node-agent}
llama_package=llama-cpp-python==0.3.36
model=models/SmolLM2-135M-Instruct/1/SmolLM2-135M-Instruct.Q4_1.gguf
if [[ ${1:-} && $1 != --* ]]; then
    model=$1
    shift
fi
[[ -x $node_agent ]] || { echo "$node_agent is missing: build first, or set NODE_AGENT" >&2; exit 1; }
[[ -e $model ]] || { echo "$model is missing: cluster-config/quickstart.sh fetches it" >&2; exit 1; }

build_llama_bench() {
    local home=build/llama
    mkdir -p "$home"
    echo "building llama.cpp's llama-bench under $home (once)" >&2
    pip download --quiet --no-binary :all: --no-deps --no-build-isolation --dest "$home" "$llama_package" >&2 ||
        pip download --quiet --no-binary :all: --no-deps --dest "$home" "$llama_package" >&2
    tar -xzf "$home"/llama_cpp_python-*.tar.gz -C "$home" --strip-components=1
    cmake -S "$home/vendor/llama.cpp" -B "$home/out" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
        -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_USE_PREBUILT_UI=OFF \
        -DLLAMA_OPENSSL=OFF >"$home/cmake.log"
    cmake --build "$home/out" --target llama-bench -j "$(nproc)" >"$home/build.log"
}

llama_bench=${LLAMA_BENCH:-build/llama/out/bin/llama-bench}
[[ ${LLAMA_BENCH:-} || -x $llama_bench ]] || build_llama_bench

exec python3 tests/bench/compare_llama.py --ours "$node_agent" --llama "$llama_bench" --model "$model" "$@"
