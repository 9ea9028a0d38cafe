"""Maps in messages, as Go's protojson writes them: an object, sorted by key."""

from __future__ import annotations

from daemon.cli import jsonpb
from daemon.proto import remora_pb2


def test_a_map_is_an_object_sorted_by_key() -> None:
    holders = [one for one in remora_pb2.DESCRIPTOR.message_types_by_name.values() if "labels" in one.fields_by_name]
    mapped = next(one for one in holders if one.fields_by_name["labels"].message_type)
    message = getattr(remora_pb2, mapped.name)(labels={"tier": "web", "app": "shop"})
    assert jsonpb.line(message) == '{"labels":{"app":"shop","tier":"web"}}'
