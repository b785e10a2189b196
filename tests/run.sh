#!/usr/bin/env bash
# Install what is missing, build, and run every test through one CTest run.
#
#   tests/run.sh [ctest arguments, e.g. -R golden]
#
# Three trees: build/test (release, everything), build/sanitize (clang, address + undefined
# sanitizers, unit tests and fuzz targets), build/tsan (thread sanitizer, the threaded parts).
# The closing lines are CTest's summary over all three; the exit code is its.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

cluster-config/install-packages.sh test

# Stock Python clients (gRPC, numpy) in an environment of their own inside build/.
python=$root/build/venv/bin/python
if ! "$python" -c 'import grpc, grpc_tools, grpc_health, grpc_reflection, numpy' 2>/dev/null; then
    echo "Installing the Python clients that the tests use (into build/venv)"
    mkdir -p build
    python3 -m venv build/venv
    build/venv/bin/pip install -q --no-cache-dir --disable-pip-version-check -r tests/requirements.txt ||
        { echo "tests/run.sh: pip could not install tests/requirements.txt" >&2; exit 1; }
fi
export PX_PYTHON=$python

# The real model, where it can be had: the tests that need it say so when they skip.
cluster-config/get-model.sh || echo "The real model cannot be downloaded here: its tests will skip."

configure() { # TREE OPTIONS...
    local tree=$1
    shift
    cmake -S . -B "build/$tree" -G Ninja -DPX_CCACHE=OFF "$@" >"build/$tree.log" 2>&1 ||
        { tail -20 "build/$tree.log" >&2; echo "tests/run.sh: cmake failed for build/$tree" >&2; exit 1; }
}
build() { # TREE TARGETS...
    echo "Building build/$1"
    cmake --build "build/$1" --target "${@:2}" >"build/$1.log" 2>&1 ||
        { grep -E -m5 -A12 'error|FAILED' "build/$1.log" >&2 || tail -20 "build/$1.log" >&2; echo "tests/run.sh: the build of build/$1 failed" >&2; exit 1; }
}
configure test -DCMAKE_BUILD_TYPE=Release
configure sanitize -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=RelWithDebInfo -DPX_FUZZ=ON \
    -DPX_SANITIZE=address,undefined -DPX_TEST_PREFIX=sanitize/ -DPX_TEST_GROUPS=fuzz
configure tsan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DPX_SANITIZE=thread -DPX_CLUSTER=OFF \
    -DPX_TEST_PREFIX=tsan/ -DPX_TEST_GROUPS=none -DPX_TEST_FOLDERS="unit/base;unit/parallel;unit/engine;unit/model"
build test all
build sanitize all
build tsan all

mkdir -p build/all # one CTest over the three trees
echo 'subdirs(../test ../sanitize ../tsan)' >build/all/CTestTestfile.cmake
export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=ignore_noninstrumented_modules=1:halt_on_error=1
exec ctest --test-dir build/all --output-on-failure -j "$(nproc)" "$@"
