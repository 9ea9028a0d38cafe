/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The keys, values and records that cross the kernel border. They are written
 * here and nowhere else: Python's dtypes are built from the layout that BCC
 * reports for these very structs.
 *
 * Addresses are 16 bytes in network order; IPv4 as ::ffff:a.b.c.d, so that one
 * path serves both families. Ports are in host order unless a field says
 * otherwise. Padding is always a named field, zeroed by whoever builds the key.
 */
#ifndef REMORA_STRUCTS_H
#define REMORA_STRUCTS_H

#define COMM_LEN 16
#define MAC_LEN 6
#define MAC_WORDS 3
#define MAGLEV_ROW 128

/* bytes of a message's head that are copied to user space */
#ifndef PAYLOAD_MAX
#define PAYLOAD_MAX 2048
#endif

/* A connection, from the viewpoint of the workload behind one device: one key for both directions. */
struct conn_key {
	u32 local[4];
	u32 remote[4];
	u16 local_port;
	u16 remote_port;
	u32 ifindex;
	u8 proto;
	u8 pad[3];
};

/* Totals of one direction of a connection. */
struct conn_side {
	u64 packets;  /* wire packets: a GSO super-packet counts its segments */
	u64 bytes;    /* IP bytes, headers included */
	u64 first;    /* ns, CLOCK_MONOTONIC; 0: none yet */
	u64 last;     /* ns, CLOCK_MONOTONIC */
	u64 reported; /* ns, when a record was last written for this direction */
	u8 flags;     /* TCP flags seen so far */
	u8 pad[7];
};

/*
 * What is known of a connection. The two directions are often on two CPUs, so
 * what each packet writes of them lies a cache line apart, and what is between
 * is written rarely.
 */
struct conn {
	struct conn_side out; /* from the workload */
	u64 syn;              /* ns, time of the initiator's SYN; 0: not seen */
	u64 cgroup;           /* cgroup id of the connecting process, 0: unknown */
	u32 handshake;        /* us from SYN to the initiator's first ACK; 0: not known */
	u32 local_workload;   /* number from `addresses`, 0: unknown */
	u32 remote_workload;
	u32 service;     /* number of the service port asked for, 0: none */
	u32 pid;         /* connecting process, 0: unknown */
	u32 frontend[4]; /* translated per packet: what the workload asked for */
	u8 comm[COMM_LEN];
	u16 frontend_port; /* translated per packet: in host order; 0: not translated here */
	u8 direction;      /* enum direction */
	u8 marks;          /* enum mark */
	u8 ended;          /* an EVENT_END was written */
	u8 probe;          /* payload heads are copied on this device */
	u8 detoured;       /* packets from the workload under this key take a detour */
	u8 open;           /* HTTP requests that wait for their response */
	u8 sampled;        /* heads of these requests and responses are copied */
	u8 since;          /* window of time in which that was decided, low bits */
	u8 failure;        /* enum failure, once it was told */
	u8 used;           /* the responder has sent more than SYN-ACKs */
	u8 asked;          /* the last bytes of payload came from the initiator */
	u8 watched;        /* the initiator's socket tells how it ends; it must not be told here */
	u8 more_out;       /* packets from the workload that may still continue a head */
	u8 more_in;        /* packets to the workload that may */
	u8 denied;         /* established before policy denied it: nothing passes any more */
	u8 pad[7];
	u32 tail_out; /* last bytes of the unfinished head, to find its end */
	u32 tail_in;
	u32 rule;            /* the rule that admitted or denied it, 0: none */
	u32 generation;      /* of the guard that it was judged under, 0: none */
	u32 epoch;           /* of the policy state under which that was last found to hold */
	u32 srtt_us;         /* us, of the local end's socket; 0: not known */
	u32 retransmits;     /* of the local end's socket */
	u32 isn;             /* sequence number of the initiator's SYN */
	u32 dropped;         /* kernel drop reason of a packet of the handshake; 0: none was dropped */
	struct conn_side in; /* to the workload */
};

/* One flow record, as it lies in the ring buffer and in the agent's store. */
struct flow_event {
	u64 time;            /* ns, CLOCK_MONOTONIC */
	u64 started;         /* ns, first packet of the connection */
	u64 forward_packets; /* initiator to responder, so far */
	u64 forward_bytes;
	u64 reverse_packets; /* responder to initiator, so far */
	u64 reverse_bytes;
	u64 cgroup;
	u32 src[4]; /* of this packet */
	u32 dst[4];
	u32 src_workload;
	u32 dst_workload;
	u32 service;
	u32 pid;
	u32 ifindex;
	u32 handshake; /* us */
	u32 length;    /* bytes of this packet from the IP header on */
	u32 l7;        /* 0 here; the agent's reference to the decoded message */
	u16 src_port;
	u16 dst_port;
	u8 family; /* 4 or 6 */
	u8 proto;
	u8 kind;      /* enum event_kind */
	u8 verdict;   /* enum verdict */
	u8 reason;    /* Hubble drop reason, 0: none */
	u8 point;     /* enum point */
	u8 direction; /* enum direction */
	u8 reply;     /* 1: from the responder */
	u8 tcp_flags; /* of this packet */
	u8 icmp_type; /* of SCTP: type of the first chunk */
	u8 icmp_code;
	u8 marks; /* enum mark */
	u8 src_mac[MAC_LEN];
	u8 dst_mac[MAC_LEN];
	u8 comm[COMM_LEN];
	u32 rule;        /* number of the rule that decided, 0: none */
	u32 srtt_us;     /* us, smoothed round trip as the local end's socket measures it; 0: not known */
	u32 retransmits; /* segments that the local end's socket sent again, so far */
	u32 failure;     /* enum failure; 0 except in the one record that tells it */
	u32 detail;      /* of the failure: the kernel's drop reason, or ICMP type << 8 | code */
};

/* HTTP requests whose heads this CPU copied in the present window of time. */
struct budget {
	u64 window;
	u64 used;
};

/* The head of a DNS, HTTP or TLS message, with the flow that carried it. */
struct payload_event {
	struct flow_event flow;
	u32 length;   /* bytes of payload in the packet */
	u16 captured; /* bytes of `data` that are filled */
	u8 kind;      /* enum payload_kind */
	u8 alone;     /* 1: an HTTP request that came while none was open */
	u32 sequence; /* TCP: of the first byte */
	u32 pad;
	u8 data[PAYLOAD_MAX];
};

/* First fragment's ports, for the fragments that follow. */
struct fragment_key {
	u32 src[4];
	u32 dst[4];
	u32 id;
	u8 proto;
	u8 pad[3];
};

struct fragment {
	u16 src_port;
	u16 dst_port;
};

/* Who lives behind an address. */
struct address_key {
	u32 addr[4];
};

struct address {
	u32 workload; /* the agent's number for it, never 0, not reused within an agent's life */
	u32 identity; /* security identity */
	u32 ifindex;  /* device of a workload of this node, 0: elsewhere */
	u32 flags;    /* enum address_flag */
	u32 netns;    /* the node's number (nsid) for that workload's network namespace, plus 1; 0: unknown */
};

/*
 * An address and port under which a Service is reached. The unspecified address
 * of a family stands for all of the node's own (NodePort, hostPort); port and
 * protocol 0 stand for all that no other entry of the address names. A frontend
 * that answers the world otherwise than the cluster has an entry for each.
 */
struct frontend_key {
	u32 addr[4];
	u16 port; /* network order */
	u8 proto;
	u8 scope; /* enum scope */
};

struct frontend {
	u32 service;  /* number of the service port, never 0 */
	u32 backends; /* slots 0 … backends-1 exist */
	u32 flags;    /* enum frontend_flag */
	u32 affinity; /* seconds that a client stays with its backend, 0: no affinity */
};

struct backend_key {
	u32 service;
	u32 slot;
};

struct backend {
	u32 addr[4];
	u16 port; /* network order */
	u16 pad;
};

/* Where the packets of a connection to a frontend go, when no socket hook saw it open. */
struct detour {
	struct backend backend;
	u32 slot; /* where the backend was last found */
	u32 service;
	u16 hairpin; /* the backend is the workload itself: source port that it is shown, in host order; 0: it is not */
	u16 pad;
};

/* A client, known by its network namespace, device or address, and the Service that it returns to. */
struct affinity_key {
	u64 client; /* netns cookie, or one of CLIENT_… with a number */
	u32 service;
	u32 pad;
};

struct affinity {
	struct backend backend;
	u32 slot; /* where the backend was last found */
	u64 last; /* ns, CLOCK_MONOTONIC, of the client's last connection */
};

/* A network namespace whose Services are translated at its device and not at its sockets; the key is its cookie. */
struct packet_client {
	u64 netns;
};

/* What the programs must know of the node. */
struct node {
	u64 netns;       /* cookie of the node's own network namespace */
	u32 address4[4]; /* its main address of each family, all zero: none */
	u32 address6[4];
	u32 flags; /* enum node_flag */
	u32 pad;
};

/*
 * How a Service's clients outside are spread by Maglev: a place of the table,
 * which the client's address and port choose, holds an index of the list of
 * backends. Tables and lists never change; Services that are alike share them.
 */
struct maglev {
	u32 table;  /* 0: there was no room, draw at random */
	u32 list;   /* the `service` of its backends' keys in `maglev_backends` */
	u32 places; /* of the table */
};

struct maglev_key {
	u32 table;
	u32 row;
};

/* Places of a table that lie in one entry. */
struct maglev_row {
	u16 index[MAGLEV_ROW];
};

/* What the programs know of an uplink: the node's own addresses on it (all zero: none of this family), and its MAC. */
struct uplink {
	u32 address4[4];
	u32 address6[4];
	u16 mac[MAC_WORDS]; /* as it lies in a frame */
	u8 wire;            /* enum wire: where XDP runs on it */
	u8 pad;
};

/* From where a Service's load balancer addresses may be reached. */
struct range_key {
	u32 prefix; /* bits that count, 32 of `service` included */
	u32 service;
	u32 addr[4];
};

/* A connection from outside, as one direction of it is seen at a device. */
struct translation_key {
	u32 src[4];
	u32 dst[4];
	u16 src_port;
	u16 dst_port;
	u8 proto;
	u8 pad[3];
};

/* What is written into the packets of one direction; the other direction's entry is this one turned round. */
struct translation {
	u64 packets; /* wire packets of this direction */
	u64 bytes;   /* IP bytes, headers included */
	u64 started; /* ns, CLOCK_MONOTONIC */
	u64 last;    /* ns, CLOCK_MONOTONIC, coarse */
	u32 src[4];
	u32 dst[4];
	u16 src_port;
	u16 dst_port;
	u32 service;
	u32 ifindex; /* the uplink that the client is behind */
	u8 marks;    /* enum translation_mark */
	u8 flags;    /* TCP flags seen in this direction */
	u8 pad[2];
};

/* What is known of a socket, kept in the socket itself: who opened it, what it asked for and got. */
struct socket_state {
	u64 cgroup;
	u32 pid;
	u32 service;         /* number of the service port last asked for, 0: none */
	u32 frontend[4];     /* connected sockets: what connect() asked for */
	u32 backend[4];      /* connected sockets: what it got */
	u32 noted_remote[4]; /* destination last written to `owners` */
	u16 frontend_port;   /* network order */
	u16 backend_port;    /* network order */
	u16 noted_port;
	u8 connected; /* frontend and backend are valid */
	u8 stage;     /* enum stage: how far connect() of a TCP socket came */
	u8 comm[COMM_LEN];
	u64 since;     /* ns, when connect() was called or the connection came */
	u64 reported;  /* ns, when a record was last written for this socket */
	u32 handshake; /* us */
	u32 inherited; /* the process is that of the listening socket: who accepted is not known */
};

/* Reverse translation of unconnected UDP: which frontend this socket meant by that backend. */
struct reverse_key {
	u64 cookie;
	u32 backend[4];
	u16 port; /* network order */
	u16 pad;
	u32 pad2;
};

struct reverse {
	u32 frontend[4];
	u16 port; /* network order */
	u16 pad;
	u32 service;
};

/* A connection as one of its ends sends it. */
struct owner_key {
	u32 local[4];
	u32 remote[4];
	u16 local_port;
	u16 remote_port;
	u8 proto;
	u8 pad[3];
};

/* Who holds the socket at that end, and for the initiator through which service port. */
struct owner {
	u64 cgroup;
	u32 pid;
	u32 service;
	u8 comm[COMM_LEN];
	u32 watched; /* the socket's own hooks tell how the connection ends */
	u32 dropped; /* kernel drop reason of a packet of the handshake; 0: none was dropped */
};

#endif
