/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Fragments that overlap, which are a way to show one packet to whoever filters
 * and another one to whoever receives (RFC 5722). Of each datagram the ranges
 * that came are remembered until it is whole or too old to be put together. A
 * range that overlaps another one and is not the same again spoils the datagram.
 */
#ifndef REMORA_OVERLAP_H
#define REMORA_OVERLAP_H

#include "include/arrival.h"
#include "include/shield_maps.h"

#define DATAGRAM_LIFE (30 * NS_PER_SECOND) /* as long as Linux waits for the rest of a datagram */

/* What is remembered of a datagram at first; in a map because it is too large for the stack. */
BPF_PERCPU_ARRAY(datagram_scratch, struct shield_datagram, 1);

/* The datagram that a fragment is of. Of IPv6 whoever puts it together does not ask for the protocol (RFC 8200). */
static inline void datagram_key(struct fragment_key *key, struct arrival *a)
{
	__builtin_memcpy(key->src, a->src, sizeof(key->src));
	__builtin_memcpy(key->dst, a->dst, sizeof(key->dst));
	key->id = a->id;
	key->proto = a->family == 4 ? a->proto : 0;
}

static inline void datagram_begin(struct fragment_key *key, struct arrival *a, u64 now)
{
	u32 zero = 0;
	struct shield_datagram *d = datagram_scratch.lookup(&zero);

	if (!d)
		return;
	d->since = now;
	d->seen = 1;
	d->bytes = a->size;
	d->length = a->more ? 0 : a->from + a->size;
	d->end = a->from + a->size;
	d->overlaps = 0;
	d->range[0].from = a->from;
	d->range[0].to = a->from + a->size;
	shield_fragments.update(key, d);
}

/* Was this very range seen before? Finds out as well whether it overlaps another one. */
static inline bool datagram_saw(struct shield_datagram *d, u32 from, u32 to)
{
#pragma clang loop unroll(disable)
	for (u32 i = 0; i < FRAGMENTS_WATCHED; i++) {
		struct shield_range *range = &d->range[i];

		if (i >= d->seen)
			break;
		if (range->from == from && range->to == to)
			return true;
		if (from < range->to && range->from < to)
			d->overlaps = 1;
	}
	return false;
}

/*
 * Remember one more range. A datagram that is whole is forgotten; one with bytes
 * beyond its last fragment never is, else a stray one could make it so early.
 */
static inline void datagram_add(struct fragment_key *key, struct shield_datagram *d, struct arrival *a)
{
	u32 place = d->seen;

	if (place < FRAGMENTS_WATCHED) {
		d->range[place].from = a->from;
		d->range[place].to = a->from + a->size;
		d->seen = place + 1;
	}
	d->bytes += a->size;
	if (d->end < a->from + a->size)
		d->end = a->from + a->size;
	if (!a->more)
		d->length = a->from + a->size;
	if (d->length == d->end && d->bytes >= d->length)
		shield_fragments.delete(key);
}

/* Is the fragment of a datagram whose fragments overlap? */
static inline bool fragment_overlaps(struct arrival *a)
{
	u64 now = coarse_now();
	struct fragment_key key = {};
	struct shield_datagram *d;

	datagram_key(&key, a);
	d = shield_fragments.lookup(&key);
	if (!d || now > d->since + DATAGRAM_LIFE) { /* another CPU's clock may be ahead */
		datagram_begin(&key, a, now);
		return false;
	}
	if (d->overlaps || datagram_saw(d, a->from, a->from + a->size) || d->overlaps)
		return d->overlaps;
	datagram_add(&key, d, a);
	return false;
}

#endif
