#!/usr/bin/env bash
# What must not be written in our C: unbounded string functions, and unfinished words.
set -euo pipefail
cd "$(dirname "$0")/../.."
bad=0
refuse() { # PATTERN SENTENCE
    local found
    found=$(git grep -nE "$1" -- '*.c' '*.h' | head -5 || true)
    [[ -z $found ]] || { echo "$2:"; echo "$found"; bad=1; }
}
refuse '\b(strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atof|atol|system|popen|alloca)\(' \
    'banned functions (unbounded, unchecked or shell)'
refuse '\b(TODO|FIXME|XXX)\b' 'an unfinished word: do it, or open an issue'
[[ $bad == 0 ]] && echo "rules hold"
exit $bad
