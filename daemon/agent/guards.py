"""Which device enforces what: the bridge from workloads that policies know by address to devices that are watched.

A device is guarded once its workload is known as a pod: one that no policy selects gets a guard, too, which says so.
What is no pod, a plain network namespace, has none and is left to the setting `policy_default`.
"""

from __future__ import annotations

from collections.abc import Iterable

from daemon.endpoints import Party
from daemon.model.directory import packed
from daemon.policy import Isolation, PolicyTable
from daemon.policy.reconcile import Guard

_FREE = Isolation(0, 0)


def wanted_guards(local: Iterable[Party], table: PolicyTable, *, source_check: bool) -> dict[int, Guard]:
    """The guard of each device, by ifindex, of this node's parties. All devices of a pod enforce the same."""
    return {
        device.ifindex: Guard(isolation, source_check)
        for party in local
        if party.namespace
        for isolation in (_isolation(party, table),)
        for device in party.devices
    }


def addresses_here(local: Iterable[Party]) -> frozenset[bytes]:
    """The addresses of this node's pods, as policies know them."""
    return frozenset(packed(address) for party in local if party.namespace for address in party.addresses)


def _isolation(party: Party, table: PolicyTable) -> Isolation:
    found = (table.workloads.get(packed(address)) for address in party.addresses)
    return next((one for one in found if one is not None), _FREE)
