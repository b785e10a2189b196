#!/usr/bin/env bash
# Install the Debian packages that are missing: install-packages.sh build|test
#
#   build  what compiles and runs Phalanx
#   test   that, and what the tests need beside it
#
# Does nothing (and needs no root) when all are there.
set -euo pipefail

build=(build-essential cmake ninja-build pkg-config
    libgrpc-dev libprotobuf-c-dev protobuf-c-compiler protobuf-compiler
    libopenmpi-dev openmpi-bin etcd-server libcurl4-openssl-dev
    libpcre2-dev libutf8proc-dev libjansson-dev libssl-dev
    ca-certificates unzip python3 python3-pip)
test=(clang libclang-rt-14-dev clang-format-14 iproute2 python3-venv git qemu-user)

case "${1:-build}" in
build) wanted=("${build[@]}") ;;
test) wanted=("${build[@]}" "${test[@]}") ;;
*) echo "usage: install-packages.sh build|test" >&2; exit 2 ;;
esac

missing=()
for package in "${wanted[@]}"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
        missing+=("$package")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

as_root=()
if [[ $EUID -ne 0 ]]; then
    command -v sudo >/dev/null || {
        echo "These Debian packages are missing: ${missing[*]}. Run this as root, or install sudo." >&2
        exit 1
    }
    as_root=(sudo)
fi
echo "Installing ${#missing[@]} Debian packages: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null |
    grep --line-buffered -E '^(Get:|Setting up)' | awk '{ printf "\r\033[K  %.100s", $0; fflush() } END { print "" }' ||
    true
for package in "${missing[@]}"; do # the pipe above hides apt's exit code: ask what is there
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || {
        echo "apt-get could not install $package; try: apt-get install $package" >&2
        exit 1
    }
done
