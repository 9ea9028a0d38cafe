"""Joins devices with pods: who is who, before anybody has a number. Pure.

A pod is recognised by its addresses. All devices that lead into one network namespace lead to one workload. What no
pod claims is a workload too, named by its namespace or, failing that, its device: so a plain host needs no manifests.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from daemon.endpoints.device import Device, Devices
from daemon.endpoints.labels import identity_labels, owners
from daemon.model.addresses import address_of
from daemon.model.objects import Pod
from daemon.model.workload import IPAddress, Owner

Key = tuple[str, str, int]
FINISHED = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True)
class Party:
    """A workload without numbers. `namespace` is "" for what is no pod, `devices` empty for one that runs elsewhere."""

    namespace: str
    name: str
    labels: tuple[str, ...]
    owners: tuple[Owner, ...]
    addresses: tuple[IPAddress, ...]
    devices: tuple[Device, ...] = ()

    @property
    def ifindex(self) -> int:
        """The first device's, 0 without one."""
        return self.devices[0].ifindex if self.devices else 0

    @property
    def key(self) -> Key:
        """What makes it the same workload from one look to the next: for a pod its name, else its device too."""
        return self.namespace, self.name, 0 if self.namespace else self.ifindex


@dataclass(frozen=True, slots=True)
class Joined:
    """All parties, pods first, no address in two of them; `contested` are addresses that somebody else got first."""

    parties: tuple[Party, ...]
    contested: tuple[IPAddress, ...]


def join(devices: Devices, pods: Iterable[Pod]) -> Joined:
    """Of two pods with one address the first gets it. The node's own addresses belong to nobody here."""
    claims = _Claims(devices.node_addresses)
    groups = _by_namespace(devices.devices)
    by_address = {address: key for key, group in groups.items() for device in group for address in device.addresses}
    parties: list[Party] = []
    for pod in pods:
        wanted = claimed(pod)
        key = next((by_address[address] for address in wanted if address in by_address), None)
        group = tuple(groups.pop(key, ())) if key is not None and claims.free(wanted) else ()
        addresses = claims.take(wanted + _addresses(group))
        if addresses:
            parties.append(Party(pod.namespace, pod.name, identity_labels(pod), owners(pod), addresses, group))
    parties += [_nameless(group, claims) for group in groups.values()]
    return Joined(tuple(parties), tuple(claims.contested))


class _Claims:
    """Gives every address out once; asking twice for one's own is no contest."""

    def __init__(self, node: frozenset[IPAddress]) -> None:
        self._taken: set[IPAddress] = set()
        self._node = node
        self.contested: list[IPAddress] = []

    def free(self, wanted: Iterable[IPAddress]) -> bool:
        return any(address not in self._taken and address not in self._node for address in wanted)

    def take(self, wanted: Iterable[IPAddress]) -> tuple[IPAddress, ...]:
        own = [address for address in dict.fromkeys(wanted) if address not in self._node]
        self.contested += [address for address in own if address in self._taken]
        got = tuple(address for address in own if address not in self._taken)
        self._taken.update(got)
        return got


def elsewhere(pod: Pod, node: frozenset[IPAddress]) -> Party | None:
    """The party of a pod without device here, whose addresses nobody contests; None where it has none of its own."""
    addresses = tuple(address for address in dict.fromkeys(claimed(pod)) if address not in node)
    return Party(pod.namespace, pod.name, identity_labels(pod), owners(pod), addresses) if addresses else None


def claimed(pod: Pod) -> tuple[IPAddress, ...]:
    """The addresses of a pod: none once it is finished, as they may be another's by now, or if they are the host's."""
    if pod.status.phase in FINISHED or pod.spec.host_network:
        return ()
    return tuple(address for text in pod.addresses if (address := _parsed(text)) is not None)


def _parsed(text: str) -> IPAddress | None:
    try:
        return address_of(text)
    except ValueError:  # told by the source, with file and line
        return None


def _by_namespace(devices: Sequence[Device]) -> dict[tuple[int, int], list[Device]]:
    groups: dict[tuple[int, int], list[Device]] = {}
    for device in devices:
        key = (device.netns_inode, 0) if device.netns_inode else (0, device.ifindex)
        groups.setdefault(key, []).append(device)
    return groups


def _addresses(devices: Iterable[Device]) -> tuple[IPAddress, ...]:
    return tuple(address for device in devices for address in device.addresses)


def _nameless(group: Sequence[Device], claims: _Claims) -> Party:
    netns, device = group[0].netns_name, group[0].name
    label = f"remora:netns={netns}" if netns else f"remora:device={device}"
    return Party("", netns or device, (label,), (), claims.take(_addresses(group)), tuple(group))
