/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Connection state: who began it, how much went each way, how long the
 * handshake took. One entry per workload device and connection, found with a
 * single look-up for both directions because the key is written from the
 * workload's side.
 */
#ifndef REMORA_CONNECTION_H
#define REMORA_CONNECTION_H

#include "include/maps.h"
#include "include/packet.h"

/*
 * The packet at hand, one per CPU. It lives in a map and not on the stack
 * because the verifier forgets what is in a map: all ways through the parser
 * look alike behind it, and the rest of the program is verified once.
 */
BPF_PERCPU_ARRAY(packet_scratch, struct packet, 1);

static inline void copy_address(u32 *to, const u32 *from)
{
	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
	to[3] = from[3];
}

/* One way whatever differs: of four ways to "no" the verifier would follow each, from there to the program's end. */
static inline bool same_address(const u32 *a, const u32 *b)
{
	return ((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3])) == 0;
}

/* IP bytes of a frame on the wire, where each segment has headers of its own. */
static inline u64 wire_bytes(frame_t *frame, struct packet *p)
{
	u32 length = frame_length(frame);
	u64 bytes = length > p->l3 ? length - p->l3 : 0;

	return p->at > p->l3 ? bytes + (frame_segments(frame) - 1) * (p->at - p->l3) : bytes;
}

static inline void connection_key(struct conn_key *key, struct packet *p, u32 ifindex, bool out)
{
	copy_address(key->local, out ? p->src : p->dst);
	copy_address(key->remote, out ? p->dst : p->src);
	key->local_port = out ? p->src_port : p->dst_port;
	key->remote_port = out ? p->dst_port : p->src_port;
	key->ifindex = ifindex;
	key->proto = p->proto;
}

/* Is the sender of a connection's first seen packet its initiator? Sets MARK_MIDSTREAM where that is a guess. */
static inline bool sender_initiates(struct packet *p, u8 *marks)
{
	if (p->proto == IPPROTO_TCP_) {
		if (p->tcp_flags & TCP_SYN)
			return !(p->tcp_flags & TCP_ACK);
		*marks |= MARK_MIDSTREAM;
		return p->src_port >= p->dst_port;
	}
	if (p->proto == IPPROTO_UDP_ && p->src_port < 1024 && p->dst_port >= 1024) {
		*marks |= MARK_MIDSTREAM;
		return false;
	}
	return true;
}

/* The process that holds one end's socket, where the socket's hooks saw it; `sender`: the end that sent the packet. */
static inline struct owner *connection_holder(struct packet *p, bool sender)
{
	struct owner_key key = {};

	copy_address(key.local, sender ? p->src : p->dst);
	copy_address(key.remote, sender ? p->dst : p->src);
	key.local_port = sender ? p->src_port : p->dst_port;
	key.remote_port = sender ? p->dst_port : p->src_port;
	key.proto = p->proto;
	return owners.lookup(&key);
}

/* The process at the local end. */
static inline void connection_process(struct conn *c, struct owner *owner)
{
	c->cgroup = owner->cgroup;
	c->pid = owner->pid;
	__builtin_memcpy(c->comm, owner->comm, COMM_LEN);
}

/*
 * The service that the initiator asked for, and its process where it is the local
 * end. What one of the node's own processes opens is told by its socket.
 */
static inline void connection_owner(struct conn *c, struct packet *p, bool sender)
{
	struct owner *owner = connection_holder(p, sender);

	if (!owner)
		return;
	c->service = owner->service;
	c->watched = owner->watched && c->direction == DIRECTION_INGRESS;
	if (c->direction == DIRECTION_EGRESS)
		connection_process(c, owner);
}

/* Numbers of both ends; a device copies payload heads unless the initiator's own device does. */
static inline void connection_ends(struct conn *c, struct conn_key *key)
{
	struct address *local = addresses.lookup((struct address_key *)key->local);
	struct address *remote = addresses.lookup((struct address_key *)key->remote);

	if (local)
		c->local_workload = local->workload;
	if (remote)
		c->remote_workload = remote->workload;
	c->probe = c->direction == DIRECTION_EGRESS || !remote || !remote->ifindex;
}

/* What a connection's first packet says of it, in scratch space: not yet in the table. */
static inline struct conn *connection_new(struct conn_key *key, struct packet *p, bool out)
{
	u32 zero = 0;
	struct conn *c = conn_scratch.lookup(&zero);
	bool sender;

	if (!c)
		return 0;
	__builtin_memset(c, 0, sizeof(*c));
	c->marks = p->marks;
	sender = sender_initiates(p, &c->marks);
	c->direction = sender == out ? DIRECTION_EGRESS : DIRECTION_INGRESS;
	connection_ends(c, key);
	connection_owner(c, p, sender);
	if (p->proto == IPPROTO_TCP_ && (p->tcp_flags & TCP_SYN) && sender)
		c->isn = p->seq;
	return c;
}

/* Put a new connection into the table. */
static inline struct conn *connection_keep(struct conn_key *key, struct conn *c)
{
	if (connections.update(key, c) < 0) {
		count(COUNTER_CONN_FULL, 1);
		return 0;
	}
	return connections.lookup(key);
}

static inline void connection_handshake(struct conn *c, u8 flags, bool initiator)
{
	u64 now;

	if (!initiator || !(flags & (TCP_SYN | TCP_ACK)))
		return;
	now = bpf_ktime_get_ns();
	if (flags & TCP_SYN) {
		if (!c->syn)
			c->syn = now;
	} else if (c->syn) {
		u32 us = (now - c->syn) / 1000;

		c->handshake = us ? us : 1;
	}
}

#endif
