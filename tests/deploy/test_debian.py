"""What a user does on a fresh Debian: install, start, look, reload, remove; the unit's sandbox is in force."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.agent import ROOT, AgentProcess
from tests.support.machine import Machine, debian

pytestmark = pytest.mark.deploy

until = AgentProcess.until
SCRAPE = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:9965/metrics').read().decode())"
DROP_IN = "/etc/systemd/system/remora.service.d/short.conf"


def copy_of_the_source(target: Path) -> None:
    """What a clone would have: files that git knows or would take."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, names):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target / name)


@pytest.fixture(scope="module")
def installed(root: None) -> Iterator[Machine]:
    """`make install` was done from a clone that only root may read, the service is enabled; `make deb` too."""
    with debian() as machine:
        copy_of_the_source(machine.root / "src")
        machine.prepare("chmod", "-R", "go=", "/src")
        machine.prepare("make", "-C", "/src", "install")
        machine.prepare("make", "-C", "/src", "deb")
        machine.prepare("systemctl", "enable", "remora")
        machine.prepare("systemd-analyze", "verify", "remora.service")
        yield machine


@pytest.fixture(scope="module")
def machine(installed: Machine) -> Iterator[Machine]:
    """That machine, booted; a dog that looks every second, so that a test can wait for it."""
    drop_in = installed.root / DROP_IN.lstrip("/")
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text("[Service]\nWatchdogSec=6s\n")
    with installed.booted():
        yield installed


def active(machine: Machine) -> bool:
    return machine.unit("ActiveState") == "active"


def restarted(machine: Machine, before: str) -> Callable[[], bool]:
    return lambda: active(machine) and machine.unit("MainPID") not in ("0", before)


def flow(machine: Machine) -> str:
    """A connection to a workload's namespace, and what the agent tells of it."""
    for line in (
        "ip netns add web",
        "ip link add veth-web type veth peer name eth0 netns web",
        "ip addr add 10.244.1.1/24 dev veth-web",
        "ip link set veth-web up",
        "ip -n web addr add 10.244.1.2/24 dev eth0",
        "ip -n web link set eth0 up",
        "systemd-run --quiet --unit=web nsenter --net=/run/netns/web python3 -m http.server 8080",
    ):
        machine.run(*line.split())
    until(lambda: "veth-web" in machine.run("remora", "endpoint", "list"))
    code = "from urllib.request import urlopen; urlopen('http://10.244.1.2:8080/', timeout=3)"
    until(lambda: not machine.run("sh", "-c", f'python3 -c "{code}" 2>&1 || true'), 20)
    return str(until(lambda: machine.run("remora", "observe", "--port", "8080")))


def test_the_enabled_service_is_up_after_boot_and_is_asked_and_scraped(machine: Machine) -> None:
    assert active(machine), machine.journal
    assert "healthy" in machine.run("remora", "status")
    assert "web" in flow(machine)
    assert "hubble_flows_processed_total{" in machine.run("python3", "-c", SCRAPE)
    assert "failed" not in machine.journal


def test_the_group_may_ask_and_others_are_told_why_not(machine: Machine) -> None:
    nobody = ("setpriv", "--reuid=65534", "--clear-groups")
    assert "healthy" in machine.run(*nobody, "--regid=remora", "remora", "status")
    machine.run(*nobody, "--regid=65534", "remora", "status", ok=(3,))


def test_the_sandbox_is_in_force(machine: Machine) -> None:
    pid = machine.unit("MainPID")
    told = dict(
        line.split(":\t", 1) for line in machine.run("cat", f"/proc/{pid}/status").splitlines() if ":\t" in line
    )
    assert (told["NoNewPrivs"], told["Seccomp"]) == ("1", "2")
    inside = ("nsenter", f"--target={pid}", "--mount")
    for place in ("/etc/remora", "/usr", "/sys/fs/bpf", "/sys/fs/cgroup", "/proc/sys/net"):
        machine.run(*inside, "sh", "-c", f"! touch {place}/written 2>/dev/null")
    machine.run(*inside, "sh", "-c", "mkdir /sys/fs/bpf/remora/allowed && rmdir /sys/fs/bpf/remora/allowed")


def test_reload_takes_settings_over_without_a_restart(machine: Machine) -> None:
    before = machine.unit("MainPID")
    machine.run("sh", "-c", "echo 'zone: b' >>/etc/remora/config.yaml")
    machine.run("systemctl", "reload", "remora")
    until(lambda: "setting zone is now b" in machine.journal)
    assert (machine.unit("MainPID"), active(machine)) == (before, True)


def test_the_dog_is_fed_and_bites_an_agent_that_hangs(machine: Machine) -> None:
    before = machine.unit("MainPID")
    time.sleep(8)
    assert machine.unit("MainPID") == before
    machine.run("systemctl", "kill", "--kill-whom=main", "--signal=STOP", "remora")
    until(restarted(machine, before), 60)
    assert "watchdog" in machine.unit("Result") or "Watchdog timeout" in machine.journal


def test_an_agent_that_was_killed_is_back_on_its_pins(machine: Machine) -> None:
    before = machine.unit("MainPID")
    machine.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "remora")
    until(restarted(machine, before), 60)
    assert "reused" in machine.run("remora", "status")


def test_stopped_it_leaves_the_kernel_as_it_is_and_removed_it_leaves_nothing(machine: Machine) -> None:
    machine.run("systemctl", "stop", "remora")
    assert machine.unit("Result") == "success"
    assert "links" in machine.run("ls", "/sys/fs/bpf/remora")
    machine.run("make", "-C", "/src", "uninstall")
    assert "remora" not in machine.run("ls", "/sys/fs/bpf")
    left = "ls -d /opt/remora /run/remora /usr/local/bin/remora /etc/systemd/system/*remora* /usr/lib/*.d/remora.conf"
    assert machine.run("sh", "-c", f"{left} /etc/systemd/system/*/remora* 2>/dev/null", ok=(2,)) == (
        "/etc/systemd/system/remora.service.d\n"
    )
    assert "zone: b" in machine.run("cat", "/etc/remora/config.yaml")


def test_the_package_installs_runs_and_leaves_nothing(installed: Machine) -> None:
    (package,) = (installed.root / "src/build").glob("remora_*.deb")
    with debian() as other:
        shutil.copy(package, other.root / "remora.deb")
        other.install("/remora.deb")
        other.prepare("systemd-analyze", "verify", "remora.service")
        with other.booted():
            other.run("systemctl", "enable", "--now", "remora")
            assert "healthy" in other.run("remora", "status")
            assert "hubble_flows_processed_total" in other.run("python3", "-c", SCRAPE)
            nobody = ("setpriv", "--reuid=65534", "--regid=remora", "--clear-groups")
            assert "healthy" in other.run(*nobody, "remora", "status")
            other.run("dpkg", "--purge", "remora")
            assert "remora" not in other.run("ls", "/sys/fs/bpf")
            gone = "/opt/remora /etc/remora /run/remora /usr/bin/remora /etc/systemd/system/*/remora*"
            assert other.run("sh", "-c", f"ls -d {gone} 2>/dev/null", ok=(2,)) == ""
            assert "remora" not in other.run("systemctl", "list-unit-files", "--no-pager")
