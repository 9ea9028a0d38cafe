"""Who asks: a token of the kubeconfig, one in a file that the kubelet renews, or what a credential plugin gives.

A token's file is read for each request, of which there are few, so a renewed one needs neither a signal nor a 401. A
plugin gives a token, a client's certificate, or both; it runs at first, when what it gave is over, and when the server
does not accept it any more.

Source: "client-go credential plugins" and "Bound service account tokens" of the documentation of Kubernetes.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import time
from collections.abc import AsyncGenerator, Generator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import msgspec
from lightkube.config.kubeconfig import SingleConfig
from lightkube.config.models import UserExec

from daemon.sources.kubernetes import tls, wire
from daemon.sources.kubernetes.wire import ApiError

PLUGIN_APIS = frozenset({"client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"})
PLUGIN_TIMEOUT = 15.0  # s for a credential plugin; some ask another server
EARLY = timedelta(seconds=10)  # before the end of a token from which on another is asked for
_UNAUTHORIZED = 401

Requests = Generator[httpx2.Request, httpx2.Response, None]


def credentials(config: SingleConfig) -> httpx2.Auth | None:
    """What puts a request's credentials on; None where certificates, or nobody, say who asks."""
    user = config.user
    if user is None:
        return None
    if user.token_file is not None:
        return TokenFile(Path(config.abs_file(user.token_file)))
    if user.token is not None:
        return Token(user.token)
    if user.exec is not None:
        return Plugin(user.exec, config.fname)
    if user.username and user.password:
        return httpx2.BasicAuth(user.username, user.password)
    return None


class Token(httpx2.Auth):
    """A token that never changes."""

    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx2.Request) -> Requests:
        """One request with the token."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


class TokenFile(httpx2.Auth):
    """A token in a file that somebody renews."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def auth_flow(self, request: httpx2.Request) -> Requests:
        """One request with what the file says now; raises OSError."""
        request.headers["Authorization"] = f"Bearer {self._path.read_text().strip()}"
        yield request


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: datetime | None = None

    @property
    def pair(self) -> tls.Pair | None:
        given = self.client_certificate_data and self.client_key_data
        return tls.Pair(self.client_certificate_data, self.client_key_data) if given else None


class _Credential(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    status: _Status


class Plugin(httpx2.Auth):
    """A program that says who asks. `kubeconfig` is the file that names it: a relative path starts there."""

    def __init__(self, how: UserExec, kubeconfig: Path | None) -> None:
        self._how, self._kubeconfig = how, kubeconfig
        self._given = _Status()
        self._accepted = False
        self._turn = asyncio.Lock()

    def pair(self) -> tls.Pair | None:
        """The certificate that it gave last, None where it gave none."""
        return self._given.pair

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """One request, and a second one as somebody new where the first is not accepted; raises ApiError."""
        for last in (False, True):
            given = await self._current()
            if given.token:
                request.headers["Authorization"] = f"Bearer {given.token}"
            answer = yield request
            if last or answer.status_code != _UNAUTHORIZED:
                return
            if self._given is given:
                self._accepted = False

    async def _current(self) -> _Status:
        """One run for all who wait."""
        async with self._turn:
            until = self._given.expiration_timestamp
            if not self._accepted or (until and until.timestamp() - EARLY.total_seconds() < time.time()):
                self._given, self._accepted = await self._run(), True
            return self._given

    async def _run(self) -> _Status:
        how = self._how
        if how.apiVersion not in PLUGIN_APIS:
            known = " or ".join(sorted(PLUGIN_APIS))
            raise ApiError(f"credential plugin {how.command}: apiVersion {how.apiVersion} is not known, {known} is")
        environment = {**os.environ, **{one.name: one.value for one in how.env or ()}}
        environment["KUBERNETES_EXEC_INFO"] = _information(how.apiVersion)
        try:
            return self._read(await asyncio.to_thread(self._printed, environment))
        except subprocess.TimeoutExpired as error:
            raise ApiError(f"credential plugin {how.command} gave nothing in {PLUGIN_TIMEOUT:g} s") from error
        except OSError as error:
            hint = f": {how.installHint.strip()}" if how.installHint else ""
            raise ApiError(f"credential plugin {how.command} cannot be started: {error.strerror}{hint}") from error

    def _printed(self, environment: dict[str, str]) -> bytes:
        argv = [self._command(), *(self._how.args or ())]
        done = subprocess.run(
            argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=PLUGIN_TIMEOUT, check=False
        )
        if done.returncode:
            words = done.stderr.decode(errors="replace").strip()[-300:]
            raise ApiError(f"credential plugin {self._how.command} failed with {done.returncode}: {words}")
        return done.stdout

    def _read(self, out: bytes) -> _Status:
        try:
            found = msgspec.convert(wire.without_nulls(msgspec.json.decode(out)), _Credential)
        except msgspec.MsgspecError as error:  # what was printed may be a secret, so it is not told
            raise ApiError(f"credential plugin {self._how.command} printed no ExecCredential: {error}") from error
        status, pair = found.status, found.status.pair
        if bool(status.client_certificate_data) != bool(status.client_key_data):
            raise ApiError(f"credential plugin {self._how.command} gave a certificate or a key, not both")
        if not (status.token or pair):
            raise ApiError(f"credential plugin {self._how.command} gave neither a token nor a certificate")
        try:
            if pair:
                tls.show(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), pair)
        except OSError as error:
            raise ApiError(f"credential plugin {self._how.command} gave a certificate that is none: {error}") from error
        return status

    def _command(self) -> str:
        """A name is looked for on the path; a relative path starts at the kubeconfig, as for kubectl."""
        command = self._how.command
        here = "/" in command and not command.startswith("/") and self._kubeconfig
        return str(self._kubeconfig.parent / command) if here and self._kubeconfig else command


def _information(version: str) -> str:
    told: dict[str, Any] = {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}}
    return json.dumps(told)
