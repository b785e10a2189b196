"""check_rpc.py - stock Python clients against a server of ours: calls, health, reflection, limits.

The server is tests/e2e/rpc_server.c. Every wait has a deadline.
"""
import os
import signal
import socket
import struct
import subprocess
import time

from cluster import BUILD, skip, stubs

import grpc

try:
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
except ImportError:
    skip("grpcio-health-checking and grpcio-reflection are missing (see tests/requirements.txt)")
from google.protobuf.descriptor_pool import DescriptorPool

PATIENCE = 20


class Server:
    def __enter__(self):
        program = os.path.join(BUILD, "tests", "e2e_rpc_server")
        self.process = subprocess.Popen([program], stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[1])
        self.address = f"127.0.0.1:{self.port}"
        self.channel = grpc.insecure_channel(self.address)
        return self

    def __exit__(self, *_):
        self.channel.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(PATIENCE) == 0, "the server did not end well"
        finally:
            self.process.kill()

    def resident_mb(self):
        with open(f"/proc/{self.process.pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


def code_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def check_calls(server, inference, inference_grpc):
    stub = inference_grpc.InferenceStub(server.channel)
    answer = stub.Tokenize(inference.TokenizeRequest(text=b"az"), timeout=PATIENCE)
    assert list(answer.ids) == [97, 122]
    request = inference.GenerateRequest(stopping=inference.Stopping(max_tokens=5000))
    ids = [i for part in stub.Generate(request, timeout=PATIENCE) for i in part.token_ids]
    assert ids == list(range(5000))
    assert server.process.stdout.readline() == "closed 5000 0\n"

    assert code_of(lambda: stub.ListModels(inference.ListModelsRequest(), timeout=PATIENCE)) == grpc.StatusCode.UNIMPLEMENTED
    raw = server.channel.unary_unary("/phalanx.v1.Inference/Tokenize")
    assert code_of(lambda: raw(b"\xff\xff\xff", timeout=PATIENCE)) == grpc.StatusCode.INVALID_ARGUMENT
    large = inference.TokenizeRequest(text=b"x" * (2 << 20))
    assert code_of(lambda: stub.Tokenize(large, timeout=PATIENCE)) == grpc.StatusCode.RESOURCE_EXHAUSTED
    # Oversized metadata costs the sender its connection; the server and other connections go on.
    with grpc.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)]) as other:
        call = inference_grpc.InferenceStub(other).Tokenize
        assert code_of(lambda: call(inference.TokenizeRequest(), timeout=PATIENCE,
                                    metadata=[("x", "y" * 20000)])) != grpc.StatusCode.OK
    assert list(stub.Tokenize(inference.TokenizeRequest(text=b"a"), timeout=PATIENCE).ids) == [97]


def check_unread_stream(server, inference, inference_grpc):
    """A client that stops reading holds back its own stream only, and its cancel is seen."""
    stub = inference_grpc.InferenceStub(server.channel)
    request = inference.GenerateRequest(stopping=inference.Stopping(max_tokens=100000),
                                        sampling=inference.Sampling(top_k=8192))  # 800 MB in all
    before = server.resident_mb()
    stream = stub.Generate(request, timeout=PATIENCE)
    next(stream)
    time.sleep(1)
    assert server.resident_mb() - before < 30, "the unread stream grows the server"
    assert list(stub.Tokenize(inference.TokenizeRequest(text=b"a"), timeout=PATIENCE).ids) == [97]
    stream.cancel()
    sent, cancelled = server.process.stdout.readline().split()[1:]
    assert cancelled == "1" and int(sent) < 5000, (sent, cancelled)


def check_gzip_bomb(server):
    """64 MB of zeros in 64 KB of gzip, as a compressed message: refused before it is unpacked."""
    before = server.resident_mb()
    channel = grpc.insecure_channel(server.address)
    call = channel.unary_unary("/phalanx.v1.Inference/Tokenize")
    code = code_of(lambda: call(bytes(64 << 20), timeout=PATIENCE, compression=grpc.Compression.Gzip))
    assert code == grpc.StatusCode.UNIMPLEMENTED, code
    assert server.resident_mb() - before < 30
    channel.close()


def check_metadata_flood(server):
    """40 MB of CONTINUATION frames (CVE-2023-33953) cost no more than their size, and not for long."""
    before = server.resident_mb()
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
        def frame(kind, flags, stream, payload):
            return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload
        literal = b"\x00\x01x\x7f\x80\x7d" + b"y" * 16127  # one header of 16 KB
        try:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 0, 1, b""))
            for _ in range(2500):
                connection.sendall(frame(9, 0, 1, literal))
        except OSError:
            pass  # it hung up on us: as good
        assert server.resident_mb() - before < 80, server.resident_mb()


def check_health(server):
    stub = health_pb2_grpc.HealthStub(server.channel)
    serving = health_pb2.HealthCheckResponse.SERVING
    for name in ("", "phalanx.v1.Inference"):
        assert stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=PATIENCE).status == serving
    assert code_of(lambda: stub.Check(health_pb2.HealthCheckRequest(service="no"), timeout=PATIENCE)) == grpc.StatusCode.NOT_FOUND
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=""), timeout=PATIENCE)
    assert next(watch).status == serving
    return watch


def check_reflection(server):
    database = ProtoReflectionDescriptorDatabase(server.channel)
    assert {"phalanx.v1.Inference", "grpc.health.v1.Health"} <= set(database.get_services())
    pool = DescriptorPool(database)
    service = pool.FindServiceByName("phalanx.v1.Inference")
    assert service.FindMethodByName("Generate").output_type.full_name == "phalanx.v1.GenerateResponse"
    assert pool.FindMessageTypeByName("phalanx.v1.EngineEvent").fields_by_name["outputs"].number == 1
    stub = reflection_pb2_grpc.ServerReflectionStub(server.channel)
    questions = [reflection_pb2.ServerReflectionRequest(file_by_filename=name)
                 for name in ("phalanx/v1/engine.proto", "nothing.proto")]
    found, missing = stub.ServerReflectionInfo(iter(questions), timeout=PATIENCE)
    assert len(found.file_descriptor_response.file_descriptor_proto) == 2  # and inference.proto
    assert missing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    # v1 has the same messages under another name, and no Python package of its own.
    ask_v1 = server.channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString)
    answer, = ask_v1(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=PATIENCE)
    assert "phalanx.v1.Inference" in [s.name for s in answer.list_services_response.service]


def check_shutdown(server, watch):
    server.process.send_signal(signal.SIGTERM)
    from grpc_health.v1.health_pb2 import HealthCheckResponse
    assert next(watch).status == HealthCheckResponse.NOT_SERVING
    assert code_of(lambda: next(watch)) == grpc.StatusCode.UNAVAILABLE
    assert server.process.wait(PATIENCE) == 0


def main():
    inference, inference_grpc = stubs()["inference"]
    with Server() as server:
        check_calls(server, inference, inference_grpc)
        check_unread_stream(server, inference, inference_grpc)
        check_gzip_bomb(server)
        check_reflection(server)
        watch = check_health(server)
        check_metadata_flood(server)
        print(f"resident: {server.resident_mb():.0f} MB")
        check_shutdown(server, watch)
    print("ok")


if __name__ == "__main__":
    main()
