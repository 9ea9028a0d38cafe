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
#include "include/fragment.h"
#include "include/payload.h"
#include "include/translation.h"

static inline void account(struct __sk_buff *skb, struct packet *p, struct conn_side *side, u64 now)
{
	__sync_fetch_and_add(&side->packets, wire_packets(skb));
	__sync_fetch_and_add(&side->bytes, wire_bytes(skb, p));
	if (!side->first)
		side->first = now;
	side->last = now;
}

static inline bool reopens(struct conn *c, struct packet *p)
{
	return c->ended && (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/*
 * What every packet of a known connection does. `now` is coarse; where time is
 * told or measured it is asked for exactly.
 */
static inline void track(struct __sk_buff *skb, struct packet *p, struct conn *c, bool out, u64 now, struct news *news)
{
	account(skb, p, out ? &c->out : &c->in, now);
	if (p->proto == IPPROTO_TCP_ && !c->handshake)
		connection_handshake(c, p->tcp_flags, (c->direction == DIRECTION_EGRESS) == out);
	news->kind = record_kind(p, c, out, now);
	payload_probe(skb, p, c, now, news);
}

/* What the entry of a connection must know of its detour. */
static inline void remember(struct conn *c, struct detour *made, u32 *asked, u16 asked_port)
{
	c->service = made->service;
	if (made->hairpin) {
		c->detoured = 1;
	} else if (!c->frontend_port) {
		copy_address(c->frontend, asked);
		c->frontend_port = asked_port;
	}
}

/* Why a packet that wanted a detour must not go on; DROP_NONE: it may. */
static inline u8 drop_reason(int way)
{
	if (way == DETOUR_DROPPED || way == DETOUR_REFUSED)
		return DROP_SERVICE_BACKEND_NOT_FOUND;
	if (way == DETOUR_CLOSED)
		return DROP_SOURCE_RANGE;
	return way == DETOUR_FAILED ? DROP_WRITE_FAILED : DROP_NONE;
}

/* What a workload sends to the node may be an answer to a client outside, and an error may speak of a translated
 * packet.
 */
static inline int answer_out(struct __sk_buff *skb, struct packet *p)
{
	struct packet *q;
	struct translation *t = translation_find(skb, p, &q);

	if (t && t->marks == (TRANSLATION_REPLY | TRANSLATION_ROUTE))
		return translation_take(skb, p, q, t);
	return q ? detour_error(skb, p, q) : TC_ACT_UNSPEC;
}

static inline int packet_out(struct __sk_buff *skb, struct packet *p)
{
	struct conn_key key = {};
	struct detour made = {};
	struct news news = {};
	struct conn *c;
	u32 asked[4];
	u16 asked_port = p->dst_port;
	u64 now = coarse_now();
	int way = DETOUR_NONE;

	connection_key(&key, p, skb->ifindex, true);
	copy_address(asked, p->dst);
	c = connections.lookup(&key);
	if (!c || c->detoured || reopens(c, p))
		way = detour_find(skb, p, &key, &made);
	if (way == DETOUR_TAKEN)
		way = detour_take(skb, p, &made);
	news.reason = drop_reason(way);
	if (way == DETOUR_TAKEN && !made.hairpin) {
		connection_key(&key, p, skb->ifindex, true);
		c = connections.lookup(&key);
	}
	if (news.reason || !c || reopens(c, p)) {
		c = connection_new(&key, p, true);
		if (c && !news.reason)
			c = connection_keep(&key, c);
	}
	if (c) {
		if (way == DETOUR_TAKEN)
			remember(c, &made, asked, asked_port);
		if (news.reason)
			news.kind = EVENT_NEW;
		else
			track(skb, p, c, true, now, &news);
		report(skb, p, c, true, &news);
	}
	if (news.reason)
		return way == DETOUR_REFUSED ? ACT_REJECT : TC_ACT_SHOT;
	if (way == DETOUR_NONE && (!c || c->remote_workload == RESERVED_HOST || icmp_is_error(p)))
		return answer_out(skb, p);
	return made.hairpin ? detour_turn(skb) : TC_ACT_UNSPEC;
}

static inline int packet_in(struct __sk_buff *skb, struct packet *p)
{
	struct conn_key key = {};
	struct news news = {};
	struct packet *q;
	struct conn *c;

	connection_key(&key, p, skb->ifindex, false);
	c = connections.lookup(&key);
	if (!c || reopens(c, p)) {
		c = connection_new(&key, p, false);
		if (c && detours.lookup(&key))
			c->detoured = 1; /* the workload's own packet, turned round: the answer has to turn as well */
		c = c ? connection_keep(&key, c) : 0;
	}
	if (!c)
		return TC_ACT_UNSPEC;
	track(skb, p, c, false, coarse_now(), &news);
	report(skb, p, c, false, &news);
	q = quoted_packet(skb, p);
	if (q)
		return detour_error_back(skb, p, q);
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
		action = out ? act(skb, p, packet_out(skb, p)) : packet_in(skb, p);
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
