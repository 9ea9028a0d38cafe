/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What comes from outside, before the node's stack has it: a connection to a
 * frontend gets its backend, everything that belongs to one its translation. TC
 * and XDP do this alike and with the same maps, so a packet may be taken by
 * either at any time.
 *
 * A client whose way ends at any backend of the cluster is hidden behind the
 * node's address, so that answers come back here. One that asks for backends of
 * this node only (externalTrafficPolicy Local) keeps its address.
 */
#ifndef REMORA_OUTSIDE_H
#define REMORA_OUTSIDE_H

#include "include/detour.h"
#include "include/maglev.h"
#include "include/opening.h"
#include "include/record.h"
#include "include/translation.h"

#define REFUSALS_TOLD                                                                                                  \
	1000 /* records of first packets that go nowhere, a second and CPU: a flood is counted, not told */

BPF_PERCPU_ARRAY(refusal_scratch, struct budget, 1);

/* May one more refusal be told in this second? */
static inline bool refusal_told(void)
{
	u64 window = coarse_now() / NS_PER_SECOND;
	u32 zero = 0;
	struct budget *budget = refusal_scratch.lookup(&zero);

	if (!budget)
		return false;
	if (budget->window != window) {
		budget->window = window;
		budget->used = 0;
	}
	if (budget->used++ < REFUSALS_TOLD)
		return true;
	count(COUNTER_OUTSIDE_UNTOLD, 1);
	return false;
}

/* A flow record about the first packet of a connection, or one that goes nowhere. */
static inline void tell(frame_t *frame, struct packet *p, u32 service, u8 reason)
{
	struct news news = {.kind = EVENT_NEW, .reason = reason};
	struct conn_key key = {};
	struct payload_event *e;
	struct conn *c;
	u32 zero = 0;
	u64 now = bpf_ktime_get_ns();

	if (reason != DROP_NONE && !refusal_told())
		return;
	connection_key(&key, p, frame_ifindex(frame), false);
	c = connection_new(&key, p, false);
	e = payload_scratch.lookup(&zero);
	if (!c || !e)
		return;
	c->service = service;
	c->in.first = now;
	c->in.packets = 1;
	c->in.bytes = p->length;
	record_fill(&e->flow, p, c, frame_ifindex(frame), false, now);
	e->flow.point = POINT_FROM_NETWORK;
	record_macs(frame, &e->flow);
	record_write(&e->flow, &news);
}

/* Affinity of clients outside is by address. */
static inline u64 client_of(const u32 *address)
{
	u64 high = address[0] ^ (address[2] * 0x9e3779b1);
	u64 low = address[1] ^ address[3];

	return CLIENT_ADDRESS | ((high << 32 | low) & (CLIENT_ADDRESS - 1));
}

/* Why a packet gets no backend. */
static inline u8 unserved_reason(int found)
{
	if (found == LOOKUP_CLOSED) {
		count(COUNTER_SOURCE_RANGE, 1);
		return DROP_SOURCE_RANGE;
	}
	if (found == LOOKUP_DROPPED)
		count(COUNTER_SERVICE_DROPPED, 1);
	return DROP_SERVICE_BACKEND_NOT_FOUND;
}

/* A backend for a client outside; < 0: the packet is not for a Service. */
static inline int outside_draw(struct packet *p, struct choice *choice)
{
	struct frontend *frontend = frontend_outside(p->dst, bpf_htons(p->dst_port), p->proto, choice);
	int found;

	if (!frontend)
		return -1;
	choice->preferred = maglev_backend(p, frontend->service, frontend->affinity);
	found = found_for(p, choice, service_draw(frontend, p->dst, choice));
	if (found != LOOKUP_BROKEN)
		return found;
	count(COUNTER_SERVICE_NO_BACKEND, 1);
	return -1;
}

/*
 * The first packet of a connection; its entry where it is to a frontend and was
 * opened, else 0 and what to do. `told`: another node has drawn this very backend
 * and says which frontend it was for.
 */
static inline struct translation *open_outside(frame_t *frame, struct packet *p, struct backend *told, int *action)
{
	struct choice choice = {.client = client_of(p->src), .source = p->src, .draw = bpf_get_prandom_u32()};
	struct backend own = {.port = bpf_htons(p->dst_port)};
	int found = LOOKUP_FOUND;
	u8 reason;

	if (told) {
		copy_address(own.addr, p->dst);
		choice.backend = &own;
		choice.scope = SCOPE_OUTSIDE;
	} else {
		found = outside_draw(p, &choice);
		if (found < 0)
			return 0;
	}
	reason = found == LOOKUP_FOUND ? opening_make(frame, p, &choice, told) : unserved_reason(found);
	if (!told || reason != DROP_NONE)
		tell(frame, p, choice.service, reason);
	if (reason != DROP_NONE) {
		*action = found == LOOKUP_REFUSED ? ACT_REJECT : FRAME_DROP;
		return 0;
	}
	if (!told)
		count(COUNTER_OUTSIDE_OPENED, 1);
	return translation_of(p);
}

/* Does a SYN begin anew what was ended? The client may use its port again at once. */
static inline bool begins_anew(struct packet *p, struct translation *t, struct translation *back)
{
	if (p->proto != IPPROTO_TCP_ || t->marks & TRANSLATION_REPLY || !detour_opens(p))
		return false;
	return t->flags & (TCP_FIN | TCP_RST) || (back && back->flags & (TCP_FIN | TCP_RST));
}

/* The entry of a known connection; 0 where there is none, or it is over and a new one begins. */
static inline struct translation *still_open(struct packet *p, struct translation *t)
{
	struct translation_key key = {}, back_key = {};

	if (!t || !(p->tcp_flags & TCP_SYN))
		return t;
	translation_opposite(&back_key, t, p->proto);
	if (!begins_anew(p, t, translations.lookup(&back_key)))
		return t;
	translation_key(&key, p);
	translations.delete(&key);
	translations.delete(&back_key);
	return 0;
}

/* A packet from outside whose ports are known; the action for it, of `act` where it is to be answered. */
static inline int outside_take(frame_t *frame, struct packet *p)
{
	struct backend frontend = {};
	int action = FRAME_PASS;
	struct packet *q;
	struct translation *t;
	bool told;

	q = quoted_packet(frame, p);
	t = still_open(p, translation_find(p, q));
	told = !q && direct_comes(p) && direct_told(frame, p, &frontend);
	if (told && t && !direct_agrees(p, t, &frontend))
		return FRAME_DROP;
	if (!t && !q && detour_opens(p))
		t = open_outside(frame, p, told ? &frontend : 0, &action);
	if (!t || t->marks == TRANSLATION_REPLY)
		return action;
	return translation_take(frame, p, q, t, true);
}

#endif
