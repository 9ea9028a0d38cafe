"""A real agent in a test's node: started as a user would, asked through its own CLI."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ebpf.datapath import cleanup
from tests.support.netns import TestNode

REMORA = [sys.executable, "-m", "daemon.cli.main"]
ROOT = Path(__file__).parents[2]
START_TIMEOUT = 60.0  # s; each agent compiles for itself, on machines that do other things too


@dataclass
class AgentProcess:
    """One agent of one node; may be killed and started again on its pins."""

    node: TestNode
    folder: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def manifests(self) -> Path:
        return self.folder / "manifests"

    @property
    def pins(self) -> Path:
        return Path("/sys/fs/bpf") / self.node.name

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def server(self) -> str:
        return f"unix://{self.folder}/remora.sock"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def configure(self, **settings: Any) -> None:
        """Write the settings file."""
        self.manifests.mkdir(exist_ok=True)
        own = {
            "node_name": "node-1",
            "manifests": str(self.manifests),
            "bpffs": str(self.pins),
            "state_dir": str(self.state),
            "socket": f"{self.folder}/remora.sock",
            "cgroup": str(self.node.cgroup),
            "metrics_address": "127.0.0.1:9965",
            "services": 1024,
            "backends": 4096,
            "addresses": 1024,
        }
        (self.folder / "config.yaml").write_text(yaml.safe_dump(own | settings))

    def launch(self) -> None:
        """Start the agent and return at once."""
        argv = [*REMORA, "agent", "--config", str(self.folder / "config.yaml")]
        with (self.folder / "log").open("ab") as log:
            self.process = self.node.popen(argv, stdout=log, stderr=log, environment={"PYTHONPATH": str(ROOT)})

    def start(self) -> None:
        """Start the agent and wait until it answers."""
        self.launch()
        self.until(lambda: self.status_or_none() is not None, START_TIMEOUT)

    def kill(self) -> None:
        """kill -9."""
        assert self.process
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def remora(self, *arguments: str, ok: tuple[int, ...] = (0,)) -> str:
        """What `remora …` prints on standard output; the exit code must be one of `ok`."""
        done = subprocess.run(
            [*REMORA, *arguments],
            cwd=ROOT,
            env={**os.environ, "REMORA_SERVER": self.server},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode in ok, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.log}"
        return done.stdout

    def json(self, *arguments: str, ok: tuple[int, ...] = (0,)) -> Any:
        """What `remora … -o json` prints, decoded."""
        return json.loads(self.remora(*arguments, "-o", "json", ok=ok))

    def status(self) -> Any:
        """`remora status -o json`, healthy or degraded."""
        return self.json("status", ok=(0, 1))

    def status_or_none(self) -> Any:
        """The status, or None while nobody answers."""
        try:
            return self.status()
        except AssertionError:
            assert self.alive, self.log
            return None

    def flows(self, *arguments: str) -> list[dict[str, Any]]:
        """`remora observe … -o json`: the flows."""
        lines = self.remora("observe", *arguments, "-o", "json").splitlines()
        return [found["flow"] for line in lines if "flow" in (found := json.loads(line))]

    @staticmethod
    def until(condition: Callable[[], object], timeout: float = 10.0) -> Any:
        """The first true result of a condition; fails when there is none in time."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            result = condition()
            if result:
                return result
            time.sleep(0.1)
        raise AssertionError(f"not true within {timeout} s: {condition}")


@contextmanager
def agent_on(node: TestNode, folder: Path, **settings: Any) -> Iterator[AgentProcess]:
    """An agent that is configured and not started; everything of it is gone at the end."""
    made = AgentProcess(node, folder)
    made.configure(**settings)
    try:
        yield made
    finally:
        if made.alive:
            made.kill()
        node.run(cleanup, made.pins, made.state)
