/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Packets of connections from outside. Each connection has two entries in
 * `translations`, one for each direction, that say what such packets look like
 * when they come and what is written into them. Where the client is hidden
 * behind the node's address the packets are sent on from here, both ways;
 * otherwise the node's stack has them.
 */
#ifndef REMORA_TRANSLATION_H
#define REMORA_TRANSLATION_H

#include "include/direct.h"
#include "include/quoted.h"
#include "include/route.h"

static inline void translation_key(struct translation_key *key, struct packet *p)
{
	copy_address(key->src, p->src);
	copy_address(key->dst, p->dst);
	key->src_port = p->src_port;
	key->dst_port = p->dst_port;
	key->proto = p->proto;
}

static inline struct translation *translation_of(struct packet *p)
{
	struct translation_key key = {};

	translation_key(&key, p);
	return translations.lookup(&key);
}

/* The key of the other direction. */
static inline void translation_opposite(struct translation_key *key, struct translation *t, u8 proto)
{
	copy_address(key->src, t->dst);
	copy_address(key->dst, t->src);
	key->src_port = t->dst_port;
	key->dst_port = t->src_port;
	key->proto = proto;
}

static inline void translation_account(frame_t *frame, struct packet *p, struct translation *t)
{
	__sync_fetch_and_add(&t->packets, frame_segments(frame));
	__sync_fetch_and_add(&t->bytes, wire_bytes(frame, p));
	t->last = coarse_now();
	if (p->tcp_flags & ~t->flags)
		t->flags |= p->tcp_flags;
}

/* Write one side into a packet, where it differs. */
static inline int translation_side(frame_t *frame, struct packet *p, u32 *address, u16 port, int side)
{
	u32 *has = side == REWRITE_SOURCE ? p->src : p->dst;
	u16 has_port = side == REWRITE_SOURCE ? p->src_port : p->dst_port;

	if (same_address(has, address) && has_port == port)
		return 0;
	return rewrite_packet(frame, p, address, port, side);
}

static inline int translation_write(frame_t *frame, struct packet *p, struct translation *t)
{
	int result = 0;

#pragma clang loop unroll(disable) /* one copy of the code for both sides */
	for (int side = REWRITE_SOURCE; side <= REWRITE_DESTINATION && !result; side++)
		result = translation_side(frame, p, side == REWRITE_SOURCE ? t->src : t->dst,
					  side == REWRITE_SOURCE ? t->src_port : t->dst_port, side);
	count(result < 0 ? COUNTER_TRANSLATE_FAILED : COUNTER_OUTSIDE_TRANSLATED, 1);
	return result;
}

/*
 * An error about a packet is written as if the one that it speaks of had never
 * been translated. Who reports it stays, unless it is the quoted receiver itself
 * or the error leaves to where only the node's address is known.
 */
static inline int translation_error(frame_t *frame, struct packet *p, struct packet *q, struct translation *t)
{
	bool hidden = (t->marks & (TRANSLATION_ROUTE | TRANSLATION_DIRECT)) == TRANSLATION_ROUTE;
	bool reporter = hidden || same_address(p->src, q->dst);
	struct retold to = {
		.quoted = {t->dst, t->src},
		.ports = {t->dst_port, t->src_port},
		.outer = {reporter ? t->src : 0, t->dst},
	};

	return quoted_write(frame, p, q, &to);
}

/*
 * A packet, or the error `q` about one, gets its translation and its way; the
 * action that does it. `telling`: it may have to tell the backend's node the frontend.
 */
static inline int translation_take(frame_t *frame, struct packet *p, struct packet *q, struct translation *t,
				   bool telling)
{
	bool routed = t->marks & TRANSLATION_ROUTE;
	u32 room = telling && t->marks & TRANSLATION_DIRECT && !q ? direct_room(p) : 0;
	struct way way = {};

	if (routed && route_find(frame, t->src, t->dst, t->ifindex, p->family, &way) < 0) {
		count(COUNTER_OUTSIDE_NO_ROUTE, 1);
		return FRAME_DROP;
	}
	if (way_left(frame, t, &way))
		return FRAME_PASS;
	if (routed && !q) {
		p->mtu = route_too_big(frame, &way, room);
		if (p->mtu)
			return ACT_TOO_BIG;
	}
	if (!q)
		translation_account(frame, p, t);
	if (q ? translation_error(frame, p, q, t) : translation_write(frame, p, t))
		return FRAME_DROP;
	if (room && direct_tell(frame, p, room) < 0) {
		count(COUNTER_TRANSLATE_FAILED, 1);
		return FRAME_DROP;
	}
	return routed ? route_send(frame, p, &way) : FRAME_PASS;
}

/* The entry for a packet or, where that is an ICMP error, for the packet `q` that it speaks of. */
static inline struct translation *translation_find(struct packet *p, struct packet *q)
{
	struct translation_key key = {};

	if (!q)
		return translation_of(p);
	copy_address(key.src, q->dst);
	copy_address(key.dst, q->src);
	key.src_port = q->dst_port;
	key.dst_port = q->src_port;
	key.proto = q->proto;
	return translations.lookup(&key);
}

#endif
