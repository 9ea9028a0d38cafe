"""Shields and list files to tables.

Sources that are allowed or protected beat every list, and a list that drops beats one that only counts: an entry that
lies in a stronger one is left out, so that the longest prefix in the kernel is always the answer. Of equally strong
lists the longest entry counts, and of equal entries that of the list that comes first by name.

Several Shields join: lists and limits add up, of what a node has once the strictest holds, and what is enforced goes
before what is counted. Nothing here touches the kernel or the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from daemon.model.shields import LIMITS_MAX, Limit, Malformed, Shield, ShieldMode, seconds
from daemon.model.snapshot import Problem, Severity
from daemon.shield.entries import NOTHING, Entries, ListError, firsts, inside, joined, of_addresses, of_cidrs
from daemon.shield.rules import Rule, RuleKind
from daemon.shield.tables import LimitRow, Part, ShieldTables, SourceList, Switches
from ebpf.errors import RemoraError

OWN, API_SERVER, OPERATOR = "node", "api-server", "protect"
"""Rules of the protect list: the node's own addresses, the API server's, and what Shields name."""

_STRENGTHS = ({RuleKind.PROTECT, RuleKind.ALLOW}, {RuleKind.DENY}, {RuleKind.DENY})


class ShieldError(RemoraError):
    """The Shields cannot come into force; the old ones stay."""


class Surroundings(NamedTuple):
    """What a Shield means here: the node's labels, whom it may not lock out (16 bytes each), and the list files."""

    labels: Mapping[str, str]
    own: frozenset[bytes] = frozenset()
    api_server: frozenset[bytes] = frozenset()
    folder: str = ""
    files: Mapping[str, Entries | None] = {}
    """None: no version was ever read, and what the kernel holds of the list stays"""
    held: Callable[[str], Entries] = lambda _rule: NOTHING
    """entries of a rule in the kernel, by the rule's name"""


def wanted_here(shields: Sequence[Shield], labels: Mapping[str, str]) -> list[Shield]:
    """The Shields of a node, by name."""
    chosen = [one for one in shields if one.spec.node_selector.items() <= labels.items()]
    return sorted(chosen, key=lambda one: one.name)


def files_of(shields: Sequence[Shield]) -> set[str]:
    """The files that Shields name."""
    lists = (one for shield in shields for side in (shield.spec.deny, shield.spec.allow) for one in side)
    return {one.file for one in lists if one.file}


def compile_shield(shields: Sequence[Shield], around: Surroundings, number: Callable[[str], int]) -> ShieldTables:
    """The tables of a node; raises ShieldError for more than the kernel can count."""
    chosen = wanted_here(shields, around.labels)
    if not chosen:
        return ShieldTables()
    problems: list[Problem] = []
    lists = [*_protected(chosen, around, problems), *_lists(chosen, around, problems)]
    limits = [(shield, limit) for shield in chosen for limit in shield.spec.limits]
    if len(limits) > LIMITS_MAX:
        what = f"the Shields of this node have {len(limits)} limits and there is room for {LIMITS_MAX}"
        raise ShieldError(f"{what}; nothing was changed", "take some out")
    found = _resolved(lists, number)
    rules = [_list_rule(one, number(one.name), int((found.rule == number(one.name)).sum())) for one in lists]
    rows = [_row(shield, limit, number(f"{shield.name}/{limit.name}")) for shield, limit in limits]
    rules += [
        Rule(row.rule, f"{shield.name}/{limit.name}", RuleKind.LIMIT, row.dry, origin=_origin(shield))
        for row, (shield, limit) in zip(rows, limits, strict=True)
    ]
    return ShieldTables(
        *found,
        tuple(rows),
        _switches(chosen, problems),
        {one.number: one for one in rules},
        tuple(lists),
        len(chosen),
        tuple(problems),
    )


class _Resolved(NamedTuple):
    """The columns of ShieldTables, in its order."""

    entries: Entries
    rule: npt.NDArray[np.uint32]
    allow: npt.NDArray[np.bool_]
    dry: npt.NDArray[np.bool_]


def _resolved(lists: Sequence[SourceList], number: Callable[[str], int]) -> _Resolved:
    """For each strength the entries that nothing stronger or earlier covers."""
    kept: list[tuple[Entries, npt.NDArray[np.uint32], int]] = []
    stronger = NOTHING
    for strength, kinds in enumerate(_STRENGTHS):
        chosen = [one for one in lists if one.kind in kinds and one.dry is (strength == 2)]
        found = joined(part.entries for one in chosen for part in one.parts)
        sizes = [sum(len(part.entries) for part in one.parts) for one in chosen]
        rules = np.repeat(np.array([number(one.name) for one in chosen], np.uint32), sizes)
        unique = firsts(found)
        found, rules = found.some(unique), rules[unique]
        free = np.flatnonzero(~inside(found, stronger))
        kept.append((found.some(free), rules[free], strength))
        stronger = joined((stronger, kept[-1][0]))
    sizes = [len(found) for found, _, _ in kept]
    strengths = np.repeat(np.array([strength for _, _, strength in kept]), sizes)
    return _Resolved(stronger, np.concatenate([rules for _, rules, _ in kept]), strengths == 0, strengths == 2)


def _protected(chosen: Sequence[Shield], around: Surroundings, problems: list[Problem]) -> Iterator[SourceList]:
    yield _protect(OWN, Part("an address of this node", of_addresses(sorted(around.own))), "this node")
    yield _protect(API_SERVER, Part("an address of the API server", of_addresses(sorted(around.api_server))), "source")
    for shield in chosen:
        if shield.spec.protect:
            part = _written(shield, "protect", shield.spec.protect, problems)
            yield _protect(f"{shield.name}/{OPERATOR}", part, _origin(shield))


def _protect(name: str, part: Part, origin: str) -> SourceList:
    return SourceList(name, RuleKind.PROTECT, False, origin, (part,))


def _lists(chosen: Sequence[Shield], around: Surroundings, problems: list[Problem]) -> Iterator[SourceList]:
    for shield in chosen:
        for allow in shield.spec.allow:
            name = f"{shield.name}/{allow.name}"
            parts = _parts(shield, name, allow.cidrs, allow.file, around, problems)
            yield SourceList(name, RuleKind.ALLOW, False, _origin(shield), tuple(parts))
        for deny in shield.spec.deny:
            name = f"{shield.name}/{deny.name}"
            parts = _parts(shield, name, deny.cidrs, deny.file, around, problems)
            dry = _dry(shield, deny.mode)
            yield SourceList(name, RuleKind.DENY, dry, _origin(shield), tuple(parts))


def _parts(
    shield: Shield,
    name: str,
    cidrs: Sequence[str],
    file: str | None,
    around: Surroundings,
    problems: list[Problem],
) -> Iterator[Part]:
    if cidrs:
        yield _written(shield, name, cidrs, problems)
    if file:
        path = f"{around.folder}/{file}"
        known = around.files.get(file)
        if known is None:  # of an agent before, whose good version of the file is in the kernel
            yield Part(f"{path}, as read by an agent before", around.held(name))
        else:
            yield Part(path, known)


def _written(shield: Shield, name: str, cidrs: Sequence[str], problems: list[Problem]) -> Part:
    """What stands in an object; what the API server let through and is none is left out and told."""
    good: list[Entries] = []
    for text in cidrs:
        try:
            good.append(of_cidrs([text]))
        except ListError as error:
            problems.append(Problem(_origin(shield), 0, f"{name}: {error}; it is left out", Severity.ERROR))
    return Part(_origin(shield), joined(good))


def _list_rule(one: SourceList, number: int, entries: int) -> Rule:
    return Rule(number, one.name, one.kind, one.dry, entries, one.origin)


def _row(shield: Shield, limit: Limit, number: int) -> LimitRow:
    packets, size = limit.packets, limit.bytes
    return LimitRow(
        number,
        packets.rate if packets else 0,
        packets.depth if packets else 0,
        size.rate if size else 0,
        size.depth if size else 0,
        limit.port or 0,
        limit.protocol.number if limit.protocol else 0,
        limit.per.ipv4,
        limit.per.ipv6,
        limit.only_syn,
        _dry(shield, limit.mode),
    )


def _switches(chosen: Sequence[Shield], problems: list[Problem]) -> Switches:
    malformed = {
        Malformed.DRY_RUN if one.spec.malformed is Malformed.DROP and _dry(one) else one.spec.malformed
        for one in chosen
    }
    floods = [(_dry(one, one.spec.syn_flood.mode), one.spec.syn_flood) for one in chosen if one.spec.syn_flood]
    dry, flood = min(floods, key=lambda found: (found[0], found[1].threshold), default=(False, None))
    all_dry = all(_dry(one) for one in chosen)
    for one in chosen:
        if one.spec.auto_ban and _dry(one) and not all_dry:
            words = "autoBan of a Shield in DryRun is not used while another one is enforced"
            problems.append(Problem(_origin(one), 0, words, Severity.NOTE))
        if one.spec.auto_ban and not any(other.spec.limits for other in chosen):
            words = "autoBan bans whom limits drop, and no Shield has any: add `limits`"
            problems.append(Problem(_origin(one), 0, words, Severity.NOTE))
    bans = [one.spec.auto_ban for one in chosen if one.spec.auto_ban and (all_dry or not _dry(one))]
    ban = min(bans, key=lambda found: found.after, default=None)
    return Switches(
        malformed=malformed != {Malformed.PASS},
        malformed_dry=Malformed.DROP not in malformed and Malformed.DRY_RUN in malformed,
        syn_rate=flood.threshold if flood else 0,
        proven_seconds=seconds(flood.proven) if flood else 0,
        syn_dry=dry,
        ban_after=ban.after if ban else 0,
        ban_window=seconds(ban.within) if ban else 0,
        ban_seconds=seconds(ban.for_) if ban else 0,
        dry=all_dry,
    )


def _dry(shield: Shield, mode: ShieldMode = ShieldMode.ENFORCE) -> bool:
    return ShieldMode.DRY_RUN in (shield.spec.mode, mode)


def _origin(shield: Shield) -> str:
    return f"Shield {shield.name}"
