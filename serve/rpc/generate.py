"""`python -m serve.rpc.generate`: inference_pb2.py and inference_pb2.pyi from inference.proto; needs grpcio-tools.

What protoc writes for Python wants a protobuf at least as new as itself, and puts its messages in the process's one
pool, where those of another package that also speaks the protocol (tritonclient) would clash. So inference_pb2.py is
written here: protoc's descriptor, and protobuf's public calls that make classes of it in a pool of their own.
"""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path

PROTO = "inference.proto"
_NOTE = f"# ruff: noqa\n# fmt: off\n# Made from {PROTO} by `python -m serve.rpc.generate`; don't edit.\n"
_TYPES = '# mypy: disable-error-code="misc, type-arg"\n'
_HEAD = f"""\
\"\"\"The messages of {PROTO}, in a pool of their own.\"\"\"

from google.protobuf import descriptor_pool, message_factory

_POOL = descriptor_pool.DescriptorPool()
_POOL.AddSerializedFile(
"""


def generate(folder: Path) -> None:
    """Write both files into a folder. Raises RuntimeError where protoc fails."""
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    protoc = importlib.import_module("grpc_tools.protoc")

    with tempfile.TemporaryDirectory() as place:
        kept = Path(place) / "set"
        options = [f"-I{Path(__file__).parent}", f"--descriptor_set_out={kept}", f"--pyi_out={place}"]
        if protoc.main(["protoc", *options, PROTO]):
            raise RuntimeError(f"protoc refused {PROTO}")
        file = FileDescriptorSet.FromString(kept.read_bytes()).file[0]
        types = (Path(place) / "inference_pb2.pyi").read_text()
    data = file.SerializeToString(deterministic=True)
    lines = [f"    {data[at : at + 64]!r}" for at in range(0, len(data), 64)]
    lines += [")", f"DESCRIPTOR = _POOL.FindFileByName({PROTO!r})"]
    for message in file.message_type:
        found = f"DESCRIPTOR.message_types_by_name[{message.name!r}]"
        lines.append(f"{message.name} = message_factory.GetMessageClass({found})")
    (folder / "inference_pb2.py").write_text(_NOTE + _HEAD + "\n".join(lines) + "\n")
    (folder / "inference_pb2.pyi").write_text(_NOTE + _TYPES + types)


if __name__ == "__main__":
    generate(Path(__file__).parent)
