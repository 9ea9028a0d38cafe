"""A fresh Debian that is booted: systemd as PID 1 in namespaces of its own, with a BPF file system of its own.

Its network has no way out, and the cgroup that it takes for the root is a child of ours. Packages are installed
before it boots, with this machine's network, certificates and nothing else of it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.agent import ROOT
from tests.support.netns import unique

_NSPAWN = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--link-journal=no"]
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_POWERS = "bpf perf_event_open setns @mount"
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
BOOT = 60.0  # s


@dataclass
class Machine:
    """A root file system; `leader` is its PID 1 as we see it, 0 while it is not booted."""

    root: Path
    leader: int = 0

    def install(self, *packages: str) -> None:
        """By apt, before the machine boots."""
        self.prepare("apt-get", "update", "-qq")
        self.prepare("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages)

    def prepare(self, *argv: str) -> None:
        """Run a program in the file system, with the host's network."""
        told = {"DEBIAN_FRONTEND": "noninteractive", "PIP_CERT": str(_CERTIFICATES), "RUNLEVEL": "1"}
        settings = [f"--setenv={key}={value}" for key, value in told.items()]
        nspawn = [*_NSPAWN, f"--directory={self.root}", "--as-pid2", "--pipe", "--resolv-conf=replace-host"]
        done = subprocess.run(
            [*nspawn, *settings, *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        assert done.returncode == 0, f"{argv}: exit {done.returncode}\n{done.stdout}"

    def run(self, *argv: str, ok: tuple[int, ...] = (0,)) -> str:
        """Run a program in the booted machine; what it prints."""
        enter = ["nsenter", f"--target={self.leader}", "--all", *argv]
        done = subprocess.run(enter, env=_ENVIRONMENT, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode in ok, f"{argv}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def unit(self, name: str) -> str:
        """A property of the agent's unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", "remora").strip()

    @property
    def journal(self) -> str:
        """The log of the agent's unit."""
        return self.run("journalctl", "--no-pager", "--output=cat", "--unit=remora")

    @contextmanager
    def booted(self) -> Iterator[None]:
        """Boot, and switch off at the end."""
        pins = self.root.parent / "bpf"
        pins.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "bpf", "bpf", pins], check=True)
        argv = [*_NSPAWN, f"--directory={self.root}", "--boot", "--private-network", "--console=read-only"]
        argv += [f"--bind={pins}:/sys/fs/bpf", "--capability=all", f"--system-call-filter={_POWERS}"]
        environment = os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        with (self.root.parent / "console").open("wb") as console:
            nspawn = subprocess.Popen(
                argv, env=environment, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True
            )
        try:
            self.leader = _leader(nspawn)
            self.run("systemctl", "is-system-running", "--wait", ok=(0, 1))
            yield
        finally:
            nspawn.terminate()
            try:
                nspawn.wait(30)
            except subprocess.TimeoutExpired:
                nspawn.kill()
                nspawn.wait()
            self.leader = 0
            subprocess.run(["umount", pins], check=True)


def _leader(nspawn: subprocess.Popen[bytes]) -> int:
    """The machine's PID 1, once its systemd listens."""
    children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children")
    deadline = time.monotonic() + BOOT
    while time.monotonic() < deadline:
        for pid in children.read_text().split():
            if Path(f"/proc/{pid}/root/run/systemd/private").exists():
                return int(pid)
        time.sleep(0.2)
    raise AssertionError(f"the machine did not boot in {BOOT:.0f} s")


@contextmanager
def debian() -> Iterator[Machine]:
    """A file system with systemd and nothing else, not booted; gone at the end."""
    made = subprocess.run([ROOT / "deploy/container/base"], capture_output=True, text=True, check=True, timeout=600)
    folder = Path("/var/tmp") / unique("machine")
    root = folder / "root"
    root.mkdir(parents=True)
    try:
        subprocess.run(["tar", "-xf", made.stdout.strip(), "-C", root], check=True)
        trusted = root / "usr/local/share/ca-certificates"
        trusted.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_CERTIFICATES, trusted / "registries.crt")
        machine = Machine(root)
        machine.install("systemd", "systemd-sysv", "make")
        yield machine
    finally:
        shutil.rmtree(folder)
