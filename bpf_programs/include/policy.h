/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Policy: may this packet pass? Judged is the first packet of a connection, by
 * the ruleset that its workload has for the direction in which the connection
 * was opened; the answer is kept with the connection and holds for both
 * directions until the workload's verdicts change (its generation).
 *
 * Without looking anything up pass: what belongs to a connection that passed;
 * an ICMP error about one; what a link needs to work (neighbour discovery,
 * router advertisements, multicast membership, DHCP; ARP is not even read); the
 * node's own traffic; what a workload sends to itself.
 */
#ifndef REMORA_POLICY_H
#define REMORA_POLICY_H

#include "include/exempt.h"

#define CLASS_ANY 0
#define CLASS_WORLD 1
#define POLICY_KEY_BITS 88         /* ruleset, class, protocol, port */
#define POLICY_UNKNOWN 0xffffffffU /* generation of workloads without a verdict, where those are denied */
#define EPHEMERAL_PORTS 32768      /* first port that Linux gives to a client that asks for none */
#define POLICY_WAYS 2              /* directions in which a connection can have been opened */
#define OTHER_DIRECTION (DIRECTION_INGRESS ^ DIRECTION_EGRESS)

/* What policy says of a packet; zeros at first. */
struct ruling {
	u32 epoch;      /* of the policy state that was asked */
	u32 generation; /* of the guard that was asked */
	u32 rule;       /* that decided, 0: none had to */
	u8 reason;      /* enum drop_reason; DROP_NONE: it may pass */
	u8 audit;       /* it may pass because the denial is only to be told */
	u8 judged;      /* said of this packet, not remembered of its connection */
	u8 direction;   /* enum direction in which the connection was opened, 0: no ruleset was asked */
};

/* The side of a guard that is in force; 0: the workload has no verdict yet. */
static inline struct isolation *policy_isolation(u32 side, u32 ifindex)
{
	struct guard *guard = guards.lookup(&ifindex);
	struct isolation *own;

	if (!guard)
		return 0;
	own = &guard->side[side & 1];
	return own->generation ? own : 0;
}

static inline u32 policy_class(const u32 *address, u32 side)
{
	struct network_key key = {.prefixlen = 128};
	struct class_of *found = classes.lookup((struct address_key *)address);

	if (found && found->side[side & 1])
		return found->side[side & 1];
	copy_address(key.addr, address);
	found = networks.lookup(&key);
	return found && found->side[side & 1] ? found->side[side & 1] : CLASS_WORLD;
}

/* The rule that holds for a class and the port that a connection was opened to. */
static inline struct policy_rule *policy_find(u32 ruleset, u32 class, u8 proto, u16 port)
{
	struct policy_key key = {.prefixlen = POLICY_KEY_BITS, .ruleset = ruleset, .class = class, .proto = proto};
	struct policy_rule *found;

	key.port[0] = port >> 8;
	key.port[1] = port & 255;
	found = policies.lookup(&key);
	if (found)
		return found;
	key.class = CLASS_ANY;
	found = policies.lookup(&key);
	return found ? found : rulesets.lookup(&ruleset);
}

static inline void policy_apply(u32 ruleset, struct policy_rule *found, struct ruling *r)
{
	struct policy_rule *otherwise;

	r->rule = found ? found->rule : 0;
	r->audit = found && found->audit && found->action == POLICY_DENY;
	r->reason = DROP_NONE;
	if (r->audit || (found && found->action == POLICY_ALLOW))
		return;
	otherwise = rulesets.lookup(&ruleset);
	r->reason = found && otherwise && otherwise->rule != found->rule ? DROP_POLICY_DENY : DROP_POLICY_DENIED;
}

/*
 * Who opened the connection of this packet? Known is it where the first packet
 * was seen. In the middle of a TCP stream it is guessed by the ports, and the
 * guess is trusted where one of them, and only one, is of the range that clients
 * get. Where it is not, either direction may speak for the packet: `unsure`. For
 * all other protocols a packet without a connection opens one.
 */
static inline u8 policy_direction(struct packet *p, struct conn *c, bool out, bool *unsure)
{
	u8 marks = 0;
	bool sender = true;

	if (c && !(c->marks & MARK_MIDSTREAM))
		return c->direction;
	if (p->proto == IPPROTO_TCP_) {
		sender = sender_initiates(p, &marks);
		*unsure = marks && (p->src_port >= EPHEMERAL_PORTS) == (p->dst_port >= EPHEMERAL_PORTS);
	}
	return sender == out ? DIRECTION_EGRESS : DIRECTION_INGRESS;
}

/* Ask the ruleset of the direction in which the connection was opened, or of either. */
static inline void policy_judge(struct conn_key *key, struct isolation *own, bool unsure, struct ruling *r)
{
	bool ports = key->proto == IPPROTO_TCP_ || key->proto == IPPROTO_UDP_ || key->proto == IPPROTO_SCTP_;
	u32 class = policy_class(key->remote, r->epoch);

#pragma clang loop unroll(disable)
	for (int way = 0; way < POLICY_WAYS; way++) {
		bool egress = r->direction == DIRECTION_EGRESS;
		u32 ruleset = egress ? own->egress : own->ingress;
		u16 port = egress ? key->remote_port : key->local_port;

		if (!ruleset) {
			r->rule = r->reason = r->audit = 0;
			return;
		}
		policy_apply(ruleset, policy_find(ruleset, class, key->proto, ports ? port : 0), r);
		if (!unsure || way || r->reason == DROP_NONE)
			return;
		r->direction ^= OTHER_DIRECTION;
	}
}

/* Can a connection speak for the packet at all? */
static inline bool policy_speaks(struct packet *p, struct conn *c)
{
	return c && !c->detoured && !policy_stateless(p);
}

static inline void policy_recall(struct conn *c, struct ruling *r)
{
	r->reason = c->denied;
	r->rule = c->denied ? c->rule : 0;
}

/* What is remembered of the connection; false: the packet has to be judged. */
static inline bool policy_remembered(struct policy_state *state, struct packet *p, struct conn *c, struct ruling *r)
{
	if (!policy_speaks(p, c))
		return c->detoured || !r->generation; /* what takes a detour is the workload's talk with itself */
	if (c->generation == r->generation)
		policy_recall(c, r);
	else if (!(state->flags & POLICY_FLAG_KEEP) || c->denied)
		return false;
	c->epoch = r->epoch;
	return true;
}

static inline void policy_hit(u32 rule)
{
	u64 one = 1;
	u64 *hits = rule_hits.lookup(&rule);

	if (hits)
		*hits += 1;
	else if (rule_hits.update(&rule, &one) < 0)
		count(COUNTER_POLICY_UNCOUNTED, 1);
}

/* Judge a packet of a workload that has a verdict, `own`, or that must not pass without one. */
static inline void policy_first(struct __sk_buff *skb, struct packet *p, struct packet *q, struct conn_key *key,
				struct conn *c, bool out, struct isolation *own, struct ruling *r)
{
	bool unsure = false;

	if (own && out && (own->flags & GUARD_SOURCE) && policy_spoofed(p, skb->ifindex)) {
		r->reason = DROP_INVALID_SOURCE_IP;
		return;
	}
	if (own && !own->ingress && !own->egress)
		return;
	if (policy_link(p, out) || policy_at_home(key))
		return;
	if (!own) {
		r->reason = DROP_POLICY_DENIED;
	} else if (p->marks & MARK_NO_PORTS) {
		r->reason = (out ? own->egress : own->ingress) ? DROP_IP_FRAGMENTATION_NOT_SUPPORTED : DROP_NONE;
	} else if (!q || !policy_related(q, skb->ifindex, out)) {
		r->direction = policy_direction(p, c, out, &unsure);
		policy_judge(key, own, unsure, r);
	}
}

/* Ask the guard of the workload, and where that says anew, the rules. */
static inline void policy_ask(struct __sk_buff *skb, struct packet *p, struct packet *q, struct conn_key *key,
			      struct conn *c, bool out, struct policy_state *state, struct ruling *r)
{
	struct isolation *own = policy_isolation(r->epoch, skb->ifindex);

	if (own)
		r->generation = own->generation;
	else if (state->flags & POLICY_FLAG_DENY_UNKNOWN)
		r->generation = POLICY_UNKNOWN;
	if (c && policy_remembered(state, p, c, r))
		return;
	r->judged = 1;
	if (r->generation)
		policy_first(skb, p, q, key, c, out, own, r);
}

/*
 * What policy says of a packet; `q` is what it quotes, being an ICMP error, and
 * `c` the connection that it belongs to; 0: it opens one. As long as nothing that
 * policy decides by has changed, the connection's own word is enough.
 */
static inline void policy_check(struct __sk_buff *skb, struct packet *p, struct packet *q, struct conn_key *key,
				struct conn *c, bool out, struct ruling *r)
{
	u32 zero = 0;
	struct policy_state *state = policy_state.lookup(&zero);

	if (!state)
		return;
	r->epoch = *(volatile u32 *)&state->epoch; /* once: what is asked and what is remembered must be of one state */
	if (policy_speaks(p, c) && c->epoch == r->epoch)
		policy_recall(c, r);
	else
		policy_ask(skb, p, q, key, c, out, state, r);
	if (r->rule)
		policy_hit(r->rule);
	if (r->audit)
		count(COUNTER_POLICY_AUDITED, 1);
}

/* Keep what was said with its connection. */
static inline void policy_keep(struct conn *c, struct ruling *r)
{
	c->epoch = r->epoch;
	c->generation = r->generation;
	c->rule = r->rule;
	c->denied = 0;
	if (r->direction)
		c->direction = r->direction;
}

/*
 * Count a packet that must not pass, and cut the connection that it belongs to.
 * One whose direction is a guess is not cut: its next packet may say otherwise.
 */
static inline void policy_deny(struct packet *p, struct conn *c, struct ruling *r)
{
	if (r->reason == DROP_INVALID_SOURCE_IP)
		count(COUNTER_SOURCE_INVALID, 1);
	else if (r->reason == DROP_IP_FRAGMENTATION_NOT_SUPPORTED)
		count(COUNTER_POLICY_UNREADABLE, 1);
	else
		count(COUNTER_POLICY_DROPPED, 1);
	if (!c || !r->judged || (c->marks & MARK_MIDSTREAM) || policy_stateless(p))
		return;
	c->epoch = r->epoch;
	c->generation = r->generation;
	c->rule = r->rule;
	c->denied = r->reason;
}

/* Was the denial of this connection told lately? If not, it is now. */
static inline bool policy_told(struct conn_key *key, u64 now)
{
	u64 *told = denials.lookup(key);

	if (told && now - *told < REPORT_INTERVAL_NS)
		return true;
	denials.update(key, &now);
	return false;
}

/* Must a packet that cannot be read be kept from or to the workload? */
static inline bool policy_restricts(u32 ifindex, bool out)
{
	u32 zero = 0;
	struct policy_state *state = policy_state.lookup(&zero);
	struct isolation *own = state ? policy_isolation(state->epoch, ifindex) : 0;

	if (!own)
		return state && (state->flags & POLICY_FLAG_DENY_UNKNOWN);
	return out ? own->egress : own->ingress;
}

#endif
