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
};

/* Who asks, and what was found for a destination. */
struct choice {
	u64 client; /* netns cookie */
	u32 draw;   /* any number; equal numbers give equal backends while the Service stays as it is */
	u32 service;
	u32 slot;
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

/* Does the address stand for the node? Loopback does, for those who share the node's own namespace. */
static inline bool is_node(const u32 *address, u64 client)
{
	u32 zero = 0;
	struct address *known;
	struct node *own;

	if (is_loopback(address) || is_unspecified(address)) {
		own = node.lookup(&zero);
		return own && own->netns && own->netns == client;
	}
	known = addresses.lookup((struct address_key *)address);
	return known && known->workload == RESERVED_HOST;
}

/* The entry that decides for a destination, the most specific first. */
static inline struct frontend *frontend_lookup(const u32 *address, u16 port, u8 proto, u64 client)
{
	struct frontend_key key = {.port = port, .proto = proto};
	struct frontend *found;

	copy_address(key.addr, address);
	/* the entry of the unspecified address stands for the node's own, not for itself */
	found = is_unspecified(address) ? 0 : services.lookup(&key);
	if (found)
		return found;
	if (is_node(address, client)) {
		/* the unspecified address of the family */
		key.addr[0] = 0;
		key.addr[1] = 0;
		key.addr[2] = is_mapped(address) ? bpf_htonl(0xffff) : 0;
		key.addr[3] = 0;
		return services.lookup(&key);
	}
	key.port = 0;
	key.proto = 0;
	return services.lookup(&key);
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
	backend = service_slot(frontend->service, choice->slot);
	if (!backend)
		return 0;
	fresh.slot = choice->slot;
	fresh.backend = *backend;
	if (affinities.update(&key, &fresh) < 0)
		count(COUNTER_SERVICE_STATE_FULL, 1);
	return backend;
}

static inline int service_lookup(const u32 *address, u16 port, u8 proto, struct choice *choice)
{
	struct frontend *frontend = frontend_lookup(address, port, proto, choice->client);

	if (!frontend)
		return LOOKUP_NONE;
	choice->service = frontend->service;
	if (!frontend->backends)
		return frontend->flags & FRONTEND_DROP ? LOOKUP_DROPPED : LOOKUP_REFUSED;
	choice->slot = choice->draw % frontend->backends;
	if (frontend->affinity)
		choice->backend = service_sticky(frontend, choice);
	else
		choice->backend = service_slot(frontend->service, choice->slot);
	return choice->backend ? LOOKUP_FOUND : LOOKUP_BROKEN;
}

#endif
