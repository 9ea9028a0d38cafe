"""One record told as `flow.Flow`, the model that the API, the filters and the printers share.

Numbers become names here and only here, and only for flows that somebody asked for. What a workload was called when
the packet passed counts, so its number in the record decides before its address does: an address may have a new holder
since. The rules of filling are those of Hubble's server, so that its clients show what they are used to; where the
kernel knows better (whether a dropped packet was a reply), the flow says so.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import lru_cache
from string import hexdigits
from typing import cast

from daemon.flows import texts
from daemon.flows.cgroups import Cgroups
from daemon.flows.clock import Clock
from daemon.flows.l7 import DnsMessage, HttpMessage, L7Message, TlsMessage
from daemon.flows.names import DnsNames
from daemon.flows.record import FlowRecord, Row, read_record
from daemon.flows.ruled import RuledBy, ShieldRule, set_policy, set_shield, unruled, unshielded
from daemon.model import WORLD, Directory, ServiceName, Workload
from daemon.proto import flow_pb2, remora_pb2
from ebpf import addresses
from ebpf.constants import EventKind, Point, Verdict

EVENT_DROP = 1
EVENT_TRACE = 4
EVENT_L7 = 129

FIRST_IDENTITY = 256
"""Smaller identities are reserved: no pod has them."""

_ENDPOINTS = 4_096  # endpoints that are kept ready to copy
_NO_MAC = bytes(6)
_LINK_LOCAL = b"\xfe\x80" + bytes(6)  # fe80::/64, the only part of fe80::/10 in use (RFC 4291, 2.5.6)

_TCP_FLAGS = tuple((str(flag.name), int(flag)) for flag in texts.TcpFlag)


class FlowBuilder:
    """Tells records of one node as flows. Safe from any thread."""

    def __init__(
        self,
        directory: Directory,
        node_name: str,
        clock: Clock,
        names: DnsNames | None = None,
        version: str = "",
        cluster: str = "",
        node_labels: Sequence[str] = (),
        cgroups: Cgroups | None = None,
        ruled_by: RuledBy = unruled,
        shield_rule: ShieldRule = unshielded,
    ) -> None:
        self.node_name = node_name
        self._node_labels = node_labels
        self._directory = directory
        self._clock = clock
        self._names = names if names is not None else DnsNames()
        self._cgroups = cgroups if cgroups is not None else Cgroups(None)
        self._cluster = cluster
        self._ruled_by = ruled_by
        self._shield_rule = shield_rule
        self._emitter = flow_pb2.Emitter(name=texts.EMITTER, version=version.removeprefix("v"))
        self._epoch = secrets.randbits(64)
        self._endpoints: dict[int, tuple[Workload, flow_pb2.Endpoint]] = {}

    @property
    def names(self) -> DnsNames:
        """DNS names of addresses."""
        return self._names

    @property
    def epoch(self) -> int:
        """The half of identifiers that all flows of this run share."""
        return self._epoch

    def build(self, row: Row, seq: int, message: L7Message | None) -> flow_pb2.Flow:
        """The flow of a record of the store: its row, its sequence number, and the message that it refers to."""
        record = read_record(row)
        flow = flow_pb2.Flow(
            uuid=self._uuid(seq),
            node_name=self.node_name,
            emitter=self._emitter,
            node_labels=self._node_labels,
            verdict=cast("flow_pb2.Verdict", record.verdict),
            traffic_direction=cast("flow_pb2.TrafficDirection", record.direction),
            reply=bool(record.reply),
            Summary=texts.summary(record, message),
        )
        flow.time.seconds, flow.time.nanos = divmod(self._clock.wall_ns(record.time), 10**9)
        flow.is_reply.value = bool(record.reply)
        self._set_ends(flow, record)
        self._set_services(flow, record)
        self._set_interface(flow, record)
        _set_network(flow, record)
        if record.kind == EventKind.L7:
            _set_message(flow, record, message)
        else:
            _set_packet(flow, record)
            self._set_rule(flow, record)
        return flow

    def _set_rule(self, flow: flow_pb2.Flow, record: FlowRecord) -> None:
        """Rules of the shield judge at uplinks, those of policies at workloads; each counts from its own beginning."""
        if not record.rule:
            return
        if record.point == Point.FROM_NETWORK:
            if name := self._shield_rule(record.rule):
                set_shield(flow, record, name)
        elif ruled := self._ruled_by(record.rule):
            set_policy(flow, record, ruled)

    def extra(self, row: Row, message: L7Message | None = None) -> remora_pb2.FlowExtra:
        """What a record, and the message that it refers to, know beyond `flow.Flow`."""
        record = read_record(row)
        where = self._cgroups.place(record.cgroup)
        return remora_pb2.FlowExtra(
            forward_packets=record.forward_packets,
            forward_bytes=record.forward_bytes,
            reverse_packets=record.reverse_packets,
            reverse_bytes=record.reverse_bytes,
            age_ns=max(0, record.time - record.started) if record.started else 0,
            handshake_ns=record.handshake * 1_000,
            pid=record.pid,
            comm=record.comm.partition(b"\0")[0].decode("utf-8", "replace"),
            cgroup=record.cgroup,
            container=where.container,
            unit=where.unit,
            cgroup_path=where.path,
            srtt_ns=record.srtt_us * 1_000,
            retransmits=record.retransmits,
            failure=texts.failure_text(record.failure),
            failure_detail=texts.failure_detail(record),
            tls=_tls(message) if isinstance(message, TlsMessage) else None,
        )

    def sequence(self, uuid: str) -> int | None:
        """The sequence number behind an identifier; None for one that is not of this run."""
        digits = uuid.replace("-", "")
        known = len(digits) == 32 and digits.startswith(f"{self._epoch:016x}")
        return int(digits[16:], 16) if known and all(digit in hexdigits for digit in digits) else None

    def _uuid(self, seq: int) -> str:
        """Unique over restarts by its first half, within a run by the second."""
        text = f"{self._epoch:016x}{seq:016x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def _set_ends(self, flow: flow_pb2.Flow, record: FlowRecord) -> None:
        sends = record.point == Point.TO_STACK
        source = self._owner(record, record.src, own=sends) or resolve(self._directory, record.src_workload, record.src)
        destination = self._owner(record, record.dst, own=not sends) or resolve(
            self._directory, record.dst_workload, record.dst
        )
        flow.source.CopyFrom(self._endpoint(source))
        flow.destination.CopyFrom(self._endpoint(destination))
        flow.source_names.extend(self._names_of(record.src, source, asker=record.dst))
        flow.destination_names.extend(self._names_of(record.dst, destination, asker=record.src))

    def _names_of(self, address: bytes, workload: Workload, asker: bytes) -> tuple[str, ...]:
        """The names that the other end looked up; of an address outside also those that anybody did."""
        asked = self._names.names(asker, address)
        return asked or (self._names.lookup(address) if workload is WORLD else ())

    def _owner(self, record: FlowRecord, address: bytes, *, own: bool) -> Workload | None:
        """A link-local address says nothing by itself; on the workload's own side of a device it is the workload's."""
        return self._directory.local(record.ifindex) if own and address[:8] == _LINK_LOCAL else None

    def _endpoint(self, workload: Workload) -> flow_pb2.Endpoint:
        kept = self._endpoints.get(workload.id)
        if kept is not None and kept[0] is workload:
            return kept[1]
        if len(self._endpoints) >= _ENDPOINTS:
            self._endpoints.clear()
        endpoint = endpoint_of(workload, self._cluster)
        self._endpoints[workload.id] = (workload, endpoint)
        return endpoint

    def _set_services(self, flow: flow_pb2.Flow, record: FlowRecord) -> None:
        """The Service that the initiator asked for is on the responder's side; else what an end is a frontend of."""
        asked = self._directory.service(record.service) if record.service else None
        source = asked if record.reply else None
        destination = None if record.reply else asked
        source = source or self._directory.frontend(record.src, record.src_port, record.proto)
        destination = destination or self._directory.frontend(record.dst, record.dst_port, record.proto)
        if source is not None:
            flow.source_service.CopyFrom(_service(source))
        if destination is not None:
            flow.destination_service.CopyFrom(_service(destination))

    def _set_interface(self, flow: flow_pb2.Flow, record: FlowRecord) -> None:
        if record.ifindex:
            local = self._directory.local(record.ifindex)
            flow.interface.index = record.ifindex
            flow.interface.name = local.device if local else ""


def resolve(directory: Directory, workload: int, address: bytes) -> Workload:
    """Who an end of a record is: by the workload's number, else by the address (16 bytes), else the world."""
    return (workload and directory.by_id(workload)) or directory.by_address(address) or WORLD


def endpoint_of(workload: Workload, cluster: str = "") -> flow_pb2.Endpoint:
    """A workload as an end of a flow; reserved ones have no pod's name."""
    endpoint = flow_pb2.Endpoint(identity=workload.identity, labels=workload.labels)
    if workload.identity >= FIRST_IDENTITY:
        endpoint.ID = workload.id if workload.ifindex else 0
        endpoint.namespace = workload.namespace
        endpoint.pod_name = workload.name
        endpoint.cluster_name = cluster
        endpoint.workloads.extend(flow_pb2.Workload(name=owner.name, kind=owner.kind) for owner in workload.owners)
    return endpoint


def _service(name: ServiceName) -> flow_pb2.Service:
    return flow_pb2.Service(name=name.name, namespace=name.namespace)


def _set_network(flow: flow_pb2.Flow, record: FlowRecord) -> None:
    flow.IP.source, flow.IP.destination = _address(record.src), _address(record.dst)
    flow.IP.ipVersion = flow_pb2.IPVersion.IPv6 if record.family == 6 else flow_pb2.IPVersion.IPv4
    source, destination = record.src_port, record.dst_port
    match record.proto:
        case texts.TCP:
            flow.l4.TCP.source_port, flow.l4.TCP.destination_port = source, destination
        case texts.UDP:
            flow.l4.UDP.source_port, flow.l4.UDP.destination_port = source, destination
        case texts.SCTP:
            flow.l4.SCTP.source_port, flow.l4.SCTP.destination_port = source, destination
        case texts.ICMP:
            flow.l4.ICMPv4.type, flow.l4.ICMPv4.code = record.icmp_type, record.icmp_code
        case texts.ICMPV6:
            flow.l4.ICMPv6.type, flow.l4.ICMPv6.code = record.icmp_type, record.icmp_code
        case texts.VRRP:
            flow.l4.VRRP.SetInParent()
        case texts.IGMP:
            flow.l4.IGMP.SetInParent()


def _set_packet(flow: flow_pb2.Flow, record: FlowRecord) -> None:
    """What a flow of layers 3 and 4 has: addresses of layer 2, flags, and the event's number."""
    flow.Type = flow_pb2.FlowType.L3_L4
    if record.src_mac != _NO_MAC or record.dst_mac != _NO_MAC:
        flow.ethernet.source, flow.ethernet.destination = record.src_mac.hex(":"), record.dst_mac.hex(":")
    if record.proto == texts.TCP:
        flow.l4.TCP.flags.CopyFrom(_flags(record.tcp_flags))
    if record.verdict == Verdict.DROPPED:
        flow.event_type.type, flow.event_type.sub_type = EVENT_DROP, record.reason
        flow.drop_reason = record.reason
        flow.drop_reason_desc = cast("flow_pb2.DropReason", record.reason)
        return
    flow.event_type.type, flow.event_type.sub_type = EVENT_TRACE, record.point
    to_endpoint = record.point == Point.TO_ENDPOINT
    point = flow_pb2.TraceObservationPoint.TO_ENDPOINT if to_endpoint else record.point
    flow.trace_observation_point = cast("flow_pb2.TraceObservationPoint", point)
    flow.trace_reason = _trace_reason(record)


def _set_message(flow: flow_pb2.Flow, record: FlowRecord, message: L7Message | None) -> None:
    """The application part; a message that is gone leaves only its direction."""
    flow.Type = flow_pb2.FlowType.L7
    flow.event_type.type = EVENT_L7
    flow.l7.type = flow_pb2.L7FlowType.RESPONSE if record.reply else flow_pb2.L7FlowType.REQUEST
    if message is not None:
        flow.l7.latency_ns = message.latency_ns
    if isinstance(message, DnsMessage):
        flow.l7.dns.CopyFrom(_dns(message))
    elif isinstance(message, HttpMessage):
        flow.l7.http.CopyFrom(_http(message))
        if message.trace_id:
            flow.trace_context.parent.trace_id = message.trace_id


def _dns(message: DnsMessage) -> flow_pb2.DNS:
    return flow_pb2.DNS(
        query=message.query,
        ips=message.ips,
        ttl=message.ttl,
        cnames=message.cnames,
        observation_source="agent",
        rcode=message.rcode,
        qtypes=message.qtypes,
        rrtypes=message.rrtypes,
    )


def _tls(message: TlsMessage) -> remora_pb2.TlsHello:
    return remora_pb2.TlsHello(server_name=message.server_name, protocols=message.protocols, version=message.version)


def _http(message: HttpMessage) -> flow_pb2.HTTP:
    return flow_pb2.HTTP(
        code=message.code,
        method=message.method,
        url=message.url,
        protocol=message.protocol,
        headers=[flow_pb2.HTTPHeader(key=key, value=value) for key, value in message.headers],
    )


@lru_cache(256)
def _flags(bits: int) -> flow_pb2.TCPFlags:
    return flow_pb2.TCPFlags(**{name: True for name, bit in _TCP_FLAGS if bits & bit})


def _trace_reason(record: FlowRecord) -> flow_pb2.TraceReason:
    if record.reply:
        return flow_pb2.TraceReason.REPLY
    return flow_pb2.TraceReason.NEW if record.kind == EventKind.NEW else flow_pb2.TraceReason.ESTABLISHED


@lru_cache(4_096)
def _address(raw: bytes) -> str:
    return addresses.text(raw)
