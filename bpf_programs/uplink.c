/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Services for the world outside, at the devices that lead there: from_network is
 * TC ingress of an uplink, to_network is TC egress. What is neither a packet to a
 * frontend nor of a connection that was opened here goes on untouched
 * (TC_ACT_UNSPEC), after one look-up.
 *
 * A client whose way ends at any backend of the cluster is hidden behind the
 * node's address, so that answers come back here. One that asks for backends of
 * this node only (externalTrafficPolicy Local) keeps its address.
 */
#include "include/common.h"
#include "include/detour.h"
#include "include/fragment.h"
#include "include/maglev.h"
#include "include/payload.h"
#include "include/translation.h"

#define PORT_TRIES 32
#define EEXIST_ 17
#define REFUSALS_TOLD                                                                                                  \
	1000           /* records of first packets that go nowhere, a second and CPU: a flood is counted, not told */
#define PACKET_HOST_ 0 /* skb->pkt_type: the frame is for us */

/* Both directions of a connection that is about to be opened. */
struct opening {
	struct translation_key there_key;
	struct translation_key back_key;
	struct translation there;
	struct translation back;
};

BPF_PERCPU_ARRAY(opening_scratch, struct opening, 1);
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
static inline void tell(struct __sk_buff *skb, struct packet *p, u32 service, u8 reason)
{
	struct news news = {.kind = EVENT_NEW, .reason = reason};
	struct conn_key key = {};
	struct payload_event *e;
	struct conn *c;
	u32 zero = 0;
	u64 now = bpf_ktime_get_ns();

	if (reason != DROP_NONE && !refusal_told())
		return;
	connection_key(&key, p, skb->ifindex, false);
	c = connection_new(&key, p, false);
	e = payload_scratch.lookup(&zero);
	if (!c || !e)
		return;
	c->service = service;
	c->in.first = now;
	c->in.packets = 1;
	c->in.bytes = p->length;
	record_fill(&e->flow, p, c, skb->ifindex, false, now);
	e->flow.point = POINT_FROM_NETWORK;
	record_macs(skb, &e->flow);
	record_write(&e->flow, &news);
}

/* Affinity of clients outside is by address. */
static inline u64 client_of(const u32 *address)
{
	u64 high = address[0] ^ (address[2] * 0x9e3779b1);
	u64 low = address[1] ^ address[3];

	return CLIENT_ADDRESS | ((high << 32 | low) & (CLIENT_ADDRESS - 1));
}

static inline bool is_set(const u32 *address)
{
	return address[0] || address[3];
}

/* The node's address on the device that leads to a backend, else on the one that the packet came by. */
static inline bool own_address(struct __sk_buff *skb, struct packet *p, const u32 *backend, u32 *out)
{
	struct way way = {};
	struct uplink *up;
	u32 ifindex = skb->ifindex;

	if (route_find(skb, p->src, backend, ifindex, p->family, &way) < 0)
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

/* Open a connection to the backend that was drawn; the reason why it cannot be. */
static inline u8 opening_make(struct __sk_buff *skb, struct packet *p, struct choice *choice)
{
	u32 zero = 0;
	u8 marks = opening_marks(p, choice);
	struct opening *o = opening_scratch.lookup(&zero);

	if (!o)
		return DROP_TABLE_FULL;
	__builtin_memset(o, 0, sizeof(*o));
	opening_fill(o, p, choice->backend, marks, skb->ifindex);
	o->there.service = o->back.service = choice->service;
	if (marks == TRANSLATION_ROUTE && !own_address(skb, p, o->there.dst, o->there.src)) {
		count(COUNTER_OUTSIDE_NO_ROUTE, 1);
		return DROP_NO_ROUTE;
	}
	return opening_keep(o, p->proto);
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

/* The first packet of a connection; its entry where it is to a frontend and was opened, else 0 and what to do. */
static inline struct translation *open_outside(struct __sk_buff *skb, struct packet *p, int *action)
{
	struct choice choice = {.client = client_of(p->src), .source = p->src, .draw = bpf_get_prandom_u32()};
	struct frontend *frontend = frontend_outside(p->dst, bpf_htons(p->dst_port), p->proto, &choice);
	int found;
	u8 reason;

	if (!frontend)
		return 0;
	choice.preferred = maglev_backend(p, frontend->service, frontend->affinity);
	found = found_for(p, &choice, service_draw(frontend, p->dst, &choice));
	if (found == LOOKUP_BROKEN) {
		count(COUNTER_SERVICE_NO_BACKEND, 1);
		return 0;
	}
	reason = found == LOOKUP_FOUND ? opening_make(skb, p, &choice) : unserved_reason(found);
	tell(skb, p, choice.service, reason);
	if (reason != DROP_NONE) {
		*action = found == LOOKUP_REFUSED ? ACT_REJECT : TC_ACT_SHOT;
		return 0;
	}
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

/* The two ends of an answer's entry are those of the frontend that a node told. */
static inline void answer_as(struct translation *back, struct backend *frontend)
{
	copy_address(back->src, frontend->addr);
	back->src_port = bpf_ntohs(frontend->port);
}

/* A first packet that another node sent here for `frontend`: answers are to have its address. */
static inline u8 direct_open(struct __sk_buff *skb, struct packet *p, struct backend *frontend)
{
	struct backend own = {.port = bpf_htons(p->dst_port)};
	u32 zero = 0;
	struct opening *o = opening_scratch.lookup(&zero);

	if (!o)
		return DROP_TABLE_FULL;
	__builtin_memset(o, 0, sizeof(*o));
	copy_address(own.addr, p->dst);
	opening_fill(o, p, &own, 0, skb->ifindex);
	answer_as(&o->back, frontend);
	count(COUNTER_OUTSIDE_DIRECT, 1);
	return opening_keep(o, p->proto);
}

/*
 * The entry of a packet that another node sent on for `frontend`; 0 where it cannot
 * be answered. The same client may reach the same backend by two frontends with
 * one port: of UDP the last packet says which answers get, of TCP a second
 * connection cannot be.
 */
static inline struct translation *direct_take(struct __sk_buff *skb, struct packet *p, struct translation *t,
					      struct backend *frontend)
{
	struct translation_key back_key = {};
	struct translation *back;

	if (!t)
		return direct_open(skb, p, frontend) == DROP_NONE ? translation_of(p) : 0;
	translation_opposite(&back_key, t, p->proto);
	back = translations.lookup(&back_key);
	if (!back)
		return 0;
	if (p->proto == IPPROTO_UDP_)
		answer_as(back, frontend);
	return back->src_port == bpf_ntohs(frontend->port) && same_address(back->src, frontend->addr) ? t : 0;
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
	struct backend frontend = {};
	int action = TC_ACT_UNSPEC;
	struct packet *q;
	struct translation *t;

	if (p->marks & MARK_NO_PORTS)
		return fragment_lost(p);
	q = quoted_packet(skb, p);
	t = still_open(p, translation_find(p, q));
	if (!q && direct_comes(p) && direct_told(skb, p, &frontend)) {
		t = direct_take(skb, p, t, &frontend);
		if (!t)
			return TC_ACT_SHOT;
	}
	if (!t && !q && detour_opens(p))
		t = open_outside(skb, p, &action);
	if (!t || t->marks == TRANSLATION_REPLY)
		return action;
	return translation_take(skb, p, q, t, true);
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
