"""Agent events and debug events as text: what happened, in the words that Hubble's CLI has for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import Int32Value, UInt32Value

from daemon.cli.flowtext import enum_name
from daemon.proto import flow_pb2

Layout = Callable[[Timestamp], str]


def event_type(event: flow_pb2.AgentEvent) -> str:
    """The name of an event's type."""
    return enum_name(flow_pb2.AgentEventType, event.type)


def details(event: flow_pb2.AgentEvent, layout: Layout) -> str:
    """What stands in parentheses: `id: 5, labels: [a,b]`; UNKNOWN for what cannot be told."""
    match event.WhichOneof("notification"):
        case "agent_start":
            return f"start time: {layout(event.agent_start.time)}"
        case "policy_update":
            told = event.policy_update
            return f"labels: {_list(told.labels)}, revision: {told.revision}, count: {told.rule_count}"
        case "endpoint_regenerate":
            regenerated = event.endpoint_regenerate
            error = f", error: {regenerated.error}" if regenerated.error else ""
            return f"id: {regenerated.id}, labels: {_list(regenerated.labels)}{error}"
        case "endpoint_update":
            end = event.endpoint_update
            return _joined([f"id: {end.id}", *_given(("namespace", end.namespace), ("pod name", end.pod_name))])
        case "ipcache_update":
            return _address(event.ipcache_update)
        case "service_upsert":
            return _service(event.service_upsert)
        case "service_delete":
            return f"id: {event.service_delete.id}"
        case "unknown":
            return f"type: {event.unknown.type}, notification: {event.unknown.notification}"
    return "UNKNOWN"


def _address(one: flow_pb2.IPCacheNotification) -> str:
    old = str(one.old_identity.value) if one.HasField("old_identity") else ""
    places = _given(("old identity", old), ("host ip", one.host_ip), ("old host ip", one.old_host_ip))
    return _joined([f"cidr: {one.cidr}, identity: {one.identity}", *places, f"encrypt key: {one.encrypt_key}"])


def _service(one: flow_pb2.ServiceUpsertNotification) -> str:
    frontend = _place(one.frontend_address) if one.HasField("frontend_address") else ""
    backends = _list(map(_place, one.backend_addresses)) if one.backend_addresses else ""
    told = _given(
        ("frontend", frontend),
        ("backends", backends),
        ("type", one.type),
        ("traffic policy", one.traffic_policy),
        ("namespace", one.namespace),
        ("name", one.name),
    )
    return _joined([f"id: {one.id}", *told])


def _place(address: flow_pb2.ServiceUpsertNotificationAddr) -> str:
    return f"[{address.ip}]:{address.port}" if ":" in address.ip else f"{address.ip}:{address.port}"


def _given(*pairs: tuple[str, str]) -> list[str]:
    return [f"{name}: {value}" for name, value in pairs if value]


def _list(values: Iterable[str]) -> str:
    return f"[{','.join(values)}]"


def _joined(parts: Iterable[str]) -> str:
    return ", ".join(parts)


def debug_endpoint(event: flow_pb2.DebugEvent) -> str:
    """Whose event it is: `shop/api-1 (ID: 5)`, `reserved:host (ID: 1)`, `ID: 5`, N/A."""
    if not event.HasField("source"):
        return "N/A"
    end = event.source
    number = f"ID: {end.ID}"
    if end.namespace and end.pod_name:
        return f"{end.namespace}/{end.pod_name} ({number})"
    reserved = len(end.labels) == 1 and end.labels[0].startswith("reserved:")
    return f"{end.labels[0]} ({number})" if reserved else number


def mark(value: UInt32Value | None) -> str:
    """A packet's mark in hexadecimal, N/A for none."""
    return "N/A" if value is None else f"0x{value.value:x}"


def cpu(value: Int32Value | None) -> str:
    """A CPU in two digits, N/A for none."""
    return "N/A" if value is None else f"{value.value:02d}"
