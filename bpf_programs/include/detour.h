/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Services per packet, for connections that no socket hook saw open: those of
 * virtual machines, of sandboxes with a network stack of their own, of raw
 * sockets, of processes outside the agent's cgroup. The backend is drawn on the
 * first packet and kept; packets that come back get the frontend's address.
 */
#ifndef REMORA_DETOUR_H
#define REMORA_DETOUR_H

#include "include/quoted.h"
#include "include/service.h"

enum detour_result {
	DETOUR_NONE = 0,    /* not a way to a Service, or not one that is translated here */
	DETOUR_TAKEN = 1,   /* the packet and `p` now say the backend */
	DETOUR_DROPPED = 2, /* nothing serves there */
	DETOUR_FAILED = 3,  /* the packet could not be rewritten */
	DETOUR_REFUSED = 4, /* nothing serves there, and the sender is to know */
	DETOUR_CLOSED = 5,  /* loadBalancerSourceRanges does not name the workload */
};

/* What becomes of a packet of the workload. */
struct course {
	struct detour made; /* where `way` is DETOUR_TAKEN; `hairpin` at any time */
	u32 asked[4];       /* destination that the workload wrote */
	u16 asked_port;
	u8 way;    /* enum detour_result */
	u8 reason; /* enum drop_reason */
};

/*
 * A workload that is its own backend talks to the frontend on both ends: its
 * server sees the frontend's address with the client's port. This is the way of
 * what the server answers.
 */
static inline int detour_return(struct conn_key *key, struct packet *p, struct detour *made)
{
	struct conn_key back = *key;
	struct detour answer = {.service = made->service, .hairpin = p->dst_port};

	back.local_port = bpf_ntohs(made->backend.port);
	back.remote_port = p->src_port;
	copy_address(answer.backend.addr, p->src);
	answer.backend.port = bpf_htons(p->src_port);
	return detours.update(&back, &answer);
}

/*
 * What was found for a packet. SCTP's checksum covers its ports and not the
 * addresses, and the device may be to compute it, so only addresses can be
 * written: a backend under another port is none.
 */
static inline int found_for(struct packet *p, struct choice *choice, int found)
{
	if (found == LOOKUP_FOUND && p->proto == IPPROTO_SCTP_ && bpf_ntohs(choice->backend->port) != p->dst_port)
		return LOOKUP_REFUSED;
	return found;
}

/* A backend for the first packet of a connection; nothing is remembered when there is none. */
static inline int detour_draw(struct conn_key *key, struct packet *p, u32 ifindex, struct detour *made)
{
	struct choice choice = {.client = CLIENT_DEVICE | ifindex, .source = p->src, .draw = bpf_get_prandom_u32()};
	int found = service_lookup(p->dst, bpf_htons(p->dst_port), p->proto, &choice);

	found = found_for(p, &choice, found);
	if (found == LOOKUP_NONE || found == LOOKUP_BROKEN)
		return DETOUR_NONE;
	if (found == LOOKUP_CLOSED) {
		count(COUNTER_SOURCE_RANGE, 1);
		return DETOUR_CLOSED;
	}
	if (found != LOOKUP_FOUND) {
		count(found == LOOKUP_DROPPED ? COUNTER_SERVICE_DROPPED : COUNTER_SERVICE_REFUSED, 1);
		return found == LOOKUP_DROPPED ? DETOUR_DROPPED : DETOUR_REFUSED;
	}
	made->backend = *choice.backend;
	made->slot = choice.slot;
	made->service = choice.service;
	made->hairpin = same_address(made->backend.addr, p->src) ? p->src_port : 0;
	if (made->hairpin && detour_return(key, p, made) < 0)
		return DETOUR_DROPPED;
	return detours.update(key, made) < 0 ? DETOUR_DROPPED : DETOUR_TAKEN;
}

/* May this packet open a connection? What comes in the middle of one is not torn from its way. */
static inline bool detour_opens(struct packet *p)
{
	if (p->later_fragment)
		return false;
	if (p->proto == IPPROTO_TCP_)
		return (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	if (p->proto == IPPROTO_SCTP_)
		return p->icmp_type == SCTP_INIT;
	return p->proto == IPPROTO_UDP_;
}

/*
 * Does a kept way still lead to a backend of the Service? TCP and SCTP stay with
 * what they have, as the end is told by the backend itself; UDP has nobody to tell
 * it.
 */
static inline bool detour_holds(struct detour *kept, struct packet *p, u32 ifindex)
{
	struct frontend *frontend;

	if (p->proto != IPPROTO_UDP_)
		return !detour_opens(p);
	frontend = frontend_lookup(p->dst, bpf_htons(p->dst_port), p->proto, CLIENT_DEVICE | ifindex);
	return frontend && slot_of(&kept->backend, kept->slot, frontend) >= 0;
}

/* The way of a packet of the workload, kept or drawn anew; the packet is as it was. */
static inline int detour_find(frame_t *frame, struct packet *p, struct conn_key *key, struct detour *made)
{
	struct detour *kept = detours.lookup(key);

	if (kept && (kept->hairpin || detour_holds(kept, p, frame_ifindex(frame)))) {
		*made = *kept;
		return DETOUR_TAKEN;
	}
	return detour_opens(p) ? detour_draw(key, p, frame_ifindex(frame), made) : DETOUR_NONE;
}

/* Write the backend into a packet of the workload, and the frontend as its source where it goes back; `p` follows. */
static inline int detour_take(frame_t *frame, struct packet *p, struct detour *made)
{
	u16 port = bpf_ntohs(made->backend.port);
	u32 frontend[4];

	copy_address(frontend, p->dst);
	if ((made->hairpin && rewrite_packet(frame, p, frontend, made->hairpin, REWRITE_SOURCE) < 0) ||
	    rewrite_packet(frame, p, made->backend.addr, port, REWRITE_DESTINATION) < 0) {
		count(COUNTER_TRANSLATE_FAILED, 1);
		return DETOUR_FAILED;
	}
	count(COUNTER_TRANSLATED, 1);
	copy_address(p->dst, made->backend.addr);
	p->dst_port = port;
	return DETOUR_TAKEN;
}

/* Send a packet of the workload to the workload itself; the action that does it. */
static inline int detour_turn(frame_t *frame)
{
	return rewrite_turn(frame) < 0 ? FRAME_DROP : frame_back(frame);
}

/* An error of the workload about a packet from a frontend, meant for the backend that sent it. */
static inline int detour_error(frame_t *frame, struct packet *p, struct packet *q)
{
	struct conn_key key = {};
	struct retold to = {};
	struct detour *kept;

	connection_key(&key, q, frame_ifindex(frame), false);
	kept = detours.lookup(&key);
	if (!kept || kept->hairpin)
		return FRAME_PASS;
	to.quoted[0] = kept->backend.addr;
	to.ports[0] = bpf_ntohs(kept->backend.port);
	to.quoted[1] = q->dst;
	to.ports[1] = q->dst_port;
	to.outer[1] = same_address(p->dst, q->src) ? kept->backend.addr : 0;
	return quoted_write(frame, p, q, &to) < 0 ? FRAME_DROP : FRAME_PASS;
}

/* An error about a packet that took a detour, told to the workload as about the one that it sent. */
static inline int detour_error_back(frame_t *frame, struct packet *p, struct packet *q)
{
	struct conn_key key = {};
	struct retold to = {};
	struct conn *c;

	connection_key(&key, q, frame_ifindex(frame), true);
	c = connections.lookup(&key);
	if (!c || !c->frontend_port)
		return FRAME_PASS;
	to.quoted[0] = q->src;
	to.ports[0] = q->src_port;
	to.quoted[1] = c->frontend;
	to.ports[1] = c->frontend_port;
	to.outer[0] = same_address(p->src, q->dst) ? c->frontend : 0;
	return quoted_write(frame, p, q, &to) < 0 ? FRAME_DROP : FRAME_PASS;
}

/* Give a packet that comes back the frontend's address. */
static inline int detour_back(frame_t *frame, struct packet *p, struct conn *c)
{
	if (rewrite_packet(frame, p, c->frontend, c->frontend_port, REWRITE_SOURCE) < 0) {
		count(COUNTER_TRANSLATE_FAILED, 1);
		return DETOUR_FAILED;
	}
	count(COUNTER_TRANSLATED, 1);
	return DETOUR_TAKEN;
}

#endif
