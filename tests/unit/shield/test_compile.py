"""Lists held against each other: what the longest prefix says is what a plain reading of the lists says."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.model.shields import Shield
from daemon.model.snapshot import Severity
from daemon.shield.compile import ShieldError, Surroundings, compile_shield, files_of
from daemon.shield.entries import NOTHING, of_cidrs
from daemon.shield.rules import FIRST_RULE, NumberBook, RuleKind
from daemon.shield.tables import ShieldTables, Switches
from ebpf.addresses import pack

Network = IPv4Network | IPv6Network
Answer = tuple[str, str] | None  # rule, and allow, deny or dry

# few bits, so that lists meet; both families
ENDS = st.tuples(st.integers(0, 15), st.integers(0, 3))
V4 = st.builds(lambda ends, bits: ip_network((ends[0] << 28 | ends[1], bits), strict=False), ENDS, st.integers(0, 32))
V6 = st.builds(lambda ends, bits: ip_network((ends[0] << 124 | ends[1], bits), strict=False), ENDS, st.integers(0, 128))
NETWORKS = st.one_of(V4, V6)
LISTS = st.lists(st.lists(NETWORKS, max_size=6), max_size=3)


def shield(name: str = "edge", **spec: Any) -> Shield:
    return msgspec.convert({"metadata": {"name": name}, "spec": spec}, Shield)


def compiled(*shields: Shield, **around: Any) -> tuple[ShieldTables, dict[int, str]]:
    names: dict[str, int] = {}
    tables = compile_shield(
        shields, Surroundings({}, **around), lambda name: names.setdefault(name, FIRST_RULE + len(names))
    )
    return tables, {number: name for name, number in names.items()}


def longest(tables: ShieldTables, names: dict[int, str], address: str) -> Answer:
    """What the kernel finds."""
    found = tables.entries.having(pack(address))
    if not len(found):
        return None
    assert len(found) == 1 or tables.entries.bits[found[0]] > tables.entries.bits[found[1]], "an entry is there twice"
    first = found[0]
    effect = "allow" if tables.allow[first] else "dry" if tables.dry[first] else "deny"
    return names[int(tables.rule[first])], effect


def naive(lists: list[tuple[str, str, list[Network]]], address: str) -> Answer:
    """Allow before deny before dry; in one of these the longest, and of equals the first list."""
    for effect in ("allow", "deny", "dry"):
        found = [
            (-network.prefixlen, index, name)
            for index, (name, kind, networks) in enumerate(lists)
            for network in networks
            if kind == effect and ip_address(address) in network
        ]
        if found:
            return min(found)[2], effect
    return None


@given(LISTS, LISTS, LISTS, st.lists(NETWORKS, max_size=4), st.sets(NETWORKS, max_size=3))
def test_the_longest_prefix_is_the_answer_of_a_plain_reading(
    allow: list[list[Network]],
    deny: list[list[Network]],
    dry: list[list[Network]],
    protect: list[Network],
    own: set[Network],
) -> None:
    def lists(prefix: str, written: list[list[Network]], **more: str) -> list[dict[str, Any]]:
        return [{"name": f"{prefix}{i}", "cidrs": [*map(str, one)], **more} for i, one in enumerate(written) if one]

    found = shield(
        allow=lists("a", allow),
        deny=[*lists("d", deny), *lists("t", dry, mode="DryRun")],
        protect=[str(one) for one in protect],
    )
    here = frozenset(pack(str(one.network_address)) for one in own)
    tables, names = compiled(found, own=here)
    written = [("node", "allow", [ip_network(str(one.network_address)) for one in own])]
    written.append(("edge/protect", "allow", protect))
    for prefix, effect, each in (("a", "allow", allow), ("d", "deny", deny), ("t", "dry", dry)):
        written += [(f"edge/{prefix}{i}", effect, one) for i, one in enumerate(each)]
    everywhere = [network for _, _, networks in written for network in networks]
    for network in everywhere:
        for address in (network.network_address, network.broadcast_address):
            if getattr(address, "ipv4_mapped", None) is None:
                assert longest(tables, names, str(address)) == naive(written, str(address)), address


def test_a_network_of_one_family_says_nothing_of_the_other() -> None:
    tables, names = compiled(shield(deny=[{"name": "all", "cidrs": ["::/0"]}]))
    assert longest(tables, names, "192.0.2.1") is None
    assert longest(tables, names, "2001:db8::1") == ("edge/all", "deny")


def test_the_api_server_and_the_node_itself_can_not_be_denied() -> None:
    everything = shield(deny=[{"name": "all", "cidrs": ["0.0.0.0/0", "10.0.0.1", "10.0.0.2"]}])
    here, server = frozenset({pack("10.0.0.1")}), frozenset({pack("10.0.0.2")})
    tables, names = compiled(everything, own=here, api_server=server)
    assert longest(tables, names, "10.0.0.1") == ("node", "allow")
    assert longest(tables, names, "10.0.0.2") == ("api-server", "allow")
    assert longest(tables, names, "10.0.0.3") == ("edge/all", "deny")


def test_a_trial_inside_of_what_is_denied_opens_no_hole() -> None:
    tables, names = compiled(
        shield("strict", deny=[{"name": "wide", "cidrs": ["10.0.0.0/8"]}]),
        shield("trial", mode="DryRun", deny=[{"name": "narrow", "cidrs": ["10.1.0.0/16", "11.0.0.0/8"]}]),
    )
    assert longest(tables, names, "10.1.0.1") == ("strict/wide", "deny")
    assert longest(tables, names, "11.0.0.1") == ("trial/narrow", "dry")
    assert not tables.switches.dry


def test_without_a_shield_for_the_node_nothing_is_wanted() -> None:
    tables, _ = compiled(shield(nodeSelector={"role": "edge"}, deny=[{"name": "all", "cidrs": ["::/0"]}]))
    assert (len(tables.entries), tables.rules, tables.shields) == (0, {}, 0)


def test_the_rules_say_how_much_of_a_list_is_in_force() -> None:
    tables, _ = compiled(
        shield(deny=[{"name": "a", "cidrs": ["10.0.0.0/8", "10.0.0.0/8"]}, {"name": "b", "cidrs": ["10.0.0.0/8"]}])
    )
    assert {one.name: one.entries for one in tables.rules.values() if one.kind is RuleKind.DENY} == {
        "edge/a": 1,
        "edge/b": 0,
    }


def test_of_what_a_node_has_once_the_strictest_holds() -> None:
    one = shield("one", malformed="DryRun", synFlood={"threshold": 500, "proven": "2m"}, autoBan={"after": 20})
    limits = [{"name": "any", "packets": {"rate": 9}}]
    two = shield("two", malformed="Drop", synFlood={"threshold": 100, "mode": "DryRun"}, limits=limits)
    three = shield("three", mode="DryRun", malformed="Drop", autoBan={"after": 1, "within": "1m", "for": "1h"})
    tables, _ = compiled(one, two, three)
    assert tables.switches == Switches(
        malformed=True, syn_rate=500, proven_seconds=120, ban_after=20, ban_window=10, ban_seconds=600
    )
    assert [one.severity for one in tables.problems] == [Severity.NOTE]
    trial, _ = compiled(three)
    assert trial.switches == Switches(
        malformed=True, malformed_dry=True, ban_after=1, ban_window=60, ban_seconds=3600, dry=True
    )


def test_bans_without_limits_are_said_to_ban_nobody() -> None:
    ban = {"after": 20}
    alone, _ = compiled(shield("one", autoBan=ban))
    limited, _ = compiled(shield("one", autoBan=ban), shield("two", limits=[{"name": "any", "packets": {"rate": 9}}]))
    assert [one.message for one in alone.problems] == [
        "autoBan bans whom limits drop, and no Shield has any: add `limits`"
    ]
    assert not limited.problems


def test_more_limits_than_the_kernel_asks_are_refused_whole() -> None:
    limits = [{"name": f"l{i}", "packets": {"rate": 1}} for i in range(9)]
    with pytest.raises(ShieldError, match="have 18 limits and there is room for 16; nothing was changed"):
        compiled(shield("a", limits=limits), shield("b", limits=limits))


def test_a_limit_is_counted_as_it_is_written() -> None:
    limit = {"name": "dns", "per": {"ipv4": 24}, "protocol": "UDP", "port": 53, "bytes": {"rate": 10, "burst": 30}}
    tables, names = compiled(shield(limits=[limit, {"name": "syn", "onlySyn": True, "packets": {"rate": 7}}]))
    dns, syn = tables.limits
    assert names[dns.rule] == "edge/dns"
    assert (dns.byte_rate, dns.byte_burst, dns.packet_rate, dns.proto, dns.port) == (10, 30, 0, 17, 53)
    assert (dns.prefix4, dns.prefix6, syn.packet_burst, syn.syn, syn.prefix4) == (24, 64, 7, True, 32)


def test_a_file_that_was_never_read_leaves_what_the_kernel_holds() -> None:
    found = shield(deny=[{"name": "feed", "file": "feed.txt"}])
    assert files_of([found]) == {"feed.txt"}
    held = {"edge/feed": of_cidrs(["192.0.2.0/24"])}
    tables, names = compiled(found, files={"feed.txt": None}, held=lambda name: held.get(name, NOTHING))
    assert longest(tables, names, "192.0.2.1") == ("edge/feed", "deny")


def test_what_is_no_address_in_an_object_is_left_out_and_told() -> None:
    tables, names = compiled(shield(deny=[{"name": "x", "cidrs": ["10.0.0.0/33", "10.0.0.0/8"]}]))
    assert longest(tables, names, "10.0.0.1") == ("edge/x", "deny")
    (problem,) = tables.problems
    assert str(problem).startswith('Shield edge: error: edge/x: "10.0.0.0/33" is no address or network')


def test_a_rule_keeps_its_number_over_changes_and_restarts(tmp_path: Any) -> None:
    file = tmp_path / "shield.json"
    book = NumberBook(file, taken={70})
    first = [book.number(name) for name in ("a", "b", "a")]
    assert first == [71, 72, 71]
    book.keep()
    again = NumberBook(file)
    assert (again.number("b"), again.number("c"), again.number("a")) == (72, 73, 71)


def test_names_of_rules_that_are_no_more_are_forgotten_in_the_end(tmp_path: Any) -> None:
    book = NumberBook(tmp_path / "shield.json")
    numbers = [book.number(f"r{i}") for i in range(300)]
    assert book.retire({"r0"}) == numbers[1:44]
    assert book.number("r0") == numbers[0]


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 3}', '{"a": "b"}'])
def test_a_book_that_cannot_be_read_is_begun_anew(tmp_path: Any, text: str) -> None:
    file = tmp_path / "shield.json"
    file.write_text(text)
    assert NumberBook(file).number("a") == FIRST_RULE
