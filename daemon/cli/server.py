"""Which agent a command asks, and how: address, TLS, a password, time limits.

The names of the flags are those of Hubble's CLI, so that what is known of it is of use here; each can also stand in the
environment (REMORA_TLS_SERVER_NAME) and in the file of `remora config`. The flag wins over both, the environment over
the file.
"""

from __future__ import annotations

import base64
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from daemon.cli.errors import CliError, UsageError

DEFAULT_ADDRESS = "unix:///run/remora/remora.sock"
TLS_PREFIX = "tls://"

_MAX_MESSAGE = 64 * 1024 * 1024
_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE),
    ("grpc.enable_http_proxy", 0),
)


@dataclass(frozen=True, slots=True)
class Server:
    """An agent as the flags name it; times in seconds."""

    address: str = DEFAULT_ADDRESS
    tls: bool = False
    allow_insecure: bool = False
    authorities: tuple[str, ...] = ()
    certificate: str = ""
    key: str = ""
    name: str = ""
    user: str = ""
    password: str = ""
    request_timeout: float = 12.0

    def __str__(self) -> str:
        return self.address

    @property
    def target(self) -> str:
        """The address without the prefix that asks for TLS."""
        return self.address.removeprefix(TLS_PREFIX)

    @property
    def secure(self) -> bool:
        """Whether to speak TLS."""
        return self.tls or self.address.startswith(TLS_PREFIX)

    def check(self) -> None:
        """Raise UsageError for flags that are of no use together."""
        if bool(self.certificate) != bool(self.key):
            raise UsageError(
                "invalid flag(s): certificate and private key are both required, but only one was provided"
            )
        if self.certificate and not self.secure:
            raise UsageError("invalid flag(s): transport layer security required")
        if bool(self.user) != bool(self.password):
            raise UsageError("invalid flag(s): must specify both basic-auth-username and basic-auth-password")
        if self.user and not self.secure:
            raise UsageError("invalid flag(s): transport layer security required")

    def channel(self) -> grpc.Channel:
        """A channel, opened when it is first used. Raises CliError for files that cannot be used."""
        self.check()
        if not self.secure:
            return grpc.insecure_channel(self.target, options=_OPTIONS)
        root, name = self._trust()
        pair = (_read(self.key), _read(self.certificate)) if self.key else (None, None)
        credentials = grpc.ssl_channel_credentials(root, *pair)
        if self.user:
            login = grpc.metadata_call_credentials(_BasicAuth(self.user, self.password))
            credentials = grpc.composite_channel_credentials(credentials, login)
        override = [("grpc.ssl_target_name_override", name)] if name else []
        return grpc.secure_channel(self.target, credentials, options=(*_OPTIONS, *override))

    def _trust(self) -> tuple[bytes | None, str]:
        """Whom to trust (None: the authorities of gRPC), and the name to expect instead of the address."""
        if self.allow_insecure:
            return _shown(self.target)
        roots = [_authority(path) for path in self.authorities]
        return (b"\n".join(roots) if roots else None), self.name


class _BasicAuth(grpc.AuthMetadataPlugin):  # type: ignore[misc]
    """Sends name and password with every call."""

    def __init__(self, user: str, password: str) -> None:
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._metadata = (("authorization", f"Basic {token}"),)

    def __call__(self, context: object, callback: Any) -> None:
        callback(self._metadata, None)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CliError(f"cannot load cert '{path}': {error.strerror}") from error


def _authority(path: str) -> bytes:
    text = _read(path)
    if b"-----BEGIN CERTIFICATE" not in text:
        raise CliError(f"cannot process cert '{path}': must be a PEM encoded certificate")
    return text


def _shown(target: str) -> tuple[bytes, str]:
    """The certificate that a server shows, to be trusted for what it says, and a name that stands in it.

    gRPC cannot leave verification out. So the certificate is fetched first, and taken for its own authority.
    """
    host, _, port = target.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        raw = _certificate(host.strip("[]"), int(port), context)
        root = ssl.DER_cert_to_PEM_cert(raw).encode()
        context.load_verify_locations(cadata=root.decode())
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.verify_mode = ssl.CERT_REQUIRED
        return root, _name_of(_facts(host.strip("[]"), int(port), context))
    except (OSError, ValueError) as error:
        raise CliError(f"cannot reach an agent at {target} ({error}); check the address, or see --server") from error


def _certificate(host: str, port: int, context: ssl.SSLContext) -> bytes:
    with socket.create_connection((host, port), 5) as raw, context.wrap_socket(raw) as secured:
        return secured.getpeercert(binary_form=True) or b""


def _facts(host: str, port: int, context: ssl.SSLContext) -> Mapping[str, Any]:
    with socket.create_connection((host, port), 5) as raw, context.wrap_socket(raw) as secured:
        return secured.getpeercert() or {}


def _name_of(facts: Mapping[str, Any]) -> str:
    names = [value for _, value in facts.get("subjectAltName", ())]
    return str(names[0]).replace("*", "any") if names else ""
