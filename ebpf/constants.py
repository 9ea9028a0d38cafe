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


class DropReason(IntEnum):
    """Why a packet was dropped (Hubble's flow.DropReason)."""

    NONE = 0
    WRITE_FAILED = 141
    SERVICE_BACKEND_NOT_FOUND = 158


class Reserved(IntEnum):
    """Numbers in `addresses` that mean no workload."""

    HOST = 1


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
    MAX = 20


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
