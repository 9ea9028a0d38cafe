/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Services for the world outside, at the devices that lead there: from_network is
 * TC ingress of an uplink, to_network is TC egress. What is neither a packet to a
 * frontend nor of a connection that was opened here goes on untouched
 * (TC_ACT_UNSPEC), after one look-up.
 */
#include "include/common.h"
#include "include/fragment.h"
#include "include/outside.h"

#define PACKET_HOST_ 0 /* skb->pkt_type: the frame is for us */

/* A later fragment without ports can be of anything; to a Service's own address nobody else would take it. */
static inline int fragment_lost(struct packet *p)
{
	struct frontend_key key = {};

	copy_address(key.addr, p->dst);
	if (!services.lookup(&key))
		return TC_ACT_UNSPEC;
	count(COUNTER_FRAGMENT_DROPPED, 1);
	return TC_ACT_SHOT;
}

static inline int packet_from_network(struct __sk_buff *skb, struct packet *p)
{
	return p->marks & MARK_NO_PORTS ? fragment_lost(p) : outside_take(skb, p);
}

/* Answers of the node's own backends leave by the node's stack, with the frontend as their source. */
static inline int packet_to_network(struct __sk_buff *skb, struct packet *p)
{
	struct packet *q = quoted_packet(skb, p);
	struct translation *t = translation_find(p, q);

	if (!t || t->marks != TRANSLATION_REPLY)
		return TC_ACT_UNSPEC;
	if (!q)
		translation_account(skb, p, t);
	return (q ? translation_error(skb, p, q, t) : translation_write(skb, p, t)) < 0 ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

static inline int pass_uplink(struct __sk_buff *skb, bool in)
{
	u32 zero = 0;
	struct packet *p = packet_scratch.lookup(&zero);
	u16 protocol = 0;

	if (!p)
		return TC_ACT_UNSPEC;
	__builtin_memset(p, 0, sizeof(*p));
	if (parse_ethernet(skb, p, &protocol) != PARSE_OK || p->marks & MARK_VLAN ||
	    parse_ip(skb, p, protocol) != PARSE_OK)
		return TC_ACT_UNSPEC;
	if (p->marks & MARK_FRAGMENT)
		fragment_ports(p);
	return in ? act(skb, p, packet_from_network(skb, p)) : packet_to_network(skb, p);
}

int from_network(struct __sk_buff *skb)
{
	return skb->pkt_type == PACKET_HOST_ ? pass_uplink(skb, true) : TC_ACT_UNSPEC;
}

int to_network(struct __sk_buff *skb)
{
	return pass_uplink(skb, false);
}
