"""The first look at columns for what has to be looked up: Services, devices, DNS names.

Each is asked once for every different number in a batch. As elsewhere in the first look, too much may pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from daemon.flows.filters.compile import compile_filter
from daemon.flows.names import DnsNames
from daemon.flows.record import RowArray
from daemon.model import Directory
from daemon.proto import flow_pb2

Mask = np.ndarray[Any, np.dtype[np.bool_]]
Masker = Callable[[RowArray], Mask]
Predicate = Callable[[flow_pb2.Flow], bool]

_UNASKED = 2
_LARGEST = 1 << 20  # numbers below it are looked up in an array

_MIX = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], np.uint64
)  # odd numbers, to tell addresses apart by one number


def looked_up(wanted: flow_pb2.FlowFilter, directory: Directory, names: DnsNames | None) -> Iterator[Masker]:
    """The masks of a filter's fields that need a look-up."""
    for end, port in (("source", "src_port"), ("destination", "dst_port")):
        if services := getattr(wanted, f"{end}_service"):
            part = flow_pb2.FlowFilter(**{f"{end}_service": services})
            yield _by_service(end, port, compile_filter(part), directory)
    if wanted.interface:
        yield _by_interface(compile_filter(flow_pb2.FlowFilter(interface=wanted.interface)), directory)
    for column, globs in (("src", wanted.source_fqdn), ("dst", wanted.destination_fqdn)):
        if globs and names is not None:
            yield _by_name(column, compile_filter(flow_pb2.FlowFilter(source_fqdn=globs)), names)


def _by_service(end: str, port: str, predicate: Predicate, directory: Directory) -> Masker:
    """The Service that was asked for, or any frontend: those are told by their address, which is not looked up here."""

    def passes(number: int) -> bool:
        name = directory.service(number)
        if name is None:
            return number != 0
        flow = flow_pb2.Flow()
        getattr(flow, f"{end}_service").CopyFrom(flow_pb2.Service(name=name.name, namespace=name.namespace))
        return predicate(flow)

    asked = by_number("service", passes, directory)

    def mask(rows: RowArray) -> Mask:
        found: Mask = asked(rows) | np.isin(rows[port], directory.frontend_ports)
        return found

    return mask


def _by_interface(predicate: Predicate, directory: Directory) -> Masker:
    def passes(number: int) -> bool:
        local = directory.local(number)
        device = flow_pb2.NetworkInterface(index=number, name=local.device if local else "")
        return bool(number) and predicate(flow_pb2.Flow(interface=device))

    return by_number("ifindex", passes, directory)


def _by_name(column: str, predicate: Predicate, names: DnsNames) -> Masker:
    """Addresses that somebody knows under such a name; found again when an address has got another one."""
    version: object = None
    known = np.empty(0, np.uint64)

    def mask(rows: RowArray) -> Mask:
        nonlocal version, known
        if version is not names.version:
            version = names.version
            found = names.addresses(lambda name: predicate(flow_pb2.Flow(source_names=[name])))
            known = _mixed(np.frombuffer(b"".join(found), np.uint32).reshape(-1, 4))
        return np.isin(_mixed(rows[column]), known)

    return mask


def _mixed(addresses: RowArray) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """One number for each address (n, 4); two that share one only let too much pass."""
    halves = np.ascontiguousarray(addresses).view(np.uint64).reshape(-1, 2)
    mixed: np.ndarray[Any, np.dtype[np.uint64]] = halves[:, 0] * _MIX[0] ^ halves[:, 1] * _MIX[1]
    return mixed


def by_number(column: str, passes: Callable[[int], bool], directory: Directory) -> Masker:
    """What `passes` says of each number in a column, remembered until the directory says other things."""
    verdicts = np.full(1, _UNASKED, np.uint8)
    state: tuple[object, ...] = ()

    def mask(rows: RowArray) -> Mask:
        nonlocal verdicts, state
        numbers = rows[column]
        top = int(numbers.max(initial=0)) + 1
        if top > _LARGEST:
            different, inverse = np.unique(numbers, return_inverse=True)
            asked: Mask = np.array([passes(int(number)) for number in different], np.bool_)[inverse]
            return asked
        now = directory.state
        if now[0] is not (state or (None,))[0] or now[1] is not state[1]:
            verdicts, state = np.full(top, _UNASKED, np.uint8), now
        if top > len(verdicts):
            verdicts = np.concatenate((verdicts, np.full(top - len(verdicts), _UNASKED, np.uint8)))
        found = verdicts[numbers]
        if (found == _UNASKED).any():
            for number in np.unique(numbers[found == _UNASKED]).tolist():
                verdicts[number] = passes(number)
            found = verdicts[numbers]
        answer: Mask = found.astype(np.bool_)
        return answer

    return mask
