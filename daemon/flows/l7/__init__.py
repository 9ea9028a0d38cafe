"""Application messages: DNS, HTTP heads and TLS hellos that the kernel copied from packets, decoded, paired and kept.

Heads come from the network, so everything here takes any bytes: garbage is counted and forgotten, and every table has
a limit.

`decode_dns` is not among these names: `l7.dns` brings dnspython, two megabytes, and is imported with the first message.
"""

from daemon.flows.l7.assembly import Assembler, PayloadRecord
from daemon.flows.l7.http import decode_http, redact_url
from daemon.flows.l7.messages import REDACTED, DnsMessage, HttpMessage, L7Message, TlsMessage
from daemon.flows.l7.pairing import Pairing, PairingStats, Unanswered
from daemon.flows.l7.ring import MessageRing
from daemon.flows.l7.tls import decode_tls

__all__ = [
    "REDACTED",
    "Assembler",
    "DnsMessage",
    "HttpMessage",
    "L7Message",
    "MessageRing",
    "Pairing",
    "PairingStats",
    "PayloadRecord",
    "TlsMessage",
    "Unanswered",
    "decode_http",
    "decode_tls",
    "redact_url",
]
