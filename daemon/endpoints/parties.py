"""Who is who, kept up to date at the price of what changed.

Of ten thousand pods a hundred are here. Those that have a device, and all devices, are joined anew whenever one of them
changes; a pod elsewhere is looked at only when it changed itself. Where two pods claim one address everything is
joined anew until they no longer do: it is rare, short, and not worth a second set of rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from daemon.endpoints.device import Devices
from daemon.endpoints.joining import Joined, Key, Party, claimed, elsewhere, join
from daemon.model.differences import differences
from daemon.model.objects import Pod
from daemon.model.workload import IPAddress

Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """Parties that are new or changed, keys of those that are gone, addresses that a second pod claims."""

    changed: tuple[Party, ...] = ()
    gone: tuple[Key, ...] = ()
    contested: tuple[IPAddress, ...] = ()


class PartyBook:
    """All parties of one moment, by key; `local` are those of this node, `pods` all pods by name."""

    def __init__(self) -> None:
        self.parties: dict[Key, Party] = {}
        self.local: tuple[Party, ...] = ()
        self.pods: dict[Name, Pod] = {}
        self.devices = Devices()
        self._listed: Sequence[Pod] = ()
        self._claims: dict[IPAddress, tuple[Name, ...]] = {}
        self._contested: set[IPAddress] = set()
        self._near: set[Key] = set()  # joined with the devices when last looked at
        self._disputed: tuple[IPAddress, ...] = ()  # among the local parties

    def update(self, devices: Devices, pods: Sequence[Pod]) -> Difference:
        """Take over what there is now; what changed by that."""
        gone, new = differences(self._listed, pods)
        before, was_contested = self.devices, bool(self._contested)
        self.devices, self._listed = devices, pods
        touched = self._claim(gone, new)
        if was_contested or self._contested or before.node_addresses != devices.node_addresses:
            return self._everything()
        return self._some(touched, moved=before.devices != devices.devices)

    def _claim(self, gone: Iterable[Pod], new: Iterable[Pod]) -> set[Name]:
        """Note who claims which address; the names of the pods concerned."""
        touched = set()
        for pod in gone:
            touched.add(_name(pod))
            self.pods.pop(_name(pod), None)
            for address in claimed(pod):
                self._hold(address, tuple(one for one in self._claims.get(address, ()) if one != _name(pod)))
        for pod in new:
            touched.add(_name(pod))
            self.pods[_name(pod)] = pod
            for address in claimed(pod):
                self._hold(address, tuple({*self._claims.get(address, ()), _name(pod)}))
        return touched

    def _hold(self, address: IPAddress, claims: tuple[Name, ...]) -> None:
        """These claim an address now."""
        self._claims[address] = claims
        if not claims:
            del self._claims[address]
        if len(claims) > 1:
            self._contested.add(address)
        else:
            self._contested.discard(address)

    def _everything(self) -> Difference:
        joined = join(self.devices, self._listed)
        now = {party.key: party for party in joined.parties}
        changed = [party for key, party in now.items() if self.parties.get(key) != party]
        gone = [key for key in self.parties if key not in now]
        self.parties = now
        self._remember(joined)
        return Difference(tuple(changed), tuple(gone), joined.contested)

    def _some(self, touched: set[Name], moved: bool) -> Difference:
        """Only what was touched, and the node's own parties if one of them was."""
        here = self._here()
        was_here = self._near
        now: dict[Key, Party | None] = {(*name, 0): None for name in touched}
        if moved or not touched.isdisjoint(here) or any((*name, 0) in was_here for name in touched):
            joined = join(self.devices, [self.pods[name] for name in sorted(here)])
            self._remember(joined)
            now.update(dict.fromkeys(was_here | self._near))
            now.update({(*name, 0): self._elsewhere(name) for name in was_named(was_here) - here})
            now.update({party.key: party for party in joined.parties})
        now.update({(*name, 0): self._elsewhere(name) for name in touched - here})
        return replace(self._follow(now), contested=self._disputed)

    def _remember(self, joined: Joined) -> None:
        """Who is here, or claims an address that is."""
        self.local = tuple(party for party in joined.parties if party.devices)
        self._near = {party.key for party in self.local} | {(*name, 0) for name in self._here()}
        self._disputed = joined.contested

    def _here(self) -> set[Name]:
        """The pods that have one of the devices' addresses."""
        return {
            name
            for device in self.devices.devices
            for address in device.addresses
            for name in self._claims.get(address, ())
        }

    def _elsewhere(self, name: Name) -> Party | None:
        pod = self.pods.get(name)
        return elsewhere(pod, self.devices.node_addresses) if pod else None

    def _follow(self, now: dict[Key, Party | None]) -> Difference:
        changed, gone = [], []
        for key, party in now.items():
            if party is None:
                if self.parties.pop(key, None):
                    gone.append(key)
            elif self.parties.get(key) != party:
                self.parties[key] = party
                changed.append(party)
        return Difference(tuple(changed), tuple(gone))


def was_named(keys: Iterable[Key]) -> set[Name]:
    """The names of the pods among these keys."""
    return {(namespace, name) for namespace, name, _ in keys if namespace}


def _name(pod: Pod) -> Name:
    return pod.namespace, pod.name
