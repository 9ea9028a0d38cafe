"""A web server at the speed of C: nginx with one worker, in the server's namespace.

Where the host has none, the Debian package is fetched and unpacked into the benchmark's own folder; so nothing is
installed and no service is started on the host.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from benchmarks.stand import PORT, SERVER, STAGE, BenchmarkError, await_true
from daemon.demo.topology import Node

PAGE = 1024  # bytes of the file that it serves

_CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
user root;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 100000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {port} backlog=4096;
        root {folder}/pages;
    }}
}}
"""


class Site(Protocol):
    """A node with a server's namespace; programs that are started in it end with it."""

    @property
    def node(self) -> Node: ...

    def address(self, workload: str) -> str:
        """A workload's IPv4 address."""

    def spawn(self, argv: Sequence[str], workload: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a program in a workload."""


def serve(site: Site, processor: int, folder: Path = STAGE.folder) -> None:
    """Start it on one processor; it answers when this returns and ends with the site. Raises BenchmarkError."""
    (folder / "pages").mkdir(parents=True)
    (folder / "pages" / "index.html").write_bytes(b"x" * PAGE)
    configuration = folder / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(folder=folder, port=PORT))
    nginx = [_nginx(), "-p", str(folder), "-c", str(configuration)]
    process = site.spawn(["taskset", "-c", str(processor), *nginx], SERVER)
    await_true(lambda: site.node.run(_answers, site.address(SERVER)), "answer from nginx", process)


def _answers(address: str) -> bool:
    try:
        socket.create_connection((address, PORT), 1).close()
    except OSError:
        return False
    return True


def _nginx() -> str:
    """Path of an nginx; raises BenchmarkError where there is none and none can be fetched."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found:
        return found
    folder = STAGE.folder / "package"
    fetched = next(folder.glob("usr/sbin/nginx"), None)
    if fetched:
        return str(fetched)
    folder.mkdir()
    folder.chmod(0o777)  # apt fetches as a user of its own
    try:
        subprocess.run(["apt-get", "download", "-qq", "nginx"], cwd=folder, check=True, capture_output=True)
        package = next(folder.glob("nginx_*.deb"))
        subprocess.run(["dpkg-deb", "-x", str(package), str(folder)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError, StopIteration) as error:
        raise BenchmarkError("there is no nginx and it cannot be fetched", "apt-get install nginx") from error
    return str(next(Path(folder).glob("usr/sbin/nginx")))
