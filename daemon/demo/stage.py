"""Everything the demo puts on this host, under one name, so that one function finds and removes it all.

Removing goes by name and not by memory. So it is the same at the end of a demo, after a failure half-way, and for
what a killed demo left, and it may be called at any moment.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM
from socket import socket as Socket

import yaml

from daemon.demo import cgroups, topology
from daemon.demo.scenario import MANIFESTS
from ebpf import bpffs
from ebpf.errors import RemoraError

NAME = "remora-demo"


class DemoError(RemoraError):
    """The demo cannot be played."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Names and places of one demo."""

    name: str = NAME

    @property
    def folder(self) -> Path:
        """Manifests, settings, logs and the agent's socket."""
        return Path("/run") / self.name

    @property
    def pins(self) -> Path:
        """The agent's pins."""
        return bpffs.BPFFS / self.name

    @property
    def socket(self) -> Path:
        """The agent's API."""
        return self.folder / "remora.sock"

    @property
    def server(self) -> str:
        """The agent's API as REMORA_SERVER names it."""
        return f"unix://{self.socket}"

    @property
    def log(self) -> Path:
        """What the agent says."""
        return self.folder / "agent.log"

    @property
    def settings(self) -> Path:
        """The agent's settings."""
        return self.folder / "agent.yaml"

    @property
    def manifests(self) -> Path:
        """The folder that the agent watches."""
        return self.folder / "manifests"

    def lock(self) -> Socket:
        """Hold the name until the socket is closed; a name of this kind vanishes with its process.

        Raises DemoError when another demo holds it.
        """
        holder = Socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        try:
            holder.bind(f"\0{self.name}")
        except OSError as error:
            holder.close()
            raise DemoError("a demo runs on this host already", "end it with Ctrl-C in its terminal") from error
        return holder

    def write(self, workloads: Path) -> None:
        """Write manifests and settings; `workloads` is the cgroup of the shop's processes."""
        self.folder.mkdir(mode=0o755)
        shutil.copytree(MANIFESTS, self.manifests)
        settings = {
            "node_name": self.name,
            "manifests": str(self.manifests),
            "bpffs": str(self.pins),
            "state_dir": str(self.folder),
            "socket": str(self.socket),
            "cgroup": str(workloads),
            # a small shop needs small maps
            "services": 1024,
            "backends": 4096,
            "addresses": 1024,
            "connections": 8192,
        }
        self.settings.write_text(yaml.safe_dump(settings, sort_keys=False))

    def clear(self) -> list[str]:
        """Remove all of it, and say in words what there was. Also called when there is nothing."""
        group = cgroups.mount_point() / self.name
        found = [f"{len(cgroups.pids(group))} processes"] if cgroups.pids(group) else []
        cgroups.remove(group)
        found += [f"{count} pins"] if (count := bpffs.remove_tree(self.pins)) else []
        found += [f"namespace {name}" for name in topology.leftovers(self.name)]
        topology.remove(self.name)
        with suppress(FileNotFoundError):
            shutil.rmtree(self.folder)
        return found
