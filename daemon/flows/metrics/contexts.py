"""Who talked to whom, as label values.

An end of a flow has many names: pod, workload, application, address. The settings choose which of them become labels,
with others to fall back on where the first is unknown. What nobody chose is left out of an end, so that two pods that
no label tells apart are one end and cost one series.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import NamedTuple

from daemon.flows.metrics.options import Context, HandlerConfig, Label, Place
from daemon.flows.names import DnsNames
from daemon.model import FIRST_IDENTITY, Workload
from ebpf import addresses
from ebpf.constants import Direction

_APP_LABELS = ("k8s:app.kubernetes.io/name=", "k8s:k8s-app=", "k8s:app=")
_API_SERVER = "reserved:kube-apiserver"
_HASHES = re.compile(
    r"(-[bcdf-hj-np-tv-z2456789]{5,10})?-[a-z0-9]{5}$"
)  # alphabet of generated names; set's numbers stay


class End(NamedTuple):
    """Names of one end; empty where there is none or where no metric asks for it."""

    namespace: str = ""
    pod: str = ""
    workload: str = ""
    kind: str = ""
    app: str = ""
    identity: str = ""
    reserved: str = ""
    address: bytes = b""


class Talk(NamedTuple):
    """Both ends and the direction (a `Direction`, 0: unknown)."""

    source: End
    destination: End
    direction: int

    def turned(self) -> Talk:
        """The same with the ends exchanged."""
        return Talk(self.destination, self.source, self.direction)


_FIELDS: Mapping[Context, tuple[str, ...]] = {
    Context.IDENTITY: ("identity",),
    Context.NAMESPACE: ("namespace",),
    Context.POD: ("namespace", "pod"),
    Context.POD_NAME: ("pod",),
    Context.POD_SHORT: ("namespace", "pod"),
    Context.DNS: ("address",),
    Context.IP: ("address",),
    Context.RESERVED_IDENTITY: ("reserved",),
    Context.WORKLOAD: ("namespace", "workload"),
    Context.WORKLOAD_NAME: ("workload",),
    Context.APP: ("app",),
}
_LABEL_FIELDS = {"ip": "address", "workload_kind": "kind"}


def needed(configs: Iterable[HandlerConfig]) -> frozenset[str]:
    """The fields of `End` that some label says."""
    found = {"reserved"}
    for config in configs:
        for contexts in config.contexts.values():
            found.update(field for context in contexts for field in _FIELDS[context])
        for label in config.labels:
            field = label.value.partition("_")[2]
            found.add(_LABEL_FIELDS.get(field, field))
    return frozenset(found) & set(End._fields)


def describe(workload: Workload, address: bytes, fields: frozenset[str]) -> End:
    """The end that a workload is at an address (16 bytes), as far as it is asked for."""
    if workload.identity < FIRST_IDENTITY:
        whole = End(identity=",".join(workload.labels), reserved=_reserved(workload), address=address)
    else:
        name, kind = _owner(workload)
        app = next((found for prefix in _APP_LABELS if (found := _label(workload.labels, prefix))), "")
        identity = ",".join(workload.labels)
        whole = End(workload.namespace, workload.name, name, kind, app, identity, address=address)
    return whole._replace(**{field: value for field, value in End._field_defaults.items() if field not in fields})


def _reserved(workload: Workload) -> str:
    reserved = [label for label in workload.labels if label.startswith("reserved:")]
    return _API_SERVER if _API_SERVER in reserved else (reserved or [f"reserved:{workload.name}"])[0]


def _owner(workload: Workload) -> tuple[str, str]:
    """Name and kind of what made a pod; a pod that nobody made is its own workload, as in Hubble."""
    if workload.owners:
        return workload.owners[0].name, workload.owners[0].kind
    return workload.name, "Pod" if workload.namespace else ""


def _label(labels: tuple[str, ...], prefix: str) -> str:
    return next((label.removeprefix(prefix) for label in labels if label.startswith(prefix)), "")


Way = Callable[[End, End], str]
"""Says something of an end (the first one) that talks with another."""


class Labeller:
    """Names of the labels that a handler's settings add, and their values for a talk."""

    def __init__(self, config: HandlerConfig, dns: DnsNames) -> None:
        self._dns = dns
        self._labels = tuple(_label_way(label) for label in config.labels)
        places = [place for place in (Place.SOURCE, Place.DESTINATION) if _asked(place, config)]
        self._ends = {
            direction: [(place is Place.SOURCE, self._ways(place, direction, config)) for place in places]
            for direction in (0, *Direction)
        }
        self.names = (*(label.value for label in config.labels), *(place.name.lower() for place in places))

    def values(self, talk: Talk) -> tuple[str, ...]:
        """One value for each of `names`; "" where nothing is known."""
        found = [way(talk) for way in self._labels]
        for source, ways in self._ends[talk.direction]:
            end, other = (talk.source, talk.destination) if source else (talk.destination, talk.source)
            found.append(next((value for way in ways if (value := way(end, other))), ""))
        return tuple(found)

    def _ways(self, place: Place, direction: int, config: HandlerConfig) -> tuple[Way, ...]:
        """What is tried for an end, in this order."""
        directed = Place[f"{place.name}_{Direction(direction).name}"] if direction else place
        contexts = dict.fromkeys((*config.contexts.get(directed, ()), *config.contexts.get(place, ())))
        return tuple(self._names if context is Context.DNS else _WAYS[context] for context in contexts)

    def _names(self, end: End, other: End) -> str:
        return ",".join(self._dns.names(other.address, end.address))


def _asked(place: Place, config: HandlerConfig) -> bool:
    return any(option.name.startswith(place.name) for option in config.contexts)


def _in_namespace(end: End, name: str) -> str:
    return f"{end.namespace}/{name}" if end.namespace and name else name


def _ip(end: End, _: object = None) -> str:
    return addresses.text(end.address) if end.address else ""


_WAYS: Mapping[Context, Way] = {
    Context.IDENTITY: lambda end, _: end.identity,
    Context.NAMESPACE: lambda end, _: end.namespace,
    Context.POD: lambda end, _: _in_namespace(end, end.pod),
    Context.POD_NAME: lambda end, _: end.pod,
    Context.POD_SHORT: lambda end, _: _in_namespace(end, _HASHES.sub("", end.pod)),
    Context.IP: _ip,
    Context.RESERVED_IDENTITY: lambda end, _: end.reserved,
    Context.WORKLOAD: lambda end, _: _in_namespace(end, end.workload),
    Context.WORKLOAD_NAME: lambda end, _: end.workload,
    Context.APP: lambda end, _: end.app,
}


def direction_text(direction: int) -> str:
    """`egress`, `ingress` or `unknown`."""
    known = direction in (Direction.EGRESS, Direction.INGRESS)
    return Direction(direction).name.lower() if known else "unknown"


def reporter(direction: int) -> str:
    """Who tells of a connection: the side of its client or of its server."""
    return {int(Direction.EGRESS): "client", int(Direction.INGRESS): "server"}.get(direction, "unknown")


def _label_way(label: Label) -> Callable[[Talk], str]:
    """How a label of `labelsContext` is filled."""
    if label is Label.TRAFFIC_DIRECTION:
        return lambda talk: direction_text(talk.direction)
    side, _, field = label.value.partition("_")
    whose = attrgetter(side)
    if field == "ip":
        return lambda talk: _ip(whose(talk))
    return attrgetter(f"{side}.{_LABEL_FIELDS.get(field, field)}")
