"""Tables in the kernel's maps: what the tries answer, at every moment of a change, after a restart, and when full."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
import numpy as np
import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from daemon.model.shields import Shield
from daemon.shield import blocks, live
from daemon.shield.columns import BLOCKS, LISTS, NETWORKS6, blocks_of, side
from daemon.shield.compile import Surroundings, compile_shield
from daemon.shield.reconcile import ShieldReconciler
from daemon.shield.tables import ShieldTables
from ebpf import testrun
from ebpf.addresses import pack
from ebpf.constants import ShieldAction, ShieldFlag
from ebpf.datapath import Datapath, cleanup
from ebpf.errors import MapFullError
from ebpf.maps import HashMap
from tests import conftest
from tests.support.host import Host

SMALL = replace(conftest.SMALL, shield_addresses_max=512, shield_networks_max=512)
XDP_DROP, XDP_PASS = 1, 2
MINUTE = 60 * 10**9


@pytest.fixture(scope="module")
def built(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Compiled once; each test begins with maps in which nothing is."""
    place = Host(Path(f"/sys/fs/bpf/remora-test-shield-{os.getpid()}"), tmp_path_factory.mktemp("state"))
    yield place
    place.close()
    cleanup(place.pins, place.state)


@pytest.fixture
def datapath(built: Host) -> Iterator[Datapath]:
    opened = built.open(SMALL)
    yield opened
    last = built.opened[-1]
    ShieldReconciler(last.maps).apply(ShieldTables())
    assert last.maps["shield_bans"].count() == 0, "without a wish for bans there are none"
    built.close()


def tables(**spec: Any) -> ShieldTables:
    return of(msgspec.convert({"metadata": {"name": "edge"}, "spec": spec}, Shield))


def of(*shields: Shield, **around: Any) -> ShieldTables:
    names: dict[str, int] = {}
    return compile_shield(
        shields, Surroundings({}, **around), lambda name: names.setdefault(name, 64 + sum(name.encode()))
    )


def denying(*cidrs: str, **more: Any) -> dict[str, Any]:
    return {"name": "x", "cidrs": list(cidrs), **more}


def drops(datapath: Datapath, address: str) -> bool:
    """Would the kernel's lists drop it now, by what is switched on?"""
    maps, packed = datapath.maps, pack(address)
    said = live.said_of(maps, packed)
    flags = int(config(datapath)["flags"])
    return said is not None and not said.allow and not said.dry and bool(flags)


def config(datapath: Datapath) -> Any:
    table = datapath.maps["shield_config"]
    value = table.lookup(np.zeros(1, table.key_dtype))
    assert value is not None
    return value[0]


def holds(datapath: Datapath, wanted: ShieldTables) -> None:
    """The maps say for each entry's first address what the tables say."""
    for place in range(len(wanted.entries)):
        address = wanted.entries.addr[place].tobytes()
        first = wanted.entries.having(address)[0]
        said = live.said_of(datapath.maps, address)
        assert said == (int(wanted.rule[first]), bool(wanted.allow[first]), bool(wanted.dry[first]))
    assert in_maps(datapath) == len(wanted.entries)


def in_maps(datapath: Datapath) -> int:
    """Entries in all hashes and tries, of both sides, and in the blocks in force."""
    maps, flags = datapath.maps, int(config(datapath)["flags"])
    sides = [maps[name + end].count() for name in LISTS if name != BLOCKS for end in ("", "_second")]
    rows = side(maps, BLOCKS, flags, in_force=True).items()[1][: blocks_of(flags)]
    return sum(sides) + int((rows["said"] > 0).sum())


class Watched:
    """A map that has something looked at between any two writes."""

    def __init__(self, table: HashMap, look: Callable[[], None]) -> None:
        self._table, self._look = table, look

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    def update(self, keys: Any, values: Any) -> None:
        for index in range(len(keys)):
            self._table.update(keys[index : index + 1], values[index : index + 1])
            self._look()

    def delete(self, keys: Any) -> None:
        for index in range(len(keys)):
            self._table.delete(keys[index : index + 1])
            self._look()


def random_shield(draw: random.Random) -> Shield:
    def cidrs() -> list[str]:
        found = []
        for _ in range(draw.randrange(1, 6)):
            bits = draw.choice((8, 10, 16, 24, 32))
            number = (10 << 24 | draw.getrandbits(3) << 21 | draw.getrandbits(2)) >> (32 - bits) << (32 - bits)
            found.append(f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}/{bits}")
        return found

    spec = {
        "allow": [{"name": "a", "cidrs": cidrs()}] if draw.random() < 0.4 else [],
        "deny": [{"name": f"d{i}", "cidrs": cidrs(), "mode": draw.choice(("Enforce", "DryRun"))} for i in range(3)],
    }
    return msgspec.convert({"metadata": {"name": "edge"}, "spec": spec}, Shield)


def test_who_is_denied_before_and_after_a_change_is_denied_throughout(datapath: Datapath) -> None:
    draw = random.Random(7)
    probes = [f"10.{draw.getrandbits(3) << 5}.0.{draw.getrandbits(2)}" for _ in range(24)]
    always: list[str] = []

    def look() -> None:
        let_in = [one for one in always if not drops(datapath, one)]
        assert not let_in, f"{let_in} got in for a moment"

    watched: Any = {name: Watched(table, look) for name, table in datapath.maps.items()}
    reconciler = ShieldReconciler(watched)
    before: ShieldTables | None = None
    tried = 0
    for _ in range(60):
        wanted = of(random_shield(draw))
        denied = {one for one in probes if denies(wanted, one)}
        always[:] = [one for one in denied if before is not None and denies(before, one)]
        tried += len(always)
        reconciler.apply(wanted)
        always.clear()
        assert {one for one in probes if drops(datapath, one)} == denied
        holds(datapath, wanted)
        before = wanted
    assert tried > 100


def denies(wanted: ShieldTables, address: str) -> bool:
    found = wanted.entries.having(pack(address))
    return bool(len(found)) and not wanted.allow[found[0]] and not wanted.dry[found[0]]


def test_networks_of_both_families_and_addresses_are_found_by_their_longest_prefix(datapath: Datapath) -> None:
    wanted = tables(
        deny=[denying("0.0.0.0/0", "10.1.0.0/16", "10.1.2.3", "2001:db8::/32", "2001:db8::1", "::/0")],
        allow=[{"name": "y", "cidrs": ["10.1.2.0/30", "2001:db8:1::/48"]}],
    )
    ShieldReconciler(datapath.maps).apply(wanted)
    holds(datapath, wanted)
    expected = {"10.1.2.3": False, "10.1.2.4": True, "8.8.8.8": True, "2001:db8:1::9": False, "2001:db8::2": True}
    assert {one: drops(datapath, one) for one in expected} == expected


def test_the_configuration_says_what_is_looked_at_and_nothing_without_shields(datapath: Datapath) -> None:
    reconciler = ShieldReconciler(datapath.maps)
    assert not reconciler.active
    limits = [{"name": "l", "packets": {"rate": 100, "burst": 200}, "protocol": "TCP", "port": 22, "onlySyn": True}]
    reconciler.apply(
        tables(
            deny=[denying("10.0.0.0/8")],
            limits=limits,
            malformed="DryRun",
            synFlood={"threshold": 9, "proven": "2m"},
            autoBan={"after": 3, "within": "20s", "for": "1h"},
        )
    )
    value = config(datapath)
    names = (
        ShieldFlag.NETWORKS4
        | ShieldFlag.NETWORKS4_SECOND
        | ShieldFlag.MALFORMED
        | ShieldFlag.MALFORMED_DRY
        | ShieldFlag.BANS
    )
    assert ShieldFlag(int(value["flags"])) == names
    assert [int(value[name]) for name in ("limits", "syn_rate", "proven_seconds")] == [1, 9, 120]
    assert [int(value[name]) for name in ("ban_after", "ban_window", "ban_seconds")] == [3, 20, 3600]
    limit = datapath.maps["shield_limits"].items()[1][0]
    assert [int(limit[name]) for name in ("packet_rate", "packet_burst", "port", "proto", "syn")] == [
        100,
        200,
        22,
        6,
        1,
    ]
    assert reconciler.active
    reconciler.apply(ShieldTables())
    assert not reconciler.active
    assert datapath.maps["shield_networks4"].count() == 0


def test_a_new_agent_reads_back_what_is_there_and_writes_only_what_differs(built: Host, datapath: Datapath) -> None:
    wanted = tables(deny=[denying("10.0.0.0/8", "192.0.2.1", "2001:db8::/32")])
    ShieldReconciler(datapath.maps).apply(wanted)
    built.close()
    second = built.open(SMALL)
    reconciler = ShieldReconciler(second.maps)
    rule = int(wanted.rule[0])
    assert reconciler.inherited
    assert rule in reconciler.numbers()
    held = reconciler.held(rule)
    assert {held.text(place) for place in range(len(held))} == {"10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"}
    assert not reconciler.apply(wanted)
    changes = reconciler.apply(tables(deny=[denying("10.0.0.0/8", "192.0.2.2")]))
    assert changes.lists == (BLOCKS, NETWORKS6), "the networks of IPv4 stay where they are"
    assert (changes.before, changes.after) == (3, 2)


def test_lists_that_do_not_fit_are_refused_whole(datapath: Datapath) -> None:
    reconciler = ShieldReconciler(datapath.maps)
    wanted = tables(deny=[denying("10.0.0.0/8")])
    reconciler.apply(wanted)
    many = [f"10.0.{n >> 8}.{n & 255}" for n in range(513)]
    with pytest.raises(
        MapFullError, match=r"room for 512 single addresses and the lists have 513; .*raise `shield_addresses`"
    ):
        reconciler.apply(tables(deny=[denying("11.0.0.0/8", *many)]))
    holds(datapath, wanted)
    reconciler.apply(tables(deny=[denying(*many[:512])]))


def test_there_is_room_for_the_new_beside_the_old(datapath: Datapath) -> None:
    reconciler = ShieldReconciler(datapath.maps)
    reconciler.apply(tables(deny=[denying(*(f"10.0.0.{n}" for n in range(200)), *(f"10.1.0.{n}" for n in range(200)))]))
    wanted = tables(deny=[denying(*(f"10.2.0.{n}" for n in range(200)), *(f"10.3.0.{n}" for n in range(200)))])
    reconciler.apply(wanted)
    holds(datapath, wanted)


@pytest.fixture
def banned(datapath: Datapath) -> Callable[[str], None]:
    """Bans a source as the kernel would."""

    def ban(address: str, rule: int = 70) -> None:
        table = datapath.maps["shield_bans"]
        key, value = np.zeros(1, table.key_dtype), np.zeros(1, table.value_dtype)
        key["addr"] = np.frombuffer(pack(address), np.uint32)
        value["until"], value["rule"] = 5 * MINUTE, rule
        table.update(key, value)

    return ban


def bans(datapath: Datapath) -> set[str]:
    return {str(one.address[-1]) for one in live.bans(datapath.maps, MINUTE)}


def test_bans_are_told_with_the_time_that_they_have_and_can_be_lifted(
    datapath: Datapath, banned: Callable[[str], None]
) -> None:
    banned("192.0.2.1")
    banned("2001:db8::1")
    (one, _) = live.bans(datapath.maps, MINUTE)
    assert (one.remaining, one.rule) == (4 * MINUTE, 70)
    live.unban(datapath.maps, pack("192.0.2.1"))
    assert live.ban_of(datapath.maps, pack("192.0.2.1"), MINUTE) is None
    assert live.ban_of(datapath.maps, pack("2001:db8::1"), MINUTE) is not None
    assert live.ban_of(datapath.maps, pack("2001:db8::1"), 6 * MINUTE) is None
    assert live.bans(datapath.maps, 6 * MINUTE) == []


def test_who_is_allowed_or_protected_is_banned_no_more(datapath: Datapath, banned: Callable[[str], None]) -> None:
    reconciler = ShieldReconciler(datapath.maps)
    spec = {"autoBan": {"after": 3}, "limits": [{"name": "l", "packets": {"rate": 1}}]}
    shield = msgspec.convert({"metadata": {"name": "e"}, "spec": {**spec, "protect": ["192.0.2.4/30"]}}, Shield)
    reconciler.apply(tables(**spec))
    for last in (1, 2, 5, 9):
        banned(f"192.0.2.{last}")
    reconciler.apply(tables(**spec))
    assert bans(datapath) == {"1", "2", "5", "9"}, "a change that protects nobody lifts nothing"
    changes = reconciler.apply(
        of(shield, own=frozenset({pack("192.0.2.1")}), api_server=frozenset({pack("192.0.2.2")}))
    )
    assert (bans(datapath), changes.lifted) == ({"9"}, 3)


def test_bans_end_with_the_wish_for_them_and_with_a_trial(datapath: Datapath, banned: Callable[[str], None]) -> None:
    reconciler = ShieldReconciler(datapath.maps)
    spec: dict[str, Any] = {"autoBan": {"after": 3}}
    reconciler.apply(tables(**spec, mode="DryRun"))
    banned("192.0.2.1")
    reconciler.apply(tables(**spec))
    assert bans(datapath) == set(), "nobody is banned for real for what was only tried"
    banned("192.0.2.1")
    reconciler.apply(tables(malformed="Drop"))
    assert bans(datapath) == set()


def test_the_kernel_finds_every_address_of_a_full_list_and_no_other(datapath: Datapath) -> None:
    draw = random.Random(5)
    every = {f"10.{draw.randrange(256)}.{draw.randrange(256)}.{draw.randrange(256)}" for _ in range(5000)}
    together = [one for one in every if blocks.place(int(np.frombuffer(pack(one), np.uint32)[3]), 128) == 5][:20]
    listed = {*together, *draw.sample(sorted(every), 440), *(f"2001:db8::{number:x}" for number in range(1, 10))}
    wanted = tables(deny=[denying(*listed)])
    ShieldReconciler(datapath.maps).apply(wanted)
    assert datapath.maps["shield_addresses_second"].count() > 9, "blocks are meant to overflow here"
    holds(datapath, wanted)
    assert {one for one in listed | every if judged(datapath, one) == XDP_DROP} == listed


def test_a_list_with_a_number_that_no_block_has_room_for_is_in_the_hash(datapath: Datapath) -> None:
    shield = msgspec.convert({"metadata": {"name": "edge"}, "spec": {"deny": [denying("10.0.0.1")]}}, Shield)
    wanted = compile_shield([shield], Surroundings({}), lambda _: 1 << 20)
    ShieldReconciler(datapath.maps).apply(wanted)
    holds(datapath, wanted)
    assert (judged(datapath, "10.0.0.1"), judged(datapath, "10.0.0.2")) == (XDP_DROP, XDP_PASS)


def test_what_an_agent_left_that_was_killed_while_it_wrote_comes_not_into_force(datapath: Datapath) -> None:
    reconciler = ShieldReconciler(datapath.maps)
    reconciler.apply(tables(deny=[denying("10.0.0.0/8", "2001:db8::1")]))
    for name in ("shield_addresses", "shield_networks4"):  # the sides that are not in force
        table = datapath.maps[name]
        key, value = np.zeros(1, table.key_dtype), np.zeros(1, table.value_dtype)
        value["rule"], value["action"] = 77, ShieldAction.DENY
        table.update(key, value)
    wanted = tables(deny=[denying("11.0.0.0/8", "2001:db8::2")])
    ShieldReconciler(datapath.maps).apply(wanted)
    holds(datapath, wanted)


def test_lists_change_under_traffic_without_an_instant_in_which_a_source_is_judged_otherwise(
    datapath: Datapath,
) -> None:
    """One core sends, the other one changes lists by which both sources are known each time in another way."""
    ways = [
        {"deny": [denying("10.0.0.1")], "allow": [{"name": "a", "cidrs": ["11.0.0.1"]}]},
        {"deny": [denying("10.0.0.0/8")], "allow": [{"name": "a", "cidrs": ["11.0.0.0/8"]}]},
        {"deny": [denying("10.0.0.0/30", "11.0.0.0/8")], "allow": [{"name": "a", "cidrs": ["11.0.0.0/30"]}]},
        {"deny": [denying("0.0.0.0/0"), denying("10.0.0.1", mode="DryRun", name="t")]}
        | {"allow": [{"name": "a", "cidrs": ["11.0.0.0/31", "10.0.0.2"]}]},
        {"deny": [denying("10.0.0.1", "11.0.0.2")], "allow": [{"name": "a", "cidrs": ["11.0.0.1", "12.0.0.0/8"]}]},
    ]
    reconciler, verdicts, done = ShieldReconciler(datapath.maps), set(), Event()
    program, frames = datapath.program("from_wire"), [frame("10.0.0.1"), frame("11.0.0.1")]

    def send() -> None:
        while not done.is_set():
            verdicts.add(tuple(testrun.verdict(program, one) for one in frames))

    reconciler.apply(tables(**ways[0]))
    with ThreadPoolExecutor(1) as threads:
        sending = threads.submit(send)
        for step in range(100):
            assert reconciler.apply(tables(**ways[(step + 1) % len(ways)]))
        done.set()
    sending.result()
    assert verdicts == {(XDP_DROP, XDP_PASS)}


def judged(datapath: Datapath, address: str) -> int:
    """What the program says of a packet from there."""
    return testrun.verdict(datapath.program("from_wire"), frame(address))


def frame(address: str) -> bytes:
    layer = IP(src=address, dst="203.0.113.1") if "." in address else IPv6(src=address, dst="2001:db8:113::1")
    return bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / layer / UDP())
