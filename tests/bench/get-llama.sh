#!/usr/bin/env bash
# get-llama.sh TARGET [PATH] - prints the path of a program of llama.cpp's to compare with: PATH if it
# is given, else TARGET built once under build/llama (ten minutes on two cores), for this machine's own
# instructions, from the source that the PyPI package llama-cpp-python carries.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=$1
program=${2:-build/llama/out/bin/$target}
if [[ ! -x $program ]]; then
    [[ -z ${2:-} ]] || { echo "$program is missing" >&2; exit 1; }
    home=build/llama
    mkdir -p "$home"
    echo "building llama.cpp's $target under $home (once)" >&2
    if [[ ! -d $home/vendor/llama.cpp ]]; then
        python3 -m pip download --quiet --disable-pip-version-check --no-binary :all: --no-deps --dest "$home" \
            llama-cpp-python==0.3.36 >&2
        tar -xzf "$home"/llama_cpp_python-*.tar.gz -C "$home" --strip-components=1
    fi
    cmake -S "$home/vendor/llama.cpp" -B "$home/out" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
        -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_USE_PREBUILT_UI=OFF \
        -DLLAMA_OPENSSL=OFF >"$home/cmake.log"
    cmake --build "$home/out" --target "$target" -j "$(nproc)" >"$home/build.log"
fi
realpath "$program"
