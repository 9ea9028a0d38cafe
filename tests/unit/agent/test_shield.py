"""The shield in the agent, without a kernel: who is protected, what is counted, what flows say."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from daemon.agent.agent import Agent
from daemon.agent.api_server import named_addresses, served_addresses
from daemon.agent.lists import follow
from daemon.agent.shield_explain import match_words
from daemon.agent.shield_view import shield_packets
from daemon.agent.shielding import Shielding
from daemon.endpoints import Devices
from daemon.model.objects import EndpointSlice
from daemon.model.shields import Shield
from daemon.model.snapshot import Snapshot
from daemon.settings import Settings
from daemon.shield.compile import ShieldError
from daemon.shield.rules import Rule, RuleKind, built_in
from daemon.shield.tables import LimitRow
from ebpf.addresses import pack


def a_slice(name: str, service: str, address: str, namespace: str = "default") -> EndpointSlice:
    meta = {"name": name, "namespace": namespace, "labels": {"kubernetes.io/service-name": service}}
    made = {"metadata": meta, "addressType": "IPv4", "endpoints": [{"addresses": [address]}]}
    return msgspec.convert(made, EndpointSlice)


def test_the_endpoints_of_the_service_kubernetes_are_the_api_servers() -> None:
    slices = (
        a_slice("a", "a", "10.0.0.1"),
        a_slice("kubernetes", "kubernetes", "10.0.0.2"),
        a_slice("kubernetes-x", "kubernetes", "10.0.0.3"),
        a_slice("kubernetes-y", "mine", "10.0.0.4"),
        a_slice("kubernetes", "kubernetes", "10.0.0.5", "other"),
    )
    assert served_addresses(Snapshot(slices=slices)) == {pack("10.0.0.2"), pack("10.0.0.3")}


@pytest.mark.parametrize(
    ("server", "found"),
    [
        ("https://192.0.2.1:6443", {"192.0.2.1"}),
        ("https://[2001:db8::1]:6443", {"2001:db8::1"}),
        ("/etc/remora/manifests", set()),
        ("https://no-such-host.invalid", set()),
    ],
)
def test_the_address_of_the_source_is_the_api_servers(server: str, found: set[str]) -> None:
    assert asyncio.run(named_addresses(server)) == set(map(pack, found))


def test_an_api_server_that_moved_is_protected_at_once_and_one_that_is_not_found_stays() -> None:
    async def looked(server: str, before: set[str]) -> tuple[frozenset[bytes], bool]:
        programmer = SimpleNamespace(api_server=frozenset(map(pack, before)))
        agent: Any = SimpleNamespace(
            source=SimpleNamespace(peer=server), programmer=programmer, _changed=asyncio.Event()
        )
        await Agent._look_for_server(agent)
        return programmer.api_server, agent._changed.is_set()

    old, new = frozenset({pack("192.0.2.1")}), frozenset({pack("192.0.2.2")})
    assert asyncio.run(looked("https://192.0.2.2:6443", {"192.0.2.1"})) == (new, True)
    assert asyncio.run(looked("https://192.0.2.1:6443", {"192.0.2.1"})) == (old, False)
    assert asyncio.run(looked("https://no-such-host.invalid", {"192.0.2.1"})) == (old, False)


def test_a_shield_without_a_program_for_it_is_told_with_what_to_do(tmp_path: Path) -> None:
    datapath: Any = SimpleNamespace(has_xdp=False, maps={}, shield_hits=None)
    shield = Shielding(datapath, Settings(state_dir=str(tmp_path), shield_lists=str(tmp_path)))
    shield.apply(Snapshot(), Devices(), {}, frozenset())
    wanted = msgspec.convert({"metadata": {"name": "edge"}, "spec": {"nodeSelector": {"role": "edge"}}}, Shield)
    shield.apply(Snapshot(shields=(wanted,)), Devices(), {}, frozenset())
    with pytest.raises(ShieldError, match=r"Shield edge is wanted and not in force: .*set `xdp: auto`"):
        shield.apply(Snapshot(shields=(wanted,)), Devices(), {"role": "edge"}, frozenset())


def test_series_of_rules_are_bounded_and_nothing_is_lost() -> None:
    hits = {Rule(64 + n, f"edge/{n}", RuleKind.DENY): {"packets": n, "bytes": 0, "would": 1} for n in range(5)}
    hits[Rule(1, "node", RuleKind.PROTECT)] = {"packets": 100, "bytes": 0, "would": 0}
    told = shield_packets(hits, 2)
    assert told == [
        ("node", "forwarded", 100),
        ("edge/4", "dropped", 4),
        ("edge/4", "audit", 1),
        ("others", "dropped", 6),
        ("others", "audit", 4),
    ]


def test_every_rule_of_the_kernel_has_a_name_and_knows_if_it_is_tried() -> None:
    rules = built_in(malformed_dry=True, syn_dry=False, dry=False)
    assert {one.name for one in rules.values()} >= {"ban", "syn-flood", "malformed/tcp-flags", "malformed/land"}
    assert {one.kind for one in rules.values() if one.dry} == {RuleKind.MALFORMED}


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (LimitRow(1), "packets"),
        (LimitRow(1, proto=17), "packets of UDP"),
        (LimitRow(1, port=53), "packets to 53"),
        (LimitRow(1, port=80, proto=6, syn=True), "SYNs to 80/TCP"),
    ],
)
def test_a_limit_says_what_it_is_for(limit: LimitRow, words: str) -> None:
    assert match_words(limit) == words


def test_the_folder_of_lists_is_followed(tmp_path: Path) -> None:
    async def test() -> None:
        looked = asyncio.Event()
        task = asyncio.create_task(follow(tmp_path, looked.set))
        await asyncio.sleep(0)
        (tmp_path / "feed.txt").write_text("192.0.2.1\n")
        await asyncio.wait_for(looked.wait(), 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(test())
