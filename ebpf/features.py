"""What the running kernel can do, found by trying and not by its version.

The result is shown by `remora status`. What is needed and missing stops the
agent with a message that names it; what is only useful is left out.
"""

from __future__ import annotations

import ctypes as ct
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ebpf import btf, libbpf
from ebpf.errors import KernelError, UnsupportedError
from ebpf.libbpf import MapType, ProgramType

_HELPER_SET_RETVAL = 187
_HELPER_COARSE_CLOCK = 160
_HELPER_CHECK_MTU = 163
_HELPER_SYN_COOKIE = 204
_HELPER_XDP_LOAD_BYTES = 189
DROP_REASONS = "drop reasons"
EXTENSIONS = "program extensions"
EXTENSIONS_SWITCH = "HAVE_EXTENSIONS"
_READ_THIRD = bytes.fromhex("7910100000000000b7000000000000009500000000000000")
"""r0 = *(u64 *)(r1 + 16); r0 = 0; exit"""
_OVERFLOW = "DROP_LISTEN_OVERFLOW"
_REASONS = (_OVERFLOW, "DROP_OTHERHOST")
"""drop reasons that programs treat apart"""
_OFFSETS = {
    "SKB_HEAD": ("sk_buff", "head"),
    "SKB_NETWORK": ("sk_buff", "network_header"),
    "SK_ERR": ("sock", "sk_err"),
    "SK_ACK_BACKLOG": ("sock", "sk_ack_backlog"),
    "SK_MAX_ACK_BACKLOG": ("sock", "sk_max_ack_backlog"),
    "SK_LAST_SENT": ("tcp_sock", "lsndtime"),
    "SK_LAST_RECEIVED": ("inet_connection_sock", "icsk_ack.lrcvtime"),
}
"""members of kernel structs that programs read, by the name of their offset in C"""


@dataclass(frozen=True, slots=True)
class Feature:
    """One ability of the kernel: is it there, and what does it serve."""

    name: str
    present: bool
    serves: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Features:
    """All that was probed. `cgroup` is the mount point of cgroup v2, None where there is none."""

    release: str
    cgroup: Path | None
    items: tuple[Feature, ...]
    facts: Mapping[str, int] = field(default_factory=dict)
    """offsets and numbers that the running kernel alone knows; empty where it does not tell all of them"""

    def has(self, name: str) -> bool:
        """Is the feature with this name present? Raises StopIteration for a name that is not probed."""
        return next(item for item in self.items if item.name == name).present

    def require(self) -> None:
        """Raise UnsupportedError, naming all that is missing and needed."""
        missing = [f"{item.name} ({item.serves})" for item in self.items if item.required and not item.present]
        if missing:
            raise UnsupportedError(
                f"kernel {self.release} lacks: {', '.join(missing)}", "use Linux 5.10 or later, and run as root"
            )

    def defines(self) -> tuple[str, ...]:
        """Compiler switches for the optional abilities that are present."""
        switches = {
            "bpf_set_retval": "HAVE_SET_RETVAL",
            "coarse clock": "HAVE_COARSE_CLOCK",
            "size check": "HAVE_CHECK_MTU",
            "SYN cookies in XDP": "HAVE_SYN_COOKIES",
            "XDP buffers": "HAVE_XDP_BUFFERS",
            EXTENSIONS: EXTENSIONS_SWITCH,
        }
        found = (switch for name, switch in switches.items() if self.has(name))
        return (*found, *(f"{name}={value}" for name, value in sorted(self.facts.items())))

    @property
    def listen_overflow(self) -> int:
        """The kernel's drop reason for a full accept queue; 0 where it has none."""
        return self.facts.get(_OVERFLOW, 0)


def _facts() -> dict[str, int]:
    found = btf.offsets(_OFFSETS)
    reasons = {f"DROP_{name.removeprefix('TCP_')}": number for number, name in btf.drop_reasons().items()}
    if not found or not reasons.keys() >= set(_REASONS):
        return {}
    return found | {name: reasons[name] for name in _REASONS}


def probe() -> Features:
    """Ask the kernel; takes some milliseconds. Needs root, else everything seems to be missing."""
    cgroup = cgroup2_mount()
    return Features(os.uname().release, cgroup, (*_programs(), *_maps(), *_rest(cgroup)), _facts())


def cgroup2_mount() -> Path | None:
    """Where cgroup v2 is mounted, also beside v1 controllers (hybrid)."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(where)
    return None


def _programs() -> tuple[Feature, ...]:
    def there(kind: ProgramType) -> bool:
        return libbpf.supports_program(kind)

    return (
        Feature("tc programs", there(ProgramType.SCHED_CLS), "flows of workloads", required=True),
        Feature("cgroup sock_addr programs", there(ProgramType.CGROUP_SOCK_ADDR), "Services", required=True),
        Feature("cgroup skb programs", there(ProgramType.CGROUP_SKB), "process names in flows"),
        Feature(EXTENSIONS, there(ProgramType.EXT), "XDP beside others' programs, in a dispatcher of libxdp"),
        Feature(DROP_REASONS, _drop_reasons(), "drops by the kernel (Linux 5.17)"),
    )


def _drop_reasons() -> bool:
    """Has the tracepoint of drops a third argument, the reason? Where not, a program that reads it is not let in."""
    code = ct.create_string_buffer(_READ_THIRD, len(_READ_THIRD))
    try:
        reads = libbpf.load_program(ProgramType.RAW_TRACEPOINT, "reads_reason", ct.addressof(code), len(code))
        try:
            os.close(libbpf.call("cannot attach", "bpf_raw_tracepoint_open", b"kfree_skb", reads))
        finally:
            os.close(reads)
    except KernelError:
        return False
    return True


def _maps() -> tuple[Feature, ...]:
    def there(kind: MapType) -> bool:
        return libbpf.supports_map(kind)

    return (
        Feature("ring buffer", there(MapType.RINGBUF), "flow records (Linux 5.8)", required=True),
        Feature("socket storage", there(MapType.SK_STORAGE), "reverse translation of Services", required=True),
    )


def _rest(cgroup: Path | None) -> tuple[Feature, ...]:
    retval = libbpf.supports_helper(ProgramType.CGROUP_SOCK_ADDR, _HELPER_SET_RETVAL)
    coarse = libbpf.supports_helper(ProgramType.SCHED_CLS, _HELPER_COARSE_CLOCK)
    sizes = libbpf.supports_helper(ProgramType.SCHED_CLS, _HELPER_CHECK_MTU)
    cookies = libbpf.supports_helper(ProgramType.XDP, _HELPER_SYN_COOKIE)
    buffers = libbpf.supports_helper(ProgramType.XDP, _HELPER_XDP_LOAD_BYTES)
    return (
        Feature("cgroup v2", cgroup is not None, "Services at the socket", required=True),
        Feature("bpf_set_retval", retval, "ECONNREFUSED from empty Services (Linux 5.18); EPERM without"),
        Feature("coarse clock", coarse, "cheaper time stamps (Linux 5.11)"),
        Feature("size check", sizes, "telling senders outside of a smaller path (Linux 5.12)"),
        Feature(
            "SYN cookies in XDP",
            cookies,
            "proof of SYNs' sources (Linux 6.0); the shield drops what is too much without",
        ),
        Feature("XDP buffers", buffers, "frames of several buffers at XDP (Linux 5.18)"),
        Feature("BTF", Path("/sys/kernel/btf/vmlinux").exists(), "names of kernel drop reasons"),
    )
