"""Where the API server is, by all that is known: whoever locks it out by mistake is not told to stop any more.

The source knows an address or a name; the Service `kubernetes` of a cluster names the servers behind it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from itertools import islice, takewhile
from urllib.parse import urlsplit

from daemon.model.addresses import address_of
from daemon.model.directory import packed
from daemon.model.objects import AddressType
from daemon.model.snapshot import Snapshot

RESOLVE_TIMEOUT = 5.0  # s
_SERVICE = ("default", "kubernetes")

log = logging.getLogger(__name__)


async def named_addresses(server: str) -> frozenset[bytes]:
    """The addresses (16 bytes) of a URL's host, as the resolver knows them now; none where it does not."""
    host = urlsplit(server).hostname if "://" in server else None
    if not host:
        return frozenset()
    try:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(RESOLVE_TIMEOUT):
            found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError) as error:
        log.warning("the API server %s has no address now: %s", host, error)
        return frozenset()
    return frozenset(packed(ip_address(place[0])) for *_, place in found)


def served_addresses(snapshot: Snapshot) -> frozenset[bytes]:
    """The endpoints of the Service `kubernetes`."""
    return frozenset(_served(snapshot))


def _served(snapshot: Snapshot) -> Iterator[bytes]:
    first = bisect_left(snapshot.slices, _SERVICE, key=lambda one: (one.namespace, one.name))
    mine = takewhile(lambda one: one.name.startswith(_SERVICE[1]), islice(snapshot.slices, first, None))
    for one in mine:
        if (one.namespace, one.service) == _SERVICE and one.address_type is not AddressType.FQDN:
            for address in (text for endpoint in one.endpoints for text in endpoint.addresses):
                with suppress(ValueError):
                    yield packed(address_of(address))
