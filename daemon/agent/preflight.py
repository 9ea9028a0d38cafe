"""Is this host ready for remora? Asked before an agent runs, and without one.

Whoever installs a service proxy wants to know what will not work before traffic tells. Everything here only looks: no
module is loaded, nothing is mounted or set. What needs root to be seen is said to be unseen, not guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.machinery import PathFinder
from pathlib import Path

from daemon.agent.finding import Finding, Level, fail, ok, warn
from daemon.agent.host import Host, this_host
from daemon.agent.leftovers import leftovers
from daemon.settings import Settings
from ebpf import bpffs, features
from ebpf.errors import RemoraError

NODE_PORTS = range(30000, 32768)  # the API server's default --service-node-port-range

_SHOWN = 5  # devices that are named


def inspect(settings: Settings, host: Host | None = None) -> list[Finding]:
    """All findings, in the order of an operator's questions. A check that cannot be made is a finding too."""
    host = host or this_host()
    found: list[Finding] = []
    for check in _CHECKS:
        try:
            found += check(host, settings)
        except (OSError, RemoraError, ValueError) as error:
            found.append(warn(check.__name__.strip("_").replace("_", " "), f"not looked at: {error}", "run as root"))
    return found


def ready(findings: list[Finding]) -> bool:
    """No finding says that it would not work."""
    return all(finding.level is not Level.FAIL for finding in findings)


def _kernel(host: Host, _: Settings) -> Iterator[Finding]:
    if not host.superuser:
        yield warn("kernel", "not asked what it can do: that needs root", "run: sudo remora preflight")
        return
    probed = features.probe()
    yield ok("kernel", probed.release)
    for item in (one for one in probed.items if one.name != "cgroup v2"):  # looked at below, more closely
        if item.present:
            yield ok(item.name, f"present, for {item.serves}")
        elif item.required:
            yield fail(item.name, f"missing, needed for {item.serves}", "use Linux 5.10 or later")
        else:
            yield warn(item.name, f"missing: {item.serves}", "a later kernel has it; the agent works without")


def _packages(host: Host, _: Settings) -> Iterator[Finding]:
    bcc = PathFinder.find_spec("bcc")
    if bcc is None:
        todo = "apt install python3-bpfcc, and use an environment that sees system packages"
        yield fail("BCC", "python3-bpfcc is not installed, or this Python does not see it", todo)
    elif not Path(bcc.origin or "/").with_name("libbcc.py").exists():
        todo = "pip uninstall bcc; apt install python3-bpfcc"
        yield fail("BCC", f"{bcc.origin} is another package of that name", todo)
    else:
        yield ok("BCC", str(bcc.origin))
    places = [host.path("/usr/include/linux/types.h"), *host.path("/usr/include").glob("*/asm/types.h")]
    if len(places) > 1 and places[0].exists():
        yield ok("UAPI headers", "/usr/include/linux and asm")
    else:
        yield fail("UAPI headers", "linux/types.h or asm/types.h is missing", "apt install linux-libc-dev")


def _cgroup(host: Host, settings: Settings) -> Iterator[Finding]:
    mount = next((where for kind, where in _mounts(host) if kind == "cgroup2"), None)
    if mount is None:
        yield fail("cgroup v2", "not mounted", "mount -t cgroup2 none /sys/fs/cgroup/unified")
        return
    folder = settings.cgroup or mount
    if not host.path(folder).is_dir():
        yield fail("cgroup v2", f"{folder}, named in the settings, is not there", "create it, or name another one")
    elif not settings.cgroup and host.path(f"{folder}/cgroup.type").exists():
        yield warn("cgroup v2", f"{folder} is not the root of the tree: other processes reach no Service", _NAMESPACE)
    else:
        yield ok("cgroup v2", f"{folder}{' (from the settings)' if settings.cgroup else ', the whole tree'}")


_NAMESPACE = "run the agent in the host's cgroup namespace, or name the host's root as `cgroup` in the settings"


def _mounts(host: Host) -> list[tuple[str, str]]:
    lines = (line.split() for line in host.text("/proc/self/mounts").splitlines())
    return [(fields[2], fields[1]) for fields in lines if len(fields) > 2]


def _pins(host: Host, settings: Settings) -> Iterator[Finding]:
    mounted = [where for kind, where in _mounts(host) if kind == "bpf"]
    root = Path(settings.bpffs)
    if any(Path(where) in (root, *root.parents) for where in mounted):
        yield ok("bpffs", f"mounted for {root}")
    elif bpffs.BPFFS in (root, *root.parents):
        todo = "mount -t bpf bpf /sys/fs/bpf, so that pins outlive the agent's mount namespace"
        yield warn("bpffs", f"not mounted on {bpffs.BPFFS}; the agent will mount it", todo)
    else:
        yield fail("bpffs", f"{root} is not on a BPF file system", f"name a folder below {bpffs.BPFFS} as `bpffs`")


def _reverse_path(host: Host, _: Settings) -> Iterator[Finding]:
    folder = "/proc/sys/net/ipv4/conf"
    names = [name for name in host.names(folder) if name not in ("all", "default", "lo")]
    general = _number(host.text(f"{folder}/all/rp_filter"))
    strict = [name for name in names if max(general, _number(host.text(f"{folder}/{name}/rp_filter"))) == 1]
    if not strict:
        yield ok("rp_filter", "not strict on any device")
        return
    shown = ", ".join(strict[:_SHOWN]) + (f" and {len(strict) - _SHOWN} more" if len(strict) > _SHOWN else "")
    words = f"strict on {shown}: packets that come another way than their answers go are dropped"
    yield warn("rp_filter", words, "sysctl -w net.ipv4.conf.all.rp_filter=2 (loose) unless routes are symmetric")


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _node_ports(host: Host, _: Settings) -> Iterator[Finding]:
    yield _kept_free(host, "NodePort range", NODE_PORTS)


def _snat_ports(host: Host, settings: Settings) -> Iterator[Finding]:
    first, last = settings.snat_range
    yield _kept_free(host, "snat_ports", range(first, last + 1))


def _kept_free(host: Host, what: str, ports: range) -> Finding:
    """Whether the kernel gives none of these ports to the node's own sockets."""
    folder = "/proc/sys/net/ipv4"
    reserved = list(_ranges(host.text(f"{folder}/ip_local_reserved_ports")))
    local = host.text(f"{folder}/ip_local_port_range").split()
    wanted = f"{ports.start}-{ports.stop - 1}"
    if all(any(port in one for one in reserved) for port in ports):
        return ok(what, f"{wanted} is reserved")
    if len(local) == 2 and (int(local[0]) >= ports.stop or int(local[1]) < ports.start):
        return ok(what, f"{wanted} lies outside the ports of outgoing connections ({local[0]}-{local[1]})")
    todo = f"sysctl -w net.ipv4.ip_local_reserved_ports={wanted}, added to what is reserved already"
    return warn(what, f"outgoing connections may take ports of {wanted}", todo)


def _forwarding(host: Host, _: Settings) -> Iterator[Finding]:
    """Without it nothing is sent on from an uplink."""
    names = {"net.ipv4.ip_forward": "ipv4/ip_forward", "net.ipv6.conf.all.forwarding": "ipv6/conf/all/forwarding"}
    off = [name for name, path in names.items() if host.text(f"/proc/sys/net/{path}") == "0"]
    if not off:
        yield ok("forwarding", "is on")
        return
    todo = " ".join(["sysctl -w", *(f"{name}=1" for name in off)])
    yield warn("forwarding", f"{', '.join(off)} is off: Services are not reached from outside over it", todo)


def _ranges(text: str) -> Iterator[range]:
    """`80,1000-2000` as ranges."""
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        yield range(int(first), int(last or first) + 1)


def _another_proxy(host: Host, _: Settings) -> Iterator[Finding]:
    return leftovers(host)


_CHECKS: tuple[Callable[[Host, Settings], Iterator[Finding]], ...] = (
    _kernel,
    _packages,
    _cgroup,
    _pins,
    _another_proxy,
    _reverse_path,
    _node_ports,
    _snat_ports,
    _forwarding,
)
