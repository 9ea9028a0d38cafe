"""Whom TLS believes, and what it shows: a kubeconfig's certificates as a context of OpenSSL.

OpenSSL reads a client's certificate and key from files alone. What a kubeconfig or a plugin holds as text is given to
it in memory that no name leads to and that is gone at once, so no key ever comes to lie on a disk.

What is written as text goes before a file of the same, as for kubectl. Certificates that are sound but older than what
RFC 5280 asks for are believed as they are by kubectl: the authorities of many clusters have no key identifier.
"""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lightkube.config.kubeconfig import SingleConfig
from lightkube.config.models import User


@dataclass(frozen=True, slots=True, repr=False)
class Pair:
    """A client's certificate and its key, PEM; never written anywhere."""

    certificate: str
    key: str


def files(config: SingleConfig) -> tuple[Path, ...]:
    """The files that the configuration names: the authority, the client's certificate and its key."""
    cluster, user = config.cluster, config.user or User()
    named = (
        (cluster.certificate_auth, cluster.certificate_auth_data),
        (user.client_cert, user.client_cert_data),
        (user.client_key, user.client_key_data),
    )
    return tuple(Path(config.abs_file(file)) for file, text in named if file and not text)


def context(config: SingleConfig, given: Pair | None = None) -> ssl.SSLContext:
    """What connections are made with; `given` by a plugin goes before the kubeconfig's pair. Raises OSError."""
    made = _believing(config)
    if given:
        show(made, given)
        return made
    user = config.user or User()
    with ExitStack() as held:
        certificate, key = (
            held.enter_context(_in_memory(base64.b64decode(text))) if text else file and str(config.abs_file(file))
            for text, file in ((user.client_cert_data, user.client_cert), (user.client_key_data, user.client_key))
        )
        if certificate:
            made.load_cert_chain(certificate, key, password="")  # else OpenSSL asks on the terminal
    return made


def show(made: ssl.SSLContext, pair: Pair) -> None:
    """Show this certificate from now on. Raises OSError (ssl.SSLError) where it is none or the key another's."""
    with _in_memory(pair.certificate.encode()) as certificate, _in_memory(pair.key.encode()) as key:
        made.load_cert_chain(certificate, key, password="")


def _believing(config: SingleConfig) -> ssl.SSLContext:
    cluster = config.cluster
    text = base64.b64decode(cluster.certificate_auth_data or "").decode()
    file = cluster.certificate_auth and str(config.abs_file(cluster.certificate_auth))
    made = ssl.create_default_context(cafile=None if text else file, cadata=text or None)
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if cluster.insecure:
        made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


@contextmanager
def _in_memory(pem: bytes) -> Iterator[str]:
    """A path to this text that only this process can open, and only as long as it is in use."""
    number = os.memfd_create("certificate")
    try:
        os.write(number, pem)
        yield f"/proc/self/fd/{number}"
    finally:
        os.close(number)
