"""Certificates for tests: an authority, and what it vouches for, made by the openssl program."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

_PLAIN = "basicConstraints=critical,CA:true\nsubjectKeyIdentifier=none\nauthorityKeyIdentifier=none\n"
_USUAL = "basicConstraints=critical,CA:true\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates; its own is `certificate`. A `plain` one knows no key identifiers."""

    def __init__(self, folder: Path, name: str = "authority", plain: bool = False) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.certificate, self._key = folder / f"{name}.crt", folder / f"{name}.key"
        made = folder / f"{name}.cnf"
        made.write_text(f"[req]\ndistinguished_name=dn\nx509_extensions=v3\n[dn]\n[v3]\n{_PLAIN if plain else _USUAL}")
        _openssl(
            "req",
            "-x509",
            "-config",
            made,
            *_KEY,
            "-keyout",
            self._key,
            "-out",
            self.certificate,
            "-days",
            2,
            "-subj",
            f"/CN={name}",
        )

    def issue(self, name: str, *names: str, days: int = 2) -> Pair:
        """A certificate for these DNS names and addresses, written to files of that name; over where `days` is < 0."""
        pair = Pair(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        request, extra = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        extra.write_text("subjectAltName=" + ",".join(map(_alternative, names or (name,))))
        _openssl("req", *_KEY, "-keyout", pair.key, "-out", request, "-subj", f"/CN={name}")
        signed = ("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial", "-extfile", extra)
        _openssl("x509", "-req", "-in", request, "-out", pair.certificate, "-days", days, *signed)
        return pair


def serving(authority: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """How a server shows a certificate, and asks for one that the authority has signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(authority)
    return context


def _alternative(name: str) -> str:
    try:
        return f"IP:{ip_address(name)}"
    except ValueError:
        return f"DNS:{name}"


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=20)
