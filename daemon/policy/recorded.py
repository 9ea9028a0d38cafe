"""Recorded flows, reduced to what a policy would have been asked: who opened a connection to whom, by which port.

Replies are not asked about, nor is what the own node sends or gets. What was dropped for another reason than policy
says nothing about policies.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from google.protobuf.json_format import ParseDict, ParseError

from daemon.proto import flow_pb2
from ebpf.addresses import pack
from ebpf.errors import RemoraError

HOST_LABEL = "reserved:host"
# ICMP that no policy is asked about: errors, which belong to a connection, and what finds neighbours and routers.
UNASKED = {"ICMPv4": frozenset({3, 4, 5, 11, 12}), "ICMPv6": frozenset({1, 2, 3, 4, *range(130, 138), 143})}
POLICY_DROPS = frozenset({133, 181})  # POLICY_DENIED and POLICY_DENY
_SOURCE = "k8s:"
_NAMESPACE_PREFIX = "io.kubernetes.pod.namespace"

Labels = tuple[tuple[str, str], ...]
Connection = tuple[str, str, str, int, int]


class RecordingError(RemoraError):
    """A line of a recording cannot be read."""


class Party(NamedTuple):
    """One end; `namespace` is "" for what is no pod, `workload` what people call it."""

    namespace: str
    pod: str
    labels: Labels
    address: bytes
    workload: str


class Seen(NamedTuple):
    """One question to the policies; `passed` is how it was answered when it was recorded."""

    source: Party
    destination: Party
    protocol: int
    port: int
    passed: bool


def read_lines(lines: Iterable[str]) -> Iterator[flow_pb2.Flow]:
    """Flows of JSON lines as `observe -o jsonpb` writes them. Raises RecordingError."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
            yield ParseDict(found.get("flow", found), flow_pb2.Flow(), ignore_unknown_fields=True)
        except (ValueError, AttributeError, ParseError) as error:
            what = f"line {number} of the recording is no flow: {error}"
            raise RecordingError(what, "record with: remora observe -o jsonpb") from error


def questions(flows: Iterable[flow_pb2.Flow]) -> Counter[Seen]:
    """What policies would have been asked, with how many records said so.

    A connection that the receiving end denied has passed the sending one before: it counts as denied alone.
    """
    known: dict[Seen, Seen] = {}
    records: Counter[tuple[Connection, Seen]] = Counter()
    for flow in flows:
        found = _seen(flow)
        if found is not None:
            records[_connection(flow), known.setdefault(found, found)] += 1
    denied = {connection for connection, one in records if not one.passed}
    told: Counter[Seen] = Counter()
    for (connection, one), count in records.items():
        if not one.passed or connection not in denied:
            told[one] += count
    return told


def _connection(flow: flow_pb2.Flow) -> Connection:
    kind = str(flow.l4.WhichOneof("protocol"))
    transport = getattr(flow.l4, kind)
    ports = (getattr(transport, "source_port", 0), getattr(transport, "destination_port", 0))
    return flow.IP.source, flow.IP.destination, kind, *ports


def _seen(flow: flow_pb2.Flow) -> Seen | None:
    dropped = flow.verdict == flow_pb2.DROPPED
    if flow.HasField("l7") or flow.verdict == flow_pb2.TRANSLATED or not _opens(flow, dropped):
        return None
    if dropped and flow.drop_reason_desc not in POLICY_DROPS:
        return None
    ends = _party(flow.source, flow.IP.source), _party(flow.destination, flow.IP.destination)
    if ends[0] is None or ends[1] is None or HOST_LABEL in (*flow.source.labels, *flow.destination.labels):
        return None
    protocol, port = _target(flow.l4)
    return Seen(ends[0], ends[1], protocol, port, not dropped) if protocol else None


def _opens(flow: flow_pb2.Flow, dropped: bool) -> bool:
    """Whether it goes the way in which the connection was opened; a denied packet has no connection."""
    if flow.HasField("is_reply"):
        return not flow.is_reply.value
    flags = flow.l4.TCP.flags
    return dropped or (flags.SYN and not flags.ACK)


def _party(end: flow_pb2.Endpoint, address: str) -> Party | None:
    try:
        raw = pack(address)
    except ValueError:
        return None
    labels = dict(label.removeprefix(_SOURCE).split("=", 1) for label in end.labels if _is_own(label))
    workload = end.workloads[0].name if end.workloads else end.pod_name or address
    name = f"{end.namespace}/{workload}" if end.namespace else workload
    return Party(end.namespace, end.pod_name, tuple(sorted(labels.items())), raw, name)


def _is_own(label: str) -> bool:
    return label.startswith(_SOURCE) and "=" in label and not label.startswith(_SOURCE + _NAMESPACE_PREFIX)


def _target(l4: flow_pb2.Layer4) -> tuple[int, int]:
    """IP protocol and destination port; 0 where the record does not say, or no policy is asked."""
    kind = l4.WhichOneof("protocol")
    numbers = {"TCP": 6, "UDP": 17, "SCTP": 132, "ICMPv4": 1, "ICMPv6": 58}
    if kind not in numbers or (kind in UNASKED and getattr(l4, kind).type in UNASKED[kind]):
        return 0, 0
    return numbers[kind], getattr(getattr(l4, kind), "destination_port", 0)
