"""What makes no sense in a Shield, refused in its place: a list that was meant otherwise than written protects nobody.

The definition for the API server (`deploy/kubernetes/base/shields.yaml`) refuses the same there, as far as a schema
can say it.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from daemon.model.objects import KubeObject
from daemon.model.shields import AllowList, DenyList, Limit, LimitProtocol, Shield

Path = tuple[str | int, ...]
Finding = tuple[Path, str]


def shield_refusals(found: KubeObject) -> Iterator[Finding]:
    """The path of each field that cannot be meant so, and what about it."""
    if not isinstance(found, Shield):
        return
    spec = found.spec
    yield from _names(found)
    written: tuple[tuple[str, tuple[DenyList | AllowList, ...]], ...] = (("deny", spec.deny), ("allow", spec.allow))
    for side, lists in written:
        for index, one in enumerate(lists):
            if not one.cidrs and not one.file:
                yield ("spec", side, index), "neither cidrs nor file; write one of them, or leave the list out"
            yield from _cidrs(("spec", side, index, "cidrs"), one.cidrs)
    yield from _cidrs(("spec", "protect"), spec.protect)
    for index, limit in enumerate(spec.limits):
        yield from _limit(("spec", "limits", index), limit)


def _names(shield: Shield) -> Iterator[Finding]:
    """Rules are known by Shield and name, in flows, metrics and on the command line."""
    seen: set[str] = {"protect"}
    spec = shield.spec
    named = {
        "deny": [one.name for one in spec.deny],
        "allow": [one.name for one in spec.allow],
        "limits": [one.name for one in spec.limits],
    }
    for side, names in named.items():
        for index, name in enumerate(names):
            if name in seen:
                yield ("spec", side, index, "name"), f'"{name}" is taken in this Shield; rename one'
            seen.add(name)


def _cidrs(path: Path, cidrs: tuple[str, ...]) -> Iterator[Finding]:
    for index, text in enumerate(cidrs):
        try:
            network = ip_network(text)
        except ValueError as error:
            yield (*path, index), f"{error}; write an address or a network such as 192.0.2.0/24"
            continue
        if network.version == 6 and network.network_address.ipv4_mapped:
            yield (*path, index), f"{text} is an IPv4 address inside IPv6; write it as IPv4"
        elif "%" in text:
            yield (
                (*path, index),
                f"{text} names a device, and a Shield is for all uplinks; leave out what follows the %",
            )
        elif not text.partition("/")[2].isdecimal() and "/" in text:
            yield (*path, index), f"{text} has a mask and no length; write {network}"


def _limit(path: Path, limit: Limit) -> Iterator[Finding]:
    if limit.packets is None and limit.bytes is None:
        yield path, "neither packets nor bytes; write a rate for one of them"
    if limit.only_syn and limit.protocol not in (None, LimitProtocol.TCP):
        yield (*path, "onlySyn"), "only TCP has SYNs; write protocol: TCP or leave onlySyn out"
    if limit.port is not None and limit.protocol is not None and not limit.protocol.has_ports:
        yield (*path, "port"), f"{limit.protocol.value} has no ports; leave port or protocol out"
