"""TLS and credentials of the way to the API server: what is refused, in which words, and what is renewed unasked."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon.sources.kubernetes import KubernetesSource
from daemon.sources.kubernetes import source as source_module
from daemon.sources.kubernetes.config import access
from ebpf.errors import RemoraError
from tests.support.apiserver import ApiServer
from tests.support.apiserver_store import Store
from tests.support.certificates import Authority, Pair, serving
from tests.unit.sources.test_kubernetes import HASTY, service

PLUGIN = """
import json, os, pathlib, sys
info = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
folder = pathlib.Path(sys.argv[1])
(folder / "runs").open("a").write("run ")
status = {"token": (folder / "token").read_text(), **json.loads(os.environ.get("MORE", "{}"))}
print(json.dumps({"apiVersion": info["apiVersion"], "kind": "ExecCredential", "status": status}))
"""


@dataclass
class Place:
    """An API server over TLS, and what it takes to be let in."""

    folder: Path
    authority: Authority
    server: ApiServer

    def source(
        self, authority: Path | None = None, cluster: dict[str, Any] | None = None, **user: Any
    ) -> KubernetesSource:
        """A source whose kubeconfig says so; `cluster` goes before the rest, and None leaves a key out."""
        known = {"server": self.server.url, "certificate-authority": str(authority or self.authority.certificate)}
        cluster = {key: value for key, value in {**known, **(cluster or {})}.items() if value is not None}
        path = self.folder / "kubeconfig"
        told = {
            "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "clusters": [{"name": "it", "cluster": cluster}],
            "users": [{"name": "it", "user": user}],
        }
        path.write_text(yaml.safe_dump(told))
        return KubernetesSource(access(str(path), ""), HASTY)

    def token(self, token: str) -> Path:
        """A file with a token, replaced as the kubelet does."""
        path, new = self.folder / "token", self.folder / "token.new"
        new.write_text(token)
        return new.rename(path)

    def plugin(self, version: str = "v1", **more: Any) -> dict[str, Any]:
        """A kubeconfig's words for a credential plugin that prints what `token` wrote."""
        (self.folder / "plugin.py").write_text(PLUGIN)
        return {
            "apiVersion": f"client.authentication.k8s.io/{version}",
            "command": sys.executable,
            "args": [str(self.folder / "plugin.py"), str(self.folder)],
            "env": [{"name": "MORE", "value": json.dumps(more)}],
        }

    @property
    def runs(self) -> int:
        return (self.folder / "runs").read_text().count("run")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "FIRST_SYNC", 0.5)


def run(folder: Path, test: Callable[[Place], Awaitable[None]], *names: str, days: int = 2) -> None:
    """Carry out a test beside a server with a certificate for these names, and one object."""
    store = Store()
    store.put(service("web"))
    authority = Authority(folder / "pki")
    shown = authority.issue("server", *(names or ("127.0.0.1",)), days=days)

    async def body() -> None:
        server = ApiServer(store, bookmark=0.1, tls=_serving(authority, shown))
        await server.start()
        try:
            await test(Place(folder, authority, server))
        finally:
            await server.stop()

    asyncio.run(body())


def _serving(authority: Authority, shown: Pair) -> Any:
    return serving(authority.certificate, shown.certificate, shown.key)


@asynccontextmanager
async def listening(source: KubernetesSource) -> AsyncIterator[KubernetesSource]:
    await source.start(lambda _: None)
    try:
        yield source
    finally:
        await source.stop()


async def until(condition: Callable[[], object], timeout: float = 5.0) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.01)


def names(source: KubernetesSource) -> list[str]:
    return [one.name for one in source.snapshot.services]


def told(source: KubernetesSource) -> str:
    return "\n".join(map(str, source.problems))


def test_a_server_with_a_certificate_of_the_named_authority_is_believed(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        async with listening(place.source(token="right")) as source:
            assert names(source) == ["web"]
            assert not source.problems

    run(tmp_path, test)


def test_a_server_of_another_authority_is_not_asked_and_the_reason_told(tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")

    async def test(place: Place) -> None:
        async with listening(place.source(other.certificate, token="right")) as source:
            assert not place.server.requests
            assert f"the certificate of {place.server.url}/ is not accepted" in told(source)
            assert "is this the server of another cluster?" in told(source)
            assert "right" not in told(source)

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("name", "days", "advice"),
    [("192.0.2.1", 2, "set `api_server` to one of its addresses"), ("127.0.0.1", -1, "it has expired: renew it")],
)
def test_a_certificate_for_elsewhere_and_one_that_is_over_say_what_to_do(
    tmp_path: Path, name: str, days: int, advice: str
) -> None:
    async def test(place: Place) -> None:
        async with listening(place.source(token="right")) as source:
            assert advice in told(source)
            assert not place.server.requests

    run(tmp_path, test, name, days=days)


def test_an_authority_that_is_no_certificate_is_named_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "broken.crt").write_text("no certificate")

    async def test(place: Place) -> None:
        with pytest.raises(RemoraError, match=r"broken\.crt.*PEM"):
            await place.source(tmp_path / "broken.crt", token="right").start(lambda _: None)

    run(tmp_path, test)


def test_a_renewed_token_is_read_without_a_restart_and_nothing_is_forgotten(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        place.server.tokens = {"first"}
        async with listening(place.source(tokenFile=str(place.token("first")))) as source:
            assert names(source) == ["web"]
            place.server.tokens = {"second"}
            place.server.cut()
            await until(lambda: "Unauthorized" in told(source))
            assert "the credentials are expired" in told(source)
            assert names(source) == ["web"]
            place.token("second")
            await place.server.put(service("later"))
            await until(lambda: names(source) == ["later", "web"] and not source.problems)

    run(tmp_path, test)


def test_a_token_that_was_renewed_in_time_is_never_refused(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        place.server.tokens = {"first", "second"}
        async with listening(place.source(tokenFile=str(place.token("first")))) as source:
            place.token("second")
            place.server.tokens = {"second"}
            place.server.cut(reset=False)
            await place.server.put(service("later"))
            await until(lambda: names(source) == ["later", "web"])
            assert "Unauthorized" not in told(source)

    run(tmp_path, test)


def test_a_token_file_that_is_gone_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        path = place.token("right")
        async with listening(place.source(tokenFile=str(path))) as source:
            path.unlink()
            place.server.cut()
            await until(lambda: str(path) in told(source))
            place.token("right")
            await place.server.put(service("later"))
            await until(lambda: names(source) == ["later", "web"])

    run(tmp_path, test)


def test_a_client_certificate_lets_in_and_is_renewed_from_its_file(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        place.server.tokens, place.server.subjects = set(), {"first"}
        own = place.authority.issue("first")
        user = {"client-certificate": str(own.certificate), "client-key": str(own.key)}
        async with listening(place.source(**user)) as source:
            assert names(source) == ["web"]
            place.server.subjects = {"second"}
            place.server.cut()
            await until(lambda: "Unauthorized" in told(source))
            new = place.authority.issue("second")
            shutil.move(new.key, own.key)
            shutil.move(new.certificate, own.certificate)
            await place.server.put(service("later"))
            await until(lambda: names(source) == ["later", "web"] and not source.problems)

    run(tmp_path, test)


def test_a_client_certificate_that_the_server_does_not_know_is_told_as_such(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        place.server.tokens = set()
        own = place.authority.issue("stranger")
        user = {"client-certificate": str(own.certificate), "client-key": str(own.key)}
        async with listening(place.source(**user)) as source:
            assert "the credentials are expired or another cluster's" in told(source)

    run(tmp_path, test)


def test_a_renewed_authority_is_believed_without_a_restart(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        async with listening(place.source(token="right")) as source:
            other = Authority(tmp_path / "other")
            await place.server.stop()
            place.server.tls = _serving(other, other.issue("server", "127.0.0.1"))
            await place.server.start()
            await until(lambda: "another cluster" in told(source))
            shutil.copy(other.certificate, place.authority.certificate)
            await place.server.put(service("later"))
            await until(lambda: names(source) == ["later", "web"] and not source.problems)

    run(tmp_path, test)


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_a_credential_plugin_runs_once_and_again_when_its_token_is_refused(tmp_path: Path, version: str) -> None:
    async def test(place: Place) -> None:
        place.server.tokens = {"first"}
        place.token("first")
        async with listening(place.source(exec=place.plugin(version))) as source:
            await until(lambda: names(source) == ["web"])
            assert place.runs == 1
            place.token("second")
            place.server.tokens = {"second"}
            place.server.cut()
            await place.server.put(service("later"))
            await until(lambda: names(source) == ["later", "web"])
            assert place.runs == 2

    run(tmp_path, test)


def test_a_plugins_token_that_is_over_is_not_sent(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        place.token("first")
        plugin = place.plugin(expirationTimestamp="2020-01-01T00:00:00Z")
        async with listening(place.source(exec=plugin)) as source:
            await until(lambda: names(source) == ["web"])
            assert place.runs > 1

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"command": "no-such-program", "installHint": "install it from there"}, "install it from there"),
        ({"args": ["-c", "import sys; sys.exit('log in first')"]}, "failed with 1: log in first"),
        ({"args": ["-c", "print('secret')"]}, "printed no ExecCredential"),
        ({"apiVersion": "client.authentication.k8s.io/v1alpha1"}, "v1alpha1 is not known"),
    ],
)
def test_a_plugin_that_fails_is_told_with_its_own_words(tmp_path: Path, wrong: dict[str, Any], words: str) -> None:
    async def test(place: Place) -> None:
        place.token("first")
        async with listening(place.source(exec={**place.plugin(), **wrong})) as source:
            await until(lambda: words in told(source))
            assert "secret" not in told(source)

    run(tmp_path, test)
