"""Endpoints and identities as the directory knows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from daemon.model import HOST, WORLD, Directory, Workload
from daemon.proto import remora_pb2


def endpoints(
    directory: Directory, unreached: Collection[tuple[str, str]], inside: Mapping[int, remora_pb2.Inside]
) -> list[remora_pb2.Endpoint]:
    """Every workload, those of this host first, then by namespace and name."""
    ordered = sorted(directory.workloads(), key=lambda one: (not one.ifindex, one.namespace, one.name, one.id))
    return [_endpoint(one, (one.namespace, one.name) in unreached, inside.get(one.ifindex)) for one in ordered]


def _endpoint(workload: Workload, unreached: bool, inside: remora_pb2.Inside | None) -> remora_pb2.Endpoint:
    return remora_pb2.Endpoint(
        number=workload.id,
        identity=workload.identity,
        namespace=workload.namespace,
        name=workload.name,
        addresses=[str(address) for address in workload.addresses],
        labels=workload.labels,
        owners=[remora_pb2.Owner(kind=owner.kind, name=owner.name) for owner in workload.owners],
        device=workload.device,
        ifindex=workload.ifindex,
        unreached=unreached,
        inside=inside,
    )


def identities(directory: Directory) -> list[remora_pb2.Identity]:
    """Every label set in use, reserved ones first, by number."""
    workloads = [*directory.workloads(), HOST, WORLD]
    counts = Counter(one.identity for one in directory.workloads())
    labels = {one.identity: one.labels for one in reversed(workloads)}
    return [
        remora_pb2.Identity(number=number, name=_reserved(own), labels=own, endpoints=counts[number])
        for number, own in sorted(labels.items())
    ]


def _reserved(labels: tuple[str, ...]) -> str:
    return labels[0].removeprefix("reserved:") if labels and labels[0].startswith("reserved:") else ""
