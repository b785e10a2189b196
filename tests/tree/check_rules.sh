#!/usr/bin/env bash
# What must not be written in our C: unbounded string functions, noise from libraries, and
# unfinished words.
set -euo pipefail
cd "$(dirname "$0")/../.."
bad=0
refuse() { # PATTERN SENTENCE PATHS...
    local found
    found=$(git grep -nE "$1" -- "${@:3}" || true)
    [[ -z $found ]] || { echo "$2:"; echo "$found"; bad=1; }
}
refuse '\b(strcpy|strcat|strncpy|strncat|sprintf|vsprintf|gets|strtok|atoi|atof|atol|system|popen|alloca)\(' \
    'banned functions (unbounded, unchecked or shell)' '*.c' '*.h'
libraries=()
for folder in kernels parallel proto node-agent/engine cluster-config/etcd; do
    libraries+=("$folder/*.c" "$folder/*.h")
done
refuse '(^|[^_[:alnum:]])(printf|fprintf|puts|perror|exit|abort|px_log)\(' \
    'a library is silent and returns: give back a px_status' "${libraries[@]}"
refuse '\b(TODO|FIXME|XXX)\b' 'an unfinished word: do it, or open an issue' '*.c' '*.h'
[[ $bad == 0 ]] && echo "rules hold"
exit $bad
