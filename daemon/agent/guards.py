"""Which device enforces what: the bridge from workloads that policies know by address to devices that are watched.

A device is guarded once its workload is known as a pod: one that no policy selects gets a guard, too, which says so.
What is no pod, a plain network namespace, has none and is left to the setting `policy_default`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from daemon.endpoints import Device
from daemon.model.directory import packed
from daemon.model.workload import IPAddress, Workload
from daemon.policy import Isolation, PolicyTable
from daemon.policy.reconcile import Guard

_FREE = Isolation(0, 0)


def wanted_guards(
    devices: Iterable[Device], workloads: Iterable[Workload], table: PolicyTable, *, source_check: bool
) -> dict[int, Guard]:
    """The guard of each device, by ifindex. All devices of a pod enforce the same."""
    pods = {address: one for one in workloads if one.namespace and one.ifindex for address in one.addresses}
    homes = {device.ifindex: _home(device, pods) for device in devices}
    return {
        ifindex: Guard(_isolation(home, table), source_check) for ifindex, home in homes.items() if home is not None
    }


def _home(device: Device, pods: Mapping[IPAddress, Workload]) -> Workload | None:
    return next((pods[address] for address in device.addresses if address in pods), None)


def _isolation(home: Workload, table: PolicyTable) -> Isolation:
    found = (table.workloads.get(packed(address)) for address in home.addresses)
    return next((one for one in found if one is not None), _FREE)
