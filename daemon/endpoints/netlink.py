"""The little of rtnetlink that discovery needs, on a plain socket.

Since Linux 5.0 a socket can ask about another namespace by the number that its own namespace has for it
(IFA_TARGET_NETNSID and its siblings). So the addresses inside two hundred workloads are read without entering one
of them and without a process or thread each. The usual library cannot write these attributes and would fork for
every namespace, hence this codec of a few messages.

Layouts and numbers: linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h, linux/net_namespace.h;
the protocol is described in rtnetlink(7) and netlink(7).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from types import TracebackType

from daemon.model.workload import IPAddress

SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP = 1
NETLINK_LISTEN_ALL_NSID = 8
NETLINK_GET_STRICT_CHK = 12
RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_NSID = 1, 5, 9, 28
RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE = 7, 11

NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
NLM_F_DUMP_INTR = 0x10
NLMSG_ERROR, NLMSG_DONE = 2, 3
RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE, RTM_GETNSID = 18, 22, 26, 90

IFLA_ADDRESS, IFLA_IFNAME, IFLA_LINK, IFLA_LINKINFO, IFLA_LINK_NETNSID, IFLA_TARGET_NETNSID = 1, 3, 5, 18, 37, 46
IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS = 29, 8
IFLA_INFO_KIND = 1
IFA_ADDRESS, IFA_LOCAL, IFA_TARGET_NETNSID = 1, 2, 10
RTA_OIF, RTA_MULTIPATH, RTN_UNICAST, RT_TABLE_MAIN = 4, 9, 1, 254
NETNSA_NSID, NETNSA_FD = 1, 3

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_LINK = struct.Struct("=BxHiII")  # family, device type, index, flags, change mask
_ADDRESS = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_ROUTE = struct.Struct(
    "=BBBBBBBBI"
)  # family, lengths of destination and source, tos, table, protocol, scope, type, flags
_NEXT_HOP = struct.Struct("=HBBi")  # length, flags, hops, index
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_TYPE_MASK = 0x3FFF
_RECEIVE = 1 << 18  # bytes; the kernel fills at most 32 KiB of it at once
_DUMP_RETRIES = 5

Attributes = dict[int, bytes]


_GROUPS = (
    RTNLGRP_LINK,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV4_ROUTE,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV6_ROUTE,
    RTNLGRP_NSID,
)


class InterruptedDumpError(OSError):
    """The kernel's tables changed during every attempt to read them."""


@dataclass(frozen=True, slots=True)
class Link:
    """A device of one namespace. `peer` and `peer_nsid` are 0 and -1 when its other end is not elsewhere."""

    index: int
    name: str
    kind: str
    mac: str
    peer: int
    peer_nsid: int


class Netlink:
    """One request socket in the namespace of the thread that makes it. Raises OSError with the kernel's errno."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._socket.close()

    def links(self) -> list[Link]:
        """Every device of the socket's own namespace."""
        body = _LINK.pack(0, 0, 0, 0, 0) + _attribute(IFLA_EXT_MASK, struct.pack("=I", RTEXT_FILTER_SKIP_STATS))
        return [_link(reply) for reply in self._ask(RTM_GETLINK, NLM_F_DUMP, body)]

    def link(self, index: int, nsid: int) -> Link:
        """One device of the namespace that ours numbers `nsid`."""
        body = _LINK.pack(0, 0, index, 0, 0) + _attribute(IFLA_TARGET_NETNSID, struct.pack("=i", nsid))
        return _link(self._ask(RTM_GETLINK, 0, body)[0])

    def addresses(self, index: int = 0, nsid: int | None = None) -> list[IPAddress]:
        """Addresses of one device (0: of all) here or in the namespace `nsid`, IPv4 first."""
        found: list[IPAddress] = []
        for family in (socket.AF_INET, socket.AF_INET6):
            body = _ADDRESS.pack(family, 0, 0, 0, index)
            if nsid is not None:
                body += _attribute(IFA_TARGET_NETNSID, struct.pack("=i", nsid))
            found += [_address(reply) for reply in self._ask(RTM_GETADDR, NLM_F_DUMP, body)]
        return found

    def default_routes(self) -> set[int]:
        """Devices that carry a default route of the main table."""
        found: set[int] = set()
        for family in (socket.AF_INET, socket.AF_INET6):
            replies = self._ask(RTM_GETROUTE, NLM_F_DUMP, _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0))
            found.update(index for reply in replies for index in _default_route(reply))
        return found

    def nsid(self, fd: int) -> int:
        """The number that our namespace has for the one that `fd` is open on; -1 when it has none."""
        body = bytes(4) + _attribute(NETNSA_FD, struct.pack("=i", fd))
        attributes = _attributes(self._ask(RTM_GETNSID, 0, body)[0], 4)
        return int(struct.unpack("=i", attributes[NETNSA_NSID])[0])

    def _ask(self, kind: int, flags: int, body: bytes) -> list[bytes]:
        for _ in range(_DUMP_RETRIES):
            try:
                return self._ask_once(kind, flags, body)
            except InterruptedDumpError:
                continue
        raise InterruptedDumpError(errno.EINTR, "devices and addresses change faster than they can be read")

    def _ask_once(self, kind: int, flags: int, body: bytes) -> list[bytes]:
        self._sequence += 1
        header = _HEADER.pack(_HEADER.size + len(body), kind, NLM_F_REQUEST | flags, self._sequence, 0)
        self._socket.send(header + body)
        replies: list[bytes] = []
        interrupted = False
        for reply, reply_flags, payload in self._messages():
            interrupted = interrupted or bool(reply_flags & NLM_F_DUMP_INTR)
            if reply in (NLMSG_ERROR, NLMSG_DONE):
                _raise_for(payload)
                break
            replies.append(payload)
            if not flags & NLM_F_DUMP:
                break
        if interrupted:
            raise InterruptedDumpError(errno.EINTR, "dump interrupted")
        return replies

    def _messages(self) -> Iterator[tuple[int, int, bytes]]:
        while True:
            data = self._socket.recv(_RECEIVE)
            offset = 0
            while offset + _HEADER.size <= len(data):
                length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
                if sequence == self._sequence:
                    yield kind, flags, data[offset + _HEADER.size : offset + length]
                offset += _align(length)


def open_events() -> socket.socket:
    """A non-blocking socket that becomes readable when a link, address or route changes, here or in what we number.

    What can be read from it is only good for being thrown away: who is woken scans. ENOBUFS is a wake-up too.
    """
    events = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
    )
    events.setsockopt(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1)
    events.bind((0, 0))
    for group in _GROUPS:
        events.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
    return events


def _align(length: int) -> int:
    return (length + 3) & ~3


def _attribute(kind: int, value: bytes) -> bytes:
    return (_ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value).ljust(_align(4 + len(value)), b"\0")


def _attributes(data: bytes, offset: int) -> Attributes:
    found: Attributes = {}
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _TYPE_MASK] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += _align(length)
    return found


def _link(payload: bytes) -> Link:
    _, _, index, _, _ = _LINK.unpack_from(payload)
    attributes = _attributes(payload, _LINK.size)
    info = _attributes(attributes.get(IFLA_LINKINFO, b""), 0)
    abroad = IFLA_LINK_NETNSID in attributes and IFLA_LINK in attributes
    return Link(
        index,
        _text(attributes.get(IFLA_IFNAME, b"")),
        _text(info.get(IFLA_INFO_KIND, b"")),
        attributes.get(IFLA_ADDRESS, b"").hex(":"),
        struct.unpack("=i", attributes[IFLA_LINK])[0] if abroad else 0,
        struct.unpack("=i", attributes[IFLA_LINK_NETNSID])[0] if abroad else -1,
    )


def _address(payload: bytes) -> IPAddress:
    attributes = _attributes(payload, _ADDRESS.size)
    raw = attributes.get(IFA_LOCAL) or attributes[IFA_ADDRESS]
    return IPv4Address(raw) if len(raw) == 4 else IPv6Address(raw)


def _default_route(payload: bytes) -> Iterator[int]:
    """The devices of a route, where it is a default one."""
    _, length, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(payload)
    if length or table != RT_TABLE_MAIN or kind != RTN_UNICAST:
        return
    attributes = _attributes(payload, _ROUTE.size)
    if RTA_OIF in attributes:
        yield struct.unpack("=i", attributes[RTA_OIF])[0]
    hops, offset = attributes.get(RTA_MULTIPATH, b""), 0
    while offset + _NEXT_HOP.size <= len(hops):
        size, _, _, index = _NEXT_HOP.unpack_from(hops, offset)
        yield index
        offset += max(_align(size), _NEXT_HOP.size)


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode(errors="replace")


def _raise_for(payload: bytes) -> None:
    code = -struct.unpack_from("=i", payload)[0] if len(payload) >= 4 else 0
    if code:
        raise OSError(code, os.strerror(code))
