"""Workloads whose Services are left to the per-packet path.

The socket programs translate a connection before its first packet. That is wrong for a service mesh, which steers by
the ClusterIP that the application named, and without effect for a sandbox with a network stack of its own (gVisor,
Kata), whose inner sockets the host's kernel never sees while its outer ones must not be touched. Such pods are known by
their runtime class, by labels, or by an annotation; the socket programs are told their network namespaces and let
their calls pass, and the device translates what comes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from daemon.endpoints.joining import Party
from daemon.model.objects import Pod
from ebpf.maps import Columns, HashMap
from ebpf.namespaces import cookies_of


@dataclass(frozen=True, slots=True)
class Rule:
    """Which pods: patterns of runtime classes, and labels as `key` or `key=value`; any one is enough."""

    runtimes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    def applies(self, pod: Pod) -> bool:
        """The annotation decides where there is one: `packet` or `socket`."""
        asked = pod.metadata.annotations.service_path
        if asked in ("packet", "socket"):
            return asked == "packet"
        runtime = pod.spec.runtime_class_name
        return any(fnmatchcase(runtime, one) for one in self.runtimes) or any(_has(pod, one) for one in self.labels)


class PacketPath:
    """The only writer of the map `packet_clients`. Not thread-safe."""

    def __init__(self, rule: Rule, table: HashMap) -> None:
        self.rule = rule
        self._map = table
        self._cookies: dict[int, int] = {}  # by inode of the namespace
        self._written: set[int] | None = None  # None: the map is to be read first
        self.pods: frozenset[tuple[str, str]] = frozenset()
        """the pods of this node that are left alone, by namespace and name"""

    def apply(self, local: Iterable[Party], pods: Mapping[tuple[str, str], Pod]) -> None:
        """Make the map say exactly this; raises MapFullError with the map as it was, or KernelError.

        `local` are the parties of this node, `pods` those that they stand for.
        """
        named = [(party, pods.get((party.namespace, party.name))) for party in local]
        parties = [party for party, pod in named if pod and self.rule.applies(pod)]
        inodes = {device.netns_inode for party in parties for device in party.devices} - {0}
        self._learn(inodes)
        self._write({cookie for inode, cookie in self._cookies.items() if inode in inodes})
        self.pods = frozenset((party.namespace, party.name) for party in parties)

    def _learn(self, inodes: set[int]) -> None:
        self._cookies = {inode: cookie for inode, cookie in self._cookies.items() if inode in inodes}
        unknown = inodes - self._cookies.keys()
        if unknown:
            self._cookies.update(cookies_of(unknown))

    def _write(self, wanted: set[int]) -> None:
        present = set(self._map.items()[0]["netns"].tolist()) if self._written is None else self._written
        self._written = None
        fresh = self._keys(wanted - present)
        self._map.update(fresh, np.ones(len(fresh), self._map.value_dtype))
        self._map.delete(self._keys(present - wanted))
        self._written = wanted

    def _keys(self, cookies: set[int]) -> Columns:
        keys = np.zeros(len(cookies), self._map.key_dtype)
        keys["netns"] = sorted(cookies)
        return keys


def _has(pod: Pod, label: str) -> bool:
    key, equals, value = label.partition("=")
    return key in pod.labels and (not equals or pod.labels[key] == value)
