#!/usr/bin/env bash
# One command from a clone to a streamed answer on a two-node cluster. See --help.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

usage() {
    cat <<'TEXT'
usage: cluster-config/quickstart.sh [--model PATH] [--ask TEXT] [--down]

Installs what is missing, builds, gets a small model, starts a cluster on this
machine (a control plane and two node agents), places the model on both agents
(tensor parallel over two ranks), asks it a question and streams the answer.
Run again it skips what is done.

  --model PATH  serve this model instead: a model folder or a GGUF file
  --ask TEXT    the question  (default: Explain gravity in one sentence.)
  --down        stop everything it started

It writes only inside this clone: build/, models/, var/quickstart/.
TEXT
}

model_name=SmolLM2-135M-Instruct
question="Explain gravity in one sentence."
server=127.0.0.1:8081
run=$root/var/quickstart
model='' down=0

while [[ $# -gt 0 ]]; do
    case "$1" in
    --model) model=${2:?--model needs a path}; shift 2 ;;
    --ask) question=${2:?--ask needs a text}; shift 2 ;;
    --down) down=1; shift ;;
    -h | --help) usage; exit 0 ;;
    *) echo "quickstart: unknown option '$1' (see --help)" >&2; exit 2 ;;
    esac
done

step() { printf '\n\033[1m==> %s\033[0m\n' "$1"; }
fail() { echo "quickstart: $1" >&2; exit 1; }

# --- processes: a pid file each; a pid is ours only while its command line says so ---

alive() { # NAME PROGRAM
    local pid
    pid=$(cat "$run/$1.pid" 2>/dev/null) || return 1
    [[ $pid =~ ^[0-9]+$ ]] && tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -q "$2"
}

start() { # NAME PROGRAM ARGS...
    local name=$1 program=$2
    shift 2
    alive "$name" "$program" && return 0
    setsid "$root/build/bin/$program" "$@" >>"$run/$name.log" 2>&1 </dev/null &
    echo $! >"$run/$name.pid"
}

stop() { # NAME PROGRAM
    if alive "$1" "$2"; then
        local pid
        pid=$(cat "$run/$1.pid")
        kill -TERM "$pid" 2>/dev/null || true
        for _ in $(seq 100); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
        if kill -0 "$pid" 2>/dev/null; then kill -KILL "$pid" 2>/dev/null || true; fi
        echo "stopped $1"
    fi
    rm -f "$run/$1.pid"
}

if [[ $down == 1 ]]; then
    stop agent-b node-agent
    stop agent-a node-agent
    stop control-plane control-plane
    exit 0
fi

# --- what it needs ---

step "Debian packages"
cluster-config/install-packages.sh build
echo "all there"

step "Release build"
mkdir -p "$run"
if [[ ! -f build/build.ninja && ! -f build/Makefile ]]; then # a tree made by hand serves as well
    cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DPX_TESTS=OFF -DPX_CCACHE=OFF >"$run/build.log" 2>&1 ||
        { tail -20 "$run/build.log" >&2; fail "cmake failed; the whole log is in var/quickstart/build.log"; }
fi
cmake --build build --target control-plane node-agent || fail "the build failed (see above)"

if [[ -z $model ]]; then
    step "Model $model_name"
    model=$(cluster-config/get-model.sh) ||
        fail "the model could not be downloaded; get a GGUF file yourself and pass --model PATH"
    echo "$model"
else
    [[ -e $model ]] || fail "there is no model at '$model'"
    model=$(realpath "$model")
    model_name=$(basename "$model" .gguf)
fi

# --- the cluster ---

step "Cluster: a control plane and two node agents"
control() { "$root/build/bin/control-plane" "$@" --server "$server"; }
start control-plane control-plane serve --listen "$server" --data "$run/control-plane"
for _ in $(seq 150); do
    control status >/dev/null 2>&1 && break
    alive control-plane control-plane || {
        tail -3 "$run/control-plane.log" >&2
        fail "the control plane did not start; its log is var/quickstart/control-plane.log"
    }
    sleep 0.1
done
start agent-a node-agent join --server "$server" --name a --data "$run/agent-a" --models "$root/models"
start agent-b node-agent join --server "$server" --name b --data "$run/agent-b" --models "$root/models"
for _ in $(seq 150); do
    [[ $(control nodes --json 2>/dev/null | grep -c '"name"') -ge 2 ]] && break
    sleep 0.1
done
control nodes || fail "the agents did not join; their logs are var/quickstart/agent-*.log"

step "Deploy $model_name over both agents (tensor parallel, 2 ranks)"
control deploy --model "$model" --name "$model_name" --tp 2 ||
    fail "the model did not come up; see var/quickstart/agent-a.log and 'control-plane events'"

step "Ask: $question"
control chat --model "$model_name" --temperature 0 --max-tokens 128 "$question"

cat <<TEXT

$(printf '\033[1m')What to try next$(printf '\033[0m')
  build/bin/control-plane chat                     talk to it
  build/bin/control-plane status                   the cluster at a glance (also: nodes, models, events)
  build/bin/control-plane generate "Once upon a time"
  build/bin/node-agent run --model $model --prompt "The capital of France is"
  kill -9 \$(pgrep -f 'node-agent rank' | head -1)   then ask again: the group comes back
  cluster-config/quickstart.sh --down              stop it all
TEXT
