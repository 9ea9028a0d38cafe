"""Application messages: DNS and HTTP heads that the kernel copied from packets, decoded, paired and kept.

Heads come from the network, so everything here takes any bytes: garbage is counted and forgotten, and every table has
a limit.
"""

from daemon.flows.l7.dns import decode_dns
from daemon.flows.l7.http import decode_http, redact_url
from daemon.flows.l7.messages import REDACTED, DnsMessage, HttpMessage, L7Message
from daemon.flows.l7.pairing import Pairing, PairingStats, Unanswered
from daemon.flows.l7.ring import MessageRing

__all__ = [
    "REDACTED",
    "DnsMessage",
    "HttpMessage",
    "L7Message",
    "MessageRing",
    "Pairing",
    "PairingStats",
    "Unanswered",
    "decode_dns",
    "decode_http",
    "redact_url",
]
