"""How the agent is reached, from its settings: the TCP side of the API, and what aggregators are told of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from daemon.api import Listener, TlsFiles
from daemon.api.peers import server_name
from daemon.api.server import own_peer
from daemon.model import IPAddress
from daemon.proto.peer_pb2 import ChangeNotification
from daemon.settings import Settings


def listener(settings: Settings) -> Listener | None:
    """The TCP side of the API; None where it is off."""
    if not settings.listen_address:
        return None
    if settings.disable_tls:
        return Listener(settings.listen_address)
    authorities = tuple(map(Path, settings.tls_client_ca_files))
    tls = TlsFiles(Path(settings.tls_cert_file), Path(settings.tls_key_file), authorities)
    return Listener(settings.listen_address, tls)


def peer(settings: Settings, own: Iterable[IPAddress]) -> ChangeNotification:
    """What aggregators are told: the TCP address where there is one, else the socket; `own`: the host's addresses."""
    tcp = listener(settings)
    if tcp is None:
        return own_peer(settings.qualified_node, f"unix://{settings.socket}")
    host = settings.node_address or _specific(tcp.host) or _first(own) or "127.0.0.1"
    place = f"[{host}]:{tcp.port}" if ":" in host else f"{host}:{tcp.port}"
    return own_peer(
        settings.qualified_node, place, server_name(settings.node, settings.cluster_name) if tcp.tls else ""
    )


def _specific(host: str) -> str:
    return "" if host in ("", "0.0.0.0", "::") else host


def _first(own: Iterable[IPAddress]) -> str:
    """IPv4 before IPv6, then the smallest; none that only its own link can reach."""
    usable = [one for one in own if not (one.is_link_local or one.is_loopback)]
    return str(min(usable, key=lambda one: (one.version, int(one)))) if usable else ""
