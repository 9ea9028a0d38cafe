"""The shop and the agent beside it, running: one context manager that starts them and ends them in reverse order."""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from daemon.demo import scenario
from daemon.demo.agent import PACKAGES, AgentClient, command
from daemon.demo.cgroups import Cgroup
from daemon.demo.processes import spawn, stop
from daemon.demo.scenario import CLIENT, Role
from daemon.demo.signals import Rest
from daemon.demo.stage import DemoError, Stage
from daemon.demo.topology import Node

AGENT_PATIENCE = 60.0  # s until the agent answers; compiling takes about two
SERVER_PATIENCE = 15.0  # s until a server of the shop serves
_POLL = 0.05  # s

Process = subprocess.Popen[bytes]


class Shop:
    """Entering makes node, workloads and cgroup; `open` starts what runs in them."""

    def __init__(self, stage: Stage, rest: Rest) -> None:
        self.client = AgentClient(stage.server)
        self.roles = scenario.roles(scenario.documents())
        self._stage = stage
        self._rest = rest
        self._node = Node(stage.name)
        self._group = Cgroup(stage.name, "agent", "workloads")
        self._stack = ExitStack()

    def __enter__(self) -> Shop:
        with ExitStack() as stack:
            stack.enter_context(self._group)
            stack.enter_context(self._node)
            for role in self.roles:
                self._node.add(role.pod, role.addresses)
            self._stage.write(self._group.path / "workloads")
            stack.enter_context(self.client)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()

    def open(self) -> None:
        """Start agent and servers, and return when all of them serve. Raises DemoError for one that does not."""
        agent = self._start_agent()
        for server in [self._start(role) for role in self.roles if role.pod != CLIENT]:
            self._await_server(server)
        self._await_agent(agent)

    def start_client(self) -> Process:
        """Start the traffic."""
        return self._start(next(role for role in self.roles if role.pod == CLIENT))

    def start_view(self, *arguments: str) -> Process:
        """Start `remora observe …` on our own output; returns when it sees every flow to come, or has ended."""
        view = spawn(command("observe", "--server", self._stage.server, *arguments), environment=PACKAGES)
        self._stack.callback(stop, view)
        while view.poll() is None and not self.client.followed():
            self._rest.sleep(_POLL)
        return view

    def _start_agent(self) -> Process:
        argv = command("agent", "--config", str(self._stage.settings))
        with self._stage.log.open("wb") as log:
            agent = spawn(
                argv, self._node.path, self._group.path / "agent", stdout=log, stderr=log, environment=PACKAGES
            )
        self._stack.callback(stop, agent)
        return agent

    def _start(self, role: Role) -> Process:
        namespace, group = self._node.spaces[role.pod].path, self._group.path / "workloads"
        with (self._stage.folder / f"{role.pod}.log").open("wb") as log:
            process = spawn(role.argv, namespace, group, stdout=subprocess.PIPE, stderr=log, environment=PACKAGES)
        self._stack.callback(stop, process)
        return process

    def _await_server(self, server: Process) -> None:
        assert server.stdout  # it prints a line when it serves
        if not self._rest.readable(server.stdout, SERVER_PATIENCE):
            raise DemoError(f"a server of the shop did not start within {SERVER_PATIENCE:g} s")
        if not server.stdout.readline():
            raise DemoError(f"a server of the shop ended with exit code {server.wait()}")

    def _await_agent(self, agent: Process) -> None:
        deadline = time.monotonic() + AGENT_PATIENCE
        while not self.client.knows(len(self.roles)):
            if agent.poll() is not None:
                raise self._failed(f"the agent ended with exit code {agent.returncode}")
            if time.monotonic() > deadline:
                raise self._failed(f"the agent was not ready after {AGENT_PATIENCE:g} s")
            self._rest.sleep(_POLL)

    def _failed(self, what: str) -> DemoError:
        return DemoError(what, f"its last words:\n{_tail(self._stage.log)}")


def _tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
