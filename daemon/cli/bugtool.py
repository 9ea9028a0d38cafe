"""`remora bugtool`: one archive with all that it takes to judge an agent from afar.

It goes on where something cannot be had: an archive of a host whose agent is dead is the one that is needed most. What
is missing stands in the archive's README.
"""

from __future__ import annotations

import io
import os
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import click
from google.protobuf.message import Message

from daemon.cli import jsonpb, options
from daemon.cli.client import Client, connect
from daemon.cli.errors import CliError, Exit
from daemon.cli.local import agent_pid
from daemon.cli.server import Server
from daemon.cli.status import painter, render
from daemon.cli.tables import size
from daemon.proto import observer_pb2, remora_pb2

FILE_LIMIT = 4 * 1024 * 1024  # bytes of one file
LIMIT = 64 * 1024 * 1024  # bytes of all files, before they are packed
EVENTS = 1_000  # agent events that are taken along
_PATIENCE = 120.0  # s for what reads whole maps

_QUESTIONS: dict[str, Callable[[Client], Message]] = {
    "services.json": lambda c: c.agent.ListServices(remora_pb2.ListServicesRequest(), timeout=_PATIENCE),
    "policies.json": lambda c: c.agent.ListPolicies(remora_pb2.ListPoliciesRequest(), timeout=_PATIENCE),
    "endpoints.json": lambda c: c.agent.ListEndpoints(remora_pb2.ListEndpointsRequest(), timeout=_PATIENCE),
    "identities.json": lambda c: c.agent.ListIdentities(remora_pb2.ListIdentitiesRequest(), timeout=_PATIENCE),
    "verify.json": lambda c: c.agent.Verify(remora_pb2.VerifyRequest(), timeout=_PATIENCE),
    "server-status.json": lambda c: c.observer.ServerStatus(observer_pb2.ServerStatusRequest(), timeout=_PATIENCE),
}

_README = """remora bugtool, {when}
host {host}, command of version {version}

agent/    what the agent told: status, Services, policies, endpoints, its settings (paths of credentials, never
          their content), the last lines of its log, metrics, the first {entries} entries of each map
host/     kernel, devices, routes, names of chains of other programs, preflight, pins

What looks like a credential was taken out and stands as [removed]. No payload and no flows are in here.
"""


@click.command("bugtool")
@options.server_option
@click.option("-O", "--output-file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Archive.")
@click.option("--entries", default=1_000, show_default=True, metavar="NUMBER", help="Entries of each map; 0: none.")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Settings, where no agent answers.")
def command(server: Server, output_file: Path | None, entries: int, config: Path | None) -> int:
    """Pack state of agent and host into one archive, for whoever looks into a problem; root sees more.

    Exit codes: 0 complete, 1 written, but something is missing; 2 wrong use.
    """
    stem = f"remora-bugtool-{os.uname().nodename}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    path = output_file or Path(f"{stem}.tar.gz")
    try:
        with _private(path) as raw, tarfile.open(fileobj=raw, mode="w:gz") as archive:
            bundle = Bundle(archive, stem)
            bundle.fill(server, entries, config)
    except OSError as error:
        raise CliError(f"cannot write {path}: {error.strerror}; name another file with -O") from error
    for missing in bundle.missing:
        click.echo(f"remora: missing: {missing}", err=True)
    click.echo(f"{path}  {size(path.stat().st_size)}, {bundle.count} files")
    return Exit.ERROR if bundle.missing else Exit.OK


def _private(path: Path) -> IO[bytes]:
    """A new file that only its owner may read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


class Bundle:
    """An archive that grows; `missing` says what could not be had."""

    def __init__(self, archive: tarfile.TarFile, stem: str) -> None:
        self._archive, self._stem = archive, stem
        self._bytes = 0
        self.count = 0
        self.missing: list[str] = []

    def fill(self, server: Server, entries: int, config: Path | None) -> None:
        """Ask agent and host for everything."""
        from daemon.agent.facts import facts
        from daemon.agent.host import this_host
        from daemon.settings import Settings
        from daemon.settings_file import load
        from ebpf.errors import RemoraError

        try:
            loaded = load(config)
        except RemoraError as error:
            self.missing.append(str(error))
            loaded = Settings()
        try:
            with connect(server) as client:
                self._agent(client, entries)
        except CliError as error:
            self.missing.append(f"agent: {error.message}")
        for name, text in facts(this_host(), loaded, agent_pid(server)):
            self.add(f"host/{name}", text)
        self.add("README", self._readme(entries))

    def add(self, name: str, text: str) -> None:
        """A file; what looks like a credential is taken out, and what is too long is cut."""
        from daemon.agent.redact import redacted

        raw = redacted(text).encode()
        raw = raw if len(raw) <= FILE_LIMIT else raw[:FILE_LIMIT] + b"\n[cut here]\n"
        if self._bytes + len(raw) > LIMIT:
            self.missing.append(f"{name}: the archive has the {size(LIMIT)} that it may have")
            return
        head = tarfile.TarInfo(f"{self._stem}/{name}")
        head.size, head.mtime, head.mode = len(raw), int(time.time()), 0o600
        self._archive.addfile(head, io.BytesIO(raw))
        self._bytes += len(raw)
        self.count += 1

    def _agent(self, client: Client, entries: int) -> None:
        status = client.agent.Status(remora_pb2.StatusRequest(), timeout=client.timeout)
        self.add("agent/status.json", jsonpb.line(status) + "\n")
        self.add("agent/status.txt", render(status, painter(False), verbose=True))
        for name, ask in _QUESTIONS.items():
            self._try(name, lambda ask=ask: jsonpb.line(ask(client)) + "\n")  # type: ignore[misc]
        self._try("agent-events.jsonl", lambda: "".join(_events(client)))
        for name, text in _reports(client, entries):
            self.add(f"agent/{name}", text)

    def _try(self, name: str, make: Callable[[], str]) -> None:
        """One answer; an agent that refuses it, as an older one does, still gives the others."""
        import grpc

        from daemon.cli.client import translate

        try:
            self.add(f"agent/{name}", make())
        except grpc.RpcError as error:
            self.missing.append(f"agent/{name}: {translate(error, 'the agent').message}")

    def _readme(self, entries: int) -> str:
        from daemon.agent.view import agent_version

        said = _README.format(
            when=datetime.now(UTC).isoformat(timespec="seconds"),
            host=os.uname().nodename,
            version=f"{agent_version()}, Python {sys.version.split()[0]}",
            entries=entries,
        )
        return said + "".join(f"\nmissing: {one}" for one in self.missing) + "\n"


def _events(client: Client) -> Iterator[str]:
    request = observer_pb2.GetAgentEventsRequest(number=EVENTS)
    for event in client.observer.GetAgentEvents(request, timeout=client.timeout):
        yield jsonpb.line(event) + "\n"


def _reports(client: Client, entries: int) -> Iterator[tuple[str, str]]:
    """The agent's own files, put together from their messages."""
    name, content = "", b""
    for part in client.agent.GetReport(remora_pb2.ReportRequest(entries=entries), timeout=_PATIENCE):
        if part.name != name and name:
            yield name, content.decode(errors="replace")
            content = b""
        name = part.name
        content += part.content
    if name:
        yield name, content.decode(errors="replace")
