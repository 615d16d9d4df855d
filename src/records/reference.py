"""The part of docs/records.md that is made from the contract, proto/modelbroker/record/v1/record.proto.

`python -m modelbroker.records.reference <page` writes the page with that part made again; `./dev docs`
does it. It needs grpcio-tools and the project's own folder.
"""

from __future__ import annotations

import importlib
import re
import sys
import tempfile
from pathlib import Path

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

from ..core.pages import made_again

BEGIN, END = "<!-- fields: made by ./dev docs -->\n", "<!-- end of fields -->\n"
PROTO = Path(__file__).resolve().parents[2] / "proto"
CONTRACT = "modelbroker/record/v1/record.proto"
_KINDS = {
    FieldDescriptorProto.TYPE_STRING: "text",
    FieldDescriptorProto.TYPE_BOOL: "true or false",
    FieldDescriptorProto.TYPE_DOUBLE: "number",
}
_HEAD = "| field | | what it is |\n|---|---|---|\n"
_PAGES = re.compile(r"\b([a-z]+)\.md\b")


def contract() -> FileDescriptorProto:
    """The contract with its comments. RuntimeError where it can't be compiled."""
    protoc = importlib.import_module("grpc_tools.protoc")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "contract"
        command = ["protoc", f"-I{PROTO}", f"--descriptor_set_out={path}", "--include_source_info", CONTRACT]
        if protoc.main(command):
            raise RuntimeError(f"protoc refuses {CONTRACT}")
        (file,) = FileDescriptorSet.FromString(path.read_bytes()).file
    return file


def tables(file: FileDescriptorProto) -> str:
    """A table for each message, in the contract's order."""
    said = {
        tuple(location.path): " ".join(location.leading_comments.split())
        for location in file.source_code_info.location
    }
    parts = []
    for number, message in enumerate(file.message_type):
        parts.append(f"\n**{message.name}**: {_lower(said[4, number])}\n\n{_HEAD}")
        for place, field in enumerate(message.field):
            words = _PAGES.sub(r"[\1.md](\1.md)", _lower(said[4, number, 2, place]).removesuffix("."))
            parts.append(f"| `{field.name}` | {_kind(field)} | {words.replace('|', chr(92) + '|')} |\n")
    return "".join(parts)


def _lower(text: str) -> str:
    """The beginning of a sentence as that of a cell; names keep theirs."""
    first = text.partition(" ")[0]
    return text if first.isupper() or first == "Envoy's" else text[:1].lower() + text[1:]


def _kind(field: FieldDescriptorProto) -> str:
    if field.type == FieldDescriptorProto.TYPE_MESSAGE:
        kind = field.type_name.rpartition(".")[2]
    else:
        kind = _KINDS.get(field.type, "whole number")
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"list of {kind}"
    return f"{kind} or null" if field.proto3_optional else kind


def page(text: str) -> str:
    """docs/records.md with its tables made again."""
    return made_again(text, BEGIN, END, f"{tables(contract())}\n")


if __name__ == "__main__":
    sys.stdout.write(page(sys.stdin.read()))
