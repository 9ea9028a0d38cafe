"""The shield as the API tells it: rules with what they decided, who is banned, and what becomes of a source and why.

Everything is read in the thread that compiles and programs, so an answer is of one moment.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING

from daemon.agent.shield_explain import explained
from daemon.agent.wires import wired
from daemon.model.directory import packed
from daemon.proto import remora_pb2 as pb
from daemon.shield import live
from daemon.shield.rules import Rule, RuleKind
from ebpf.addresses import text
from ebpf.datapath import Datapath

if TYPE_CHECKING:
    from daemon.agent.programmer import Programmer

Hits = Mapping[int, Mapping[str, int]]

_ALWAYS = (RuleKind.ALLOW, RuleKind.DENY, RuleKind.PROTECT, RuleKind.LIMIT)
_NO_HITS: Mapping[str, int] = {"packets": 0, "bytes": 0, "would": 0}


class ShieldView:
    """Answers for one programmer; each method in the programmer's thread."""

    def __init__(self, programmer: Programmer) -> None:
        self._programmer = programmer

    def listed(self) -> pb.ListShieldResponse:
        """Rules and bans; raises KernelError."""
        shield, datapath = self._programmer.shield, self._programmer.datapath
        bans = live.bans(datapath.maps, time.monotonic_ns()) if shield.reconciler else []
        return pb.ListShieldResponse(
            rules=list(self._rules(hits_of(datapath))),
            bans=[told(one, shield.name_of(one.rule)) for one in bans],
            devices=wired(datapath),
        )

    def explain(self, request: pb.ExplainShieldRequest) -> pb.ExplainShieldResponse:
        """What becomes of a source; raises ValueError for what is no address, KernelError."""
        return explained(self._programmer.shield, self._programmer.datapath, packed(ip_address(request.address)))

    def unban(self, request: pb.UnbanRequest) -> pb.UnbanResponse:
        """Let a source in again; raises ValueError for what is no address, KernelError."""
        address, maps = packed(ip_address(request.address)), self._programmer.datapath.maps
        shield = self._programmer.shield
        ban = live.ban_of(maps, address, time.monotonic_ns()) if shield.reconciler else None
        if ban is None:
            return pb.UnbanResponse()
        live.unban(maps, address)
        return pb.UnbanResponse(ban=told(ban, shield.name_of(ban.rule)))

    def _rules(self, hits: Hits) -> Iterator[pb.ShieldRule]:
        """Those of Shields, and of the kernel's own those that are switched on."""
        shield = self._programmer.shield
        switches = shield.tables.switches
        on = {RuleKind.MALFORMED: switches.malformed, RuleKind.BAN: switches.ban_after, RuleKind.SYN: switches.syn_rate}
        for number, rule in sorted(shield.rules().items()):
            if rule.kind in _ALWAYS or on[rule.kind]:
                yield _rule(rule, hits.get(number, _NO_HITS))


def hits_of(datapath: Datapath) -> Hits:
    """Packets, bytes and would-be drops by rule; raises KernelError."""
    return datapath.shield_hits.struct_totals() if datapath.shield_hits is not None else {}


def shield_packets(hits: Mapping[Rule, Mapping[str, int]], most: int) -> list[tuple[str, str, int]]:
    """Rule, verdict and packets, of so many rules on their own and of all others together."""
    ordered = sorted(hits.items(), key=lambda item: -item[1]["packets"] - item[1]["would"])
    found: dict[tuple[str, str], int] = defaultdict(int)
    for place, (rule, hit) in enumerate(ordered):
        name = rule.name if place < most else "others"
        lets_in = rule.kind in (RuleKind.ALLOW, RuleKind.PROTECT)
        for verdict, count in (("forwarded" if lets_in else "dropped", hit["packets"]), ("audit", hit["would"])):
            if count:
                found[name, verdict] += count
    return [(*labels, count) for labels, count in found.items()]


def told(ban: live.Ban, rule: str) -> pb.ShieldBan:
    """A ban in the API's words."""
    return pb.ShieldBan(address=text(ban.address), rule=rule, remaining_ns=ban.remaining)


def _rule(rule: Rule, hits: Mapping[str, int]) -> pb.ShieldRule:
    return pb.ShieldRule(
        number=rule.number,
        name=rule.name,
        kind=rule.kind.value,
        dry_run=rule.dry,
        entries=rule.entries,
        packets=hits["packets"],
        bytes=hits["bytes"],
        would_drop=hits["would"],
        origin=rule.origin,
    )
