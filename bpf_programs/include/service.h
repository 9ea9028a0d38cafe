/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From a frontend to a backend. The entry of a Service says how many slots it
 * has; the agent writes slots before it raises the number and lowers the number
 * before it removes slots, so a reader always finds the slot that it draws. In
 * the instant where it does not, slot 0 serves.
 */
#ifndef REMORA_SERVICE_H
#define REMORA_SERVICE_H

#include "include/connection.h"

enum lookup {
	LOOKUP_NONE = 0,    /* not a Service */
	LOOKUP_FOUND = 1,   /* a backend was drawn */
	LOOKUP_REFUSED = 2, /* a Service without backends */
	LOOKUP_BROKEN = 3,  /* a backend entry is missing: pass untranslated */
};

/* What was found for a destination. */
struct choice {
	u32 service;
	struct backend *backend;
};

static inline struct backend *service_slot(u32 service, u32 slot)
{
	struct backend_key key = {.service = service, .slot = slot};
	struct backend *backend = backends.lookup(&key);

	if (backend || !slot)
		return backend;
	key.slot = 0;
	return backends.lookup(&key);
}

/* `draw` is any number; equal numbers give equal backends while the Service stays as it is. */
static inline int service_lookup(const u32 *address, u16 port, u8 proto, u32 draw, struct choice *choice)
{
	struct frontend_key key = {.port = port, .proto = proto};
	struct frontend *frontend;

	copy_address(key.addr, address);
	frontend = services.lookup(&key);
	if (!frontend)
		return LOOKUP_NONE;
	choice->service = frontend->service;
	if (!frontend->backends)
		return LOOKUP_REFUSED;
	choice->backend = service_slot(frontend->service, draw % frontend->backends);
	return choice->backend ? LOOKUP_FOUND : LOOKUP_BROKEN;
}

#endif
