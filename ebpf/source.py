"""One text for BCC out of the C sources.

BCC rewrites map methods only in the main text, so a header that touches a map
must stand in it. Local includes are therefore joined here, once each, with
`#line` marks, so that the compiler's messages still name our files and lines.
The text, the options and the kernel release give the hash that decides whether
anything has to be compiled at all.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from bpf_programs import ROOT


@dataclass(frozen=True, slots=True)
class Unit:
    """What one compiler makes. LLVM's time is most of a cold start, so units are compiled side by side."""

    name: str
    sources: tuple[str, ...]
    defines: tuple[str, ...] = ()
    typed: bool = False
    """with type information, which takes a quarter more time"""


MAPS = Unit("maps", ("maps.c",), typed=True)
"""made before the others, which find the maps by their pins; the kernel wants to know the type of a socket's storage"""

UNITS = (
    Unit("from", ("endpoint.c", "socket.c"), ("WITH_FROM_ENDPOINT",)),
    Unit("to", ("endpoint.c", "tcp.c", "trace.c", "uplink.c"), ("WITH_TO_ENDPOINT",)),
)
"""all programs that every agent has, one file per hook, in two halves that take about the same time"""

WIRE = Unit("wire", ("xdp.c",), ("WITH_XDP",))
"""made only where it is asked for: a compiler more"""

_INCLUDE = re.compile(r'^#include "(include/[\w/]+\.h)"$')
_PROGRAM = re.compile(r"^int (\w+)\(")
_STATEFUL = ("include/enums.h", "include/structs.h", "include/policy_structs.h", "include/maps.h")


@dataclass(frozen=True, slots=True)
class Options:
    """Sizes that are fixed when the programs are loaded. Every one becomes a `-D` of the same name."""

    services_max: int = 65536
    """frontends (entries): 10,000 Services with two ports and two families, with room"""
    backends_max: int = 262144
    """service slots (entries)"""
    addresses_max: int = 65536
    """addresses of workloads (entries): 10,000 pods of two families, with room"""
    affinities_max: int = 65536
    """clients that stay with a backend (entries, the oldest give way)"""
    packet_clients_max: int = 4096
    """workloads that are left to the per-packet path (entries)"""
    connections_max: int = 131072
    """tracked connections (entries, the oldest give way): 2,000 a second on two devices for half a minute"""
    owners_max: int = 65536
    """connections whose process is known (entries, the oldest give way)"""
    reverses_max: int = 65536
    """unconnected UDP sockets with a translated peer (entries, the oldest give way)"""
    translations_max: int = 131072
    """directions of connections from outside, two for each (entries; a new connection that finds no room is refused)"""
    source_ranges_max: int = 16384
    """prefixes of loadBalancerSourceRanges (entries)"""
    maglev_rows_max: int = 65536
    """rows of Maglev tables (entries of 128 places, taken when used): 512 tables of 16,381 places"""
    snat_port_first: int = 10000
    """first of the ports that hide clients from outside; below all that the kernel and node ports use by default"""
    snat_port_last: int = 29999
    """the last of them"""
    guards_max: int = 4096
    """devices of workloads that policy knows (entries)"""
    classes_max: int = 65536
    """addresses that policies tell apart (entries): 10,000 pods of two families, with room"""
    networks_max: int = 16384
    """networks of policies (entries)"""
    rulesets_max: int = 8192
    """sets of rules of this node's workloads (entries); old and new ones are there at once during a change"""
    policies_max: int = 131072
    """entries of all sets of rules; old and new ones are there at once during a change"""
    rules_max: int = 16384
    """rules whose packets are counted (entries)"""
    flow_ring_pages: int = 1024
    """flow ring buffer (pages, a power of two); 4 MiB hold a tenth of a second at 200,000 records a second"""
    payload_ring_pages: int = 512
    """payload ring buffer (pages, a power of two)"""
    report_interval_ns: int = 5_000_000_000
    """time between two records of an active connection (ns)"""
    http_budget: int = 500
    """HTTP requests a second and CPU whose heads are copied; decoding is the agent's dearest work"""
    payload_max: int = 2048
    """bytes of a message's head that are copied, a power of two; holds a TLS hello with post-quantum keys"""
    xdp: int = 0
    """1: there is a program for XDP"""

    def defines(self) -> list[str]:
        """The options as compiler arguments."""
        return [f"-D{name.upper()}={value}" for name, value in sorted(asdict(self).items())]

    def units(self) -> tuple[Unit, ...]:
        """What is compiled, the maps first."""
        return (MAPS, *UNITS, WIRE) if self.xdp else (MAPS, *UNITS)


def joined(root: Path, sources: tuple[str, ...]) -> str:
    """The sources with their local includes in place, each once; raises OSError where one is missing."""
    seen: set[str] = set()
    return "".join(_expand(root, name, seen) for name in sources)


def functions(text: str, defines: tuple[str, ...]) -> list[str]:
    """The programs of a text: its functions that are not static, of those behind a switch only what is switched on."""
    found, switch = [], ""
    for line in text.splitlines():
        if line.startswith(("#ifdef WITH_", "#endif")):
            switch = line.removeprefix("#ifdef ") if line.startswith("#ifdef") else ""
        elif (name := _PROGRAM.match(line)) and (not switch or switch in defines):
            found.append(name[1])
    return found


def _expand(root: Path, name: str, seen: set[str]) -> str:
    lines = [f'#line 1 "{name}"\n']
    for number, line in enumerate((root / name).read_text().splitlines(), start=1):
        found = _INCLUDE.match(line)
        if not found:
            lines.append(line + "\n")
        elif found[1] not in seen:
            seen.add(found[1])
            lines += [_expand(root, found[1], seen), f'#line {number + 1} "{name}"\n']
        else:
            lines.append("\n")
    return "".join(lines)


def build_id(options: Options, features: tuple[str, ...] = (), root: Path = ROOT) -> str:
    """Hash of all that decides what the programs are: equal hash, nothing to compile (16 hex digits)."""
    text = "".join(joined(root, unit.sources) for unit in options.units())
    return _digest(text, *options.defines(), *features, os.uname().release)


def schema_id(options: Options, root: Path = ROOT) -> str:
    """Hash of all that decides what the pinned maps are: equal hash, the maps can stay (8 hex digits)."""
    sizes = [define for define in options.defines() if "_MAX=" in define]
    return _digest(*((root / name).read_text() for name in _STATEFUL), *sizes)[:8]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
