"""Who talked to whom, as label values.

An end of a flow has many names: pod, workload, application, address. The settings choose which of them become labels,
with others to fall back on where the first is unknown. What nobody chose is left out of an end, so that two pods that
no label tells apart are one end and cost one series.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
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


class Labeller:
    """Names of the labels that a handler's settings add, and their values for a talk."""

    def __init__(self, config: HandlerConfig, dns: DnsNames) -> None:
        self._config = config
        self._dns = dns
        ends = ("source", Place.SOURCE), ("destination", Place.DESTINATION)
        self._ends = [(name, place) for name, place in ends if any(_place(place, one) for one in config.contexts)]
        self.names = (*(label.value for label in config.labels), *(name for name, _ in self._ends))

    def values(self, talk: Talk) -> tuple[str, ...]:
        """One value for each of `names`; "" where nothing is known."""
        labels = (_label_value(label, talk) for label in self._config.labels)
        return (*labels, *(self._end(place, talk) for _, place in self._ends))

    def _end(self, place: Place, talk: Talk) -> str:
        source = place is Place.SOURCE
        end, other = (talk.source, talk.destination) if source else (talk.destination, talk.source)
        for context in (*self._directed(place, talk.direction), *self._config.contexts.get(place, ())):
            value = self._names(other, end) if context is Context.DNS else _VALUES[context](end)
            if value:
                return value
        return ""

    def _directed(self, place: Place, direction: int) -> tuple[Context, ...]:
        if direction not in (Direction.EGRESS, Direction.INGRESS):
            return ()
        return self._config.contexts.get(Place[f"{place.name}_{Direction(direction).name}"], ())

    def _names(self, asker: End, end: End) -> str:
        return ",".join(self._dns.names(asker.address, end.address))


def _place(place: Place, option: Place) -> bool:
    return option.name.startswith(place.name)


def _in_namespace(end: End, name: str) -> str:
    return f"{end.namespace}/{name}" if end.namespace and name else name


def _ip(end: End) -> str:
    return addresses.text(end.address) if end.address else ""


_VALUES: Mapping[Context, Callable[[End], str]] = {
    Context.IDENTITY: lambda end: end.identity,
    Context.NAMESPACE: lambda end: end.namespace,
    Context.POD: lambda end: _in_namespace(end, end.pod),
    Context.POD_NAME: lambda end: end.pod,
    Context.POD_SHORT: lambda end: _in_namespace(end, _HASHES.sub("", end.pod)),
    Context.IP: _ip,
    Context.RESERVED_IDENTITY: lambda end: end.reserved,
    Context.WORKLOAD: lambda end: _in_namespace(end, end.workload),
    Context.WORKLOAD_NAME: lambda end: end.workload,
    Context.APP: lambda end: end.app,
}


def direction_text(direction: int) -> str:
    """`egress`, `ingress` or `unknown`."""
    known = direction in (Direction.EGRESS, Direction.INGRESS)
    return Direction(direction).name.lower() if known else "unknown"


def reporter(direction: int) -> str:
    """Who tells of a connection: the side of its client or of its server."""
    return {int(Direction.EGRESS): "client", int(Direction.INGRESS): "server"}.get(direction, "unknown")


def _label_value(label: Label, talk: Talk) -> str:
    if label is Label.TRAFFIC_DIRECTION:
        return direction_text(talk.direction)
    side, _, field = label.value.partition("_")
    end = talk.source if side == "source" else talk.destination
    return _ip(end) if field == "ip" else str(getattr(end, _LABEL_FIELDS.get(field, field)))
