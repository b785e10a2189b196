#!/usr/bin/env bash
# Which folder may include which: the link graph enforces it, this says it in a sentence.
#
# A file's layer is the longest matching folder below; it may include its own folder's headers,
# what its line lists, and the system's.
set -euo pipefail
cd "$(dirname "$0")/../.."

# layer (folder)            prefixes it may include
layers='
cluster-config/base         base
cluster-config/http         http base
cluster-config/etcd         etcd http base
kernels                     kernels
proto                       proto base phalanx grpc
parallel                    parallel kernels base
node-agent/engine           engine parallel kernels base
node-agent/engine/grammar   engine/grammar base
node-agent/engine/adapter   engine/adapter engine/text engine/model parallel kernels base
node-agent/engine/model     engine/model parallel kernels base
node-agent/engine/text      engine/text engine/model base
node-agent/offline          offline engine parallel kernels base
node-agent/cluster          cluster engine/engine.h parallel proto base phalanx
node-agent                  offline cluster base
control-plane               control proto etcd http base phalanx
'
ours='base|http|etcd|kernels|proto|parallel|engine|offline|cluster|control|phalanx'
bad=0
while read -r file; do
    allowed='' best=''
    while read -r folder prefixes; do
        [[ -n $folder && $file == "$folder"/* && ${#folder} -gt ${#best} ]] || continue
        best=$folder allowed=$prefixes
    done <<<"$layers"
    [[ -n $best ]] || continue
    while read -r included; do
        ok=0
        for prefix in $allowed; do
            [[ $included == "$prefix" || $included == "$prefix"/* ]] && ok=1
        done
        if [[ $ok == 0 ]]; then
            echo "$file includes \"$included\": $best may include only: $allowed"
            bad=1
        fi
    done < <(sed -nE "s@^[[:space:]]*#[[:space:]]*include[[:space:]]+[\"<](($ours)/[^\">]+)[\">].*@\\1@p" "$file")
done < <(git ls-files '*.c' '*.h' '*.inc')
# Only these know their outside: gRPC in proto, libcurl in the HTTP client, MPI in comm_mpi.
outside() { # PATTERN FOLDER SENTENCE
    local found
    found=$(git grep -lE "#[[:space:]]*include[[:space:]]*<($1)" -- '*.c' '*.h' ":!$2" ':!tests' || true)
    [[ -z $found ]] || { echo "$3: $found"; bad=1; }
}
outside 'grpc/' 'proto/*' 'only proto/ may include gRPC'
outside 'curl/' 'cluster-config/http/*' 'only cluster-config/http/ may include libcurl'
outside 'mpi.h' 'parallel/*' 'only parallel/ may include MPI'
[[ $bad == 0 ]] && echo "layers hold"
exit $bad
