"""The words of a flow: what stands in parentheses at the end of a line, and in metric labels.

Clients print `Summary` as it is, and dashboards select on label values, so these texts are part of the contract with
Hubble's clients. ICMP and DNS words follow the names that its packet library prints; numbers are from the IANA
registries "ICMP Parameters", "ICMPv6 Parameters" and "DNS RCODEs".
"""

from __future__ import annotations

from enum import IntFlag
from functools import cache

from daemon.flows.l7 import DnsMessage, HttpMessage, L7Message, TlsMessage
from daemon.flows.record import FlowRecord
from ebpf import btf
from ebpf.constants import Failure

EMITTER = "Remora"
"""Who tells a flow, as `flow.Emitter` names it."""

FAILED = "; Failed: "
"""What stands between a flow's summary and the reason of its failure."""

ICMP, IGMP, TCP, UDP, ICMPV6, VRRP, SCTP = 1, 2, 6, 17, 58, 112, 132

PROTOCOLS = {ICMP: "ICMPv4", IGMP: "IGMP", TCP: "TCP", UDP: "UDP", ICMPV6: "ICMPv6", VRRP: "VRRP", SCTP: "SCTP"}


class TcpFlag(IntFlag):
    """Bits of the TCP header's flags (RFC 9293, section 3.1)."""

    FIN = 1
    SYN = 2
    RST = 4
    PSH = 8
    ACK = 16
    URG = 32
    ECE = 64
    CWR = 128


_PRINTED = (
    TcpFlag.SYN,
    TcpFlag.ACK,
    TcpFlag.RST,
    TcpFlag.FIN,
    TcpFlag.PSH,
    TcpFlag.URG,
    TcpFlag.ECE,
    TcpFlag.CWR,
)

FAILURES: dict[int, str] = {
    Failure.REFUSED: "refused",
    Failure.TIMED_OUT: "timed-out",
    Failure.UNREACHABLE: "unreachable",
    Failure.HANDSHAKE: "reset-in-handshake",
    Failure.RESET: "reset",
    Failure.KERNEL_DROP: "kernel-drop",
    Failure.NO_ROUTE: "no-route",
    Failure.ACCEPT_QUEUE: "accept-queue-full",
    Failure.NO_ANSWER: "no-answer",
}
"""One word for each failure, for labels and filters."""

_BY_KERNEL = (Failure.KERNEL_DROP, Failure.ACCEPT_QUEUE)

_UNREACHABLE4 = (
    "Net", "Host", "Protocol", "Port", "FragmentationNeeded", "SourceRoutingFailed", "NetUnknown", "HostUnknown",
    "SourceIsolated", "NetAdminProhibited", "HostAdminProhibited", "NetTOS", "HostTOS", "CommAdminProhibited",
    "HostPrecedence", "PrecedenceCutoff",
)  # fmt: skip
_UNREACHABLE6 = (
    "NoRouteToDst", "AdminProhibited", "BeyondScopeOfSrc", "AddressUnreachable", "PortUnreachable",
    "SrcAddressFailedPolicy", "RejectRouteToDst",
)  # fmt: skip

# type: (name, names of the codes; none when the code is not used)
_ICMP4: dict[int, tuple[str, tuple[str, ...]]] = {
    0: ("EchoReply", ()),
    3: ("DestinationUnreachable", _UNREACHABLE4),
    4: ("SourceQuench", ()),
    5: ("Redirect", ("Net", "Host", "TOS+Net", "TOS+Host")),
    8: ("EchoRequest", ()),
    9: ("RouterAdvertisement", ()),
    10: ("RouterSolicitation", ()),
    11: ("TimeExceeded", ("TTLExceeded", "FragmentReassemblyTimeExceeded")),
    12: ("ParameterProblem", ("PointerIndicatesError", "MissingOption", "BadLength")),
    13: ("TimestampRequest", ()),
    14: ("TimestampReply", ()),
    15: ("InfoRequest", ()),
    16: ("InfoReply", ()),
    17: ("AddressMaskRequest", ()),
    18: ("AddressMaskReply", ()),
}
_ICMP6: dict[int, tuple[str, tuple[str, ...]]] = {
    1: ("DestinationUnreachable", _UNREACHABLE6),
    2: ("PacketTooBig", ()),
    3: ("TimeExceeded", ("HopLimitExceeded", "FragmentReassemblyTimeExceeded")),
    4: ("ParameterProblem", ("ErroneousHeader", "UnrecognizedNextHeader", "UnrecognizedIPv6Option")),
    128: ("EchoRequest", ()),
    129: ("EchoReply", ()),
    130: ("MLDv1MulticastListenerQueryMessage", ()),
    131: ("MLDv1MulticastListenerReportMessage", ()),
    132: ("MLDv1MulticastListenerDoneMessage", ()),
    133: ("RouterSolicitation", ()),
    134: ("RouterAdvertisement", ()),
    135: ("NeighborSolicitation", ()),
    136: ("NeighborAdvertisement", ()),
    137: ("Redirect", ()),
    143: ("MLDv2MulticastListenerReportMessageV2", ()),
}

_RCODES = {
    0: "No Error",
    1: "Format Error",
    2: "Server Failure",
    3: "Non-Existent Domain",
    4: "Not Implemented",
    5: "Query Refused",
    6: "Name Exists when it should not",
    7: "RR Set Exists when it should not",
    8: "RR Set that should exist does not",
    9: "Server Not Authoritative for zone",
    10: "Name not contained in zone",
    16: "Bad OPT Version",
    17: "Key not recognized",
    18: "Signature out of time window",
    19: "Bad TKEY Mode",
    20: "Duplicate key name",
    21: "Algorithm not supported",
    22: "Bad Truncation",
    23: "Bad/missing Server Cookie",
}


def summary(record: FlowRecord, message: L7Message | None) -> str:
    """The text of a flow as Hubble's server words it; a failure, which it has no words for, stands behind."""
    failed = failure_text(record.failure)
    if not failed or isinstance(message, DnsMessage):
        return _plain(record, message)
    detail = failure_detail(record)
    return f"{_plain(record, message)}{FAILED}{failed}{f' ({detail})' if detail else ''}"


def failure_text(failure: int) -> str:
    """`refused`, `timed-out` …; empty for none, the number for one that is not known."""
    return FAILURES.get(failure, str(failure)) if failure else ""


def failure_detail(record: FlowRecord) -> str:
    """The kernel's drop reason or the ICMP message behind a failure; empty where there is none."""
    if record.failure in _BY_KERNEL:
        return _kernel_reasons().get(record.detail, str(record.detail)) if record.detail else ""
    if record.detail and record.failure in (Failure.UNREACHABLE, Failure.REFUSED):
        return icmp_text(ICMPV6 if record.family == 6 else ICMP, record.detail >> 8, record.detail & 255)
    return ""


@cache
def _kernel_reasons() -> dict[int, str]:
    """The running kernel's own names, read once."""
    return btf.drop_reasons()


def _plain(record: FlowRecord, message: L7Message | None) -> str:
    if isinstance(message, TlsMessage):
        return tls_text(message)
    if isinstance(message, HttpMessage):
        return http_text(message)
    if isinstance(message, DnsMessage):
        return dns_text(message)
    if record.proto == TCP and record.tcp_flags:
        return _flags_text(record.tcp_flags)
    if record.proto in (ICMP, ICMPV6):
        return f"{PROTOCOLS[record.proto]} {icmp_text(record.proto, record.icmp_type, record.icmp_code)}"
    return PROTOCOLS.get(record.proto) or ("IPv6" if record.family == 6 else "IPv4")


@cache
def _flags_text(bits: int) -> str:
    return f"TCP Flags: {', '.join(tcp_flag_names(bits))}"


def tcp_flag_names(bits: int) -> list[str]:
    """Names of the set flags, in the order in which they are printed."""
    return [str(flag.name) for flag in _PRINTED if bits & flag]


def icmp_text(protocol: int, kind: int, code: int) -> str:
    """`EchoRequest`, `DestinationUnreachable(Port)`; numbers where there is no name. `protocol`: ICMP or ICMPV6."""
    name, codes = (_ICMP6 if protocol == ICMPV6 else _ICMP4).get(kind, ("", ()))
    if not name:
        return f"{kind}({code})"
    if code < len(codes):
        return f"{name}({codes[code]})"
    return f"{name}(Code: {code})" if code or codes else name


def rcode_text(rcode: int) -> str:
    """Hubble's words for a DNS response code; the number where it has none."""
    return _RCODES.get(rcode, str(rcode))


def http_text(message: HttpMessage) -> str:
    """Request and response lines; latency in whole milliseconds, cut off."""
    if not message.response:
        return f"{message.protocol} {message.method} {message.url}"
    latency = message.latency_ns // 1_000_000
    return f"{message.protocol} {message.code} {latency}ms ({message.method} {message.url})"


def dns_text(message: DnsMessage) -> str:
    """Query and answer lines."""
    question = f"{message.query} {','.join(message.qtypes)}"
    if message.unanswered:
        return f"DNS Query {question}{FAILED}{FAILURES[Failure.NO_ANSWER]}"
    if not message.response:
        return f"DNS Query {question}"
    return f"DNS Answer {_answer(message)} TTL: {message.ttl} (Query {question})"


def _answer(message: DnsMessage) -> str:
    if message.rcode:
        return f"RCode: {rcode_text(message.rcode)}"
    ips = f'"{",".join(message.ips)}"' if message.ips else ""
    cnames = f'CNAMEs: "{",".join(message.cnames)}"' if message.cnames else ""
    data = f'Data: "{",".join(message.data)}"' if message.data else ""
    return " ".join(part for part in (ips, cnames, data) if part)


def tls_text(message: TlsMessage) -> str:
    """Lines of both hellos: `TLS ClientHello api.example (TLS 1.3, ALPN: h2,http/1.1)`."""
    alpn = f"ALPN: {','.join(message.protocols)}" if message.protocols else ""
    told = ", ".join(part for part in (message.version, alpn) if part)
    name = f" {message.server_name}" if message.server_name else ""
    if message.response:
        return f"TLS ServerHello {message.latency_ns // 1_000_000}ms{name} ({told})"
    return f"TLS ClientHello{name} ({told})"
