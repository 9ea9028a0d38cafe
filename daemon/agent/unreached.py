"""Pods of this node that no device of the node leads to: macvlan, ipvlan, SR-IOV and the like.

A macvlan device is a second face of the uplink: what a pod sends leaves by it without passing any device of the node,
so there is no place to watch it and none to stop it. Such a pod has its name, and its sockets are served; that is all,
and it has to be said, above all where a policy was written for it.
"""

from __future__ import annotations

from collections.abc import Iterable

from daemon.endpoints import Devices
from daemon.endpoints.joining import claimed
from daemon.model.directory import packed
from daemon.model.objects import Pod
from daemon.policy import PolicyTable


def unreached(pods: Iterable[Pod], devices: Devices, node: str) -> list[Pod]:
    """The pods of this node that have addresses of their own, none of them behind a device that was found."""
    near = devices.node_addresses.union(*(device.addresses for device in devices.devices))
    return [
        pod for pod in pods if pod.spec.node_name == node and (addresses := claimed(pod)) and near.isdisjoint(addresses)
    ]


def unguarded(pods: Iterable[Pod], table: PolicyTable) -> list[Pod]:
    """Those of them that a policy would restrict."""
    return [pod for pod in pods if any(any(table.workloads.get(packed(one), ())) for one in claimed(pod))]
