"""The Shield: what is not to come in from outside, in one object that nodes take from a folder or from the API server.

It is our own kind (`remora.io/v1alpha1`, cluster-wide), because Kubernetes has none for what happens before an address
is anybody's. Several of them join. A Shield does what it names and nothing more: what is left out is left alone, the
dropping of malformed packets too, so that an object with one list is never more than that list.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from msgspec import Meta, field

from daemon.model.objects import KubeObject, Part, PortNumber

SHIELD_VERSION = "remora.io/v1alpha1"
LIMITS_MAX = 16  # of all Shields of a node together: the kernel asks each of them for each packet

_NAME = r"^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$"
_FILE = r"^[A-Za-z0-9][-A-Za-z0-9_.]{0,254}$"
_TIME = r"^[1-9][0-9]{0,5}[smh]$"
RuleName = Annotated[str, Meta(pattern=_NAME)]
FileName = Annotated[str, Meta(pattern=_FILE)]
"""A plain name in the folder of lists: it leads nowhere else."""
Duration = Annotated[str, Meta(pattern=_TIME)]
PATTERNS = {
    _NAME: "a name of small letters, digits, - and ., for example known-bad",
    _FILE: "the plain name of a file in `shield_lists`, for example feed.txt",
    _TIME: "a whole number of s, m or h, for example 30s, 10m, 24h",
}
"""Patterns of texts, in words."""
Bits4 = Annotated[int, Meta(ge=0, le=32)]
Bits6 = Annotated[int, Meta(ge=0, le=128)]
Count = Annotated[int, Meta(ge=1, le=2**32 - 1)]
Rate = Annotated[int, Meta(ge=1, le=10**12)]

_SECONDS = {"s": 1, "m": 60, "h": 3600}


class ShieldMode(Enum):
    """Whether a rule drops, or only counts and tells what it would drop."""

    ENFORCE = "Enforce"
    DRY_RUN = "DryRun"


class Malformed(Enum):
    """What becomes of packets that no sound sender makes."""

    DROP = "Drop"
    DRY_RUN = "DryRun"
    PASS = "Pass"


class LimitProtocol(Enum):
    """Transport that a limit is for; `number` is the IP protocol's."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"
    ICMP = "ICMP"
    ICMPV6 = "ICMPv6"

    @property
    def number(self) -> int:
        return _NUMBERS[self]

    @property
    def has_ports(self) -> bool:
        return self in (LimitProtocol.TCP, LimitProtocol.UDP, LimitProtocol.SCTP)


_NUMBERS = {
    LimitProtocol.TCP: 6,
    LimitProtocol.UDP: 17,
    LimitProtocol.SCTP: 132,
    LimitProtocol.ICMP: 1,
    LimitProtocol.ICMPV6: 58,
}


class ShieldPart(Part, frozen=True, forbid_unknown_fields=True):
    """A field that is not known is refused: `mod: DryRun` would enforce."""


class DenyList(ShieldPart, frozen=True):
    """Sources that do not come in: written here, in a file of the node, or both."""

    name: RuleName
    cidrs: tuple[str, ...] = ()
    file: FileName | None = None
    mode: ShieldMode = ShieldMode.ENFORCE


class AllowList(ShieldPart, frozen=True):
    """Sources that no list, limit or ban ever drops. It only lets pass, so it has no mode."""

    name: RuleName
    cidrs: tuple[str, ...] = ()
    file: FileName | None = None


class Per(ShieldPart, frozen=True):
    """Who shares a bucket: sources that are equal in so many bits, with 0 all of a family."""

    ipv4: Bits4 = 32
    ipv6: Bits6 = 64


class Bucket(ShieldPart, frozen=True):
    """A rate a second, and how much may come at once; without `burst` a second's worth."""

    rate: Rate
    burst: Rate | None = None

    @property
    def depth(self) -> int:
        return self.burst or self.rate


class Limit(ShieldPart, frozen=True):
    """How much one source may send, of what a limit is for."""

    name: RuleName
    per: Per = Per()
    protocol: LimitProtocol | None = None
    port: PortNumber | None = None
    only_syn: bool = False
    packets: Bucket | None = None
    bytes: Bucket | None = None
    mode: ShieldMode = ShieldMode.ENFORCE


class SynFlood(ShieldPart, frozen=True):
    """From `threshold` SYNs a second to one address and port on, sources must prove that they exist."""

    threshold: Count
    proven: Duration = "60s"
    mode: ShieldMode = ShieldMode.ENFORCE


class AutoBan(ShieldPart, frozen=True):
    """A source of which limits dropped `after` packets within a time is let in no more for another."""

    after: Count
    within: Duration = "10s"
    for_: Duration = field(default="10m", name="for")


class ShieldSpec(ShieldPart, frozen=True):
    mode: ShieldMode = ShieldMode.ENFORCE
    node_selector: dict[str, str] = field(default_factory=dict)
    malformed: Malformed = Malformed.PASS
    deny: tuple[DenyList, ...] = ()
    allow: tuple[AllowList, ...] = ()
    protect: tuple[str, ...] = ()
    limits: Annotated[tuple[Limit, ...], Meta(max_length=LIMITS_MAX)] = ()
    syn_flood: SynFlood | None = None
    auto_ban: AutoBan | None = None


class Shield(KubeObject, frozen=True, forbid_unknown_fields=True):
    api_version: str = ""
    kind: str = ""
    spec: ShieldSpec = ShieldSpec()


def seconds(text: Duration) -> int:
    """A duration in seconds."""
    return int(text[:-1]) * _SECONDS[text[-1]]
