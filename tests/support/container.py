"""A container of the project's image, run by runc from a bundle that we write, so without an engine.

It is what the DaemonSet asks of a kubelet: a read-only file system, a few capabilities instead of privileges, the
network of its node.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ebpf.capabilities import AGENT, held


@dataclass(frozen=True)
class Bind:
    """A folder of the host in the container."""

    source: Path
    target: str
    options: tuple[str, ...] = ("rw",)


@dataclass
class Container:
    """One container; `bundle` is an empty folder, `root` the image's file system."""

    name: str
    bundle: Path
    root: Path
    network: Path

    def start(self, argv: list[str], environment: dict[str, str], binds: list[Bind]) -> None:
        """Start and return at once."""
        env = [f"{key}={value}" for key, value in {"PATH": "/usr/bin:/bin", **environment}.items()]
        told = self._spec(["/opt/remora/bin/remora", *argv], env, binds)
        (self.bundle / "config.json").write_text(json.dumps(told))
        with self._log.open("wb") as log:
            runc = ["runc", "run", "--detach", "--bundle", str(self.bundle), self.name]
            subprocess.run(runc, check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def remora(self, *arguments: str) -> str:
        """What the CLI in the container prints; "" where it fails."""
        argv = ["runc", "exec", self.name, "/opt/remora/bin/remora", *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
        return done.stdout if done.returncode == 0 else ""

    @property
    def _log(self) -> Path:
        return self.bundle / "log"

    @property
    def log(self) -> str:
        """What the agent wrote."""
        return self._log.read_text()

    def remove(self) -> None:
        """End it, whatever it does."""
        subprocess.run(["runc", "delete", "--force", self.name], capture_output=True, check=False)

    def _spec(self, argv: list[str], env: list[str], binds: list[Bind]) -> dict[str, Any]:
        powers = [f"CAP_{one.name}" for one in sorted(AGENT) if held() >> one & 1]
        spaces: list[dict[str, str]] = [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]
        return {
            "ociVersion": "1.0.2",
            "root": {"path": str(self.root), "readonly": True},
            "process": {
                "args": argv,
                "env": env,
                "cwd": "/",
                "user": {"uid": 0, "gid": 0},
                "noNewPrivileges": True,
                "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), powers),
            },
            "mounts": [*map(_usual, _USUAL), *map(_bound, binds)],
            "linux": {"namespaces": [*spaces, {"type": "network", "path": str(self.network)}]},
        }


_USUAL = (("proc", "/proc", "proc"), ("tmpfs", "/dev", "tmpfs"), ("tmpfs", "/tmp", "tmpfs"), ("sysfs", "/sys", "sysfs"))


def _usual(mount: tuple[str, str, str]) -> dict[str, Any]:
    source, target, kind = mount
    return {"source": source, "destination": target, "type": kind, "options": ["ro"] if kind == "sysfs" else []}


def _bound(bind: Bind) -> dict[str, Any]:
    return {"source": str(bind.source), "destination": bind.target, "type": "bind", "options": ["rbind", *bind.options]}
