/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every number that both sides of the kernel border know. ebpf/constants.py
 * mirrors these enums and a contract test compares the two, so a value is
 * changed in both or the build is red. Numbers are retired, never reused.
 */
#ifndef REMORA_ENUMS_H
#define REMORA_ENUMS_H

/* What became of a packet. The numbers are those of Hubble's flow.Verdict. */
enum verdict {
	VERDICT_UNKNOWN = 0,
	VERDICT_FORWARDED = 1,
	VERDICT_DROPPED = 2,
	VERDICT_AUDIT = 4, /* a rule says no, but only to see what it would do: passed */
};

/* Why a packet was dropped. The numbers are those of Hubble's flow.DropReason. */
enum drop_reason {
	DROP_NONE = 0,
	DROP_INVALID_SOURCE_IP = 132,              /* the workload does not have that address, or nobody can */
	DROP_POLICY_DENIED = 133,                  /* isolated, and no rule admits it */
	DROP_INVALID_PACKET = 134,                 /* headers that no honest sender writes */
	DROP_WRITE_FAILED = 141,                   /* the packet could not be rewritten */
	DROP_TABLE_FULL = 155,                     /* no room for the connection */
	DROP_INVALID_EXTENSION = 156,              /* IPv6 extension headers cut off, too many or out of place */
	DROP_IP_FRAGMENTATION_NOT_SUPPORTED = 157, /* fragment that cannot be judged */
	DROP_SERVICE_BACKEND_NOT_FOUND = 158,
	DROP_NO_PORT = 167,      /* no free port to hide the client behind */
	DROP_NO_ROUTE = 169,     /* the node has no route to the backend or the client */
	DROP_SOURCE_RANGE = 177, /* loadBalancerSourceRanges does not name the client */
	DROP_POLICY_DENY = 181,  /* a rule says no */
	DROP_RATE_LIMITED = 198, /* more than a limit of the shield admits */
};

/* Numbers in `addresses` that mean no workload. */
enum reserved {
	RESERVED_HOST = 1, /* an address of the node itself */
};

/* Bits of address.flags. */
enum address_flag {
	ADDRESS_NO_NODE_PORTS = 1, /* an address of the node on which node ports do not answer */
};

/* Whom an entry of `services` is for. */
enum scope {
	SCOPE_CLUSTER = 0, /* everybody, where there is no other entry */
	SCOPE_OUTSIDE = 1, /* clients outside, who keep their address: externalTrafficPolicy Local */
};

/* Bits of translation.marks. */
enum translation_mark {
	TRANSLATION_REPLY = 1,  /* packets to the client */
	TRANSLATION_ROUTE = 2,  /* sent on from here; the node's stack takes no packet from its own address */
	TRANSLATION_DIRECT = 4, /* the backend's node is told the frontend and answers the client itself */
};

/* Bits of node.flags. */
enum node_flag {
	NODE_DIRECT_TCP = 1, /* backends of other nodes answer clients of TCP themselves */
	NODE_DIRECT_UDP = 2, /* and those of UDP */
	NODE_ACCELERATE = 4, /* Services are translated by XDP where it runs */
};

/* Where XDP runs on a device. */
enum wire {
	WIRE_OFF = 0,
	WIRE_NATIVE = 1,  /* in the driver */
	WIRE_GENERIC = 2, /* behind it */
};

/* Why a record was written. */
enum event_kind {
	EVENT_NEW = 1,      /* first packet of a connection */
	EVENT_FLAGS = 2,    /* a TCP flag not seen before in this direction */
	EVENT_INTERVAL = 3, /* still active after the report interval, or the first packet of the other direction */
	EVENT_END = 4,      /* closed, reset or idle: the totals are final */
	EVENT_L7 = 5,       /* a DNS or HTTP message; made in user space from a payload record */
};

/* Where a packet was seen, as Hubble's monitor sub-types number trace points. */
enum point {
	POINT_TO_ENDPOINT = 0,
	POINT_TO_HOST = 2, /* by the socket of one of the node's own processes */
	POINT_TO_STACK = 3,
	POINT_FROM_HOST = 7, /* by the socket of one of the node's own processes */
	POINT_FROM_NETWORK = 10,
};

/* Direction of a connection as seen from the local workload (flow.TrafficDirection). */
enum direction {
	DIRECTION_INGRESS = 1,
	DIRECTION_EGRESS = 2,
};

/* Bits of flow_event.marks. */
enum mark {
	MARK_FRAGMENT = 1,  /* the packet is an IP fragment */
	MARK_MIDSTREAM = 2, /* the connection was there before the agent: the initiator is a guess */
	MARK_VLAN = 4,      /* the packet carries a VLAN tag */
	MARK_NO_PORTS = 8,  /* ports are unknown: a later fragment whose first was not seen */
	MARK_SOCKET = 16,   /* told by a socket: packets are segments, bytes are payload */
};

/* Application protocol that a payload record was taken for. */
enum payload_kind {
	PAYLOAD_DNS = 1,
	PAYLOAD_HTTP_REQUEST = 2,
	PAYLOAD_HTTP_RESPONSE = 3,
	PAYLOAD_CONTINUED = 4,  /* what follows an HTTP head or TLS hello that its packet did not hold whole */
	PAYLOAD_TLS_CLIENT = 5, /* ClientHello */
	PAYLOAD_TLS_SERVER = 6, /* ServerHello */
};

/* How far connect() of a TCP socket came, as the socket's state keeps it. */
enum stage {
	STAGE_NONE = 0,     /* it never connected, or how it ended was told */
	STAGE_CALLED = 1,   /* connect() was called, no packet was sent */
	STAGE_SENT = 2,     /* the SYN was sent */
	STAGE_OPEN = 3,     /* connected */
	STAGE_REFUSED = 4,  /* connect() was refused by a program of ours */
	STAGE_ACCEPTED = 5, /* the other end connected */
};

/* Index into the per-CPU array `counters`. */
enum counter {
	COUNTER_FORWARDED_INGRESS = 0,   /* packets to workloads */
	COUNTER_FORWARDED_EGRESS = 1,    /* packets from workloads */
	COUNTER_NOT_IP = 2,              /* ARP and other non-IP frames, passed unread */
	COUNTER_TRUNCATED = 3,           /* header cut off or lengths that lie, passed unread */
	COUNTER_EXTENSION_LIMIT = 4,     /* more IPv6 extension headers than are read, passed */
	COUNTER_FRAGMENT_UNKNOWN = 5,    /* later fragment without its first, passed without ports */
	COUNTER_CONN_FULL = 6,           /* no room for the connection entry, passed untracked */
	COUNTER_FLOW_LOST = 7,           /* flow record lost: ring buffer full */
	COUNTER_PAYLOAD_LOST = 8,        /* payload record lost: ring buffer full */
	COUNTER_PAYLOAD_UNREADABLE = 9,  /* payload could not be copied from the packet */
	COUNTER_SERVICE_CONNECTED = 10,  /* connect() translated to a backend */
	COUNTER_SERVICE_DATAGRAM = 11,   /* sendmsg() translated to a backend */
	COUNTER_SERVICE_REFUSED = 12,    /* connect() to a Service without backends, refused */
	COUNTER_SERVICE_NO_BACKEND = 13, /* backend entry missing, passed untranslated */
	COUNTER_SERVICE_STATE_FULL = 14, /* reverse translation could not be kept, passed */
	COUNTER_OWNER_FULL = 15,         /* owner of a socket could not be kept */
	COUNTER_SERVICE_DROPPED = 16,    /* packets to a Service whose traffic policy admits no backend, dropped */
	COUNTER_TRANSLATED = 17,         /* packets translated at a device: no socket hook saw the connection open */
	COUNTER_TRANSLATE_FAILED = 18,   /* packets that could not be rewritten, dropped */
	COUNTER_PAYLOAD_SKIPPED = 19,    /* HTTP requests over the budget: their heads were not copied */
	COUNTER_OUTSIDE_OPENED = 20,     /* connections from outside that were sent to a backend */
	COUNTER_OUTSIDE_TRANSLATED = 21, /* packets of such connections, both ways */
	COUNTER_OUTSIDE_FULL = 22,       /* dropped: no room for the connection */
	COUNTER_OUTSIDE_NO_PORT = 23,    /* dropped: no free port to hide the client behind */
	COUNTER_OUTSIDE_NO_ROUTE = 24,   /* dropped: no route on or back, or no address of that family */
	COUNTER_OUTSIDE_TTL = 25,        /* dropped: hops used up */
	COUNTER_SOURCE_RANGE = 26,       /* dropped: loadBalancerSourceRanges does not name the client */
	COUNTER_REJECTED = 27,           /* answered with a reset or ICMP: nothing serves there */
	COUNTER_TOO_BIG = 28,            /* answered with ICMP: larger than the way on takes */
	COUNTER_ICMP_TRANSLATED = 29,    /* ICMP errors about translated packets, handed on with the right addresses */
	COUNTER_FRAGMENT_DROPPED = 30,   /* later fragments to a Service whose first was not seen, dropped */
	COUNTER_POLICY_DROPPED = 31,     /* packets that policy denies, dropped */
	COUNTER_POLICY_AUDITED = 32,     /* packets that a policy in audit mode would deny, passed */
	COUNTER_SOURCE_INVALID = 33,     /* packets with a source address that the workload does not have, dropped */
	COUNTER_POLICY_UNREADABLE = 34,  /* packets of restricted workloads that cannot be judged, dropped */
	COUNTER_POLICY_UNCOUNTED = 35,   /* verdicts missing in `rule_hits`: no room for the rule */
	COUNTER_OUTSIDE_DIRECT = 36,     /* connections that another node sent here with the frontend told */
	COUNTER_OUTSIDE_UNTOLD = 37,     /* refused or dropped first packets beyond the budget of flow records */
	COUNTER_MAGLEV_MISSING = 38,     /* backends drawn at random: the Service has no Maglev table */
	COUNTER_SHIELD_MALFORMED = 39,   /* packets that the shield dropped: malformed */
	COUNTER_SHIELD_BANNED = 40,      /* packets that the shield dropped: their source is banned for a time */
	COUNTER_SHIELD_DENIED = 41,      /* packets that the shield dropped: a list denies their source */
	COUNTER_SHIELD_LIMITED = 42,     /* packets that the shield dropped: over a limit */
	COUNTER_SHIELD_UNPROVEN = 43, /* SYNs that the shield answered or dropped: their source has not proven itself */
	COUNTER_SHIELD_AUDITED = 44,  /* packets that the shield would have dropped, passed */
	COUNTER_SHIELD_UNTOLD = 45,   /* verdicts of the shield beyond the budget of flow records */
	COUNTER_SHIELD_UNCOUNTED = 46, /* verdicts missing in `shield_hits`: no room for the rule */
	COUNTER_SHIELD_PROVEN = 47,    /* sources that have proven themselves, dropped with their proof */
	COUNTER_XDP_SENT = 48,         /* packets of Services that XDP sent on or answered */
	COUNTER_XDP_LEFT = 49,         /* packets of Services that XDP left to TC */
	COUNTER_MAX = 50,
};

/* Why a connection failed. A record that tells a failure is written once for each connection. */
enum failure {
	FAILURE_NONE = 0,
	FAILURE_REFUSED = 1,      /* answered by a reset, or by ICMP port unreachable */
	FAILURE_TIMED_OUT = 2,    /* never answered, and nobody known dropped it */
	FAILURE_UNREACHABLE = 3,  /* answered by another ICMP error; `detail` has its type and code */
	FAILURE_HANDSHAKE = 4,    /* reset by the responder after its SYN-ACK, before the connection was used */
	FAILURE_RESET = 5,        /* reset by the responder in the middle of the stream */
	FAILURE_KERNEL_DROP = 6,  /* never answered, as this kernel dropped the handshake; `detail` has its reason */
	FAILURE_NO_ROUTE = 7,     /* connect() failed before a packet was sent: no route, or no free port */
	FAILURE_ACCEPT_QUEUE = 8, /* never answered, as the listener's accept queue is full */
	FAILURE_NO_ANSWER = 9,    /* a DNS query without an answer; told by user space */
};

/* Why a connection failed. A record that tells a failure is written once for each connection. */

/* Bits of frontend.flags. */
enum frontend_flag {
	FRONTEND_CLUSTER_IP = 1,
	FRONTEND_EXTERNAL_IP = 2,
	FRONTEND_LOAD_BALANCER = 4,
	FRONTEND_NODE_PORT = 8,
	FRONTEND_HOST_PORT = 16,
	FRONTEND_DROP = 32,     /* endpoints exist, the traffic policy admits none of them: drop, do not refuse */
	FRONTEND_ADDRESS = 64,  /* the entry stands for an address: its other ports are refused */
	FRONTEND_RANGES = 128,  /* `source_ranges` says who may come */
	FRONTEND_OUTSIDE = 256, /* clients outside have an entry of their own */
};

/* What an entry of a ruleset says. */
enum policy_action {
	POLICY_ALLOW = 1,
	POLICY_DENY = 2,
};

/* Bits of policy_state.flags. */
enum policy_flag {
	POLICY_FLAG_DENY_UNKNOWN = 1, /* workloads without a verdict yet: nothing passes */
	POLICY_FLAG_KEEP = 2,         /* established connections stay when a new verdict would deny them */
};

/*
 * Bits of shield_config.flags: what the shield looks at, so that what is empty
 * costs no look-up, and on which side each list is in force.
 */
enum shield_flag {
	SHIELD_MALFORMED = 1,
	SHIELD_ADDRESSES = 2,      /* `shield_addresses` has entries */
	SHIELD_NETWORKS4 = 4,      /* `shield_networks4` has */
	SHIELD_NETWORKS6 = 8,      /* `shield_networks6` has */
	SHIELD_BANS = 16,          /* `shield_bans` may have */
	SHIELD_DRY_RUN = 32,       /* nothing is dropped, all is counted and told */
	SHIELD_MALFORMED_DRY = 64, /* the same for what is malformed */
	SHIELD_SYN_DRY = 128,      /* the same for SYNs of sources that have not proven themselves */
	SHIELD_BLOCKS_SECOND = 256,
	SHIELD_ADDRESSES_SECOND = 512,
	SHIELD_NETWORKS4_SECOND = 1024,
	SHIELD_NETWORKS6_SECOND = 2048,
	SHIELD_BLOCKS = 16777216, /* times the binary logarithm of how many blocks there are; 0: none */
};

/* What an entry of a list says of a source. */
enum shield_action {
	SHIELD_ALLOW = 1,
	SHIELD_DENY = 2,
};

/* What the lists say of a source in one number, which is not 0. */
enum shield_said {
	SHIELD_SAID_ALLOW = 1,
	SHIELD_SAID_DRY = 2,  /* a denial that is only told and counted */
	SHIELD_SAID_RULE = 4, /* times the list's number */
};

/* Rules that the shield has by itself; the agent numbers those of its lists and limits from SHIELD_RULE_FIRST. */
enum shield_rule {
	SHIELD_RULE_NONE = 0,
	SHIELD_RULE_IPV4_HEADER = 1,    /* version or header length is wrong, or the frame ends in the header */
	SHIELD_RULE_IPV4_LENGTH = 2,    /* total length is less than the header, or more than the frame has */
	SHIELD_RULE_IPV6_HEADER = 3,    /* version is wrong, or the frame ends in the header */
	SHIELD_RULE_IPV6_LENGTH = 4,    /* payload length is more than the frame has */
	SHIELD_RULE_IPV6_EXTENSION = 5, /* cut off, more than eight, or hop-by-hop that is not the first */
	SHIELD_RULE_SOURCE = 6,         /* multicast, broadcast, or IPv4 written as IPv6 */
	SHIELD_RULE_LOOPBACK = 7,       /* source or destination is a loopback address */
	SHIELD_RULE_LAND = 8,           /* source and destination are the same */
	SHIELD_RULE_TCP_HEADER = 9,     /* cut off, or its own length is wrong */
	SHIELD_RULE_TCP_FLAGS = 10,     /* none, SYN with FIN or RST, or FIN without ACK */
	SHIELD_RULE_PORT = 11,          /* port 0; the source port of UDP may be */
	SHIELD_RULE_UDP_LENGTH = 12,    /* less than the header, or more than the packet has */
	SHIELD_RULE_ICMP_LENGTH = 13,   /* less than a header */
	SHIELD_RULE_FRAGMENT_TINY = 14, /* a first fragment without the whole header, or one that begins inside of it */
	SHIELD_RULE_FRAGMENT_LENGTH = 15,  /* beyond 65535 bytes, or uneven before the end */
	SHIELD_RULE_FRAGMENT_OVERLAP = 16, /* of a datagram whose fragments overlap */
	SHIELD_RULE_BAN = 32,              /* the source is banned for a time */
	SHIELD_RULE_SYN = 33,              /* too many SYNs to a destination, and the source has not proven itself */
	SHIELD_RULE_FIRST = 64,
};

/* Bits of isolation.flags. */
enum guard_flag {
	GUARD_SOURCE = 1, /* the workload's addresses are known: others are not accepted as its source */
};

#endif
