"""Reachability in a few words: who reaches whom, asked of the compiler's table as the kernel would."""

from __future__ import annotations

from collections.abc import Iterable

from daemon.model.policies import LabelSelector
from daemon.policy import PolicyTable
from daemon.policy.compile import PolicyCompiler
from daemon.policy.evaluate import Evaluator, Outcome, Packet
from daemon.policy.names import Names
from ebpf.addresses import pack
from tests.support.policies import HERE, Object, snapshot_of
from tests.support.policy_oracle import NUMBERS


class Reach:
    """A cluster compiled; pods are named "namespace/name", everybody else by address."""

    def __init__(
        self,
        objects: Iterable[Object],
        names: Names | None = None,
        node: Iterable[str] = (),
        audited: LabelSelector | None = None,
    ) -> None:
        self.names, self.node = names or Names(), [pack(one) for one in node]
        self.compiler = PolicyCompiler(HERE, audited=audited)
        self.become(objects)

    def become(self, objects: Iterable[Object]) -> None:
        """Another cluster, compiled from the one before."""
        self.objects = list(objects)
        self.snapshot = snapshot_of(self.objects)
        self.table: PolicyTable = self.compiler.compile(self.snapshot, self.names)[-1]

    def packet(self, source: str, destination: str, port: str) -> Packet:
        """`port` as "80/TCP", or "icmp"."""
        number, _, protocol = port.partition("/")
        ends = self.address(source), self.address(destination)
        return Packet(*ends, NUMBERS[protocol], int(number)) if protocol else Packet(*ends, 1)

    def outcome(self, source: str, destination: str, port: str = "80/TCP") -> Outcome:
        return Evaluator(self.table, self.node).outcome(self.packet(source, destination, port))

    def passes(self, source: str, destination: str, port: str = "80/TCP") -> bool:
        return self.outcome(source, destination, port).passes

    def address(self, name: str) -> bytes:
        """A pod's first address, or the address itself."""
        pods = {f"{pod.namespace}/{pod.name}": pod for pod in self.snapshot.pods}
        return pack(pods[name].addresses[0] if name in pods else name)
