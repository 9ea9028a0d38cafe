"""A node in a network namespace, with a bridge and workloads that hang on it: a small cluster on one kernel.

Nothing of the host's own network is touched: the bridge, the node's ends of the links and all addresses are inside
the node's namespace, whose name every other name begins with. So what a crash left over is found again by name, and
`remove` is the same for the end of a demo and for somebody else's leftovers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_interface, ip_network
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from pyroute2 import IPRoute, netns
from pyroute2.netlink.exceptions import NetlinkError

NAMESPACES = Path("/run/netns")
SUBNETS = (IPv4Network("10.244.1.0/24"), IPv6Network("fd00:10:244:1::/64"))
BRIDGE = "workloads"
_DEVICE = "eth0"
_NAME_MAX = 15  # bytes of a device's name
_NO_DAD = 0x02  # IFA_F_NODAD: an address is usable at once
_KERNEL_SETTINGS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
}

Interface = IPv4Interface | IPv6Interface
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Space:
    """A workload's namespace: its name, its addresses with prefix, and the node's device that leads to it."""

    namespace: str
    addresses: tuple[Interface, ...]
    device: str

    @property
    def path(self) -> Path:
        """Where the namespace is mounted."""
        return NAMESPACES / self.namespace


class Node:
    """A context manager: entering makes the node's namespace, leaving removes it with all workloads."""

    def __init__(self, name: str, subnets: Sequence[IPv4Network | IPv6Network] = SUBNETS) -> None:
        self.name = name
        self.subnets = tuple(subnets)
        self.bridge = BRIDGE
        self.spaces: dict[str, Space] = {}
        self._count = 0  # links made so far; names and default addresses follow from it

    @property
    def path(self) -> Path:
        """Where the node's namespace is mounted."""
        return NAMESPACES / self.name

    @property
    def gateways(self) -> tuple[Interface, ...]:
        """The node's own addresses, the first of each subnet."""
        return tuple(_interface(subnet, 1) for subnet in self.subnets)

    def __enter__(self) -> Node:
        if self.path.exists():
            raise FileExistsError(f"there is a network namespace {self.name} already; ip netns delete removes it")
        try:
            netns.create(self.name)
            in_namespace(self.path, self._prepare)
        except BaseException:
            remove(self.name)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        remove(self.name)

    def add(self, workload: str, addresses: Sequence[str] | None = None, *, device: str = "") -> Space:
        """Make the namespace `<node>-<workload>` and link it. Without addresses it gets the next of each subnet.

        `device` names the node's end, else `veth-<workload>` or what of it fits. Raises FileExistsError, NetlinkError.
        """
        self._count += 1
        wanted = self._interfaces(addresses)
        space = Space(f"{self.name}-{workload}", wanted, device or self._device(workload))
        netns.create(space.namespace)
        in_namespace(self.path, self._link, space)
        in_namespace(space.path, self._settle, space)
        self.spaces[workload] = space
        return space

    def drop(self, workload: str) -> None:
        """Remove a workload's namespace, and with it the link."""
        space = self.spaces.pop(workload)
        in_namespace(self.path, _delete_link, space.device)  # at once; the kernel takes its time with namespaces
        _remove_namespace(space.namespace)

    def run(self, function: Callable[..., T], *args: Any, workload: str = "") -> T:
        """Call a function in the node's namespace or in a workload's, in a thread of its own."""
        return in_namespace(self.spaces[workload].path if workload else self.path, function, *args)

    def _prepare(self) -> None:
        for setting, value in _KERNEL_SETTINGS.items():
            Path("/proc/sys", setting).write_text(value)
        with IPRoute() as ipr:
            ipr.link("set", index=1, state="up")
        self._build()

    def _build(self) -> None:
        """The bridge that workloads hang on, with the node's own addresses."""
        with IPRoute() as ipr:
            ipr.link("add", ifname=self.bridge, kind="bridge")
            index = ipr.link_lookup(ifname=self.bridge)[0]
            for gateway in self.gateways:
                _add_address(ipr, index, gateway)
            ipr.link("set", index=index, state="up")

    def _link(self, space: Space) -> None:
        with IPRoute() as ipr, space.path.open("rb") as namespace:
            peer = {"ifname": _DEVICE, "net_ns_fd": namespace.fileno()}
            ipr.link("add", ifname=space.device, kind="veth", peer=peer)
            index = ipr.link_lookup(ifname=space.device)[0]
            ipr.link("set", index=index, master=ipr.link_lookup(ifname=self.bridge)[0], state="up")

    def _settle(self, space: Space) -> None:
        Path("/proc/sys/net/ipv6/conf", _DEVICE, "router_solicitations").write_text("0")  # nobody would answer
        with IPRoute() as ipr:
            ipr.link("set", index=1, state="up")
            index = ipr.link_lookup(ifname=_DEVICE)[0]
            for address in space.addresses:
                _add_address(ipr, index, address)
            ipr.link("set", index=index, state="up")
            for gateway in self.gateways:
                if any(address.version == gateway.version for address in space.addresses):
                    ipr.route("add", dst="default", gateway=str(gateway.ip), family=_family(gateway))

    def _interfaces(self, addresses: Sequence[str] | None) -> tuple[Interface, ...]:
        if addresses is None:
            return tuple(_interface(subnet, self._count + 1) for subnet in self.subnets)
        lengths = {subnet.version: subnet.prefixlen for subnet in self.subnets}
        parsed = [ip_interface(address) for address in addresses]
        return tuple(ip_interface(f"{address.ip}/{lengths[address.version]}") for address in parsed)

    def _device(self, workload: str) -> str:
        name = f"veth-{workload}"
        taken = {space.device for space in self.spaces.values()}
        return name if len(name) <= _NAME_MAX and name not in taken else f"veth{self._count}"


class Guest(Node):
    """Workloads on a bridge of their own in a namespace that is there already and stays as it is.

    The bridge and the devices bear the prefix of `devices`, the workloads' namespaces the name; by these, and by
    nothing else, they are found again and removed.
    """

    def __init__(
        self, name: str, home: Path, subnets: Sequence[IPv4Network | IPv6Network] = SUBNETS, *, devices: str
    ) -> None:
        super().__init__(name, subnets)
        self._home, self._prefix = home, devices
        self.bridge = f"{devices}bridge"

    @property
    def path(self) -> Path:
        """The namespace in which the bridge is."""
        return self._home

    def __enter__(self) -> Guest:
        self.clear()
        try:
            in_namespace(self.path, self._build)
        except BaseException:
            self.clear()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.clear()

    def clear(self) -> None:
        """Remove what bears the name; does nothing where there is nothing. Processes in it have to be gone before."""
        in_namespace(self.path, _delete_links, self._prefix)
        remove(self.name)

    def _device(self, workload: str) -> str:
        return f"{self._prefix}{workload}"[:_NAME_MAX]


def unrouted(home: Path, candidates: Sequence[IPv4Network | IPv6Network]) -> IPv4Network | IPv6Network | None:
    """The first of these networks that no route of the namespace at `home` touches, default routes apart."""
    taken = in_namespace(home, _routes, 2 if candidates[0].version == 4 else 10)
    free = (one for one in candidates if not any(one.overlaps(other) for other in taken))
    return next(free, None)


def _routes(family: int) -> list[IPv4Network | IPv6Network]:
    with IPRoute() as ipr:
        found = [(route.get_attr("RTA_DST"), route["dst_len"]) for route in ipr.get_routes(family=family)]
    return [ip_network(f"{address}/{length}", strict=False) for address, length in found if address and length]


def in_namespace(path: Path, function: Callable[..., T], *args: Any) -> T:
    """Call a function in a thread that has entered a network namespace; what it raises is raised here."""
    outcome: list[T] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            netns.setns(str(path), flags=0)
            outcome.append(function(*args))
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=body, name=f"in {path.name}")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def leftovers(node: str) -> list[str]:
    """Names of the namespaces that belong to a node of this name, the node's own last."""
    names = [path.name for path in NAMESPACES.iterdir()] if NAMESPACES.exists() else []
    return sorted((name for name in names if name == node or name.startswith(f"{node}-")), reverse=True)


def remove(node: str) -> None:
    """Remove a node's namespaces; does nothing where there are none. Processes in them have to be gone before."""
    for name in leftovers(node):
        _remove_namespace(name)


def _remove_namespace(name: str) -> None:
    with suppress(FileNotFoundError):
        netns.remove(name)


def _delete_link(name: str) -> None:
    with IPRoute() as ipr:
        for index in ipr.link_lookup(ifname=name):
            ipr.link("del", index=index)


def _delete_links(prefix: str) -> None:
    with IPRoute() as ipr:
        for link in ipr.get_links():
            if link.get_attr("IFLA_IFNAME").startswith(prefix):
                with suppress(NetlinkError):  # the other end of one that went before
                    ipr.link("del", index=link["index"])


def _interface(subnet: IPv4Network | IPv6Network, number: int) -> Interface:
    return ip_interface(f"{subnet[number]}/{subnet.prefixlen}")


def _add_address(ipr: Any, index: int, address: Interface) -> None:
    flags = {"flags": _NO_DAD} if address.version == 6 else {}
    ipr.addr("add", index=index, address=str(address.ip), prefixlen=address.network.prefixlen, **flags)


def _family(address: Interface) -> int:
    return 2 if address.version == 4 else 10
