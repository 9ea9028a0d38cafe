"""A web server at the speed of C: nginx with one worker, in the server's namespace.

Where the host has none, the Debian package is fetched and unpacked into the benchmark's own folder; so nothing is
installed and no service is started on the host.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

from benchmarks.stand import PORT, SERVER, STAGE, BenchmarkError, Stand, await_true

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


def serve(stand: Stand, processor: int) -> None:
    """Start it on one processor; it answers when this returns and ends with the stand. Raises BenchmarkError."""
    (STAGE.folder / "pages").mkdir()
    (STAGE.folder / "pages" / "index.html").write_bytes(b"x" * PAGE)
    configuration = STAGE.folder / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(folder=STAGE.folder, port=PORT))
    nginx = [_nginx(), "-p", str(STAGE.folder), "-c", str(configuration)]
    process = stand.spawn(["taskset", "-c", str(processor), *nginx], SERVER)
    await_true(lambda: stand.node.run(_answers, stand.address(SERVER)), "answer from nginx", process)


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
    folder.mkdir()
    folder.chmod(0o777)  # apt fetches as a user of its own
    try:
        subprocess.run(["apt-get", "download", "-qq", "nginx"], cwd=folder, check=True, capture_output=True)
        package = next(folder.glob("nginx_*.deb"))
        subprocess.run(["dpkg-deb", "-x", str(package), str(folder)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError, StopIteration) as error:
        raise BenchmarkError("there is no nginx and it cannot be fetched", "apt-get install nginx") from error
    return str(next(Path(folder).glob("usr/sbin/nginx")))
