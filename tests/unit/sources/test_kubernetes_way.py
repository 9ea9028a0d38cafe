"""What a kubeconfig says of the way to its server and of who asks, beyond a token: names, proxies, certificates."""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daemon.sources.kubernetes import KubernetesSource
from daemon.sources.kubernetes.config import access
from ebpf.errors import RemoraError
from tests.support.certificates import Authority, Pair
from tests.support.connect_proxy import proxy
from tests.unit.sources.test_kubernetes import service
from tests.unit.sources.test_kubernetes_credentials import (
    Place,
    _impatient,
    _serving,
    listening,
    names,
    run,
    told,
    until,
)

__all__ = ["_impatient"]

NAME = "kubernetes.example"
PLUGIN = "import pathlib, sys; print(pathlib.Path(sys.argv[1]).read_text())"


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files would be."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    return tmp_path / "scratch"


def as_text(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def plugin(folder: Path, **status: Any) -> dict[str, Any]:
    """A kubeconfig's words for a plugin that prints this status, or what is told by another call."""
    version = "client.authentication.k8s.io/v1"
    path = folder / "credential.json"
    path.write_text(json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": status}))
    return {"apiVersion": version, "command": sys.executable, "args": ["-c", PLUGIN, str(path)]}


def certificate(pair: Pair) -> dict[str, str]:
    return {"clientCertificateData": pair.certificate.read_text(), "clientKeyData": pair.key.read_text()}


def test_a_certificate_for_another_name_is_believed_where_that_name_is_said(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        async with listening(place.source(token="right", cluster={"tls-server-name": NAME})) as source:
            assert names(source) == ["web"]
        async with listening(place.source(token="right")) as source:
            assert "tls-server-name" in told(source)
            assert not source.snapshot.services

    run(tmp_path, test, NAME)


def test_all_is_asked_through_the_proxy_and_tls_ends_at_the_server(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        async with proxy() as between:
            cluster = {"proxy-url": between.url, "tls-server-name": NAME}
            async with listening(place.source(token="right", cluster=cluster)) as source:
                assert names(source) == ["web"]
                assert source.peer == between.url
                assert set(between.tunnels) == {f"127.0.0.1:{place.server.port}"}
                asked = len(between.tunnels)
                place.server.cut()
                await place.server.put(service("later"))
                await until(lambda: names(source) == ["later", "web"])
                assert len(between.tunnels) > asked

    run(tmp_path, test, NAME)


def test_a_proxy_that_wants_a_password_gets_it_and_nobody_else_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")

    async def test(place: Place) -> None:
        async with proxy("open-sesame") as between:
            async with listening(place.source(token="right", cluster={"proxy-url": between.url})) as source:
                assert names(source) == ["web"]
            between.password = "changed"
            async with listening(place.source(token="right", cluster={"proxy-url": between.url[:-6] + "1"})) as source:
                assert "no way through the proxy" in told(source)
            wrong = f"http://someone:open-sesame@127.0.0.1:{between.port}"
            async with listening(place.source(token="right", cluster={"proxy-url": wrong})) as source:
                assert f"no way through the proxy http://127.0.0.1:{between.port}: 407" in told(source)
                assert "open-sesame" not in told(source) + caplog.text

    run(tmp_path, test)


def test_a_proxy_over_tls_is_believed_by_the_hosts_authorities_and_the_server_by_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = Authority(tmp_path / "hosts")
    shown = _serving(hosts, hosts.issue("proxy", "127.0.0.1"))

    async def test(place: Place) -> None:
        async with proxy(tls=shown) as between:
            cluster = {"proxy-url": between.url}
            async with listening(place.source(token="right", cluster=cluster)) as source:
                assert f", or of the proxy {between.url}, is not accepted" in told(source)
            monkeypatch.setenv("SSL_CERT_FILE", str(hosts.certificate))
            async with listening(place.source(token="right", cluster=cluster)) as source:
                assert names(source) == ["web"]
                assert between.tunnels

    run(tmp_path, test)


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1080", "http://me:pa/ss@proxy:3128", "proxy:3128", "http://"])
def test_a_proxy_that_cannot_be_used_is_told_at_the_start_without_its_password(tmp_path: Path, url: str) -> None:
    async def test(place: Place) -> None:
        with pytest.raises(RemoraError, match="`proxy-url` of cluster it is none that can be used") as caught:
            place.source(token="right", cluster={"proxy-url": url})
        assert "http://HOST:PORT or https://HOST:PORT" in caught.value.hint
        assert "pa/ss" not in str(caught.value) + caught.value.hint

    run(tmp_path, test)


def test_empty_and_null_fields_of_a_cluster_mean_nothing(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        path = tmp_path / "kubeconfig"
        place.source(token="right", cluster={"proxy-url": "", "tls-server-name": ""})
        path.write_text(path.read_text().replace("proxy-url: ''", "proxy-url: null"))
        async with listening(KubernetesSource(access(str(path), ""))) as source:
            assert names(source) == ["web"]

    run(tmp_path, test)


def test_a_plugins_certificate_lets_in_and_is_renewed_when_it_is_refused(tmp_path: Path, scratch: Path) -> None:
    async def test(place: Place) -> None:
        place.server.tokens, place.server.subjects = set(), {"first"}
        first, second = place.authority.issue("first"), place.authority.issue("second")
        async with listening(place.source(exec=plugin(tmp_path, **certificate(first)))) as source:
            assert names(source) == ["web"]
            plugin(tmp_path, **certificate(second))
            place.server.subjects = {"second"}
            place.server.cut()
            await place.server.put(service("later"))
            await until(lambda: names(source) == ["later", "web"] and not source.problems)
            assert not list(scratch.iterdir())

    run(tmp_path, test)


def test_a_plugin_may_give_a_certificate_and_a_token(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        place.server.tokens = {"right"}
        given = certificate(place.authority.issue("somebody"))
        async with listening(place.source(exec=plugin(tmp_path, token="right", **given))) as source:
            assert names(source) == ["web"]

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"clientKeyData": ""}, "gave a certificate or a key, not both"),
        ({"clientKeyData": "secret"}, "gave a certificate that is none"),
        ({"clientCertificateData": "secret"}, "gave a certificate that is none"),
        ({"clientCertificateData": "", "clientKeyData": None}, "gave neither a token nor a certificate"),
        ({"clientCertificateData": 7}, "printed no ExecCredential"),
    ],
)
def test_a_plugins_certificate_that_is_none_is_told_and_never_shown(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    async def test(place: Place) -> None:
        given = {**certificate(place.authority.issue("first")), **change}
        async with listening(place.source(exec=plugin(tmp_path, **given))) as source:
            await until(lambda: words in told(source))
            assert "secret" not in told(source)
            assert "PRIVATE KEY" not in told(source)

    run(tmp_path, test)


def test_certificates_written_in_the_kubeconfig_never_come_to_lie_in_a_file(tmp_path: Path, scratch: Path) -> None:
    async def test(place: Place) -> None:
        place.server.tokens, place.server.subjects = set(), {"first"}
        own = place.authority.issue("first")
        user = {"client-certificate-data": as_text(own.certificate), "client-key-data": as_text(own.key)}
        bundle = tmp_path / "bundle.crt"
        bundle.write_text("# Autorité\n" + place.authority.certificate.read_text())
        text = {"certificate-authority-data": as_text(bundle)}
        stranger = Authority(tmp_path / "other").certificate
        async with listening(place.source(stranger, text, **user)) as source:
            assert names(source) == ["web"]
            assert not list(scratch.iterdir())

    run(tmp_path, test)


@pytest.mark.parametrize("as_file", [True, False])
def test_a_key_with_a_password_is_refused_at_the_start_and_nobody_is_asked_for_it(
    tmp_path: Path, as_file: bool
) -> None:
    async def test(place: Place) -> None:
        own = place.authority.issue("first")
        shut = tmp_path / "shut.key"
        argv = ["openssl", "pkcs8", "-topk8", "-passout", "pass:x", "-in", str(own.key), "-out", str(shut)]
        subprocess.run(argv, check=True, timeout=20)
        key = {"client-key": str(shut)} if as_file else {"client-key-data": as_text(shut)}
        with pytest.raises(RemoraError) as caught:
            await place.source(**key, **{"client-certificate": str(own.certificate)}).start(lambda _: None)
        assert "without a password" in caught.value.hint

    run(tmp_path, test)


def test_whoever_answers_is_believed_where_the_kubeconfig_says_so_and_that_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(place: Place) -> None:
        careless = {"certificate-authority": None, "insecure-skip-tls-verify": True}
        async with listening(place.source(token="right", cluster=careless)) as source:
            assert names(source) == ["web"]
        assert "is believed to be the API server" in caplog.text
        with pytest.raises(RemoraError, match="insecure-skip-tls-verify"):
            place.source(token="right", cluster={"insecure-skip-tls-verify": True})

    run(tmp_path, test, "192.0.2.1")


def test_a_certificate_without_key_identifiers_is_believed_also_where_python_is_strict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From 3.13 on Python asks for more than RFC 5280 once did, and kubectl for less."""
    usual: Callable[..., ssl.SSLContext] = ssl.create_default_context

    def strict(*arguments: Any, **more: Any) -> ssl.SSLContext:
        made = usual(*arguments, **more)
        made.verify_flags |= ssl.VERIFY_X509_STRICT
        return made

    async def test(place: Place) -> None:
        old = Authority(tmp_path / "old", plain=True)
        await place.server.stop()
        place.server.tls = _serving(old, old.issue("server", "127.0.0.1"))
        await place.server.start()
        monkeypatch.setattr(ssl, "create_default_context", strict)
        async with listening(place.source(old.certificate, token="right")) as source:
            assert names(source) == ["web"]

    run(tmp_path, test)


@pytest.mark.parametrize("user", [{"as": "system:admin"}, {"auth-provider": {"name": "oidc"}}, {"as-groups": ["a"]}])
def test_what_would_make_the_agent_somebody_else_is_refused(tmp_path: Path, user: dict[str, Any]) -> None:
    async def test(place: Place) -> None:
        with pytest.raises(RemoraError, match=f"`{next(iter(user))}` of user it is not supported"):
            place.source(token="right", **user)

    run(tmp_path, test)


def test_a_kubeconfig_that_is_no_yaml_is_told_by_its_line_and_without_its_words(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text('users:\n- name: it\n  user: {token: "secret\nclusters: []\n')
    with pytest.raises(RemoraError, match="line") as caught:
        access(str(path), "")
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
