"""Which metrics are on and which labels they have, in Hubble's own syntax.

    drop:sourceContext=workload|reserved-identity;destinationContext=ip;labelsContext=source_namespace

A line that works for Hubble's setting works here; a mistake is told with what would be right. Without any setting the
defaults below hold: the labels that the public dashboards select on, for all of them at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from ebpf.errors import RemoraError


class MetricsError(RemoraError):
    """The setting `metrics` cannot be used; names the entry and what it may say."""


class Handler(Enum):
    """A group of metrics that is switched on by one name."""

    DNS = "dns"
    DROP = "drop"
    FLOW = "flow"
    FLOWS_TO_WORLD = "flows-to-world"
    HTTP = "http"
    HTTP_V2 = "httpV2"
    ICMP = "icmp"
    POLICY = "policy"
    PORT_DISTRIBUTION = "port-distribution"
    SCTP = "sctp"
    TCP = "tcp"
    REMORA_DNS = "remora-dns"
    REMORA_HTTP = "remora-http"
    REMORA_POLICY = "remora-policy"
    REMORA_TCP = "remora-tcp"


class Flag(Enum):
    """Options that are on or off."""

    QUERY = "query"
    IGNORE_AAAA = "ignoreAAAA"
    ANY_DROP = "any-drop"
    PORT = "port"
    SYN_ONLY = "syn-only"
    EXEMPLARS = "exemplars"


FLAGS: Mapping[Handler, tuple[Flag, ...]] = {
    Handler.DNS: (Flag.QUERY, Flag.IGNORE_AAAA),
    Handler.FLOWS_TO_WORLD: (Flag.ANY_DROP, Flag.PORT, Flag.SYN_ONLY),
    Handler.HTTP: (Flag.EXEMPLARS,),
    Handler.HTTP_V2: (Flag.EXEMPLARS,),
    Handler.REMORA_HTTP: (Flag.EXEMPLARS,),
}


class Context(Enum):
    """What the label `source` or `destination` may say of an end."""

    IDENTITY = "identity"
    NAMESPACE = "namespace"
    POD = "pod"
    POD_NAME = "pod-name"
    POD_SHORT = "pod-short"
    DNS = "dns"
    IP = "ip"
    RESERVED_IDENTITY = "reserved-identity"
    WORKLOAD = "workload"
    WORKLOAD_NAME = "workload-name"
    APP = "app"


class Place(Enum):
    """Options that choose contexts; the ones with a direction go before the ones without."""

    SOURCE = "sourceContext"
    SOURCE_EGRESS = "sourceEgressContext"
    SOURCE_INGRESS = "sourceIngressContext"
    DESTINATION = "destinationContext"
    DESTINATION_EGRESS = "destinationEgressContext"
    DESTINATION_INGRESS = "destinationIngressContext"


class Label(Enum):
    """Labels that `labelsContext` adds, in the order in which they stand."""

    SOURCE_IP = "source_ip"
    SOURCE_POD = "source_pod"
    SOURCE_NAMESPACE = "source_namespace"
    SOURCE_WORKLOAD = "source_workload"
    SOURCE_WORKLOAD_KIND = "source_workload_kind"
    SOURCE_APP = "source_app"
    DESTINATION_IP = "destination_ip"
    DESTINATION_POD = "destination_pod"
    DESTINATION_NAMESPACE = "destination_namespace"
    DESTINATION_WORKLOAD = "destination_workload"
    DESTINATION_WORKLOAD_KIND = "destination_workload_kind"
    DESTINATION_APP = "destination_app"
    TRAFFIC_DIRECTION = "traffic_direction"


_LABELS_CONTEXT = "labelsContext"


@dataclass(frozen=True, slots=True)
class HandlerConfig:
    """One entry of the setting, read."""

    handler: Handler
    contexts: Mapping[Place, tuple[Context, ...]]
    labels: tuple[Label, ...] = ()
    flags: frozenset[Flag] = frozenset()


_ENDS = "sourceContext=workload|reserved-identity;destinationContext=workload|reserved-identity"
_SPACES = f"{_ENDS};labelsContext=source_namespace,destination_namespace"
_WORKLOADS = f"{_SPACES},source_workload,destination_workload"
_APPS = _SPACES.replace("workload|", "app|workload-name|")

DEFAULTS = (
    f"dns:query;{_SPACES}",
    f"drop:{_SPACES}",
    f"flow:{_SPACES}",
    f"flows-to-world:{_SPACES}",
    f"http:{_WORKLOADS}",
    f"httpV2:exemplars=true;{_WORKLOADS}",
    f"icmp:{_SPACES}",
    f"policy:{_APPS}",
    f"port-distribution:{_SPACES}",
    f"sctp:{_SPACES}",
    f"tcp:{_SPACES}",
    f"remora-dns:{_SPACES}",
    f"remora-http:exemplars=true;{_WORKLOADS}",
    f"remora-policy:{_SPACES}",
    f"remora-tcp:{_WORKLOADS}",
)
"""All that is known: `source` and `destination` as dashboards show them, namespaces and workloads as they select."""

E = TypeVar("E", bound=Enum)


def parse(entries: Iterable[str] | None) -> tuple[HandlerConfig, ...]:
    """The entries, read; None stands for the defaults. Raises MetricsError."""
    found: dict[Handler, HandlerConfig] = {}
    for entry in DEFAULTS if entries is None else entries:
        for text in entry.split():
            config = _entry(text)
            if config.handler in found:
                raise MetricsError(f"metrics: {config.handler.value} is named twice", "put its options into one entry")
            found[config.handler] = config
    return tuple(found.values())


def _entry(text: str) -> HandlerConfig:
    name, _, rest = text.partition(":")
    handler = _member(Handler, name, text, "no such metric")
    contexts: dict[Place, tuple[Context, ...]] = {}
    labels: set[Label] = set()
    flags: set[Flag] = set()
    for option in filter(None, rest.split(";")):
        key, _, value = option.partition("=")
        if flag := _find(FLAGS.get(handler, ()), key):
            if _switch(value, option, text):
                flags.add(flag)
        elif key.lower() == _LABELS_CONTEXT.lower():
            labels |= {_member(Label, one, text, f"no such label in {_LABELS_CONTEXT}") for one in value.split(",")}
        elif place := _find(Place, key):
            contexts[place] = tuple(_member(Context, one, text, f"no such {place.value}") for one in value.split("|"))
        else:
            raise _unknown_option(handler, key, text)
    return HandlerConfig(handler, contexts, tuple(one for one in Label if one in labels), frozenset(flags))


def _switch(value: str, option: str, text: str) -> bool:
    known = {"": True, "true": True, "false": False}
    if value.lower() not in known:
        raise MetricsError(f"metrics: {text!r}: {option!r} is neither on nor off", "write true or false")
    return known[value.lower()]


def _unknown_option(handler: Handler, key: str, text: str) -> MetricsError:
    known = [one.value for one in (*FLAGS.get(handler, ()), *Place)]
    return MetricsError(f"metrics: {text!r}: no option {key!r}", f"it is one of {', '.join([*known, _LABELS_CONTEXT])}")


def _find(members: Iterable[E], text: str) -> E | None:
    """The member with that value; Hubble does not mind capitals in options, so nobody here does."""
    return next((one for one in members if one.value.lower() == text.lower()), None)


def _member(kind: type[E], text: str, entry: str, what: str) -> E:
    found = _find(kind, text)
    if found is None:
        raise MetricsError(f"metrics: {entry!r}: {what}: {text!r}", f"it is one of {_words(kind)}")
    return found


def _words(kind: type[Enum]) -> str:
    members: Sequence[Enum] = list(kind)
    return ", ".join(str(one.value) for one in members)
