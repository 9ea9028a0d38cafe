"""`remora shield explain`, answered: the way of a source through the stages, in their order, from lists and maps.

What decides is what the kernel's maps say. The lists say where that is written, and what else is written of the
source and has no effect.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

from daemon.agent.shielding import Shielding
from daemon.proto import remora_pb2 as pb
from daemon.shield import live
from daemon.shield.tables import LimitRow
from ebpf.addresses import text
from ebpf.datapath import Datapath

LISTED_MAX = 50  # entries that are told; an address is in few, but nobody keeps a list from repeating itself
SMALLEST = 40  # bytes of a packet; a bucket with fewer admits none
_PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP"}


class Verdict(NamedTuple):
    """`pass`, `drop`, `limited` or `off`, and why."""

    word: str
    why: str


def explained(shield: Shielding, datapath: Datapath, address: bytes) -> pb.ExplainShieldResponse:
    """What the shield makes of a source; raises KernelError."""
    told = pb.ExplainShieldResponse(address=text(address))
    if shield.reconciler is None or not shield.reconciler.active:
        told.verdict, told.words = "off", f"{told.address} passes: no Shield is in force on this node"
        return told
    now, maps = time.monotonic_ns(), datapath.maps
    said = live.said_of(maps, address)
    told.listed.extend(_listed(shield, address, said))
    told.proven_ns = live.proven(maps, address, now)
    told.buckets.extend(
        _bucket(shield, one, live.left(maps, one, address, now), address) for one in shield.tables.limits
    )
    ban = live.ban_of(maps, address, now)
    if ban is not None:
        told.ban.address, told.ban.rule = text(address), shield.name_of(ban.rule)
        told.ban.remaining_ns = ban.remaining
    told.verdict, why = _verdict(shield, told, said)
    told.words = f"{told.address} {why}"
    told.notes.extend(_notes(shield, datapath, told, said))
    return told


def _verdict(shield: Shielding, told: pb.ExplainShieldResponse, said: live.Said | None) -> Verdict:
    """The first stage that has something to say, as in the kernel."""
    switches = shield.tables.switches
    if told.HasField("ban") and switches.ban_after:
        span = f"{told.ban.remaining_ns / 1e9:.0f} s more, for {told.ban.rule or 'a limit that is no more'}"
        if not switches.dry:
            return Verdict("drop", f"is dropped: it is banned for {span}")
    if said is not None:
        name = shield.name_of(said.rule) or f"rule {said.rule}"
        first = told.listed[0] if told.listed and told.listed[0].decides else None
        where = f"{first.prefix} of {name} ({first.place})" if first else f"list {name}"
        if said.allow:
            return Verdict("pass", f"passes: {where} lets it in; no limit and no ban is for it")
        if not (said.dry or switches.dry):
            return Verdict("drop", f"is dropped: {where} denies it")
    empty = [one for one in told.buckets if not one.dry_run and _is_empty(one)]
    if empty and not switches.dry:
        return Verdict("limited", f"is over the limit {empty[0].rule}: {empty[0].match} of it are dropped")
    return Verdict("pass", f"passes{_trial(shield, told, said)}")


def _trial(shield: Shielding, told: pb.ExplainShieldResponse, said: live.Said | None) -> str:
    """What would drop it, were it not for a dry run; and else that nothing does."""
    if told.HasField("ban") and shield.tables.switches.ban_after:
        return f"; without the dry run it would be banned for {told.ban.remaining_ns / 1e9:.0f} s more"
    if said is not None:
        return f"; without the dry run {shield.name_of(said.rule)} would drop it"
    over = next((one.rule for one in told.buckets if _is_empty(one)), "")
    if over:
        return f"; without the dry run {over} would drop it"
    return ": it is on no list" + (", and within its limits" if told.buckets else "")


def _listed(shield: Shielding, address: bytes, said: live.Said | None) -> list[pb.ShieldListed]:
    """The entries that have the address, the one that decides first."""
    found = list(_entries(shield, address))[:LISTED_MAX]
    mine = [one for one in found if said is not None and one.rule == shield.name_of(said.rule)]
    first = max(mine, key=lambda one: int(one.prefix.rpartition("/")[2]), default=None)
    if first is not None:
        first.decides = True
    return sorted(found, key=lambda one: not one.decides)


def _entries(shield: Shielding, address: bytes) -> Iterator[pb.ShieldListed]:
    for written in shield.tables.lists:
        for part in written.parts:
            for index in part.entries.having(address).tolist():
                yield pb.ShieldListed(
                    rule=written.name,
                    kind=written.kind.value,
                    dry_run=written.dry,
                    prefix=part.entries.text(index),
                    place=part.place(index),
                )


def _bucket(shield: Shielding, limit: LimitRow, left: live.Left | None, address: bytes) -> pb.ShieldBucket:
    return pb.ShieldBucket(
        rule=shield.name_of(limit.rule),
        dry_run=limit.dry,
        match=match_words(limit),
        shared_by=live.shared_network(limit, address),
        packet_rate=limit.packet_rate,
        packet_burst=limit.packet_burst,
        packets_left=left.packets if left else limit.packet_burst,
        byte_rate=limit.byte_rate,
        byte_burst=limit.byte_burst,
        bytes_left=left.bytes if left else limit.byte_burst,
        untouched=left is None,
    )


def match_words(limit: LimitRow) -> str:
    """What a limit is for: `SYNs to 80/TCP`, `packets`."""
    what = "SYNs" if limit.syn else "packets"
    protocol = _PROTOCOLS.get(limit.proto, "")
    place = "/".join(filter(None, (str(limit.port) if limit.port else "", protocol)))
    return f"{what} to {place}" if limit.port else f"{what} of {place}" if place else what


def _is_empty(bucket: pb.ShieldBucket) -> bool:
    few = bucket.byte_rate and bucket.bytes_left < SMALLEST
    return bool((bucket.packet_rate and not bucket.packets_left) or few)


def _notes(
    shield: Shielding, datapath: Datapath, told: pb.ExplainShieldResponse, said: live.Said | None
) -> Iterator[str]:
    switches = shield.tables.switches
    if not datapath.wires:
        yield "the program runs on no device, so nothing is dropped; see `xdp` and `uplinks` in the settings"
    if switches.malformed:
        yield f"malformed packets of it are {'counted' if switches.malformed_dry or switches.dry else 'dropped'}"
    if switches.syn_rate and not (said is not None and said.allow):
        yield f"beyond {switches.syn_rate:,} SYNs a second to one address and port it must prove itself to connect"
    if len({one.rule for one in told.listed}) > 1:
        yield "allow comes before deny, deny before dry run, then the longest prefix, then the first list by name"
