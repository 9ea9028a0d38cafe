"""The API over TCP: who gets in, with which TLS, and what happens when certificates change."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from daemon.api import Listener, TlsFiles
from daemon.proto import observer_pb2, observer_pb2_grpc, remora_pb2, remora_pb2_grpc
from tests.support.certificates import Authority, Pair
from tests.unit.api.shop import FakeView, serving

NAME = "node-1.default.hubble-grpc.cilium.io"

# gRPC reads its ciphers when it is imported, so the oldest TLS is asked of a process that imports as the agent does.
SERVE = """
import sys
from pathlib import Path
from daemon.api import Listener, TlsFiles
from tests.unit.api.shop import FakeView, serving
folder = Path(sys.argv[1])
with serving(FakeView(), folder, Listener("127.0.0.1:0", TlsFiles(folder / "node.crt", folder / "node.key"))) as server:
    print(server.port, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def node(authority: Authority) -> Pair:
    return authority.issue("node", "*.default.hubble-grpc.cilium.io")


def status(port: int, root: Path, own: Pair | None = None) -> observer_pb2.ServerStatusResponse:
    pair = (own.key.read_bytes(), own.certificate.read_bytes()) if own else (None, None)
    credentials = grpc.ssl_channel_credentials(root.read_bytes(), *pair)
    options = [("grpc.ssl_target_name_override", NAME)]
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        return observer_pb2_grpc.ObserverStub(channel).ServerStatus(observer_pb2.ServerStatusRequest(), timeout=5)


def handshake(port: int, newest: ssl.TLSVersion) -> tuple[str | None, str | None]:
    import socket

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = newest
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", port), 5) as raw, context.wrap_socket(raw) as secured:
        return secured.version(), secured.selected_alpn_protocol()


@pytest.fixture
def fresh(tmp_path: Path, node: Pair) -> Iterator[int]:
    """The port of a server in a process of its own."""
    shutil.copy(node.certificate, tmp_path / "node.crt")
    shutil.copy(node.key, tmp_path / "node.key")
    command = [sys.executable, "-c", SERVE, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.communicate(timeout=10)


def test_tls_1_3_is_spoken_and_nothing_older(fresh: int) -> None:
    assert handshake(fresh, ssl.TLSVersion.TLSv1_3) == ("TLSv1.3", "h2")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(fresh, ssl.TLSVersion.TLSv1_2)


def test_any_client_may_ask_where_no_authority_is_named(
    view: FakeView, tmp_path: Path, authority: Authority, node: Pair
) -> None:
    listener = Listener("127.0.0.1:0", TlsFiles(node.certificate, node.key))
    with serving(view, tmp_path, listener) as server:
        assert status(server.port, authority.certificate).max_flows == 4_096


def test_clients_need_a_certificate_of_the_named_authority(
    view: FakeView, tmp_path: Path, authority: Authority, node: Pair
) -> None:
    vouched, stranger = authority.issue("relay"), Authority(tmp_path / "others").issue("relay")
    listener = Listener("127.0.0.1:0", TlsFiles(node.certificate, node.key, (authority.certificate,)))
    with serving(view, tmp_path, listener) as server:
        assert status(server.port, authority.certificate, vouched).max_flows == 4_096
        for own in (None, stranger):
            with pytest.raises(grpc.RpcError) as caught:
                status(server.port, authority.certificate, own)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_certificate_that_changes_is_used_for_the_next_client(view: FakeView, tmp_path: Path) -> None:
    first, second = Authority(tmp_path / "1"), Authority(tmp_path / "2")
    pair = first.issue("node", NAME)
    with serving(view, tmp_path, Listener("127.0.0.1:0", TlsFiles(pair.certificate, pair.key))) as server:
        assert status(server.port, first.certificate)
        new = second.issue("node", NAME)
        new.key.replace(pair.key)
        new.certificate.replace(pair.certificate)
        assert status(server.port, second.certificate)


def test_a_broken_certificate_leaves_the_one_before_in_force(view: FakeView, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "1")
    pair = authority.issue("node", NAME)
    with serving(view, tmp_path, Listener("127.0.0.1:0", TlsFiles(pair.certificate, pair.key))) as server:
        pair.certificate.write_text("no certificate")
        assert status(server.port, authority.certificate)


def test_a_missing_certificate_is_waited_for(view: FakeView, tmp_path: Path) -> None:
    listener = Listener("127.0.0.1:0", TlsFiles(tmp_path / "late" / "node.crt", tmp_path / "late" / "node.key"))
    with serving(view, tmp_path, listener) as server:
        assert server.port == 0
        authority = Authority(tmp_path / "late")
        authority.issue("node", NAME)
        deadline = time.monotonic() + 10
        while not server.port and time.monotonic() < deadline:
            time.sleep(0.05)
        assert status(server.port, authority.certificate)


def test_bans_are_lifted_by_the_socket_alone(view: FakeView, tmp_path: Path) -> None:
    request = remora_pb2.UnbanRequest(address="192.0.2.7")
    with serving(view, tmp_path, Listener("127.0.0.1:0")) as server:
        with (
            grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
            pytest.raises(grpc.RpcError, match="the API over TCP changes nothing"),
        ):
            remora_pb2_grpc.AgentStub(channel).Unban(request, timeout=5)
        with grpc.insecure_channel(f"unix:{server.path}") as channel:
            assert not remora_pb2_grpc.AgentStub(channel).Unban(request, timeout=5).HasField("ban")


def test_plain_text_is_served_where_it_is_asked_for(view: FakeView, tmp_path: Path) -> None:
    with (
        serving(view, tmp_path, Listener("127.0.0.1:0")) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub = observer_pb2_grpc.ObserverStub(channel)
        assert stub.ServerStatus(observer_pb2.ServerStatusRequest(), timeout=5).version == "remora v1.2.3"
