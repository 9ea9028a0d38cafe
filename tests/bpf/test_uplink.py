"""Services from outside, packet by packet: what comes in by an uplink, what goes back, and who is turned away."""

from __future__ import annotations

import time
from ipaddress import ip_address

import numpy as np
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP, SCTPChunkInit, SCTPChunkInitAck
from scapy.packet import Packet

from ebpf import testrun
from ebpf.addresses import pack
from ebpf.constants import AddressFlag, Counter, DropReason, FrontendFlag, Reserved, Scope, Verdict
from tests.bpf.conftest import TC_ACT_UNSPEC
from tests.bpf.uplink_gate import (
    FAMILIES,
    FIRST_PORT,
    KINDS,
    LAST_PORT,
    NODE_PORT,
    PORT,
    TARGET,
    TC_ACT_REDIRECT,
    TC_ACT_SHOT,
    V4,
    Family,
    Gate,
    frame,
    gate_fixture,
    network,
    open_connection,
    place_fixture,
    raw,
    segment,
)

__all__ = ["gate_fixture", "place_fixture"]


@KINDS
@FAMILIES
def test_a_client_of_the_whole_cluster_is_hidden_and_sent_on_and_its_answer_returns(
    gate: Gate, family: Family, kind: type[Packet]
) -> None:
    layer = family.layer
    packet = frame(layer(src=family.client, dst=family.vip) / segment(kind, 40000, PORT))
    verdict, out = gate.comes(packet)
    assert verdict == TC_ACT_REDIRECT
    assert (out[layer].src, out[layer].dst, out[kind].dport) == (family.node, family.there, TARGET)
    assert FIRST_PORT <= out[kind].sport <= LAST_PORT
    hops = "ttl" if family is V4 else "hlim"
    assert getattr(out[layer], hops) == 63

    answer = frame(layer(src=family.there, dst=family.node) / segment(kind, TARGET, out[kind].sport, "SA"))
    verdict, back = gate.comes(answer)
    assert verdict == TC_ACT_REDIRECT
    assert (back[layer].src, back[layer].dst) == (family.vip, family.client)
    assert (back[kind].sport, back[kind].dport) == (PORT, 40000)


@KINDS
@FAMILIES
def test_policy_local_keeps_the_client_and_answers_are_turned_back_where_they_leave(
    gate: Gate, family: Family, kind: type[Packet]
) -> None:
    layer = family.layer
    verdict, out = gate.comes(frame(layer(src=family.client, dst=family.local_vip) / segment(kind, 40001, PORT)))
    assert verdict == TC_ACT_UNSPEC
    assert (out[layer].src, out[layer].dst) == (family.client, family.here)
    assert (out[kind].sport, out[kind].dport) == (40001, TARGET)
    verdict, back = gate.leaves(frame(layer(src=family.here, dst=family.client) / segment(kind, TARGET, 40001, "SA")))
    assert verdict == TC_ACT_UNSPEC
    assert (back[layer].src, back[kind].sport) == (family.local_vip, PORT)
    assert (back[layer].dst, back[kind].dport) == (family.client, 40001)


@KINDS
@FAMILIES
def test_an_answer_of_a_workload_of_this_node_is_sent_on_from_its_device(
    gate: Gate, family: Family, kind: type[Packet]
) -> None:
    layer = family.layer
    verdict, out = gate.comes(frame(layer(src=family.client, dst=family.node) / segment(kind, 40002, NODE_PORT)))
    assert (verdict, out[layer].src, out[layer].dst) == (TC_ACT_REDIRECT, family.node, family.here)
    verdict, _ = gate.run("to_endpoint", out)
    assert verdict == TC_ACT_UNSPEC
    answer = frame(layer(src=family.here, dst=family.node) / segment(kind, TARGET, out[kind].sport, "SA"))
    verdict, back = gate.run("from_endpoint", answer)
    assert verdict == TC_ACT_REDIRECT
    assert (back[layer].src, back[kind].sport) == (family.node, NODE_PORT)
    assert (back[layer].dst, back[kind].dport) == (family.client, 40002)


@FAMILIES
def test_a_backend_of_the_node_itself_gets_the_packet_by_the_stack(gate: Gate, family: Family) -> None:
    verdict, out = gate.comes(frame(family.layer(src=family.client, dst=family.host) / segment(TCP, 40003, PORT)))
    assert (verdict, out[family.layer].src, out[family.layer].dst) == (TC_ACT_UNSPEC, family.client, family.node)


@FAMILIES
def test_an_address_of_the_node_without_node_ports_leaves_them_alone(gate: Gate, family: Family) -> None:
    gate.put("addresses", {"addr": raw(family.node)}, workload=Reserved.HOST, flags=AddressFlag.NO_NODE_PORTS)
    packet = frame(family.layer(src=family.client, dst=family.node) / segment(TCP, 40002, NODE_PORT))
    verdict, out = gate.comes(packet)
    assert (verdict, out[family.layer].dst) == (TC_ACT_UNSPEC, family.node)


@FAMILIES
def test_what_is_for_no_service_is_not_touched(gate: Gate, family: Family) -> None:
    for payload in (
        segment(TCP, 40000, 22),
        segment(TCP, 40000, NODE_PORT, "A"),
        segment(UDP, 40000, 4789),
    ):
        packet = Ether(bytes(frame(family.layer(src=family.client, dst=family.node) / payload)))
        for program in ("from_network", "to_network"):
            verdict, out = gate.run(program, packet)
            assert (verdict, bytes(out)) == (TC_ACT_UNSPEC, bytes(packet))
    assert len(gate.table.items()[0]) == 0


def test_frames_for_other_machines_are_not_touched(gate: Gate) -> None:
    packet = Ether(dst="02:00:00:00:00:99") / IP(src=V4.client, dst=V4.vip) / segment(TCP, 40000, PORT)
    assert gate.comes(packet) == (TC_ACT_UNSPEC, Ether(bytes(packet)))


@FAMILIES
def test_an_empty_service_answers_tcp_with_a_reset(gate: Gate, family: Family) -> None:
    packet = frame(family.layer(src=family.client, dst=family.empty) / TCP(sport=9, dport=PORT, flags="S", seq=77))
    verdict, reset = gate.comes(packet)
    assert verdict == TC_ACT_REDIRECT
    assert (reset.src, reset.dst) == (packet.dst, packet.src)
    assert (reset[family.layer].src, reset[family.layer].dst) == (family.empty, family.client)
    assert (reset[TCP].flags, reset[TCP].ack) == ("RA", 78)
    assert gate.reasons() == [(Verdict.DROPPED, DropReason.SERVICE_BACKEND_NOT_FOUND)]


@FAMILIES
def test_an_empty_service_answers_datagrams_with_port_unreachable(gate: Gate, family: Family) -> None:
    packet = Ether(bytes(frame(family.layer(src=family.client, dst=family.empty) / segment(UDP, 9, PORT))))
    verdict, error = gate.comes(packet)
    assert verdict == TC_ACT_REDIRECT
    assert (error[family.layer].src, error[family.layer].dst) == (family.empty, family.client)
    told = error[family.error]
    assert (told.type, told.code) == ((3, 3) if family is V4 else (1, 4))
    quoted = bytes(told.payload)
    assert quoted == bytes(packet[family.layer])[: len(quoted)]


@FAMILIES
def test_what_the_policy_leaves_without_backends_is_dropped(gate: Gate, family: Family) -> None:
    verdict, _ = gate.comes(frame(family.layer(src=family.client, dst=family.dropped) / segment(TCP, 9, PORT)))
    assert verdict == TC_ACT_SHOT
    assert gate.reasons() == [(Verdict.DROPPED, DropReason.SERVICE_BACKEND_NOT_FOUND)]


@FAMILIES
def test_source_ranges_admit_whom_they_name_and_drop_others(gate: Gate, family: Family) -> None:
    packet = frame(family.layer(src=family.client, dst=family.ranged) / segment(TCP, 9, PORT))
    assert gate.comes(packet)[0] == TC_ACT_SHOT
    assert gate.reasons() == [(Verdict.DROPPED, DropReason.SOURCE_RANGE)]
    number = 105 if family is V4 else 205
    length = 32 + (96 + 16 if family is V4 else 48)
    gate.put("source_ranges", {"prefix": length, "service": number, "addr": raw(family.client)})
    assert gate.comes(packet)[0] == TC_ACT_REDIRECT
    stranger = ip_address(family.client) + (1 << (17 if family is V4 else 90))
    packet = frame(family.layer(src=str(stranger), dst=family.ranged) / segment(TCP, 9, PORT))
    assert gate.comes(packet)[0] == TC_ACT_SHOT


@FAMILIES
def test_the_balancers_own_address_may_come_where_the_node_may(gate: Gate, family: Family) -> None:
    gate.wire.datapath.tell_node(pack(family.node), pack(family.node))
    packet = frame(family.layer(src=family.ranged, dst=family.ranged) / segment(TCP, 9, PORT))
    assert gate.comes(packet)[0] == TC_ACT_SHOT
    key = {"prefix": 160, "service": 105 if family is V4 else 205}
    gate.put("source_ranges", {**key, "addr": raw(family.client)})
    assert gate.comes(packet)[0] == TC_ACT_SHOT, "the ranges do not hold the node"
    gate.put("source_ranges", {**key, "addr": raw(family.node)})
    assert gate.comes(packet)[0] == TC_ACT_REDIRECT


@FAMILIES
def test_all_packets_of_a_connection_get_one_port_and_one_backend(gate: Gate, family: Family) -> None:
    first = open_connection(gate, family)
    for flags in ("S", "A", "PA", "FA"):
        packet = frame(family.layer(src=family.client, dst=family.vip) / segment(TCP, 40000, PORT, flags))
        verdict, out = gate.comes(packet)
        assert (verdict, out[TCP].sport, out[TCP].dport) == (TC_ACT_REDIRECT, first[TCP].sport, TARGET)
    assert len(gate.table.items()[0]) == 2


@FAMILIES
def test_sctp_keeps_its_ports_and_its_checksum_or_is_refused(gate: Gate, family: Family) -> None:
    number = 100 if family is V4 else 200

    def begins(sport: int, client: str = family.client) -> tuple[Packet, int, Packet]:
        head = family.layer(src=client, dst=family.vip)
        init = Ether(bytes(frame(head / SCTP(sport=sport, dport=PORT) / SCTPChunkInit())))
        return init, *gate.comes(init)

    def serve(target: int) -> None:
        slot = {"service": number + 50, "slot": 0}
        gate.put("backends", slot, addr=raw(family.there), port=network(target))
        key = {"addr": raw(family.vip), "port": network(PORT), "proto": 132}
        gate.put("services", key, service=number + 50, backends=1, flags=FrontendFlag.LOAD_BALANCER)

    serve(PORT)
    init, verdict, out = begins(40000)
    assert (verdict, out[family.layer].src, out[family.layer].dst) == (TC_ACT_REDIRECT, family.node, family.there)
    assert bytes(out[SCTP]) == bytes(init[SCTP])
    answer = family.layer(src=family.there, dst=family.node) / SCTP(sport=PORT, dport=40000) / SCTPChunkInitAck()
    verdict, back = gate.comes(frame(answer))
    assert (verdict, back[family.layer].src, back[family.layer].dst) == (TC_ACT_REDIRECT, family.vip, family.client)
    other = str(ip_address(family.client) + 1)
    assert begins(40000, other)[1] == TC_ACT_SHOT, "two clients with one port cannot be told apart"
    assert begins(40001, other)[1] == TC_ACT_REDIRECT
    serve(TARGET)
    verdict, refusal = begins(40002)[1:]
    assert verdict == TC_ACT_REDIRECT
    assert refusal[family.layer].dst == family.client
    assert family.error in refusal


def test_a_client_keeps_its_port_where_it_is_of_the_range_and_free(gate: Gate) -> None:
    assert open_connection(gate, V4, sport=12345)[TCP].sport == 12345
    other = frame(IP(src="198.18.5.10", dst=V4.vip) / segment(TCP, 12345, PORT))
    verdict, out = gate.comes(other)
    assert verdict == TC_ACT_REDIRECT
    assert out[TCP].sport != 12345
    assert FIRST_PORT <= out[TCP].sport <= LAST_PORT


def test_one_client_port_at_two_frontends_of_one_backend_is_told_apart(gate: Gate) -> None:
    gate.serve("203.0.113.20", 102, [V4.here], FrontendFlag.LOAD_BALANCER | FrontendFlag.OUTSIDE)
    gate.serve("203.0.113.20", 102, [V4.here], FrontendFlag.LOAD_BALANCER, Scope.OUTSIDE)
    ports = []
    for vip in (V4.local_vip, "203.0.113.20"):
        verdict, out = gate.comes(frame(IP(src=V4.client, dst=vip) / segment(TCP, 40004, PORT)))
        assert (verdict, out[IP].src) == (TC_ACT_UNSPEC, V4.client)
        ports.append(out[TCP].sport)
    assert ports[0] != ports[1]
    for vip, port in zip((V4.local_vip, "203.0.113.20"), ports, strict=True):
        _, back = gate.leaves(frame(IP(src=V4.here, dst=V4.client) / segment(TCP, TARGET, port, "SA")))
        assert (back[IP].src, back[TCP].dport) == (vip, 40004)


def test_a_client_that_begins_anew_after_the_end_gets_a_new_connection(gate: Gate) -> None:
    open_connection(gate, V4)
    gate.comes(frame(IP(src=V4.client, dst=V4.vip) / segment(TCP, 40000, PORT, "R")))
    started = gate.table.items()[1]["started"].max()
    open_connection(gate, V4)
    keys, values = gate.table.items()
    assert len(keys) == 2
    assert (values["started"] >= started).all()
    assert not (values["flags"] & 4).any()


def test_when_the_table_is_full_new_connections_are_dropped_and_open_ones_live_on(gate: Gate) -> None:
    first = open_connection(gate, V4)
    table = gate.table
    filler = np.zeros(table.max_entries - 3, table.key_dtype)
    filler["src"][:, 0] = np.arange(1, len(filler) + 1)
    table.update(filler, np.zeros(len(filler), table.value_dtype))
    gate.reasons()
    before = gate.wire.counter(Counter.OUTSIDE_FULL)
    verdict, _ = gate.comes(frame(IP(src=V4.client, dst=V4.vip) / segment(TCP, 40001, PORT)))
    assert verdict == TC_ACT_SHOT
    assert gate.reasons() == [(Verdict.DROPPED, DropReason.TABLE_FULL)]
    assert gate.wire.counter(Counter.OUTSIDE_FULL) == before + 1
    assert len(table.items()[0]) == table.max_entries - 1, "no half of a connection is left behind"
    verdict, out = gate.comes(frame(IP(src=V4.client, dst=V4.vip) / segment(TCP, 40000, PORT, "A")))
    assert (verdict, out[TCP].sport) == (TC_ACT_REDIRECT, first[TCP].sport)


def test_when_no_port_is_free_new_connections_are_dropped(gate: Gate) -> None:
    table = gate.table
    taken = np.zeros(LAST_PORT - FIRST_PORT + 1, table.key_dtype)
    taken["src"], taken["dst"], taken["proto"], taken["src_port"] = raw(V4.there), raw(V4.node), 6, TARGET
    taken["dst_port"] = np.arange(FIRST_PORT, LAST_PORT + 1)
    table.update(taken, np.zeros(len(taken), table.value_dtype))
    verdict, _ = gate.comes(frame(IP(src=V4.client, dst=V4.vip) / segment(TCP, 40001, PORT)))
    assert verdict == TC_ACT_SHOT
    assert gate.reasons() == [(Verdict.DROPPED, DropReason.NO_PORT)]


def test_a_packet_whose_hops_are_used_up_goes_no_further(gate: Gate) -> None:
    verdict, _ = gate.comes(frame(IP(src=V4.client, dst=V4.vip, ttl=1) / segment(TCP, 40000, PORT)))
    assert verdict == TC_ACT_SHOT


@FAMILIES
def test_affinity_is_by_the_clients_address(gate: Gate, family: Family) -> None:
    last = 244 if family is V4 else 6
    backends = [str(ip_address(family.there) + one) for one in range(10)]
    gate.serve(family.vip, 300 + last, backends, FrontendFlag.LOAD_BALANCER, affinity=100)

    def backend(client: str, port: int) -> str:
        _, out = gate.comes(frame(family.layer(src=client, dst=family.vip) / segment(TCP, port, PORT)))
        return str(out[family.layer].dst)

    clients = [str(ip_address(family.client) + one) for one in range(20)]
    first = {client: backend(client, 40000) for client in clients}
    assert all(backend(client, port) == first[client] for client in clients for port in range(40001, 40006))
    assert len(set(first.values())) > 1


def test_a_flood_of_refusals_is_told_a_thousand_times_a_second_and_counted_beyond(gate: Gate) -> None:
    gate.reasons()
    before = gate.wire.counter(Counter.OUTSIDE_UNTOLD)
    rejected = gate.wire.counter(Counter.REJECTED)
    packet = bytes(frame(IP(src=V4.client, dst=V4.empty) / segment(UDP, 9, PORT)))
    program = gate.wire.datapath.program(gate.entry)

    def flood() -> None:
        for _ in range(3000):
            testrun.run(program, packet)

    time.sleep(1.01 - time.monotonic() % 1)  # into a second of which no other test has used anything
    gate.node.run(flood)
    told = len(gate.reasons())
    assert told >= 1000
    assert told + gate.wire.counter(Counter.OUTSIDE_UNTOLD) - before == 3000
    assert gate.wire.counter(Counter.REJECTED) - rejected == 3000
