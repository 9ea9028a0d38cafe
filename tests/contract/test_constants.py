"""What stands on both sides of the kernel border must be the same on both."""

from __future__ import annotations

import re
from enum import IntEnum

import pytest

from bpf_programs import ROOT
from daemon.shield import live
from ebpf import constants
from ebpf.datapath import Datapath
from tests.support import layouts

MIRRORS: dict[str, tuple[type[IntEnum], str]] = {
    "verdict": (constants.Verdict, "VERDICT_"),
    "drop_reason": (constants.DropReason, "DROP_"),
    "reserved": (constants.Reserved, "RESERVED_"),
    "event_kind": (constants.EventKind, "EVENT_"),
    "point": (constants.Point, "POINT_"),
    "direction": (constants.Direction, "DIRECTION_"),
    "mark": (constants.Mark, "MARK_"),
    "payload_kind": (constants.PayloadKind, "PAYLOAD_"),
    "counter": (constants.Counter, "COUNTER_"),
    "address_flag": (constants.AddressFlag, "ADDRESS_"),
    "scope": (constants.Scope, "SCOPE_"),
    "node_flag": (constants.NodeFlag, "NODE_"),
    "wire": (constants.WireMode, "WIRE_"),
    "translation_mark": (constants.TranslationMark, "TRANSLATION_"),
    "stage": (constants.Stage, "STAGE_"),
    "failure": (constants.Failure, "FAILURE_"),
    "frontend_flag": (constants.FrontendFlag, "FRONTEND_"),
    "policy_action": (constants.PolicyAction, "POLICY_"),
    "policy_flag": (constants.PolicyFlag, "POLICY_FLAG_"),
    "guard_flag": (constants.GuardFlag, "GUARD_"),
    "shield_flag": (constants.ShieldFlag, "SHIELD_"),
    "shield_action": (constants.ShieldAction, "SHIELD_"),
    "shield_said": (constants.ShieldSaid, "SHIELD_SAID_"),
    "shield_rule": (constants.ShieldRule, "SHIELD_RULE_"),
}
_ENUM = re.compile(r"^enum (\w+) \{\n(.*?)^\};", re.MULTILINE | re.DOTALL)
_VALUE = re.compile(r"^\s*(\w+) = (\d+)", re.MULTILINE)


def header_enums() -> dict[str, dict[str, int]]:
    text = (ROOT / "include" / "enums.h").read_text()
    return {name: {key: int(value) for key, value in _VALUE.findall(body)} for name, body in _ENUM.findall(text)}


def test_every_enum_of_the_header_is_mirrored() -> None:
    assert set(header_enums()) == set(MIRRORS)


@pytest.mark.parametrize("name", MIRRORS)
def test_a_mirror_has_the_names_and_values_of_the_header(name: str) -> None:
    mirror, prefix = MIRRORS[name]
    assert {prefix + member.name: int(member) for member in mirror} == header_enums()[name]


@pytest.mark.parametrize(
    ("table", "side", "struct"),
    [
        ("services", "key", "frontend_key"),
        ("services", "value", "frontend"),
        ("backends", "key", "backend_key"),
        ("backends", "value", "backend"),
        ("detours", "value", "detour"),
        ("affinities", "key", "affinity_key"),
        ("affinities", "value", "affinity"),
        ("node", "value", "node"),
        ("addresses", "key", "address_key"),
        ("addresses", "value", "address"),
        ("connections", "key", "conn_key"),
        ("connections", "value", "conn"),
        ("translations", "key", "translation_key"),
        ("translations", "value", "translation"),
        ("uplinks", "value", "uplink"),
        ("source_ranges", "key", "range_key"),
        ("maglevs", "value", "maglev"),
        ("maglev_rows", "key", "maglev_key"),
        ("maglev_rows", "value", "maglev_row"),
        ("maglev_backends", "key", "backend_key"),
        ("owners", "key", "owner_key"),
        ("owners", "value", "owner"),
        ("reverses", "key", "reverse_key"),
        ("reverses", "value", "reverse"),
        ("fragments", "key", "fragment_key"),
        ("fragments", "value", "fragment"),
        ("payload_scratch", "value", "payload_event"),
        ("policy_state", "value", "policy_state"),
        ("guards", "value", "guard"),
        ("classes", "value", "class_of"),
        ("networks", "key", "network_key"),
        ("networks", "value", "class_of"),
        ("rulesets", "value", "policy_rule"),
        ("policies", "key", "policy_key"),
        ("policies", "value", "policy_rule"),
    ],
)
def test_bcc_reports_the_layout_that_the_header_says_and_no_hidden_padding(
    datapath: Datapath, table: str, side: str, struct: str
) -> None:
    compare(datapath, table, side, struct)


@pytest.mark.parametrize(
    ("table", "side", "struct"),
    [
        ("shield_config", "value", "shield_config"),
        ("shield_blocks", "value", "shield_block"),
        ("shield_addresses", "value", "shield_entry"),
        ("shield_networks4", "key", "network4_key"),
        ("shield_networks6", "key", "network_key"),
        ("shield_limits", "value", "shield_limit"),
        ("shield_buckets", "key", "shield_bucket_key"),
        ("shield_buckets", "value", "shield_bucket"),
        ("shield_bans", "value", "shield_ban"),
        ("shield_offences", "value", "shield_offence"),
        ("shield_syns", "key", "shield_syn_key"),
        ("shield_syns", "value", "shield_syn"),
        ("shield_fragments", "key", "fragment_key"),
        ("shield_fragments", "value", "shield_datagram"),
        ("shield_hits", "value", "shield_hit"),
    ],
)
def test_so_it_does_for_what_only_the_program_for_xdp_has(
    datapath: Datapath, table: str, side: str, struct: str
) -> None:
    compare(datapath, table, side, struct)


def compare(datapath: Datapath, table: str, side: str, struct: str) -> None:
    reported = getattr(datapath.build.maps[table], side)
    assert reported == layouts.dtype(struct)
    named = sum(reported[name].itemsize for name in reported.names)
    assert named == reported.itemsize, f"struct {struct} has padding that no field names"


def test_what_is_left_in_a_bucket_is_reckoned_as_the_kernel_does() -> None:
    text = (ROOT / "include" / "limit.h").read_text()
    said = {name: int(re.search(rf"#define {name} (\d+)", text)[1]) for name in ("TICK_SHIFT", "TOKEN")}  # type: ignore[index]
    assert said == {"TICK_SHIFT": live.TICK_SHIFT, "TOKEN": live.TOKEN}
