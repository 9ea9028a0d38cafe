/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Failed connections as a workload's device sees them: which resets mean that
 * something went wrong, and which flow an ICMP error is about. What ends in
 * silence is found by the agent's sweep; what became of its packets in this
 * kernel is noted here and in trace.c.
 *
 * A failure is told once: by the initiator's device, or by the responder's where
 * the initiator is elsewhere.
 */
#ifndef REMORA_FAILURE_H
#define REMORA_FAILURE_H

#include "include/payload.h"
#include "include/quoted.h"

#define IDLE_NS NS_PER_SECOND /* a reset after such a silence closes an idle connection */

#define ICMPV6_TIME_EXCEEDED 3

/* Does this device tell how the connection failed? */
static inline bool failure_teller(struct conn *c)
{
	return c->probe && !c->watched && c->failure == FAILURE_NONE;
}

static inline bool has_payload(struct packet *p)
{
	return p->at < p->l3 + p->length;
}

/*
 * What a reset means. One from the initiator is its own wish; one after a FIN, or
 * on a connection that was idle with nothing asked, is how some programs close.
 */
static inline u8 failure_of_reset(struct conn *c, bool initiator, u64 now)
{
	struct conn_side *responder = c->direction == DIRECTION_EGRESS ? &c->in : &c->out;
	u64 last = c->out.last > c->in.last ? c->out.last : c->in.last;

	if (initiator || ((c->out.flags | c->in.flags) & TCP_FIN))
		return FAILURE_NONE;
	if (c->syn && !(responder->flags & TCP_SYN))
		return FAILURE_REFUSED;
	if (c->syn && !c->used)
#ifdef DROP_LISTEN_OVERFLOW
		return c->dropped == DROP_LISTEN_OVERFLOW ? FAILURE_ACCEPT_QUEUE : FAILURE_HANDSHAKE;
#else
		return FAILURE_HANDSHAKE;
#endif
	return c->used && (c->asked || now - last < IDLE_NS) ? FAILURE_RESET : FAILURE_NONE;
}

/* What each TCP packet says of how its connection is doing; before it is accounted. */
static inline void failure_watch(struct packet *p, struct conn *c, bool initiator, u64 now, struct news *news)
{
	bool payload = has_payload(p);

	if (c->ended)
		return;
	if (p->tcp_flags & TCP_RST) {
		news->failure = failure_teller(c) ? failure_of_reset(c, initiator, now) : FAILURE_NONE;
		c->failure = news->failure ? news->failure : c->failure;
		return;
	}
	if (payload && c->asked != initiator)
		c->asked = initiator;
	if (!initiator && !c->used && !(p->tcp_flags & TCP_SYN))
		c->used = 1;
}

/* Round trip and retransmits, from the very socket that sent the packet: it is still at hand here. */
static inline void failure_measure(struct __sk_buff *skb, struct conn *c)
{
	struct bpf_sock *sk = skb->sk;
	struct bpf_tcp_sock *tcp;

	sk = sk ? bpf_sk_fullsock(sk) : 0;
	if (!sk || sk->protocol != IPPROTO_TCP_)
		return;
	tcp = bpf_tcp_sock(sk);
	if (!tcp)
		return;
	c->srtt_us = tcp->srtt_us >> 3;
	c->retransmits = tcp->total_retrans;
}

#ifdef SK_ACK_BACKLOG
/*
 * A SYN to a listener of this kernel: the kernel drops it without a word when the
 * accept queue is full, so the queue is looked at, as the kernel will do next.
 */
static inline void failure_listener(struct __sk_buff *skb, struct packet *p, struct conn *c)
{
	struct address *holder = addresses.lookup((struct address_key *)p->dst);
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;
	void *tcp;
	bool v4 = p->family == 4;
	u64 netns;

	if (!holder || (!holder->netns && holder->workload != RESERVED_HOST))
		return;
	netns = (u64)holder->netns - 1; /* below 0: the namespace at hand, the node's own */
	if (v4) {
		tuple.ipv4.saddr = p->src[3];
		tuple.ipv4.daddr = p->dst[3];
		tuple.ipv4.sport = bpf_htons(p->src_port);
		tuple.ipv4.dport = bpf_htons(p->dst_port);
	} else {
		copy_address((u32 *)tuple.ipv6.saddr, p->src);
		copy_address((u32 *)tuple.ipv6.daddr, p->dst);
		tuple.ipv6.sport = bpf_htons(p->src_port);
		tuple.ipv6.dport = bpf_htons(p->dst_port);
	}
	sk = bpf_skc_lookup_tcp(skb, &tuple, v4 ? sizeof(tuple.ipv4) : sizeof(tuple.ipv6), netns, 0);
	if (!sk)
		return;
	if (sk->state == BPF_TCP_LISTEN) {
		tcp = bpf_skc_to_tcp_sock(sk);
		if (tcp && *(u32 *)(tcp + SK_ACK_BACKLOG) > *(u32 *)(tcp + SK_MAX_ACK_BACKLOG))
			c->dropped = DROP_LISTEN_OVERFLOW;
	}
	bpf_sk_release(sk);
}
#endif

/* The failure that an ICMP message tells; FAILURE_NONE for what is no error, or one that is mended on the way. */
static inline u8 failure_of_icmp(struct packet *p)
{
	if (p->family == 4) {
		if (p->icmp_type == ICMP_UNREACHABLE && p->icmp_code == ICMP_PORT_UNREACHABLE)
			return FAILURE_REFUSED;
		if (p->icmp_type == ICMP_UNREACHABLE && p->icmp_code != ICMP_FRAGMENTATION_NEEDED)
			return FAILURE_UNREACHABLE;
		return p->icmp_type == ICMP_TIME_EXCEEDED ? FAILURE_UNREACHABLE : FAILURE_NONE;
	}
	if (p->icmp_type == ICMPV6_UNREACHABLE)
		return p->icmp_code == ICMPV6_PORT_UNREACHABLE ? FAILURE_REFUSED : FAILURE_UNREACHABLE;
	return p->icmp_type == ICMPV6_TIME_EXCEEDED ? FAILURE_UNREACHABLE : FAILURE_NONE;
}

/* Did the flow fail by this error? TCP takes notice only while it connects. */
static inline bool failure_concerns(struct packet *p, struct conn *c)
{
	struct conn_side *responder = c->direction == DIRECTION_EGRESS ? &c->in : &c->out;

	return failure_teller(c) && !c->ended && (p->proto == IPPROTO_UDP_ || (c->syn && !responder->packets));
}

/* Tell that the flow failed of which an ICMP error quotes a packet. `out`: the workload sent the error. */
static inline void failure_quoted(struct __sk_buff *skb, struct packet *q, bool out, struct news *news)
{
	u32 zero = 0;
	struct payload_event *e = payload_scratch.lookup(&zero);
	struct conn_key key = {};
	struct conn *c;

	if (!e || (q->proto != IPPROTO_TCP_ && q->proto != IPPROTO_UDP_))
		return;
	__builtin_memset(news, 0, sizeof(*news));
	news->failure = failure_of_icmp(q);
	if (!news->failure)
		return;
	connection_key(&key, q, skb->ifindex, !out);
	c = connections.lookup(&key);
	if (!c || !failure_concerns(q, c))
		return;
	c->failure = FAILURE_UNREACHABLE;
	c->ended = q->proto == IPPROTO_TCP_;
	news->kind = c->ended ? EVENT_END : EVENT_INTERVAL;
	news->detail = q->icmp_type << 8 | q->icmp_code;
	record_fill(&e->flow, q, c, skb->ifindex, !out, bpf_ktime_get_ns());
	record_macs(skb, &e->flow);
	record_write(&e->flow, news);
}

#endif
