/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From a destination to a backend. The entry of a Service says how many slots it
 * has; the agent writes slots before it raises the number and lowers the number
 * before it removes slots, so a reader always finds the slot that it draws. In
 * the instant where it does not, slot 0 serves.
 */
#ifndef REMORA_SERVICE_H
#define REMORA_SERVICE_H

#include "include/connection.h"

#define SLOT_SCAN_MAX 64 /* slots that are looked through for a backend that moved; each costs the verifier time */

enum lookup {
	LOOKUP_NONE = 0,    /* not a Service */
	LOOKUP_FOUND = 1,   /* a backend was drawn */
	LOOKUP_REFUSED = 2, /* nothing serves there: no endpoint at all, or a port that the Service does not have */
	LOOKUP_DROPPED = 3, /* endpoints exist, and the traffic policy admits none of them */
	LOOKUP_BROKEN = 4,  /* a backend entry is missing: pass untranslated */
	LOOKUP_CLOSED = 5,  /* loadBalancerSourceRanges does not name the client */
};

/* Bits that tell clients of other kinds from netns cookies. */
#define CLIENT_DEVICE (1ULL << 63)
#define CLIENT_ADDRESS (1ULL << 62)

/* Who asks, and what was found for a destination. */
struct choice {
	u64 client;        /* netns cookie, or CLIENT_… with a number */
	const u32 *source; /* address of the client; 0: not known yet, the socket has none */
	u32 draw;          /* any number; equal numbers give equal backends while the Service stays as it is */
	u32 service;
	u32 slot;
	u32 flags;                 /* enum frontend_flag */
	u8 scope;                  /* asked for: from where the client comes; answered: whose entry decided */
	struct backend *preferred; /* in place of the slot that is drawn; 0: none */
	struct backend *backend;
};

static inline bool is_mapped(const u32 *address)
{
	return !address[0] && !address[1] && address[2] == bpf_htonl(0xffff);
}

/* 127.0.0.0/8 and ::1 */
static inline bool is_loopback(const u32 *address)
{
	if (is_mapped(address))
		return (address[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return !address[0] && !address[1] && !address[2] && address[3] == bpf_htonl(1);
}

/* 0.0.0.0 and ::, which mean the caller's own host */
static inline bool is_unspecified(const u32 *address)
{
	return !address[0] && !address[1] && (!address[2] || is_mapped(address)) && !address[3];
}

/*
 * Which kinds of frontends does an address of the node serve; 0: it is none of the
 * node's. Loopback is, for those who share the node's own namespace.
 */
static inline u32 node_serves(const u32 *address, u64 client)
{
	u32 zero = 0;
	struct address *known;
	struct node *own;

	if (is_loopback(address) || is_unspecified(address)) {
		own = node.lookup(&zero);
		return own && own->netns && own->netns == client ? FRONTEND_NODE_PORT | FRONTEND_HOST_PORT : 0;
	}
	known = addresses.lookup((struct address_key *)address);
	if (!known || known->workload != RESERVED_HOST)
		return 0;
	return known->flags & ADDRESS_NO_NODE_PORTS ? FRONTEND_HOST_PORT : FRONTEND_NODE_PORT | FRONTEND_HOST_PORT;
}

/*
 * The entry that decides for a destination, the most specific first; `key` is then
 * the one that it was found under. Clients outside are asked about by `frontend_for`.
 */
static inline struct frontend *frontend_find(struct frontend_key *key, const u32 *address, u64 client)
{
	/* the entry of the unspecified address stands for the node's own, not for itself */
	struct frontend *found = is_unspecified(address) ? 0 : services.lookup(key);
	u32 served;

	if (found)
		return found;
	served = node_serves(address, client);
	if (served) {
		/* the unspecified address of the family */
		key->addr[0] = 0;
		key->addr[1] = 0;
		key->addr[2] = is_mapped(address) ? bpf_htonl(0xffff) : 0;
		key->addr[3] = 0;
		found = services.lookup(key);
		return found && found->flags & served ? found : 0;
	}
	key->port = 0;
	key->proto = 0;
	return services.lookup(key);
}

static inline struct frontend *frontend_lookup(const u32 *address, u16 port, u8 proto, u64 client)
{
	struct frontend_key key = {.port = port, .proto = proto};

	copy_address(key.addr, address);
	return frontend_find(&key, address, client);
}

/* The same, as the world outside is answered. */
static inline struct frontend *frontend_outside(const u32 *address, u16 port, u8 proto, struct choice *choice)
{
	struct frontend_key key = {.port = port, .proto = proto};
	struct frontend *found, *own;

	copy_address(key.addr, address);
	choice->scope = SCOPE_CLUSTER;
	found = frontend_find(&key, address, choice->client);
	if (!found || !(found->flags & FRONTEND_OUTSIDE))
		return found;
	key.scope = SCOPE_OUTSIDE;
	own = services.lookup(&key);
	if (!own)
		return found;
	choice->scope = SCOPE_OUTSIDE;
	return own;
}

/*
 * May the client come? A socket has no address yet: the node's own stands for a
 * process of the node, and a workload's packet is asked about at its device. Who
 * comes from the very address that is asked for is a node that has it as its own.
 */
static inline bool in_ranges(struct frontend *frontend, const u32 *address, struct choice *choice)
{
	struct range_key key = {.prefix = 160, .service = frontend->service};
	u32 zero = 0;
	struct node *own = node.lookup(&zero);

	if (choice->source && !same_address(choice->source, address)) {
		copy_address(key.addr, choice->source);
	} else {
		if (!own || !(choice->source || own->netns == choice->client))
			return false;
		copy_address(key.addr, is_mapped(address) ? own->address4 : own->address6);
	}
	return source_ranges.lookup(&key) != 0;
}

static inline struct backend *service_slot(u32 service, u32 slot)
{
	struct backend_key key = {.service = service, .slot = slot};
	struct backend *backend = backends.lookup(&key);

	if (backend || !slot)
		return backend;
	key.slot = 0;
	return backends.lookup(&key);
}

static inline bool same_backend(struct backend *a, struct backend *b)
{
	return a->port == b->port && same_address(a->addr, b->addr);
}

/* The slot where a backend is now, looked for at `hint` first; -1 when the Service has it no more. */
static inline int slot_of(struct backend *wanted, u32 hint, struct frontend *frontend)
{
	struct backend_key key = {.service = frontend->service, .slot = hint};
	struct backend *backend;

	if (hint < frontend->backends) {
		backend = backends.lookup(&key);
		if (backend && same_backend(backend, wanted))
			return hint;
	}
#pragma clang loop unroll(disable)
	for (u32 slot = 0; slot < SLOT_SCAN_MAX; slot++) {
		if (slot >= frontend->backends)
			return -1;
		key.slot = slot;
		backend = backends.lookup(&key);
		if (backend && same_backend(backend, wanted))
			return slot;
	}
	return -1;
}

/* The backend that a client stays with, drawn anew when it has none, it is gone, or the client was away too long. */
static inline struct backend *service_sticky(struct frontend *frontend, struct choice *choice)
{
	struct affinity_key key = {.client = choice->client, .service = frontend->service};
	struct affinity fresh = {.last = bpf_ktime_get_ns()};
	struct affinity *kept = affinities.lookup(&key);
	struct backend *backend;
	int slot = -1;

	if (kept && fresh.last - kept->last < frontend->affinity * NS_PER_SECOND)
		slot = slot_of(&kept->backend, kept->slot, frontend);
	if (slot >= 0)
		choice->slot = slot;
	backend = slot < 0 && choice->preferred ? choice->preferred : service_slot(frontend->service, choice->slot);
	if (!backend)
		return 0;
	fresh.slot = choice->slot;
	fresh.backend = *backend;
	if (affinities.update(&key, &fresh) < 0)
		count(COUNTER_SERVICE_STATE_FULL, 1);
	return backend;
}

/* A backend of a frontend that was found. */
static inline int service_draw(struct frontend *frontend, const u32 *address, struct choice *choice)
{
	choice->service = frontend->service;
	choice->flags = frontend->flags;
	if (frontend->flags & FRONTEND_RANGES && !in_ranges(frontend, address, choice))
		return LOOKUP_CLOSED;
	if (!frontend->backends)
		return frontend->flags & FRONTEND_DROP ? LOOKUP_DROPPED : LOOKUP_REFUSED;
	choice->slot = choice->draw % frontend->backends;
	if (frontend->affinity)
		choice->backend = service_sticky(frontend, choice);
	else
		choice->backend = choice->preferred ? choice->preferred : service_slot(frontend->service, choice->slot);
	return choice->backend ? LOOKUP_FOUND : LOOKUP_BROKEN;
}

static inline int service_lookup(const u32 *address, u16 port, u8 proto, struct choice *choice)
{
	struct frontend *frontend = frontend_lookup(address, port, proto, choice->client);

	return frontend ? service_draw(frontend, address, choice) : LOOKUP_NONE;
}

#endif
