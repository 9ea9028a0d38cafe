"""Short ways to ask that several files of cases share."""

from __future__ import annotations

import http.client
from concurrent.futures import ThreadPoolExecutor

from tests.support.cluster import Cluster
from tests.support.place import SILENCE, Place, Reply, Target

HTTP_TIMEOUT = 2.0  # s


def silent(client: Place, target: Target) -> bool:
    """Whether nobody answers: not within the time, or because the own node says so."""
    return client.error(target, SILENCE) in ("timeout", "EHOSTUNREACH", "ENETUNREACH")


def answered(live: Cluster, target: Target, clients: tuple[str, ...]) -> dict[str, set[str]]:
    """Who answers each of the clients, who ask at the same time."""
    with ThreadPoolExecutor(len(clients)) as pool:
        names = pool.map(lambda name: live[name].names(target), clients)
        return dict(zip(clients, names, strict=True))


def peers(replies: list[Reply]) -> set[str]:
    """Whom the servers saw."""
    return {reply.peer or reply.error for reply in replies}


def health(live: Cluster, node: str, port: int, family: str = "IPv4", path: str = "/") -> tuple[int, str]:
    """Status and body of a node's own HTTP port, asked under its address from the node; status 0: nobody listens."""
    return get(live, node, live[node].addresses[family], port, path)


def get(live: Cluster, node: str, address: str, port: int, path: str) -> tuple[int, str]:
    """Status and body of an HTTP request from a node."""

    def request() -> tuple[int, str]:
        connection = http.client.HTTPConnection(address, port, timeout=HTTP_TIMEOUT)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    return live.nodes[node].run(request)
