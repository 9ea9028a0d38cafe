"""Packets in, records out: each test starts with empty maps and empty rings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from ebpf import testrun
from ebpf.constants import Counter
from ebpf.datapath import Datapath
from ebpf.ringbuf import RingBuffer

TC_ACT_UNSPEC = -1
EVERYTHING = 1 << 20


@dataclass
class Wire:
    """A workload's device without the device: what it sends and receives, and what the programs write down."""

    datapath: Datapath
    flows: RingBuffer
    payloads: RingBuffer

    def sends(self, packet: object) -> np.ndarray:
        """The workload sends; the records that this wrote."""
        return self._run("from_endpoint", bytes(packet))  # type: ignore[call-overload]

    def receives(self, packet: object) -> np.ndarray:
        """The workload receives; the records that this wrote."""
        return self._run("to_endpoint", bytes(packet))  # type: ignore[call-overload]

    def _run(self, program: str, packet: bytes) -> np.ndarray:
        result = testrun.run(self.datapath.program(program), packet)
        assert result.verdict == TC_ACT_UNSPEC, "a program got in the way of a packet"
        assert result.packet == packet, "a program changed a packet"
        return self.flows.rows(self.datapath.flow_dtype, EVERYTHING)

    def messages(self) -> list[tuple[np.void, bytes]]:
        """Payload records that were written: flow and bytes."""
        dtype = self.datapath.payload_dtype
        start = dtype.fields["data"][1]
        found = []
        for record in self.payloads.records(EVERYTHING):
            flow = np.frombuffer(record, self.datapath.flow_dtype, 1)[0]
            found.append((flow, record[start:]))
        return found

    def counter(self, which: Counter) -> int:
        """A counter's present value."""
        return int(self.datapath.counters.sums()[which])

    def connections(self) -> tuple[np.ndarray, np.ndarray]:
        """Keys and values of all connections."""
        return self.datapath.maps["connections"].items()


@pytest.fixture(scope="session")
def rings(datapath: Datapath) -> Iterator[tuple[RingBuffer, RingBuffer]]:
    flows, payloads = datapath.ring("flows"), datapath.ring("payloads")
    yield flows, payloads
    flows.close()
    payloads.close()


@pytest.fixture
def wire(datapath: Datapath, rings: tuple[RingBuffer, RingBuffer]) -> Wire:
    """A wire with nothing on it yet."""
    for name in ("connections", "addresses", "fragments", "owners"):
        table = datapath.maps[name]
        table.delete(table.items()[0])
    fresh = Wire(datapath, *rings)
    fresh.flows.rows(datapath.flow_dtype, EVERYTHING)
    list(fresh.payloads.records(EVERYTHING))
    return fresh
