"""Messages as one line of JSON, byte for byte as Go's protojson writes them.

Tools that read Hubble's JSON expect its order of fields (as declared, not by
number), 64-bit numbers as strings and its escapes. The converter that comes
with protobuf for Python sorts by number, so this walks the message itself.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

_WIDE = (
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_UINT64,
)
_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def line(message: Message, added: Mapping[str, Any] | None = None) -> str:
    """`message` as one line of JSON without spaces, `added` behind its own fields."""
    text = json.dumps({**to_dict(message), **(added or {})}, ensure_ascii=False, separators=(",", ":"))
    return text.translate(_ESCAPES)


def to_dict(message: Message) -> dict[str, Any]:
    """`message` as plain values, fields in the order in which the .proto file declares them."""
    fields = sorted(message.ListFields(), key=_declared)
    return {field.name: _value(field, value) for field, value in fields}


def _declared(item: tuple[FieldDescriptor, Any]) -> int:
    return int(item[0].index)


def _value(field: Any, value: Any) -> Any:
    if field.message_type and field.message_type.GetOptions().map_entry:
        inner = field.message_type.fields_by_name["value"]
        return {str(key): _single(inner, value[key]) for key in sorted(value)}
    if field.is_repeated:
        return [_single(field, element) for element in value]
    return _single(field, value)


def _single(field: Any, value: Any) -> Any:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_MESSAGE:
        return _message(value)
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        known = field.enum_type.values_by_number.get(value) if field.enum_type else None
        return known.name if known else value
    if kind in _WIDE:
        return str(value)
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _message(value: Message) -> Any:
    if isinstance(value, Timestamp | Duration):
        return value.ToJsonString()
    name = value.DESCRIPTOR.full_name
    if name == "google.protobuf.Any":
        return {"@type": value.type_url, "value": base64.b64encode(value.value).decode()}  # type: ignore[attr-defined]
    if name.startswith("google.protobuf.") and name.endswith("Value"):
        (field,) = value.DESCRIPTOR.fields
        return _single(field, getattr(value, field.name))
    return to_dict(value)
