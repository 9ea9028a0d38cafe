"""Mirror of bpf_programs/include/enums.h.

Enums do not cross BCC's border, so the numbers stand here a second time. The
contract test tests/contract/test_constants.py reads the header and fails when a
name or a value differs.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag


class Verdict(IntEnum):
    """What became of a packet (Hubble's flow.Verdict)."""

    UNKNOWN = 0
    FORWARDED = 1
    DROPPED = 2
    AUDIT = 4


class DropReason(IntEnum):
    """Why a packet was dropped (Hubble's flow.DropReason)."""

    NONE = 0
    INVALID_SOURCE_IP = 132
    POLICY_DENIED = 133
    INVALID_PACKET = 134
    WRITE_FAILED = 141
    TABLE_FULL = 155
    INVALID_EXTENSION = 156
    IP_FRAGMENTATION_NOT_SUPPORTED = 157
    SERVICE_BACKEND_NOT_FOUND = 158
    NO_PORT = 167
    NO_ROUTE = 169
    SOURCE_RANGE = 177
    POLICY_DENY = 181
    RATE_LIMITED = 198


class Reserved(IntEnum):
    """Numbers in `addresses` that mean no workload."""

    HOST = 1


class AddressFlag(IntFlag):
    """Bits of address.flags."""

    NO_NODE_PORTS = 1


class Scope(IntEnum):
    """Whom an entry of `services` is for."""

    CLUSTER = 0
    OUTSIDE = 1


class TranslationMark(IntFlag):
    """Bits of translation.marks."""

    REPLY = 1
    ROUTE = 2
    DIRECT = 4


class NodeFlag(IntFlag):
    """Bits of node.flags."""

    DIRECT_TCP = 1
    DIRECT_UDP = 2
    ACCELERATE = 4


class WireMode(IntEnum):
    """Where XDP runs on a device."""

    OFF = 0
    NATIVE = 1
    GENERIC = 2


class EventKind(IntEnum):
    """Why a flow record was written."""

    NEW = 1
    FLAGS = 2
    INTERVAL = 3
    END = 4
    L7 = 5


class Point(IntEnum):
    """Where a packet was seen (Hubble's trace sub-types)."""

    TO_ENDPOINT = 0
    TO_HOST = 2
    TO_STACK = 3
    FROM_HOST = 7
    FROM_NETWORK = 10


class Direction(IntEnum):
    """Direction of a connection as seen from the local workload (flow.TrafficDirection)."""

    INGRESS = 1
    EGRESS = 2


class Mark(IntFlag):
    """Bits of flow_event.marks."""

    FRAGMENT = 1
    MIDSTREAM = 2
    VLAN = 4
    NO_PORTS = 8
    SOCKET = 16


class PayloadKind(IntEnum):
    """Application protocol that a payload record was taken for."""

    DNS = 1
    HTTP_REQUEST = 2
    HTTP_RESPONSE = 3
    CONTINUED = 4
    TLS_CLIENT = 5
    TLS_SERVER = 6


class Stage(IntEnum):
    """How far connect() of a TCP socket came."""

    NONE = 0
    CALLED = 1
    SENT = 2
    OPEN = 3
    REFUSED = 4
    ACCEPTED = 5


class Counter(IntEnum):
    """Index into the per-CPU array `counters`."""

    FORWARDED_INGRESS = 0
    FORWARDED_EGRESS = 1
    NOT_IP = 2
    TRUNCATED = 3
    EXTENSION_LIMIT = 4
    FRAGMENT_UNKNOWN = 5
    CONN_FULL = 6
    FLOW_LOST = 7
    PAYLOAD_LOST = 8
    PAYLOAD_UNREADABLE = 9
    SERVICE_CONNECTED = 10
    SERVICE_DATAGRAM = 11
    SERVICE_REFUSED = 12
    SERVICE_NO_BACKEND = 13
    SERVICE_STATE_FULL = 14
    OWNER_FULL = 15
    SERVICE_DROPPED = 16
    TRANSLATED = 17
    TRANSLATE_FAILED = 18
    PAYLOAD_SKIPPED = 19
    OUTSIDE_OPENED = 20
    OUTSIDE_TRANSLATED = 21
    OUTSIDE_FULL = 22
    OUTSIDE_NO_PORT = 23
    OUTSIDE_NO_ROUTE = 24
    OUTSIDE_TTL = 25
    SOURCE_RANGE = 26
    REJECTED = 27
    TOO_BIG = 28
    ICMP_TRANSLATED = 29
    FRAGMENT_DROPPED = 30
    POLICY_DROPPED = 31
    POLICY_AUDITED = 32
    SOURCE_INVALID = 33
    POLICY_UNREADABLE = 34
    POLICY_UNCOUNTED = 35
    OUTSIDE_DIRECT = 36
    OUTSIDE_UNTOLD = 37
    MAGLEV_MISSING = 38
    SHIELD_MALFORMED = 39
    SHIELD_BANNED = 40
    SHIELD_DENIED = 41
    SHIELD_LIMITED = 42
    SHIELD_UNPROVEN = 43
    SHIELD_AUDITED = 44
    SHIELD_UNTOLD = 45
    SHIELD_UNCOUNTED = 46
    SHIELD_PROVEN = 47
    XDP_SENT = 48
    XDP_LEFT = 49
    MAX = 50


class Failure(IntEnum):
    """Why a connection failed."""

    NONE = 0
    REFUSED = 1
    TIMED_OUT = 2
    UNREACHABLE = 3
    HANDSHAKE = 4
    RESET = 5
    KERNEL_DROP = 6
    NO_ROUTE = 7
    ACCEPT_QUEUE = 8
    NO_ANSWER = 9


class FrontendFlag(IntFlag):
    """Bits of frontend.flags."""

    CLUSTER_IP = 1
    EXTERNAL_IP = 2
    LOAD_BALANCER = 4
    NODE_PORT = 8
    HOST_PORT = 16
    DROP = 32
    ADDRESS = 64
    RANGES = 128
    OUTSIDE = 256


class PolicyAction(IntEnum):
    """What an entry of a ruleset says."""

    ALLOW = 1
    DENY = 2


class PolicyFlag(IntFlag):
    """Bits of policy_state.flags."""

    DENY_UNKNOWN = 1
    KEEP = 2


class GuardFlag(IntFlag):
    """Bits of isolation.flags."""

    SOURCE = 1


class ShieldFlag(IntFlag):
    """Bits of shield_config.flags."""

    MALFORMED = 1
    ADDRESSES = 2
    NETWORKS4 = 4
    NETWORKS6 = 8
    BANS = 16
    DRY_RUN = 32
    MALFORMED_DRY = 64
    SYN_DRY = 128
    BLOCKS_SECOND = 256
    ADDRESSES_SECOND = 512
    NETWORKS4_SECOND = 1024
    NETWORKS6_SECOND = 2048
    BLOCKS = 16777216


class ShieldAction(IntEnum):
    """What an entry of a list says of a source."""

    ALLOW = 1
    DENY = 2


class ShieldSaid(IntFlag):
    """What the lists say of a source in one number; RULE times the list's number."""

    ALLOW = 1
    DRY = 2
    RULE = 4


class ShieldRule(IntEnum):
    """Rules that the shield has by itself; the agent's own have numbers from FIRST."""

    NONE = 0
    IPV4_HEADER = 1
    IPV4_LENGTH = 2
    IPV6_HEADER = 3
    IPV6_LENGTH = 4
    IPV6_EXTENSION = 5
    SOURCE = 6
    LOOPBACK = 7
    LAND = 8
    TCP_HEADER = 9
    TCP_FLAGS = 10
    PORT = 11
    UDP_LENGTH = 12
    ICMP_LENGTH = 13
    FRAGMENT_TINY = 14
    FRAGMENT_LENGTH = 15
    FRAGMENT_OVERLAP = 16
    BAN = 32
    SYN = 33
    FIRST = 64
