/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Flow records: one struct flow_event for the first packet of a connection,
 * for each TCP flag that is new in a direction, every REPORT_INTERVAL_NS while
 * active, and at the end. The kernel aggregates; user space sees few records
 * with exact totals instead of a record per packet.
 */
#ifndef REMORA_RECORD_H
#define REMORA_RECORD_H

#include "include/connection.h"

/* Everything of a flow_event, except why it is written. */
static inline void record_fill(struct flow_event *e, struct packet *p, struct conn *c, u32 ifindex, bool out, u64 now)
{
	bool egress = c->direction == DIRECTION_EGRESS;
	bool ports = p->proto != IPPROTO_ICMP_ && p->proto != IPPROTO_ICMPV6_;

	e->time = now;
	e->started = c->out.first && (!c->in.first || c->out.first < c->in.first) ? c->out.first : c->in.first;
	e->forward_packets = egress ? c->out.packets : c->in.packets;
	e->forward_bytes = egress ? c->out.bytes : c->in.bytes;
	e->reverse_packets = egress ? c->in.packets : c->out.packets;
	e->reverse_bytes = egress ? c->in.bytes : c->out.bytes;
	e->cgroup = c->cgroup;
	copy_address(e->src, p->src);
	copy_address(e->dst, p->dst);
	e->src_workload = out ? c->local_workload : c->remote_workload;
	e->dst_workload = out ? c->remote_workload : c->local_workload;
	e->service = c->service;
	e->pid = c->pid;
	e->ifindex = ifindex;
	e->handshake = c->handshake;
	e->length = p->length;
	e->l7 = 0;
	e->src_port = ports ? p->src_port : 0;
	e->dst_port = ports ? p->dst_port : 0;
	e->family = p->family;
	e->proto = p->proto;
	e->verdict = VERDICT_FORWARDED;
	e->reason = DROP_NONE;
	e->point = out ? POINT_TO_STACK : POINT_TO_ENDPOINT;
	e->direction = c->direction;
	e->reply = egress != out;
	e->tcp_flags = p->tcp_flags;
	e->icmp_type = p->icmp_type;
	e->icmp_code = p->icmp_code;
	e->marks = p->marks | c->marks;
	__builtin_memcpy(e->comm, c->comm, COMM_LEN);
	e->rule = c->rule;
	e->srtt_us = c->srtt_us;
	e->retransmits = c->retransmits;
	e->failure = FAILURE_NONE;
	e->detail = 0;
}

static inline void record_macs(frame_t *frame, struct flow_event *e)
{
	if (frame_load(frame, 0, e->dst_mac, MAC_LEN) < 0 || frame_load(frame, MAC_LEN, e->src_mac, MAC_LEN) < 0) {
		__builtin_memset(e->dst_mac, 0, MAC_LEN);
		__builtin_memset(e->src_mac, 0, MAC_LEN);
	}
}

/* What there is to tell of a packet. */
struct news {
	u8 kind;    /* enum event_kind of the flow record, 0: none is due */
	u8 reason;  /* enum drop_reason */
	u8 payload; /* enum payload_kind of the head to copy, 0: none */
	u8 alone;   /* an HTTP request that came while none was open */
	u8 failure; /* enum failure, FAILURE_NONE: nothing failed */
	u8 way;     /* enum detour_result */
	u32 length; /* bytes of payload */
	u8 audit;   /* a policy in audit mode would deny it */
	u8 pad[3];
	u32 detail; /* of the failure */
};

static inline void record_write(struct flow_event *e, struct news *news)
{
	e->kind = news->kind;
	if (news->audit)
		e->verdict = VERDICT_AUDIT;
	e->failure = news->failure;
	e->detail = news->detail;
	if (news->reason != DROP_NONE) {
		e->verdict = VERDICT_DROPPED;
		e->reason = news->reason;
	}
	if (flows.ringbuf_output(e, sizeof(*e), 0) < 0)
		count(COUNTER_FLOW_LOST, 1);
}

/* Did this packet end the connection? A reset does, and so does the ACK of the second FIN. */
static inline bool record_ends(struct packet *p, struct conn *c)
{
	if (p->proto != IPPROTO_TCP_)
		return false;
	if (p->tcp_flags & TCP_RST)
		return true;
	return (c->out.flags & c->in.flags & TCP_FIN) && !(p->tcp_flags & TCP_FIN);
}

/* Which record this packet deserves, 0 for none; updates what was reported. */
static inline u8 record_kind(struct packet *p, struct conn *c, bool out, u64 now)
{
	struct conn_side *side = out ? &c->out : &c->in;
	u8 seen = side->flags;
	u8 kind = 0;

	if (c->ended)
		return 0;
	if (p->tcp_flags & ~seen)
		side->flags = seen | p->tcp_flags;
	if (record_ends(p, c)) {
		c->ended = 1;
		kind = EVENT_END;
	} else if (!c->out.reported && !c->in.reported) {
		kind = EVENT_NEW;
	} else if (p->tcp_flags & ~seen) {
		kind = EVENT_FLAGS;
	} else if (now - side->reported >= REPORT_INTERVAL_NS) {
		kind = EVENT_INTERVAL;
	}
	if (kind)
		side->reported = now;
	return kind;
}

#endif
