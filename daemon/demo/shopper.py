"""The shop's customer: `python -m daemon.demo.shopper NAMESERVER`.

Every visit asks the name server where the backend is and gets its users over a connection that stays open for a
second request. Now and then it does what real clients do too: asks for a page that is not there, charges, comes over
IPv6, asks for a name that nobody has, asks over TCP, knocks at a port where nobody listens, and at one that a policy
keeps it from.
"""

from __future__ import annotations

import http.client
import itertools
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass

import dns.exception
import dns.message
import dns.query
import dns.rdatatype

PAUSE = 0.8  # s between two visits
TIMEOUT = 3.0  # s for an answer
PATIENCE = 0.5  # s for one that a policy keeps from coming
TILL_PORT = 9090
BACKEND = "backend.shop.svc.cluster.local"
PAYMENTS = "payments.shop.svc.cluster.local"
UNKNOWN = "inventory.shop.svc.cluster.local"


@dataclass(frozen=True, slots=True)
class Shopper:
    """A customer who asks one name server."""

    server: str

    def resolve(self, name: str, kind: str = "A", tcp: bool = False) -> str:
        """The first address of a name, "" for none."""
        ask = dns.query.tcp if tcp else dns.query.udp
        response = ask(dns.message.make_query(name, kind), self.server, timeout=TIMEOUT)
        wanted = dns.rdatatype.from_text(kind)
        return next((str(rrset[0]) for rrset in response.answer if rrset.rdtype == wanted), "")

    def browse(self, kind: str = "A") -> None:
        """Get the users twice over one connection."""
        address = self.resolve(BACKEND, kind)
        with closing(http.client.HTTPConnection(address, 80, timeout=TIMEOUT)) as connection:
            for _ in range(2):
                _exchange(connection, "GET", "/api/users", "backend")

    def look_for_missing_page(self) -> None:
        """A 404."""
        with closing(http.client.HTTPConnection(self.resolve(BACKEND), 80, timeout=TIMEOUT)) as connection:
            _exchange(connection, "GET", "/api/missing", "backend")

    def pay(self) -> None:
        """A request straight to a pod, without a Service's address."""
        with closing(http.client.HTTPConnection(self.resolve(PAYMENTS), 8080, timeout=TIMEOUT)) as connection:
            _exchange(connection, "POST", "/charge", "payments", b'{"amount": 42}')

    def knock_at_closed_port(self) -> None:
        """A refused connection."""
        with closing(http.client.HTTPConnection(self.resolve(PAYMENTS), 81, timeout=TIMEOUT)) as connection:
            connection.connect()

    def look_into_the_till(self) -> None:
        """A connection that a policy denies: no answer at all."""
        with closing(http.client.HTTPConnection(self.resolve(PAYMENTS), TILL_PORT, timeout=PATIENCE)) as connection:
            connection.connect()

    def look_for_unknown_name(self) -> None:
        """An NXDOMAIN."""
        self.resolve(UNKNOWN)

    def resolve_over_tcp(self) -> None:
        """DNS as it is done for long answers."""
        self.resolve(BACKEND, tcp=True)

    def errands(self) -> Mapping[int, tuple[Callable[[], object], ...]]:
        """What is done besides browsing, by the visit's number modulo six."""
        return {
            0: (self.look_into_the_till,),
            1: (self.look_for_missing_page,),
            2: (self.pay,),
            3: (self.knock_at_closed_port,),
            4: (lambda: self.browse("AAAA"), self.look_for_unknown_name),
            5: (self.resolve_over_tcp, self.pay),
        }


def _exchange(connection: http.client.HTTPConnection, method: str, path: str, host: str, body: bytes = b"") -> None:
    headers = {"Host": host, "User-Agent": "shopper/1.0"}
    connection.request(method, path, body or None, headers)
    connection.getresponse().read()


def run(shopper: Shopper, pause: float = PAUSE) -> None:
    """Visit for ever; what fails is tried again at the next visit."""
    errands = shopper.errands()
    for number in itertools.count():
        for errand in (shopper.browse, *errands.get(number % 6, ())):
            with suppress(OSError, http.client.HTTPException, dns.exception.DNSException):
                errand()
        time.sleep(pause)


if __name__ == "__main__":
    run(Shopper(sys.argv[1]))
