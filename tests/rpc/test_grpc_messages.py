"""The gRPC messages: those of the protocol, and those that inference.proto says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto

import serve.rpc
from serve.rpc import inference_pb2 as pb
from serve.rpc.generate import generate
from serve.rpc.server import SERVICE
from serve.rpc.servicer import METHODS


def fields(message: Any, prefix: str = "") -> dict[str, tuple[int, int, int, str]]:
    found = {
        f"{prefix}{message.name}.{field.name}": (field.number, field.type, field.label, field.type_name)
        for field in message.field
    }
    for nested in message.nested_type:
        found |= fields(nested, f"{prefix}{message.name}.")
    return found


def test_every_message_and_call_is_as_tritonclient_has_it() -> None:
    from tritonclient.grpc import service_pb2

    ours, theirs = FileDescriptorProto(), FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(ours)
    service_pb2.DESCRIPTOR.CopyToProto(theirs)
    known = {message.name: fields(message) for message in theirs.message_type}
    assert ours.package == theirs.package
    for message in ours.message_type:
        assert fields(message) == known[message.name], message.name
    calls = {method.name: (method.input_type, method.output_type) for method in theirs.service[0].method}
    assert theirs.service[0].name == ours.service[0].name == SERVICE.partition(".")[2]
    assert {method.name for method in ours.service[0].method} == METHODS.keys()
    for method in ours.service[0].method:
        assert calls[method.name] == (method.input_type, method.output_type)


def test_the_committed_messages_are_those_of_the_proto(tmp_path: Path) -> None:
    generate(tmp_path)
    for name in ("inference_pb2.py", "inference_pb2.pyi"):
        assert (tmp_path / name).read_text() == (Path(serve.rpc.__file__).parent / name).read_text(), name


def test_nothing_but_a_start_imports_grpc() -> None:
    script = "import serve.rpc.server, serve.rpc.servicer, sys; print('grpc' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
