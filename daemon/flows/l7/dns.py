"""DNS messages from payload heads, by dnspython.

A head may be cut off, may not be DNS at all, and may be made to hurt. So only plain queries and answers are taken, a
cut answer gives what it holds, and lists are limited. The same few names are asked for all the time: messages that
differ only in their id are decoded once.

Only `dns.message`, `dns.rdatatype` and `dns.rcode` are imported; the resolver of dnspython would cost megabytes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import dns.message
import dns.rdatatype
import msgspec

from daemon.flows.l7.messages import DnsMessage

_HEADER = 12
_OPCODE_QUERY = 0
_LONGEST = 4096  # bytes that are read of one message
_RECORDS = 32  # answers that are told
_CACHED = 256  # distinct messages
_TOLD = 8  # answers of other types whose text is told
_TEXT = 128  # characters of such a text
_TOLD_APART = (dns.rdatatype.A, dns.rdatatype.AAAA, dns.rdatatype.CNAME)


def decode_dns(data: bytes) -> DnsMessage | None:
    """The message that begins in `data`, None for anything else."""
    if len(data) < _HEADER:
        return None
    message = _decode(bytes(data[2:_LONGEST]))
    return message and msgspec.structs.replace(message, id=int.from_bytes(data[:2], "big"))


@lru_cache(_CACHED)
def _decode(body: bytes) -> DnsMessage | None:
    """A message without its id. dnspython reports garbage with many kinds of exceptions; all mean the same here."""
    if (body[0] >> 3) & 0xF != _OPCODE_QUERY:
        return None
    try:
        parsed = dns.message.from_wire(b"\0\0" + body, ignore_trailing=True, continue_on_error=True)
        return _message(parsed, response=bool(body[0] & 0x80))
    except Exception:
        return None


def _message(parsed: dns.message.Message, response: bool) -> DnsMessage | None:
    questions = parsed.question[:_RECORDS]
    rcode = int(parsed.rcode())
    if not questions and not (response and rcode):
        return None
    answers = [(rrset, rdata) for rrset in parsed.answer for rdata in rrset][:_RECORDS]
    return DnsMessage(
        id=0,
        query=questions[0].name.to_text().lower() if questions else "",
        qtypes=tuple(dns.rdatatype.to_text(question.rdtype) for question in questions),
        ips=_texts(answers, (dns.rdatatype.A, dns.rdatatype.AAAA), "address"),
        cnames=_texts(answers, (dns.rdatatype.CNAME,), "target"),
        ttl=min((rrset.ttl for rrset, _ in answers), default=0),
        rcode=rcode,
        rrtypes=tuple(dns.rdatatype.to_text(rrset.rdtype) for rrset, _ in answers),
        response=response,
        data=tuple(
            f"{dns.rdatatype.to_text(rrset.rdtype)} {rdata.to_text()}"[:_TEXT]
            for rrset, rdata in answers[:_TOLD]
            if rrset.rdtype not in _TOLD_APART
        ),
    )


def _texts(answers: list[tuple[Any, Any]], types: tuple[dns.rdatatype.RdataType, ...], field: str) -> tuple[str, ...]:
    """One field of the answers of some types; records that could not be decoded lack it."""
    return tuple(
        str(getattr(rdata, field)) for rrset, rdata in answers if rrset.rdtype in types and hasattr(rdata, field)
    )
