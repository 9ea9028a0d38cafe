"""Connection state and the records that are written of it."""

from __future__ import annotations

import time

import numpy as np
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from ebpf import addresses
from ebpf.constants import Direction, EventKind, Mark
from tests.bpf.conftest import Wire

ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")


def out(flags: str, payload: bytes = b"") -> Packet:
    """From the workload, port 40000, to the server's port 80."""
    return ETHER / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=40000, dport=80, flags=flags) / Raw(payload)


def back(flags: str, payload: bytes = b"") -> Packet:
    """From the server to the workload."""
    return ETHER / IP(src="10.0.0.2", dst="10.0.0.1") / TCP(sport=80, dport=40000, flags=flags) / Raw(payload)


def handshake(wire: Wire) -> None:
    wire.sends(out("S"))
    wire.receives(back("SA"))
    wire.sends(out("A"))


def test_each_new_flag_of_each_direction_is_told_once(wire: Wire) -> None:
    kinds = [
        [int(row["kind"]) for row in rows]
        for rows in (
            wire.sends(out("S")),
            wire.receives(back("SA")),
            wire.sends(out("A")),
            wire.sends(out("A")),
            wire.sends(out("PA", b"hello")),
            wire.sends(out("PA", b"again")),
            wire.receives(back("A")),
        )
    ]
    new, flags = [EventKind.NEW], [EventKind.FLAGS]
    assert kinds == [new, flags, flags, [], flags, [], []]


def test_replies_are_known_as_replies(wire: Wire) -> None:
    (syn,) = wire.sends(out("S"))
    (answer,) = wire.receives(back("SA"))
    assert (syn["reply"], answer["reply"]) == (0, 1)
    assert answer["direction"] == Direction.EGRESS


def test_the_end_is_told_once_with_the_final_totals(wire: Wire) -> None:
    handshake(wire)
    wire.sends(out("PA", b"x" * 100))
    wire.sends(out("FA"))
    wire.receives(back("FA"))
    (end,) = wire.sends(out("A"))
    assert end["kind"] == EventKind.END
    assert (end["forward_packets"], end["reverse_packets"]) == (5, 2)
    assert (end["forward_bytes"], end["reverse_bytes"]) == (5 * 40 + 100, 2 * 40)
    assert len(wire.receives(back("A"))) == 0


def test_a_reset_ends_at_once(wire: Wire) -> None:
    wire.sends(out("S"))
    (row,) = wire.receives(back("RA"))
    assert row["kind"] == EventKind.END


def test_a_port_used_again_after_the_end_is_a_new_connection(wire: Wire) -> None:
    wire.sends(out("S"))
    wire.receives(back("RA"))
    (row,) = wire.sends(out("S"))
    assert (row["kind"], row["forward_packets"], row["reverse_packets"]) == (EventKind.NEW, 1, 0)


def test_the_handshake_is_measured_from_syn_to_first_ack(wire: Wire) -> None:
    wire.sends(out("S"))
    time.sleep(0.02)
    wire.receives(back("SA"))
    (row,) = wire.sends(out("A"))
    assert 20_000 <= row["handshake"] < 2_000_000


def test_a_retransmitted_syn_counts_from_the_first(wire: Wire) -> None:
    wire.sends(out("S"))
    time.sleep(0.02)
    wire.sends(out("S"))
    wire.receives(back("SA"))
    (row,) = wire.sends(out("A"))
    assert row["handshake"] >= 20_000


def test_a_connection_from_before_the_agent_is_marked_as_a_guess(wire: Wire) -> None:
    (row,) = wire.receives(back("PA", b"middle of a stream"))
    assert row["marks"] & Mark.MIDSTREAM
    assert (row["reply"], row["direction"]) == (1, Direction.EGRESS)


def test_udp_belongs_to_who_sends_first_and_an_answer_from_a_low_port_to_who_receives(wire: Wire) -> None:
    datagram = ETHER / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=5000, dport=7000) / Raw(b"x")
    (row,) = wire.sends(datagram)
    assert (row["direction"], row["reply"]) == (Direction.EGRESS, 0)
    answer = ETHER / IP(src="10.0.0.3", dst="10.0.0.1") / UDP(sport=53, dport=5001) / Raw(b"x")
    (row,) = wire.receives(answer)
    assert (row["direction"], row["reply"]) == (Direction.EGRESS, 1)


def test_workloads_are_named_by_number(wire: Wire) -> None:
    table = wire.datapath.maps["addresses"]
    keys, values = np.zeros(2, table.key_dtype), np.zeros(2, table.value_dtype)
    for index, address in enumerate(("10.0.0.1", "10.0.0.2")):
        keys["addr"][index] = np.frombuffer(addresses.pack(address), np.uint32)
    values["workload"] = [101, 102]
    table.update(keys, values)
    (row,) = wire.sends(out("S"))
    (answer,) = wire.receives(back("SA"))
    assert (row["src_workload"], row["dst_workload"]) == (101, 102)
    assert (answer["src_workload"], answer["dst_workload"]) == (102, 101)
