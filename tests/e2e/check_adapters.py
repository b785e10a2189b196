"""LoRA adapters end to end: loaded, used, listed and unloaded while a group of two agents serves."""
import array
import json
import os
import random
import signal
import struct
import subprocess
import threading

import grpc
from cluster import BIN, check, run_checks_on_cluster, stubs, tiny_model, wait_for

pb, _ = stubs()["inference"]
PROMPT, TOKENS = b"Once upon a time", 12


def write_adapter(folder, seed, rank=4):
    """Random LoRA matrices for the attention of a llama, as PEFT would save them."""
    with open(tiny_model() + "/config.json", encoding="utf-8") as f:
        config = json.load(f)
    rng, hidden, heads = random.Random(seed), config["hidden_size"], config["num_attention_heads"]
    dim = config.get("head_dim") or hidden // heads
    shapes = {"q_proj": (heads * dim, hidden), "v_proj": (config["num_key_value_heads"] * dim, hidden),
              "o_proj": (hidden, heads * dim)}
    header, data = {}, b""
    for layer in range(config["num_hidden_layers"]):
        for name, (rows, cols) in shapes.items():
            for half, shape in (("A", (rank, cols)), ("B", (rows, rank))):
                values = array.array("f", (rng.gauss(0, 2 / shape[1] ** 0.5) for _ in range(shape[0] * shape[1])))
                key = f"base_model.model.model.layers.{layer}.self_attn.{name}.lora_{half}.weight"
                header[key] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + 4 * len(values)]}
                data += values.tobytes()
    os.makedirs(folder)
    text = json.dumps(header).encode()
    with open(folder + "/adapter_model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)
    with open(folder + "/adapter_config.json", "w", encoding="utf-8") as f:
        json.dump({"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": list(shapes)}, f)
    return folder


def path_of(cluster, name):
    folder = f"{cluster.dir}/adapters/{name}"
    return folder if os.path.isdir(folder) else write_adapter(folder, name)


def ask(cluster, adapter="", model="tiny"):
    request = pb.GenerateRequest(model=model, text=PROMPT, sampling=pb.Sampling(temperature=0.0), adapter=adapter,
                                 stopping=pb.Stopping(max_tokens=TOKENS, ignore_eos=True))
    return [i for part in cluster.inference().Generate(request, timeout=60) for i in part.token_ids]


def must_fail(code, words, function, *args):
    try:
        function(*args)
    except grpc.RpcError as error:
        assert error.code() == code and words in error.details(), error
        return
    raise AssertionError(f"went well, instead of {code}")


def offline(cluster, adapter):
    """What one rank says without any cluster."""
    done = subprocess.run([BIN + "/node-agent", "run", "--model", tiny_model(), "--prompt", PROMPT.decode(),
                           "--max-tokens", str(TOKENS), "--ignore-eos", "--json", "--threads", "1",
                           "--adapter", path_of(cluster, adapter)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])["ids"]


@check
def adapters_are_loaded_and_answer_as_offline(cluster):
    plain = ask(cluster)
    must_fail(grpc.StatusCode.NOT_FOUND, "none is loaded", ask, cluster, "one")
    assert "loaded" in cluster.cli("adapter", "load", "one", path_of(cluster, "one")).stdout
    cluster.cli("adapter", "load", "two", path_of(cluster, "two"), "--model", "tiny")
    one, two = ask(cluster, "one"), ask(cluster, "two")
    assert one != plain and two != plain and one != two
    assert one == offline(cluster, "one") and two == offline(cluster, "two")
    assert ask(cluster) == plain
    must_fail(grpc.StatusCode.NOT_FOUND, "loaded are 'one', 'two'", ask, cluster, "three")
    assert cluster.json_lines("generate", PROMPT.decode(), "--temperature", "0", "--adapter", "one", "--ignore-eos",
                              "--max-tokens", str(TOKENS))[-1]["ids"] == one


@check
def what_is_loaded_is_listed(cluster):
    listed = cluster.json_lines("adapter", "list")
    assert [(e["model"], e["adapter"]["name"]) for e in listed] == [("tiny", "one"), ("tiny", "two")], listed
    assert "one" in cluster.cli("adapter", "list", "--model", "tiny").stdout
    models = cluster.inference().ListModels(pb.ListModelsRequest(), timeout=10).models
    assert [list(m.adapters) for m in models] == [["one", "two"]]
    assert "adapter.loaded" in [e["kind"] for e in cluster.json_lines("events")]


@check
def refusals_say_why(cluster):
    for line, words in ((("load", "one", path_of(cluster, "two")), "already"),
                        (("load", "bad", "/nonexistent"), "adapter_config.json"),
                        (("load", "b@d", "/nonexistent"), "name"),
                        (("unload", "three"), "loaded are 'one', 'two'"),
                        (("load", "x", "/y", "--model", "z"), "nothing is deployed as 'z'")):
        done = cluster.cli("adapter", *line, check=False)
        assert done.returncode == 1 and words in done.stderr, (line, done)
    assert cluster.cli("adapter", "remove", check=False).returncode == 2


@check
def adapters_come_and_go_under_load(cluster):
    names = ["", "one", "two"]
    alone = {name: ask(cluster, name) for name in names}
    wrong, end = [], threading.Event()

    def keep_asking(name):
        while not end.is_set():
            try:
                if ask(cluster, name) != alone[name]:
                    wrong.append(f"'{name}' answered otherwise")
            except grpc.RpcError as error:
                wrong.append(str(error))

    threads = [threading.Thread(target=keep_asking, args=(name,), daemon=True) for name in names * 2]
    for thread in threads:
        thread.start()
    for _ in range(3):
        cluster.cli("adapter", "load", "three", path_of(cluster, "three"))
        assert ask(cluster, "three") == offline(cluster, "three")
        cluster.cli("adapter", "unload", "three")
    end.set()
    for thread in threads:
        thread.join(30)
    assert not wrong, wrong[:3]


@check
def a_restarted_group_has_its_adapters_again(cluster):
    before = next(m for m in cluster.models() if m["name"] == "tiny")
    one = ask(cluster, "one")
    cluster.cli("adapter", "unload", "two")
    must_fail(grpc.StatusCode.NOT_FOUND, "loaded are 'one'", ask, cluster, "two")
    cluster.kill("agent1")
    cluster.start_agent("agent1")
    cluster.wait_ready("tiny", generation_over=before["generation"])
    assert ask(cluster, "one") == one
    must_fail(grpc.StatusCode.NOT_FOUND, "loaded are 'one'", ask, cluster, "two")
    cluster.kill("control", signal.SIGTERM)
    cluster.start_control()
    cluster.wait_ready("tiny")
    assert [e["adapter"]["name"] for e in cluster.json_lines("adapter", "list")] == ["one"]
    assert ask(cluster, "one") == one


@check
def a_model_is_deployed_with_adapters(cluster):
    one, more = path_of(cluster, "one"), path_of(cluster, "more")
    cluster.deploy("second", tiny_model(), 1, 1, "--adapter", f"one={one}", "--adapter", f"more={more}")
    assert ask(cluster, "more", "second") == offline(cluster, "more")
    assert ask(cluster, "one", "second") == ask(cluster, "one", "tiny")
    cluster.deploy("second", tiny_model(), 1, 1, "--adapter", f"one={one}")  # the same again
    other = cluster.cli("deploy", "--name", "second", "--model", tiny_model(), "--adapter", f"x={one}", check=False)
    assert other.returncode == 1 and "adapter load" in other.stderr, other
    broken = cluster.cli("deploy", "--name", "broken", "--model", tiny_model(), "--adapter", "x=/nonexistent",
                         check=False)
    assert broken.returncode == 1 and "adapter_config.json" in broken.stderr, broken
    for name in ("second", "broken"):
        cluster.cli("undeploy", name)
    wait_for("the others to be gone", 20, lambda: len(cluster.models()) == 1)


run_checks_on_cluster()
