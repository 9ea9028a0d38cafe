"""Property, on the kernel's own maps: whatever changes, no look-up fails, and the end is what a fresh agent makes."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.model.directory import Frontend, ServiceName
from daemon.model.workload import Node
from daemon.services import Block, Origin, PortKey, ServicePortEntry, ServiceReconciler, ServiceTable
from daemon.services.columns import read_state
from daemon.services.table import RECORD_SIZE, records
from ebpf import features
from ebpf.addresses import MAPPED
from ebpf.constants import FrontendFlag
from ebpf.datapath import Datapath, cleanup
from ebpf.grace import wait_for_readers
from ebpf.maps import HashMap
from tests.conftest import SMALL
from tests.support.agent import ROOT
from tests.support.hammer import PORT, TARGET, backend, vip
from tests.support.netns import unique

STEADY, ALL = 40, 60  # Services that always have a backend, and together with those that come and go
CHANGES = 400
UDP = 17
SECONDS = 6.0  # of changes, at least; the readers are to see many


@pytest.fixture
def datapath(root: None, tmp_path: Path) -> Iterator[Datapath]:
    """A datapath of this test's own, which no other test leaves anything in."""
    pins = Path("/sys/fs/bpf") / unique("changes")
    opened = Datapath(pins, tmp_path / "state", SMALL, features.probe())
    yield opened
    opened.close()
    cleanup(pins, tmp_path / "state")


def service(number: int, rng: random.Random) -> Block | None:
    """A Service with some of its backends; a steady one has at least one, another may have none or not be at all."""
    steady = number < STEADY
    if not steady and rng.random() < 0.4:
        return None
    chosen = rng.sample(range(30), rng.randint(1 if steady else 0, 25))
    record = [MAPPED + backend(number, each) + TARGET.to_bytes(2) for each in sorted(chosen)]
    address = MAPPED + vip(number)
    places = {Frontend(address, PORT, UDP): FrontendFlag.CLUSTER_IP}
    if rng.random() < 0.3:
        places[Frontend(address, PORT + 1, UDP)] = FrontendFlag.CLUSTER_IP
    key = PortKey(ServiceName("shop", f"s{number}", rng.choice("ab")), UDP, 4)  # another port name: another number
    entry = ServicePortEntry(key, places, b"".join(record), drop=not record and rng.random() < 0.5)
    return Block((entry,), (Frontend(address, 0, 0),))


def changed(before: ServiceTable, rng: random.Random) -> ServiceTable:
    """The table with some Services made anew, changed or removed."""
    blocks = dict(before.blocks)
    for number in rng.sample(range(ALL), rng.choice((1, 1, 1, 3, ALL))):
        block, origin = service(number, rng), Origin(False, "shop", f"s{number}")
        blocks.pop(origin, None)
        if block:
            blocks[origin] = block
    return ServiceTable(before.node, blocks)


def content(services: HashMap, backends: HashMap) -> dict[Frontend, tuple[frozenset[bytes], int, int]]:
    """What the maps mean; numbers and the order of slots are an agent's own affair."""
    state = read_state(services, backends)
    return {
        place: (
            frozenset(records(state.slots.get(value.service, b"")[: value.backends * RECORD_SIZE])),
            value.flags,
            value.affinity,
        )
        for place, value in state.entries.items()
    }


class Writer:
    """The agent's part: applies one table after the other, restarts now and then, collects what is left."""

    def __init__(self, datapath: Datapath, rng: random.Random) -> None:
        self.maps = datapath.maps["services"], datapath.maps["backends"]
        self.rng = rng
        self.table = ServiceTable(Node("here"))
        self.reconciler = ServiceReconciler(*self.maps)

    def begin(self) -> None:
        """All Services that the reader looks for."""
        blocks = {Origin(False, "shop", f"s{number}"): service(number, self.rng) for number in range(STEADY)}
        self.table = ServiceTable(self.table.node, {origin: block for origin, block in blocks.items() if block})
        self.reconciler.apply(self.table)

    def step(self) -> None:
        if self.rng.random() < 0.1:
            self.reconciler = ServiceReconciler(*self.maps)
        self.table = changed(self.table, self.rng)
        self.reconciler.apply(self.table)
        if self.rng.random() < 0.3:
            self.collect()

    def collect(self) -> None:
        until = self.reconciler.written
        wait_for_readers()
        self.reconciler.collect(until)


def test_no_lookup_fails_while_everything_changes_and_the_end_is_what_a_fresh_agent_makes(datapath: Datapath) -> None:
    seed = random.randrange(1 << 32)
    writer = Writer(datapath, random.Random(seed))
    writer.begin()
    argv = [sys.executable, "-m", "tests.support.hammer", str(datapath.build.pins / "from_endpoint"), str(STEADY)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True) as reader:
        assert reader.stdout
        assert reader.stdout.readline() == "ready\n"
        done, deadline = 0, time.monotonic() + SECONDS
        while done < CHANGES or time.monotonic() < deadline:
            writer.step()
            done += 1
        told, _ = reader.communicate("end\n", timeout=20)
    result = json.loads(told)
    assert result["failures"] == [], f"{result['failed']} of {result['lookups']} look-ups failed, seed {seed}"
    assert result["lookups"] > 10_000
    writer.collect()
    reached = content(*writer.maps), [len(table.items()[0]) for table in writer.maps]
    for table in writer.maps:
        table.delete(table.items()[0])
    ServiceReconciler(*writer.maps).apply(ServiceTable(writer.table.node, writer.table.blocks))
    assert reached == (content(*writer.maps), [len(table.items()[0]) for table in writer.maps]), f"seed {seed}"
