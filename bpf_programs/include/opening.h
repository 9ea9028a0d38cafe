/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Opening connections from outside: both directions' entries, a port to hide the
 * client behind, or none where it keeps its address. Also for what another node
 * sent here with the word of which frontend the client asked for.
 */
#ifndef REMORA_OPENING_H
#define REMORA_OPENING_H

#include "include/detour.h"
#include "include/translation.h"

#define PORT_TRIES 32
#define EEXIST_ 17

/* Both directions of a connection that is about to be opened. */
struct opening {
	struct translation_key there_key;
	struct translation_key back_key;
	struct translation there;
	struct translation back;
};

BPF_PERCPU_ARRAY(opening_scratch, struct opening, 1);

static inline bool is_set(const u32 *address)
{
	return address[0] || address[3];
}

/* The node's address on the device that leads to a backend, else on the one that the packet came by. */
static inline bool own_address(frame_t *frame, struct packet *p, const u32 *backend, u32 *out)
{
	struct way way = {};
	struct uplink *up;
	u32 ifindex = frame_ifindex(frame);

	if (route_find(frame, p->src, backend, ifindex, p->family, &way) < 0)
		return false;
	up = uplinks.lookup(&way.ifindex);
	if (!up || !is_set(p->family == 4 ? up->address4 : up->address6))
		up = uplinks.lookup(&ifindex);
	if (!up)
		return false;
	copy_address(out, p->family == 4 ? up->address4 : up->address6);
	return is_set(out);
}

/* Do backends answer clients themselves, by this packet's protocol? */
static inline bool answers_directly(struct packet *p)
{
	u32 zero = 0;
	struct node *own = node.lookup(&zero);

	return own && own->flags & (p->proto == IPPROTO_TCP_ ? NODE_DIRECT_TCP : NODE_DIRECT_UDP);
}

/*
 * What is done with the client of a connection, as marks of its entry. It keeps
 * its address where the node's stack takes the packet (hidden it would be a
 * martian there), and where a workload's own node answers; else it is hidden.
 */
static inline u8 opening_marks(struct packet *p, struct choice *choice)
{
	struct address *known = addresses.lookup((struct address_key *)choice->backend->addr);

	if (choice->scope == SCOPE_OUTSIDE || choice->flags & FRONTEND_HOST_PORT ||
	    (known && known->workload == RESERVED_HOST))
		return 0;
	if (!known || !answers_directly(p))
		return TRANSLATION_ROUTE;
	return known->ifindex ? 0 : TRANSLATION_ROUTE | TRANSLATION_DIRECT;
}

static inline u16 any_port(void)
{
	return SNAT_PORT_FIRST + bpf_get_prandom_u32() % (SNAT_PORT_LAST - SNAT_PORT_FIRST + 1);
}

static inline void opening_fill(struct opening *o, struct packet *p, struct backend *backend, u8 marks, u32 ifindex)
{
	bool kept = marks != TRANSLATION_ROUTE;
	u64 now = coarse_now();

	translation_key(&o->there_key, p);
	copy_address(o->there.src, p->src);
	copy_address(o->there.dst, backend->addr);
	o->there.dst_port = bpf_ntohs(backend->port);
	o->there.src_port = p->src_port;
	if (!kept && p->proto != IPPROTO_SCTP_ && (p->src_port < SNAT_PORT_FIRST || p->src_port > SNAT_PORT_LAST))
		o->there.src_port = any_port();
	o->there.started = now;
	o->there.last = now;
	o->there.ifindex = ifindex;
	o->there.marks = marks;
	o->back = o->there;
	o->back.marks |= TRANSLATION_REPLY;
	copy_address(o->back.src, p->dst);
	copy_address(o->back.dst, p->src);
	o->back.src_port = p->dst_port;
	o->back.dst_port = p->src_port;
}

/*
 * Take a port that no other connection to the backend has: the answers' entry is
 * what holds it. SCTP has its own port or none.
 */
static inline int opening_reserve(struct opening *o, u8 proto)
{
	int result = 0;

#pragma clang loop unroll(disable)
	for (int i = 0; i < PORT_TRIES; i++) {
		result = translations.insert(&o->back_key, &o->back);
		if (result != -EEXIST_ || proto == IPPROTO_SCTP_)
			return result;
		o->there.src_port = any_port();
		o->back_key.dst_port = o->there.src_port;
	}
	return result;
}

/*
 * Write both entries, the answers' first; the reason why it cannot be, DROP_NONE:
 * it is done. Of a connection that is answered directly no answer is seen here.
 */
static inline u8 opening_keep(struct opening *o, u8 proto)
{
	bool direct = o->there.marks & TRANSLATION_DIRECT;
	int result = 0;

	translation_opposite(&o->back_key, &o->there, proto);
	if (!direct)
		result = opening_reserve(o, proto);
	if (result == -EEXIST_) {
		count(COUNTER_OUTSIDE_NO_PORT, 1);
		return DROP_NO_PORT;
	}
	if (result == 0) {
		result = translations.insert(&o->there_key, &o->there);
		if (result < 0 && !direct)
			translations.delete(&o->back_key);
	}
	if (result == 0)
		return DROP_NONE;
	count(COUNTER_OUTSIDE_FULL, 1);
	return DROP_TABLE_FULL;
}

/* The two ends of an answer's entry are those of the frontend that a node told. */
static inline void answer_as(struct translation *back, struct backend *frontend)
{
	copy_address(back->src, frontend->addr);
	back->src_port = bpf_ntohs(frontend->port);
}

/* Open a connection to the backend that was drawn, answered as `told` where that is not 0; the reason why it cannot be.
 */
static inline u8 opening_make(frame_t *frame, struct packet *p, struct choice *choice, struct backend *told)
{
	u32 zero = 0;
	u8 marks = opening_marks(p, choice);
	struct opening *o = opening_scratch.lookup(&zero);

	if (!o)
		return DROP_TABLE_FULL;
	__builtin_memset(o, 0, sizeof(*o));
	opening_fill(o, p, choice->backend, marks, frame_ifindex(frame));
	o->there.service = o->back.service = choice->service;
	if (told) {
		answer_as(&o->back, told);
		count(COUNTER_OUTSIDE_DIRECT, 1);
	}
	if (marks == TRANSLATION_ROUTE && !own_address(frame, p, o->there.dst, o->there.src)) {
		count(COUNTER_OUTSIDE_NO_ROUTE, 1);
		return DROP_NO_ROUTE;
	}
	return opening_keep(o, p->proto);
}

/*
 * May a packet of a known connection be answered as the `frontend` that another
 * node told? The same client may reach the same backend by two frontends with
 * one port: of UDP the last packet says which answers get, of TCP a second
 * connection cannot be.
 */
static inline bool direct_agrees(struct packet *p, struct translation *t, struct backend *frontend)
{
	struct translation_key back_key = {};
	struct translation *back;

	translation_opposite(&back_key, t, p->proto);
	back = translations.lookup(&back_key);
	if (!back)
		return false;
	if (p->proto == IPPROTO_UDP_)
		answer_as(back, frontend);
	return back->src_port == bpf_ntohs(frontend->port) && same_address(back->src, frontend->addr);
}

/* Is the packet one that another node may have sent here for a frontend: to a workload of this node, or the node? */
static inline bool direct_comes(struct packet *p)
{
	struct address *known;

	if (p->l4 - p->l3 <= (p->family == 4 ? sizeof(struct ipv4_head) : sizeof(struct ipv6_head)) ||
	    !detour_opens(p) || !answers_directly(p))
		return false;
	known = addresses.lookup((struct address_key *)p->dst);
	return known && (known->ifindex || known->workload == RESERVED_HOST);
}

#endif
