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
from functools import partial
from pathlib import Path

from lightkube.config.kubeconfig import SingleConfig
from lightkube.config.models import User

_NO_PASSWORD = ""  # else OpenSSL asks for one on the terminal


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
    cluster, user = config.cluster, config.user or User()
    with ExitStack() as held:
        place = partial(_place, held, config)
        made = ssl.create_default_context(cafile=place(cluster.certificate_auth_data, cluster.certificate_auth))
        made.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if cluster.insecure:
            made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
        if given:
            show(made, given)
        elif certificate := place(user.client_cert_data, user.client_cert):
            made.load_cert_chain(certificate, place(user.client_key_data, user.client_key), _NO_PASSWORD)
    return made


def show(made: ssl.SSLContext, pair: Pair) -> None:
    """Show this certificate from now on. Raises OSError (ssl.SSLError) where it is none or the key another's."""
    with _in_memory(pair.certificate.encode()) as certificate, _in_memory(pair.key.encode()) as key:
        made.load_cert_chain(certificate, key, _NO_PASSWORD)


def _place(held: ExitStack, config: SingleConfig, text: str | None, file: str | None) -> str | None:
    """Where OpenSSL finds it, as long as `held` is open; None where the configuration says nothing of it."""
    if text:
        return held.enter_context(_in_memory(base64.b64decode(text)))
    return str(config.abs_file(file)) if file else None


@contextmanager
def _in_memory(pem: bytes) -> Iterator[str]:
    """A path to this text that only this process can open, and only as long as it is in use."""
    number = os.memfd_create("certificate")
    try:
        os.write(number, pem)
        yield f"/proc/self/fd/{number}"
    finally:
        os.close(number)
