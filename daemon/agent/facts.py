"""What this host looks like to somebody who is not there: for a report of a problem.

Only names, addresses and numbers are asked for. Rules of other programs are told by the names of their tables and
chains, since comments and sets are nobody's business here.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from daemon.agent.host import Host, ToolError
from daemon.agent.preflight import inspect
from daemon.settings import Settings

_TOOLS: dict[str, Sequence[str]] = {
    "links.txt": ("ip", "-d", "-s", "link"),
    "addresses.txt": ("ip", "address"),
    "rules.txt": ("ip", "rule"),
    "routes4.txt": ("ip", "route", "show", "table", "all"),
    "routes6.txt": ("ip", "-6", "route", "show", "table", "all"),
    "neighbours.txt": ("ip", "neigh"),
    "qdiscs.txt": ("tc", "-s", "qdisc"),
    "nft-tables.txt": ("nft", "list", "tables"),
    "nft-chains.txt": ("nft", "list", "chains"),
    "sockets.txt": ("ss", "-s"),
}
_SAVED = ("iptables-save", "ip6tables-save")
_FILES = (
    "/proc/version",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/uptime",
    "/proc/net/softnet_stat",
    "/proc/net/snmp",
    "/proc/net/netstat",
    "/proc/net/netlink",
    "/proc/sys/net/core/bpf_jit_enable",
    "/proc/sys/kernel/unprivileged_bpf_disabled",
    "/proc/sys/kernel/bpf_stats_enabled",
    "/sys/kernel/security/lockdown",
    "/etc/os-release",
)
_MOUNTS = ("cgroup", "cgroup2", "bpf", "tracefs", "debugfs", "securityfs")
_PROCESS = ("status", "limits", "cgroup", "smaps_rollup")
_CHAIN = re.compile(r"^(\*\w+|:\S+)", re.MULTILINE)

Wrap = Callable[[Sequence[str]], list[str]]


def facts(host: Host, settings: Settings, pid: int = 0) -> Iterator[tuple[str, str]]:
    """Names of files and their texts; `pid`: the agent, whose network namespace is looked at."""
    wrap = _entering(pid)
    yield "uname.txt", " ".join(os.uname()) + "\n"
    yield "preflight.json", json.dumps([{**asdict(one), "level": one.level.value} for one in inspect(settings, host)])
    yield "mounts.txt", _mounts(host)
    yield "files.txt", "".join(f"== {name}\n{host.text(name)}\n" for name in _FILES)
    yield "pins.txt", _tree(Path(settings.bpffs))
    for name, argv in _TOOLS.items():
        yield name, _told(host, wrap(argv))
    for tool in _SAVED:
        yield f"{tool}-names.txt", "".join(f"{name}\n" for name in _CHAIN.findall(_told(host, wrap((tool,)))))
    if pid:
        yield "agent-process.txt", "".join(f"== {name}\n{host.text(f'/proc/{pid}/{name}')}\n" for name in _PROCESS)
    yield "journal.txt", _told(host, ("journalctl", "-u", "remora", "-n", "1000", "--no-pager", "-o", "short-iso"))


def _entering(pid: int) -> Wrap:
    return lambda argv: ["nsenter", f"--net=/proc/{pid}/ns/net", *argv] if pid else list(argv)


def _told(host: Host, argv: Sequence[str]) -> str:
    try:
        text = host.run(argv)
    except ToolError as error:
        return f"not read: {error}\n"
    return f"not read: {argv[0]} is not installed\n" if text is None else text


def _mounts(host: Host) -> str:
    lines = host.text("/proc/self/mounts").splitlines()
    return "".join(f"{line}\n" for line in lines if len(line.split()) > 2 and line.split()[2] in _MOUNTS)


def _tree(root: Path) -> str:
    names = [str(Path(folder, name)) for folder, _, files in os.walk(root) for name in sorted(files)]
    return "".join(f"{name}\n" for name in names) or f"nothing is pinned below {root}\n"
