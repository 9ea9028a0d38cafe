"""Kernel records in words, for `remora monitor`: numbers get their names, nothing is looked up."""

from __future__ import annotations

from enum import IntEnum

from daemon.api.view import AgentView
from daemon.flows.record import FlowRecord, Row, read_record
from daemon.proto import remora_pb2
from ebpf import addresses
from ebpf.constants import Direction, EventKind, Mark, Point, Verdict

_PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP"}
_TCP_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")


def record(view: AgentView, row: Row, sequence: int) -> remora_pb2.Record:
    """The record of a row of the store."""
    one = read_record(row)
    answer = remora_pb2.Record(
        sequence=sequence,
        kind=_word(EventKind, one.kind),
        verdict=_word(Verdict, one.verdict),
        point=_word(Point, one.point),
        direction=_word(Direction, one.direction),
        reply=bool(one.reply),
        protocol=_PROTOCOLS.get(one.proto, str(one.proto)),
        tcp_flags=_flags(one),
        icmp_type=one.icmp_type,
        icmp_code=one.icmp_code,
        length=one.length,
        ifindex=one.ifindex,
        service=one.service,
        marks=[mark.name or str(int(mark)) for mark in Mark if one.marks & mark],
        reason=one.reason,
        extra=view.builder.extra(row, view.store.message(one.l7)),
    )
    _set_ends(answer, one)
    answer.time.FromNanoseconds(view.clock.wall_ns(one.time))
    return answer


def _set_ends(answer: remora_pb2.Record, one: FlowRecord) -> None:
    answer.source, answer.destination = addresses.text(one.src), addresses.text(one.dst)
    answer.source_port, answer.destination_port = one.src_port, one.dst_port
    answer.source_workload, answer.destination_workload = one.src_workload, one.dst_workload


def _flags(one: FlowRecord) -> str:
    return ",".join(name for bit, name in enumerate(_TCP_FLAGS) if one.tcp_flags >> bit & 1)


def _word(kind: type[IntEnum], number: int) -> str:
    try:
        return kind(number).name
    except ValueError:
        return str(number)
