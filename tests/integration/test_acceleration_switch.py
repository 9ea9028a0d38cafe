"""XDP comes and goes under load: a connection that one hook opened is carried on by the other."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from daemon.demo.processes import stop
from ebpf import xdp
from ebpf.constants import Counter
from tests.integration.city import City, built, vip
from tests.integration.test_uplink import HOLD
from tests.support.outside import UPLINK

SETTINGS = {"uplinks": ["upl*"], "xdp": "native"}

LOAD = """
import signal, socket, sys, time
address, port, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
answered = failed = 0
over = []
signal.signal(signal.SIGTERM, lambda *_: over.append(1))
while not over:
    time.sleep(0.005)
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET,
                       socket.SOCK_STREAM if kind == "TCP" else socket.SOCK_DGRAM) as s:
        s.settimeout(4)
        try:
            s.connect((address, port))
            if kind == "UDP":
                s.send(b"who")
            answered += bool(s.recv(100))
        except OSError:
            failed += 1
print(answered, failed)
"""


@pytest.fixture(scope="module", name="city")
def city_fixture(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    with built(tmp_path_factory.mktemp("agent"), wired=True, xdp="native", acceleration=True) as city:
        yield city


def set_to(city: City, **settings: Any) -> None:
    """Let the running agent have other settings."""
    city.agent.configure(**SETTINGS, **settings)
    assert city.agent.process
    os.kill(city.agent.process.pid, signal.SIGHUP)


def test_no_connection_is_lost_while_xdp_is_switched_off_on_native_and_generic(city: City) -> None:
    held = [
        city.world.popen([sys.executable, "-c", HOLD, *map(str, vip("NodePort", name, family))])
        for name in ("echo", "counted", "counted-local")
        for family in (0, 1)
    ]
    asking = [load(city, *vip("LoadBalancer", "cluster", family), "TCP") for family in (0, 1)]

    def live() -> None:
        for process in held:
            assert process.stdout
            assert [process.stdout.readline() for _ in range(10)] == [b"10\n"] * 10

    live()
    index = city.node.run(socket.if_nametoindex, UPLINK)
    for mode in (xdp.Mode.GENERIC, xdp.Mode.OFF, xdp.Mode.NATIVE, xdp.Mode.GENERIC, xdp.Mode.NATIVE):
        set_to(city, acceleration=True, xdp_devices={"upl*": str(mode)})
        city.agent.until(lambda mode=mode: city.node.run(xdp.attached, index)[0] is mode)
        live()
        assert sends(city) is (mode is not xdp.Mode.OFF)
    for on in (False, True):
        set_to(city, acceleration=on)
        city.agent.until(lambda on=on: sends(city) is on)
        live()
    for process in asking:
        process.terminate()
        out, _ = process.communicate(timeout=20)
        answered, failed = map(int, out.split())
        assert answered > 100
        assert not failed
    for process in held:
        assert process.poll() is None
        stop(process)


def load(city: City, address: str, port: int, kind: str) -> subprocess.Popen[bytes]:
    """Short connections, one after the other, until it ends; then it tells how many were answered, and how many not."""
    return city.world.popen([sys.executable, "-c", LOAD, address, str(port), kind])


def sends(city: City) -> bool:
    """Does XDP send packets, while some come?"""
    before = city.counter(Counter.XDP_SENT)
    city.ask(*vip("LoadBalancer", "echo", 0), times=1)
    return city.counter(Counter.XDP_SENT) > before
