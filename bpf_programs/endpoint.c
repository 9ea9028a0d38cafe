/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The packet path of a workload, attached to its host-side device. Programs are
 * named by what the workload does: from_endpoint is TC ingress of the device,
 * to_endpoint is TC egress. Whatever goes wrong is counted and the packet goes on,
 * to other people's filters as well (TC_ACT_UNSPEC). Dropped is only what a rule
 * says: a packet to a Service that nothing serves.
 */
#include "include/common.h"
#include "include/detour.h"
#include "include/payload.h"

/* Ports of a fragment: the first one leaves them for those that follow. */
static inline void fragment_ports(struct packet *p)
{
	struct fragment_key key = {};
	struct fragment ports = {};
	struct fragment *known;

	copy_address(key.src, p->src);
	copy_address(key.dst, p->dst);
	key.id = p->fragment;
	key.proto = p->proto;
	if (!p->later_fragment) {
		ports.src_port = p->src_port;
		ports.dst_port = p->dst_port;
		fragments.update(&key, &ports);
		return;
	}
	known = fragments.lookup(&key);
	if (!known) {
		p->marks |= MARK_NO_PORTS;
		count(COUNTER_FRAGMENT_UNKNOWN, 1);
		return;
	}
	p->src_port = known->src_port;
	p->dst_port = known->dst_port;
}

/* Wire packets and IP bytes of an skb: a super-packet stands for its segments, each with headers of its own. */
static inline void account(struct __sk_buff *skb, struct packet *p, struct conn_side *side, u64 now)
{
	u64 segments = skb->gso_segs > 1 ? skb->gso_segs : 1;
	u64 bytes = skb->len > p->l3 ? skb->len - p->l3 : 0;

	if (p->at > p->l3)
		bytes += (segments - 1) * (p->at - p->l3);
	__sync_fetch_and_add(&side->packets, segments);
	__sync_fetch_and_add(&side->bytes, bytes);
	if (!side->first)
		side->first = now;
	side->last = now;
}

static inline bool reopens(struct conn *c, struct packet *p)
{
	return c->ended && (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* Record a packet that opens a connection which must not be, and drop it. */
static inline int drop(struct __sk_buff *skb, struct packet *p, struct conn_key *key, u8 reason, u64 now)
{
	struct conn *c = connection_new(key, p, true);

	if (c)
		record_write(skb, p, c, true, EVENT_NEW, reason, now);
	return TC_ACT_SHOT;
}

/* What every packet of a known connection does. */
static inline void track(struct __sk_buff *skb, struct packet *p, struct conn *c, bool out, u64 now)
{
	u8 kind;

	account(skb, p, out ? &c->out : &c->in, now);
	if (p->proto == IPPROTO_TCP_)
		connection_handshake(c, p->tcp_flags, (c->direction == DIRECTION_EGRESS) == out, now);
	kind = record_kind(p, c, out, now);
	if (kind)
		record_write(skb, p, c, out, kind, DROP_NONE, now);
	payload_probe(skb, p, c, out, now);
}

/* A packet from the workload whose connection is not known under the address that it names. */
static inline int open_out(struct __sk_buff *skb, struct packet *p, struct conn_key *key, u64 now)
{
	struct detour made = {};
	u32 asked[4];
	u16 asked_port = key->remote_port;
	struct conn *c;
	int result;

	copy_address(asked, key->remote);
	result = detour_out(skb, p, key, &made);
	if (result == DETOUR_DROPPED)
		return drop(skb, p, key, DROP_SERVICE_BACKEND_NOT_FOUND, now);
	if (result == DETOUR_FAILED)
		return drop(skb, p, key, DROP_WRITE_FAILED, now);
	c = connections.lookup(key);
	if (!c || reopens(c, p)) {
		c = connection_new(key, p, true);
		if (c && result == DETOUR_TAKEN) {
			copy_address(c->frontend, asked);
			c->frontend_port = asked_port;
			c->service = made.service;
		}
		c = c ? connection_keep(key, c) : 0;
	}
	if (c)
		track(skb, p, c, true, now);
	return TC_ACT_UNSPEC;
}

static inline int packet_out(struct __sk_buff *skb, struct packet *p)
{
	struct conn_key key = {};
	struct conn *c;
	u64 now = bpf_ktime_get_ns();

	connection_key(&key, p, skb->ifindex, true);
	c = connections.lookup(&key);
	if (!c || reopens(c, p))
		return open_out(skb, p, &key, now);
	track(skb, p, c, true, now);
	return TC_ACT_UNSPEC;
}

static inline int packet_in(struct __sk_buff *skb, struct packet *p)
{
	struct conn_key key = {};
	struct conn *c;
	u64 now = bpf_ktime_get_ns();

	connection_key(&key, p, skb->ifindex, false);
	c = connections.lookup(&key);
	if (!c || reopens(c, p)) {
		c = connection_new(&key, p, false);
		c = c ? connection_keep(&key, c) : 0;
	}
	if (!c)
		return TC_ACT_UNSPEC;
	track(skb, p, c, false, now);
	return c->frontend_port && detour_back(skb, p, c) == DETOUR_FAILED ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

/* Frames that were not read, by why. */
static inline void count_unread(int result)
{
	if (result == PARSE_NOT_IP)
		count(COUNTER_NOT_IP, 1);
	else if (result == PARSE_TRUNCATED)
		count(COUNTER_TRUNCATED, 1);
	else
		count(COUNTER_EXTENSION_LIMIT, 1);
}

static inline int watch(struct __sk_buff *skb, bool out)
{
	u32 zero = 0;
	struct packet *p = packet_scratch.lookup(&zero);
	u16 protocol = 0;
	int action = TC_ACT_UNSPEC;
	int result;

	if (!p)
		return TC_ACT_UNSPEC;
	__builtin_memset(p, 0, sizeof(*p));
	result = parse_ethernet(skb, p, &protocol);
	if (result == PARSE_OK)
		result = parse_ip(skb, p, protocol);
	if (result == PARSE_OK) {
		if (p->marks & MARK_FRAGMENT)
			fragment_ports(p);
		action = out ? packet_out(skb, p) : packet_in(skb, p);
	} else {
		count_unread(result);
	}
	if (action == TC_ACT_UNSPEC)
		count(out ? COUNTER_FORWARDED_EGRESS : COUNTER_FORWARDED_INGRESS, 1);
	return action;
}

int from_endpoint(struct __sk_buff *skb)
{
	return watch(skb, true);
}

int to_endpoint(struct __sk_buff *skb)
{
	return watch(skb, false);
}
