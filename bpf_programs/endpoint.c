/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The packet path of a workload, attached to its host-side device. Programs are
 * named by what the workload does: from_endpoint is TC ingress of the device,
 * to_endpoint is TC egress. Whatever goes wrong is counted and the packet goes on,
 * to other people's filters as well (TC_ACT_UNSPEC). Dropped is only what a rule
 * says: a packet to a Service whose traffic policy admits no backend.
 */
#include "include/common.h"
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

/* Is this the way to a Service whose traffic policy admits no backend? */
static inline bool service_drops(struct packet *p)
{
	struct frontend_key key = {.port = bpf_htons(p->dst_port), .proto = p->proto};
	struct frontend *frontend;

	copy_address(key.addr, p->dst);
	frontend = services.lookup(&key);
	return frontend && !frontend->backends && (frontend->flags & FRONTEND_DROP);
}

static inline int track(struct __sk_buff *skb, struct packet *p, bool out)
{
	struct conn_key key = {};
	struct conn *c;
	u64 now = bpf_ktime_get_ns();
	u8 kind;

	connection_key(&key, p, skb->ifindex, out);
	c = connections.lookup(&key);
	if (!c || (c->ended && (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)) {
		c = connection_new(&key, p, out);
		if (c && out && service_drops(p)) {
			record_write(skb, p, c, out, EVENT_NEW, DROP_SERVICE_BACKEND_NOT_FOUND, now);
			count(COUNTER_SERVICE_DROPPED, 1);
			return TC_ACT_SHOT;
		}
		c = c ? connection_keep(&key, c) : 0;
	}
	if (!c)
		return TC_ACT_UNSPEC;
	account(skb, p, out ? &c->out : &c->in, now);
	if (p->proto == IPPROTO_TCP_)
		connection_handshake(c, p->tcp_flags, (c->direction == DIRECTION_EGRESS) == out, now);
	kind = record_kind(p, c, out, now);
	if (kind)
		record_write(skb, p, c, out, kind, DROP_NONE, now);
	payload_probe(skb, p, c, out, now);
	return TC_ACT_UNSPEC;
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
		action = track(skb, p, out);
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
