/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The packet path of a workload, attached to its host-side device. Programs are
 * named by what the workload does: from_endpoint is TC ingress of the device,
 * to_endpoint is TC egress. Whatever goes wrong is counted and the packet goes on,
 * to other people's filters as well (TC_ACT_UNSPEC). Dropped is only what a rule
 * says: a packet that policy denies, and one to a Service that nothing serves.
 */
#include "include/common.h"
#include "include/detour.h"
#include "include/failure.h"
#include "include/fragment.h"
#include "include/policy.h"
#include "include/translation.h"

/*
 * What is written of the packet at hand while it passes, one per CPU: in a map,
 * because the verifier forgets what is in a map, so that the many ways to it are
 * one from there on; and in one map, because each costs a packet two cache lines.
 */
struct desk {
	struct packet packet;
	struct news news;
	struct ruling ruling;
	struct course course; /* of packets from the workload */
} __attribute__((aligned(8)));

BPF_PERCPU_ARRAY(desk_scratch, struct desk, 1);

static inline void account(struct __sk_buff *skb, struct packet *p, struct conn_side *side, u64 now)
{
	__sync_fetch_and_add(&side->packets, frame_segments(skb));
	__sync_fetch_and_add(&side->bytes, wire_bytes(skb, p));
	if (!side->first)
		side->first = now;
	side->last = now;
}

static inline bool begins(struct packet *p)
{
	return (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* Does the packet open a new connection under the addresses of a known one? The responder's SYN does at any time. */
static inline bool reopens(struct conn *c, struct packet *p, bool out)
{
	if (!begins(p))
		return false;
	if ((c->direction == DIRECTION_EGRESS) != out)
		return true;
	/* a SYN is sent again after an ICMP error, and does not begin anew what was told to have failed */
	return c->ended && (c->failure != FAILURE_UNREACHABLE || p->seq != c->isn);
}

/* What the local end's socket knows, asked for when a record is due. */
static inline void local_end(struct __sk_buff *skb, struct packet *p, struct conn *c)
{
	struct owner *owner;

	if (p->proto == IPPROTO_TCP_)
		failure_measure(skb, c);
	if (c->direction != DIRECTION_INGRESS)
		return;
	owner = connection_holder(p, true);
	if (owner)
		connection_process(c, owner);
}

/*
 * What every packet of a known connection does. `now` is coarse; where time is
 * told or measured it is asked for exactly.
 */
static inline void track(struct __sk_buff *skb, struct packet *p, struct conn *c, bool out, u64 now, struct news *news)
{
	bool initiator = (c->direction == DIRECTION_EGRESS) == out;

	if (p->proto == IPPROTO_TCP_)
		failure_watch(p, c, initiator, now, news);
	account(skb, p, out ? &c->out : &c->in, now);
	if (p->proto == IPPROTO_TCP_ && !c->handshake)
		connection_handshake(c, p->tcp_flags, initiator);
	news->kind = record_kind(p, c, out, now);
	if (news->audit && !news->kind)
		news->kind = EVENT_INTERVAL;
	if (news->kind && out)
		local_end(skb, p, c);
#ifdef SK_ACK_BACKLOG
	if (p->proto == IPPROTO_TCP_ && (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
		failure_listener(skb, p, c);
#endif
	payload_probe(skb, p, c, out, now, news);
}

/*
 * What the entry of a connection must know of its detour. A port that is used
 * again soon meets the entry of another frontend to the same backend.
 */
static inline void remember(struct conn *c, struct course *course)
{
	c->service = course->made.service;
	if (course->made.hairpin) {
		c->detoured = 1;
	} else if (c->frontend_port != course->asked_port || !same_address(c->frontend, course->asked)) {
		copy_address(c->frontend, course->asked);
		c->frontend_port = course->asked_port;
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

/* Take a first packet's connection into the table, or only into scratch space, where it is told but not kept. */
static inline struct conn *opened(struct conn_key *key, struct packet *p, bool out, struct ruling *ruling, bool keep)
{
	struct conn *c = connection_new(key, p, out);

	if (!c)
		return 0;
	policy_keep(c, ruling);
	return keep ? connection_keep(key, c) : c;
}

/* Take a packet of the workload on its detour, if it has one; `key` follows. */
static inline void detoured(struct __sk_buff *skb, struct packet *p, struct conn_key *key, struct course *course)
{
	int way;

	copy_address(course->asked, p->dst);
	course->asked_port = p->dst_port;
	way = detour_find(skb, p, key, &course->made);
	if (way == DETOUR_TAKEN)
		way = detour_take(skb, p, &course->made);
	course->way = way;
	course->reason = drop_reason(way);
	if (way == DETOUR_TAKEN && !course->made.hairpin) {
		if (begins(p))
			connections.delete(
				key); /* the reset that the frontend once gave would keep what follows from its way */
		connection_key(key, p, skb->ifindex, true);
	}
}

/* Put policy's word into force: false where the packet is dropped and that was told lately. */
static inline bool ruled(struct packet *p, struct conn_key *key, struct conn *c, struct ruling *ruling,
			 struct news *news, u64 now)
{
	news->audit = ruling->audit;
	if (!ruling->reason) {
		if (c && ruling->judged)
			policy_keep(c, ruling);
		return true;
	}
	policy_deny(p, c, ruling);
	news->reason = ruling->reason;
	return !policy_told(key, now);
}

/*
 * What a workload sends to the node may be an answer to a client outside, and an
 * error may speak of a translated packet.
 */
static inline int answer_out(struct __sk_buff *skb, struct packet *p, struct packet *q)
{
	struct translation *t = translation_find(p, q);

	if (t && t->marks == (TRANSLATION_REPLY | TRANSLATION_ROUTE))
		return translation_take(skb, p, q, t, false);
	return q ? detour_error(skb, p, q) : TC_ACT_UNSPEC;
}

/* `q` is the packet that an ICMP error is about, 0 for what is no such error. */
static inline int packet_out(struct __sk_buff *skb, struct desk *desk, struct packet *q)
{
	struct packet *p = &desk->packet;
	struct news *news = &desk->news;
	struct ruling *ruling = &desk->ruling;
	struct course *course = &desk->course;
	struct conn_key key = {};
	struct conn *c;
	u64 now = coarse_now();

	course->way = course->reason = course->made.hairpin = 0;
	connection_key(&key, p, skb->ifindex, true);
	c = connections.lookup(&key);
	if (!c || c->detoured || begins(p)) {
		detoured(skb, p, &key, course);
		c = connections.lookup(&key); /* also where nothing changed: the verifier has fewer ways to follow */
	}
	if (c && reopens(c, p, true))
		c = 0;
	news->reason = course->reason;
	if (!news->reason && !course->made.hairpin) {
		policy_check(skb, p, q, &key, c, true, ruling);
		if (!ruled(p, &key, c, ruling, news, now))
			return TC_ACT_SHOT;
	}
	if (news->reason || !c)
		c = opened(&key, p, true, ruling, !news->reason);
	if (c) {
		if (course->way == DETOUR_TAKEN)
			remember(c, course);
		else if (c->frontend_port)
			c->frontend_port = 0; /* asked by its own address: nothing to give back */
		if (news->reason)
			news->kind = EVENT_NEW;
		else
			track(skb, p, c, true, now, news);
		report(skb, p, c, true, news);
	}
	if (news->reason)
		return course->way == DETOUR_REFUSED ? ACT_REJECT : TC_ACT_SHOT;
	if (course->way == DETOUR_NONE && (!c || c->remote_workload == RESERVED_HOST || q))
		return answer_out(skb, p, q);
	return course->made.hairpin ? detour_turn(skb) : TC_ACT_UNSPEC;
}

static inline int packet_in(struct __sk_buff *skb, struct desk *desk, struct packet *q)
{
	struct packet *p = &desk->packet;
	struct news *news = &desk->news;
	struct ruling *ruling = &desk->ruling;
	struct conn_key key = {};
	struct conn *c;
	u64 now = coarse_now();
	bool turned;

	connection_key(&key, p, skb->ifindex, false);
	c = connections.lookup(&key);
	if (c && reopens(c, p, false))
		c = 0;
	turned = !c && detours.lookup(&key); /* the workload's own packet: the answer has to turn as well */
	if (!turned) {
		policy_check(skb, p, q, &key, c, false, ruling);
		if (!ruled(p, &key, c, ruling, news, now))
			return TC_ACT_SHOT;
	}
	if (news->reason || !c)
		c = opened(&key, p, false, ruling, !news->reason);
	if (!c)
		return news->reason ? TC_ACT_SHOT : TC_ACT_UNSPEC;
	if (turned)
		c->detoured = 1;
	if (news->reason)
		news->kind = EVENT_NEW;
	else
		track(skb, p, c, false, now, news);
	report(skb, p, c, false, news);
	if (news->reason)
		return TC_ACT_SHOT;
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

/* A packet that could be read. An ICMP error that passed tells that the flow which it quotes failed. */
static inline int watch_packet(struct __sk_buff *skb, struct desk *desk, bool out)
{
	struct packet *p = &desk->packet;
	struct packet *q = quoted_packet(skb, p);
	int action;

	if (p->marks & MARK_FRAGMENT)
		fragment_ports(p);
	action = out ? act(skb, p, packet_out(skb, desk, q)) : packet_in(skb, desk, q);
	if (q && action != TC_ACT_SHOT)
		failure_quoted(skb, q, out, &desk->news);
	return action;
}

static inline int watch(struct __sk_buff *skb, bool out)
{
	u32 zero = 0;
	struct desk *desk = desk_scratch.lookup(&zero);
	u16 protocol = 0;
	int action = TC_ACT_UNSPEC;
	int result;

	if (!desk)
		return TC_ACT_UNSPEC;
	__builtin_memset(desk, 0, offsetof(struct desk, course));
	result = parse_ethernet(skb, &desk->packet, &protocol);
	if (result == PARSE_OK)
		result = parse_ip(skb, &desk->packet, protocol);
	if (result == PARSE_OK) {
		action = watch_packet(skb, desk, out);
	} else {
		count_unread(result);
		if (result != PARSE_NOT_IP && policy_restricts(skb->ifindex, out)) {
			count(COUNTER_POLICY_UNREADABLE, 1);
			action = TC_ACT_SHOT;
		}
	}
	if (action == TC_ACT_UNSPEC)
		count(out ? COUNTER_FORWARDED_EGRESS : COUNTER_FORWARDED_INGRESS, 1);
	return action;
}

#ifdef WITH_FROM_ENDPOINT
int from_endpoint(struct __sk_buff *skb)
{
	return watch(skb, true);
}
#endif

#ifdef WITH_TO_ENDPOINT
int to_endpoint(struct __sk_buff *skb)
{
	return watch(skb, false);
}
#endif
