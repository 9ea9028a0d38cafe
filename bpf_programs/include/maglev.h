/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Maglev: which backend a client outside gets follows from its address and port
 * alone, so every node of the cluster sends it to the same one. Nothing that
 * differs between nodes goes into the hash: not the address that was asked for,
 * which may be the node's own, and no number that an agent gave out.
 */
#ifndef REMORA_MAGLEV_H
#define REMORA_MAGLEV_H

#include "include/connection.h"

#define MAGLEV_MIX 0x9e3779b97f4a7c15ULL /* 2^64 by the golden ratio: spreads each word over all bits */

/* With affinity the port is left out: all connections of a client are one. */
static inline u32 maglev_hash(struct packet *p, bool sticky)
{
	u64 hash = p->proto | (sticky ? 0 : (u64)p->src_port << 8);

#pragma clang loop unroll(disable)
	for (u32 word = 0; word < 4; word++) {
		hash = (hash ^ p->src[word]) * MAGLEV_MIX;
		hash ^= hash >> 32;
	}
	return hash;
}

/* The backend of a client; 0: to be drawn otherwise. */
static inline struct backend *maglev_backend(struct packet *p, u32 service, bool sticky)
{
	struct maglev *own = maglevs.lookup(&service);
	struct maglev_key key = {};
	struct backend_key at = {};
	struct backend *backend = 0;
	struct maglev_row *row;
	u32 place;

	if (!own)
		return 0;
	place = own->places ? maglev_hash(p, sticky) % own->places : 0;
	key.table = own->table;
	key.row = place / MAGLEV_ROW;
	row = maglev_rows.lookup(&key);
	if (row) {
		at.service = own->list;
		at.slot = row->index[place % MAGLEV_ROW];
		backend = maglev_backends.lookup(&at);
	}
	if (!backend)
		count(COUNTER_MAGLEV_MISSING, 1);
	return backend;
}

#endif
