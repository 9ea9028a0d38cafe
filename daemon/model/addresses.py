"""Addresses and networks as the API server reads them: decimal, whatever zeros stand before a number of IPv4.

New objects may not be written so any more, but those that are there are served by kube-proxy as they were, and Python's
own reading refuses them.

Source: KEP-4858 of Kubernetes, "IP/CIDR validation improvements".
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from daemon.model.workload import IPAddress

_LEADING_ZEROS = re.compile(r"\b0+(?=\d)")


def address_of(text: str) -> IPAddress:
    """An address; one of IPv4 that is written as one of IPv6 (::ffff:a.b.c.d) is one of IPv4. Raises ValueError."""
    try:
        found = ip_address(text)
    except ValueError:
        found = ip_address(_decimal(text))
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def network_of(text: str) -> IPv4Network | IPv6Network:
    """A network, host bits cut off; raises ValueError."""
    return ip_network(_decimal(text), strict=False)


def _decimal(text: str) -> str:
    return text if ":" in text else _LEADING_ZEROS.sub("", text)
