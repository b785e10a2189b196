"""The front as stock clients see it: streams, cancel, deadlines, refusals, health and reflection."""
import array
import concurrent.futures
import math
import os
import subprocess
import tempfile
import threading

import grpc
from cluster import BIN, check, run_checks_on_cluster, skip, stubs, tiny_model, wait_for

try:
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
except ImportError:
    skip("grpcio-health-checking and grpcio-reflection are missing")

pb, _ = stubs()["inference"]
admin_pb, _ = stubs()["admin"]


def generate(stub, prompt, model="tiny", max_tokens=24, temperature=0.0, timeout=60, **more):
    """The whole answer: text, ids, done."""
    request = pb.GenerateRequest(model=model, text=prompt, sampling=pb.Sampling(temperature=temperature),
                                 stopping=pb.Stopping(max_tokens=max_tokens), **more)
    text, ids, done = b"", [], None
    for part in stub.Generate(request, timeout=timeout):
        assert done is None, "a part behind the last one"
        text += part.text
        ids += part.token_ids
        if part.HasField("done"):
            done = part.done
    assert done is not None, "the stream ended with OK but without `done`"
    return text, ids, done


def refused(code, words, call):
    try:
        result = call()
        list(result) if hasattr(result, "__iter__") else None
    except grpc.RpcError as error:
        assert error.code() == code, f"{error.code()}: {error.details()}"
        assert words in error.details(), error.details()
        return
    raise AssertionError(f"not refused with {code}")


def endless(stub, **options):
    request = pb.GenerateRequest(model="tiny", text=b"Once upon a time", sampling=pb.Sampling(temperature=0.0),
                                 stopping=pb.Stopping(ignore_eos=True))
    return stub.Generate(request, **options)


def load(cluster):
    return next(d for d in cluster.admin().ListDeployments(admin_pb.ListDeploymentsRequest()).deployments
                if d.name == "tiny")


def wait_busy(cluster, running=1):
    wait_for(f"{running} requests to run", 10, lambda: load(cluster).running >= running)


def wait_idle(cluster, what):
    def is_idle():
        d = load(cluster)
        return d.running == d.waiting == 0 and d.kv_blocks_free == d.kv_blocks
    wait_for(f"the engine to drop {what} and its KV blocks", 5, is_idle)


@check
def one_answer_is_whole(cluster):
    text, ids, done = generate(cluster.inference(), b"Hello", max_tokens=8)
    assert done.output_tokens == len(ids) <= 8 and done.prompt_tokens > 0, done
    assert done.finish_reason in (pb.FINISH_REASON_LENGTH, pb.FINISH_REASON_STOP)
    assert done.total_us >= done.ttft_us >= done.queue_us
    text.decode()


@check
def thirty_two_streams_say_what_each_says_alone(cluster):
    stub = cluster.inference()
    prompts = [f"Number {i}: the {'quick ' * (i % 7)}fox".encode() for i in range(32)]
    alone = [generate(stub, prompt)[:2] for prompt in prompts]
    assert len({text for text, _ in alone}) > 4, "the prompts hardly differ, so the comparison says little"
    start = threading.Barrier(32)

    def ask(prompt):
        start.wait(20)
        return generate(stub, prompt)[:2]

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        together = list(pool.map(ask, prompts))
    for prompt, one, other in zip(prompts, alone, together):
        assert one == other, f"{prompt}: alone {one}, together {other}"


@check
def a_seed_repeats_an_answer(cluster):
    stub = cluster.inference()

    def ask(seed):
        request = pb.GenerateRequest(text=b"Hello", sampling=pb.Sampling(temperature=1.0, seed=seed),
                                     stopping=pb.Stopping(max_tokens=16, ignore_eos=True))
        return [i for part in stub.Generate(request, timeout=60) for i in part.token_ids]

    assert ask(7) == ask(7)
    assert len({tuple(ask(seed)) for seed in range(4)}) > 1


def several(stub, n, best_of=0, logprobs=False, **more):
    """Each answer's ids, its tokens' log probabilities and its end; and the request's own."""
    request = pb.GenerateRequest(
        text=b"Hello there", sampling=pb.Sampling(temperature=1.0, seed=5, n=n, best_of=best_of),
        stopping=pb.Stopping(max_tokens=12, ignore_eos=True), logprobs=logprobs, **more)
    ids, sums, ends, prompt, done = [[] for _ in range(max(n, 1))], [0.0] * max(n, 1), {}, [], None
    for part in stub.Generate(request, timeout=60):
        assert done is None
        ids[part.index] += part.token_ids
        sums[part.index] += sum(t.logprob for t in part.logprobs)
        prompt += part.prompt
        if part.HasField("end"):
            ends[part.index] = part.end
        if part.HasField("done"):
            done = part.done
    return ids, sums, ends, prompt, done


@check
def several_answers_come_out_of_one_prompt(cluster):
    stub = cluster.inference()
    one = several(stub, 1)[0]
    ids, _, ends, _, done = several(stub, 5)
    assert ids[0] == one[0] and len({tuple(i) for i in ids}) == 5, ids
    assert sorted(ends) == list(range(5)) and all(e.output_tokens == 12 for e in ends.values()), ends
    assert done.output_tokens == 60 and done.prompt_tokens < 20, done
    # Of those the two likeliest, the best first.
    told, sums, ends, _, done = several(stub, 5, logprobs=True)
    assert told == ids
    order = sorted(range(5), key=lambda i: -sums[i])
    best, best_sums, best_ends, _, done = several(stub, 2, 5, logprobs=True)
    assert best == [ids[i] for i in order[:2]] and done.output_tokens == 60, (best, order)
    assert all(abs(best_ends[i].cumulative_logprob - best_sums[i]) < 1e-3 for i in range(2))
    call = stub.Generate(pb.GenerateRequest(model="tiny", text=b"x", sampling=pb.Sampling(n=8),
                                            stopping=pb.Stopping(ignore_eos=True)))
    next(call)
    call.cancel()
    wait_idle(cluster, "several answers that were cancelled")


@check
def a_prompt_is_told_token_by_token(cluster):
    stub = cluster.inference()
    ids = stub.Tokenize(pb.TokenizeRequest(text=b"Hello there", add_special=True), timeout=10).ids
    for _ in range(2):  # also when all of it is known
        prompt, done = several(stub, 2, prompt_logprobs=3)[3:]
        assert [t.token for t in prompt] == list(ids) and done.cached_tokens == 0
        assert not prompt[0].HasField("logprobs")
        for token in prompt[1:]:
            top = [t.logprob for t in token.logprobs.top]
            assert len(top) == 3 and top == sorted(top, reverse=True) and token.logprobs.logprob <= top[0]
    # What stands before the last token says of it what an answer's first token would be told.
    request = pb.GenerateRequest(tokens=pb.TokenIds(ids=ids[:-1]), sampling=pb.Sampling(temperature=0.0),
                                 stopping=pb.Stopping(max_tokens=1), logprobs=True, top_logprobs=3)
    first = [t for part in stub.Generate(request, timeout=60) for t in part.logprobs][0]
    assert [(t.token, t.logprob) for t in first.top] == [(t.token, t.logprob) for t in prompt[-1].logprobs.top]


def length(vector):
    return sum(x * x for x in vector) ** 0.5


@check
def vectors_are_made_of_texts(cluster):
    stub = cluster.inference()
    texts = [b"Hello", b"Hello there, how are you?", b"x"]

    def embed(**more):
        return stub.Embed(pb.EmbedRequest(inputs=[pb.Input(text=t) for t in texts], **more), timeout=60)

    usual = embed()
    assert [e.index for e in usual.embeddings] == [0, 1, 2]
    assert usual.prompt_tokens == sum(e.prompt_tokens for e in usual.embeddings) > 3
    assert all(abs(length(e.values) - 1) < 1e-5 for e in usual.embeddings)
    assert [e.values for e in usual.embeddings] == [e.values for e in embed(pooling=pb.POOLING_LAST).embeddings]
    ids = stub.Tokenize(pb.TokenizeRequest(text=texts[1], add_special=True), timeout=10).ids
    by_ids = stub.Embed(pb.EmbedRequest(inputs=[pb.Input(tokens=pb.TokenIds(ids=ids))]), timeout=60)
    assert by_ids.embeddings[0].values == usual.embeddings[1].values
    mean = embed(pooling=pb.POOLING_MEAN, normalize=False, dimensions=4).embeddings[1]
    assert len(mean.values) == 4
    # The same by hand, from the hidden states of a forward by itself.
    hidden, width = hidden_states(ids), len(usual.embeddings[0].values)
    rows = [hidden[i:i + width] for i in range(0, len(hidden), width)]
    assert len(rows) == len(ids)
    for i in range(4):
        assert abs(sum(row[i] for row in rows) / len(rows) - mean.values[i]) < 1e-3, (i, mean)
    assert all(abs(a / length(rows[-1]) - b) < 1e-3 for a, b in zip(rows[-1], usual.embeddings[1].values))


def hidden_states(ids):
    with tempfile.TemporaryDirectory() as folder:
        tokens, out = os.path.join(folder, "ids"), os.path.join(folder, "hidden")
        with open(tokens, "w") as file:
            file.write(" ".join(map(str, ids)))
        subprocess.run([BIN + "/node-agent", "score", "--model", tiny_model(), "--tokens", tokens, "--hidden", out],
                       check=True, stdout=subprocess.DEVNULL, timeout=60)
        with open(out, "rb") as file:
            return array.array("f", file.read())


@check
def documents_are_scored(cluster):
    stub = cluster.inference()
    documents = [b"Hello there", b"something else", b"Hello"]

    def score(**more):
        return stub.Score(pb.ScoreRequest(query=b"Hello there", documents=documents, **more), timeout=60)

    cosines = score()
    assert [s.index for s in cosines.scores] == [0, 1, 2]
    assert abs(cosines.scores[0].score - 1) < 1e-5 and cosines.scores[1].score < 0.999
    labels = score(template=b"{query}: {document} ->", label_token_ids=[5, 7])
    for s in labels.scores:
        yes, no = (math.exp(v) for v in s.values)
        assert abs(s.score - yes / (yes + no)) < 1e-6 and 0 < yes < 1
    assert len({s.score for s in labels.scores}) == 3
    wrong, invalid = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT
    refused(wrong, "has no head that scores texts", lambda: score(template=b"{document}"))
    refused(invalid, "no place for the {document}", lambda: score(template=b"{query}"))
    refused(invalid, "stand behind a text", lambda: score(label_token_ids=[1]))
    refused(invalid, "vocabulary", lambda: score(template=b"{document}", label_token_ids=[2**32 - 1]))
    refused(invalid, "1 to 127", lambda: stub.Score(pb.ScoreRequest(query=b"x")))
    refused(invalid, "1 to 128", lambda: stub.Embed(pb.EmbedRequest()))
    refused(invalid, "input 1 is empty", lambda: stub.Embed(pb.EmbedRequest(
        inputs=[pb.Input(text=b"x"), pb.Input()])))
    refused(invalid, "dimensions", lambda: stub.Embed(pb.EmbedRequest(inputs=[pb.Input(text=b"x")],
                                                                      dimensions=100000)))
    refused(invalid, "input 0", lambda: stub.Embed(pb.EmbedRequest(inputs=[pb.Input(text=b"word " * 50000)])))


@check
def the_cli_asks_for_all_of_it(cluster):
    told = cluster.json_lines("generate", "Hello", "--n", "2", "--best-of", "3", "--seed", "1", "--max-tokens", "6",
                              "--ignore-eos", "--prompt-logprobs", "2")[0]
    assert [len(c["ids"]) for c in told["choices"]] == [6, 6] and told["output_tokens"] == 18, told
    assert told["choices"][0]["cumulative_logprob"] >= told["choices"][1]["cumulative_logprob"]
    assert len(told["prompt_logprobs"]) == told["prompt_tokens"]
    vectors = cluster.json_lines("embed", "a cat", "a dog", "--dimensions", "3")[0]["embeddings"]
    assert [len(v["values"]) for v in vectors] == [3, 3]
    scores = cluster.json_lines("score", "Hello", "no", "--query", "Hello")[0]["scores"]
    assert scores[0]["score"] > scores[1]["score"] and abs(scores[0]["score"] - 1) < 1e-5
    for words, arguments in (("told with --json", ("generate", "Hello", "--prompt-logprobs", "2")),
                             ("less than --requests", ("bench", "--requests", "2", "--skip-first", "2")),
                             ("at most --prompt-tokens", ("bench", "--prompt-tokens", "8", "--shared-prefix", "9"))):
        told = cluster.cli(*arguments, check=False)
        assert told.returncode == 2 and words in told.stderr, told


@check
def cancel_reaches_the_engine(cluster):
    call = endless(cluster.inference())
    next(call)
    wait_busy(cluster)
    call.cancel()
    wait_idle(cluster, "a cancelled request")


@check
def a_client_that_vanishes_is_dropped(cluster):
    channel = grpc.insecure_channel(cluster.server)
    calls = [endless(stubs()["inference"][1].InferenceStub(channel)) for _ in range(8)]
    for call in calls:
        next(call)
    wait_busy(cluster, 8)
    channel.close()
    wait_idle(cluster, "the requests of a client that vanished")


@check
def deadlines_end_requests(cluster):
    refused(grpc.StatusCode.DEADLINE_EXCEEDED, "", lambda: endless(cluster.inference(), timeout=0.3))
    wait_idle(cluster, "a request past its deadline")


@check
def stop_strings_end_the_answer_before_them(cluster):
    stub = cluster.inference()
    whole, _, _ = generate(stub, b"Hello", max_tokens=32)
    text = whole.decode()
    stop = text[len(text) // 2:][:4]
    if len(stop) < 2:
        return
    request = pb.GenerateRequest(text=b"Hello", sampling=pb.Sampling(temperature=0.0),
                                 stopping=pb.Stopping(max_tokens=32, stop=[stop.encode()]))
    parts = list(stub.Generate(request, timeout=60))
    assert b"".join(p.text for p in parts).decode() == text[:text.index(stop)]
    assert parts[-1].done.finish_reason == pb.FINISH_REASON_STOP


def answers_to(stub, prompts, model, max_tokens):
    """Of all at once: their ids."""
    def ask(ids):
        request = pb.GenerateRequest(model=model, tokens=pb.TokenIds(ids=ids), sampling=pb.Sampling(temperature=0.0),
                                     stopping=pb.Stopping(max_tokens=max_tokens, ignore_eos=True))
        return [i for part in stub.Generate(request, timeout=60) for i in part.token_ids]

    with concurrent.futures.ThreadPoolExecutor(len(prompts)) as pool:
        return list(pool.map(ask, prompts))


@check
def kv_is_found_again_and_not_lost_under_pressure(cluster):
    """The counters that `control-plane models` shows, beside what is counted by hand."""
    cluster.deploy("tight", tiny_model(), 1, 1, "--context", "256", "--kv-tokens", "512", "--seqs", "16")
    stub = cluster.inference()

    def counters(**expected):
        def are_told():
            told = next(m for m in cluster.models() if m["name"] == "tight")
            return told if all(told[key] == value for key, value in expected.items()) else None
        return wait_for(f"{expected}", 5, are_told)

    first = [100 + i % 50 for i in range(100)]
    for prompt, hits in ((first, 0), (first, 99), (first[:48] + [99] * 52, 99 + 48)):
        answers_to(stub, [prompt], "tight", 4)
        counters(prefix_hits=hits)
    counters(prefix_queries=300, preemptions=0, recomputed_tokens=0)

    # Eight times 160 tokens where 512 have room.
    prompts = [[100 + (7 * i + k * (i + 1)) % 60 for i in range(64)] for k in range(8)]
    alone = [answers_to(stub, [prompt], "tight", 96)[0] for prompt in prompts]
    assert answers_to(stub, prompts, "tight", 96) == alone
    after = counters(output_tokens=3 * 4 + 2 * 8 * 96)
    computed = after["prompt_tokens"] - after["prefix_hits"] + after["output_tokens"]
    # How many overlap is the clock's; the pool is too small for two rounds of them in any case.
    assert after["kv_blocks_parked"] > 0, after
    assert after["recomputed_tokens"] <= computed / 100, after
    cluster.cli("undeploy", "tight")


@check
def bad_requests_are_refused_with_a_sentence(cluster):
    stub, invalid = cluster.inference(), grpc.StatusCode.INVALID_ARGUMENT
    refused(grpc.StatusCode.NOT_FOUND, "no model is called 'nope'; there is: tiny",
            lambda: generate(stub, b"x", model="nope"))
    refused(invalid, "empty", lambda: generate(stub, b""))
    refused(invalid, "UTF-8", lambda: generate(stub, b"\xff\xfe"))
    refused(invalid, "missing", lambda: stub.Generate(pb.GenerateRequest(model="tiny")))
    refused(invalid, "temperature", lambda: generate(stub, b"x", temperature=-1.0))
    refused(invalid, "at most 128", lambda: several(stub, 129))
    refused(invalid, "'best_of' must be at least 'n'", lambda: several(stub, 3, 2))
    refused(invalid, "'continue_ids' go on with one answer", lambda: several(stub, 2, continue_ids=[1]))
    refused(invalid, "'prompt_logprobs' is at most 20", lambda: several(stub, 1, prompt_logprobs=21))
    refused(invalid, "17 strings", lambda: stub.Generate(
        pb.GenerateRequest(text=b"x", stopping=pb.Stopping(stop=[b"a"] * 17))))
    refused(invalid, "", lambda: stub.Generate(pb.GenerateRequest(tokens=pb.TokenIds(ids=[2**32 - 1]))))
    refused(invalid, "", lambda: generate(stub, b"word " * 50000))  # longer than any context here
    refused(invalid, "no messages", lambda: stub.Chat(pb.ChatRequest()))
    message = pb.ChatMessage(role="user", content=b"hi")
    refused(invalid, "tools_json", lambda: stub.Chat(pb.ChatRequest(messages=[message], tools_json=b"{not json")))
    refused(invalid, "template_kwargs_json",
            lambda: stub.Chat(pb.ChatRequest(messages=[message], template_kwargs_json=b"[1]")))
    refused(invalid, "UTF-8", lambda: stub.Tokenize(pb.TokenizeRequest(text=b"\xc3\x28")))
    # None of it disturbed anybody.
    generate(stub, b"Hello", max_tokens=4)
    wait_idle(cluster, "refused requests")


@check
def bytes_that_are_no_message_are_refused(cluster):
    raw = cluster.channel().unary_stream("/phalanx.v1.Inference/Generate", request_serializer=lambda b: b,
                                         response_deserializer=lambda b: b)
    for junk in (b"\xff" * 40, b"\x0a\xff\xff\xff\xff\x0f", b"\x12\x7fshort"):
        refused(grpc.StatusCode.INVALID_ARGUMENT, "", lambda: raw(junk, timeout=5))
    unknown = cluster.channel().unary_unary("/phalanx.v1.Inference/Nothing", request_serializer=lambda b: b,
                                            response_deserializer=lambda b: b)
    refused(grpc.StatusCode.UNIMPLEMENTED, "Nothing", lambda: unknown(b"", timeout=5))


@check
def models_tokens_and_chats(cluster):
    stub = cluster.inference()
    models = stub.ListModels(pb.ListModelsRequest(), timeout=10).models
    assert [m.name for m in models] == ["tiny"] and models[0].ready and models[0].vocabulary > 0, models
    ids = stub.Tokenize(pb.TokenizeRequest(text="Hello, wörld".encode()), timeout=10).ids
    assert ids and max(ids) < models[0].vocabulary
    # The same tokens given as ids say the same.
    by_text = generate(stub, "Hello, wörld".encode())[1]
    ids = stub.Tokenize(pb.TokenizeRequest(text="Hello, wörld".encode(), add_special=True), timeout=10).ids
    request = pb.GenerateRequest(tokens=pb.TokenIds(ids=ids), sampling=pb.Sampling(temperature=0.0),
                                 stopping=pb.Stopping(max_tokens=24))
    assert [i for part in stub.Generate(request, timeout=60) for i in part.token_ids] == by_text
    chat = pb.ChatRequest(messages=[pb.ChatMessage(role="user", content=b"hi")],
                          sampling=pb.Sampling(temperature=0.0), stopping=pb.Stopping(max_tokens=8))
    assert list(stub.Chat(chat, timeout=60))[-1].HasField("done")


@check
def health_is_told_for_each_service_and_model(cluster):
    health = health_pb2_grpc.HealthStub(cluster.channel())
    serving = health_pb2.HealthCheckResponse.SERVING
    for service in ("", "phalanx.v1.Inference", "phalanx.v1.Admin", "phalanx.v1.Cluster", "tiny"):
        status = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status
        assert status == serving, (service, status)
    refused(grpc.StatusCode.NOT_FOUND, "",
            lambda: health.Check(health_pb2.HealthCheckRequest(service="nope"), timeout=5))


@check
def reflection_describes_the_services(cluster):
    reflection = reflection_pb2_grpc.ServerReflectionStub(cluster.channel())
    ask = [reflection_pb2.ServerReflectionRequest(list_services=""),
           reflection_pb2.ServerReflectionRequest(file_containing_symbol="phalanx.v1.Inference")]
    services, file = list(reflection.ServerReflectionInfo(iter(ask), timeout=10))
    names = {s.name for s in services.list_services_response.service}
    assert {"phalanx.v1.Inference", "phalanx.v1.Admin", "grpc.health.v1.Health"} <= names, names
    assert any(b"phalanx/v1/inference.proto" in f for f in file.file_descriptor_response.file_descriptor_proto)


@check
def undeploying_is_seen_by_everyone(cluster):
    health = health_pb2_grpc.HealthStub(cluster.channel())
    watch = health.Watch(health_pb2.HealthCheckRequest(service="tiny"), timeout=30)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    call = endless(cluster.inference())
    next(call)
    cluster.cli("undeploy", "tiny")
    refused(grpc.StatusCode.UNAVAILABLE, "undeployed", lambda: call)
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    refused(grpc.StatusCode.NOT_FOUND, "no model is deployed", lambda: generate(cluster.inference(), b"x"))


run_checks_on_cluster()
