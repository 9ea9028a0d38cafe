/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The device that a frame leaves by, and the MAC addresses that it gets. XDP only
 * sends what is known to arrive; the rest is left to TC, which does the same with
 * the kernel's help: what stays on this node, a neighbour whose address is yet to
 * be asked for, a device that takes no frames from XDP.
 *
 * The kernel learns that a neighbour is in use, and whether it is still there, by
 * what is sent through its own table. So one packet of a direction in
 * 2^WINDOW_SHIFT ns is left to TC as well.
 *
 * Asking the kernel for a way costs as much as all the rest, over IPv6 even more.
 * So an answer holds for an instant, on the CPU that got it.
 */
#ifndef REMORA_WAY_XDP_H
#define REMORA_WAY_XDP_H

#include "include/maps.h"

#define WINDOW_SHIFT 33 /* 8.6 s; the kernel trusts a neighbour for 15 s at least */

#define INSTANT_SHIFT 27 /* 134 ms */
#define WAYS_BITS 8

struct way {
	u32 ifindex;
	u32 known; /* the MAC addresses are */
	u8 macs[2 * MAC_LEN];
};

/* An answer of the kernel, and what was asked. */
struct answered_way {
	u32 src[4];
	u32 dst[4];
	u32 from; /* device, 0: nothing yet */
	u32 instant;
	struct way way;
};

BPF_PERCPU_ARRAY(way_scratch, struct answered_way, 1 << WAYS_BITS);

/* The place for the way to an address. */
static inline struct answered_way *way_place(const u32 *dst)
{
	u32 place = (dst[0] ^ dst[1] ^ dst[2] ^ dst[3]) * 0x9e3779b1 >> (32 - WAYS_BITS);

	return way_scratch.lookup(&place);
}

/* The kernel's answer of this instant; false: it is to be asked. */
static inline bool way_recall(struct way *way, const u32 *src, const u32 *dst, u32 from)
{
	struct answered_way *kept = way_place(dst);

	if (!kept || kept->from != from || kept->instant != (u32)(coarse_now() >> INSTANT_SHIFT) ||
	    !same_address(kept->dst, dst) || !same_address(kept->src, src))
		return false;
	*way = kept->way;
	return true;
}

static inline void way_remember(struct way *way, const u32 *src, const u32 *dst, u32 from)
{
	struct answered_way *kept = way_place(dst);

	if (!kept || !way->known)
		return;
	copy_address(kept->src, src);
	copy_address(kept->dst, dst);
	kept->from = from;
	kept->instant = coarse_now() >> INSTANT_SHIFT;
	kept->way = *way;
}

static inline void way_take(struct way *way, struct bpf_fib_lookup *fib, int result)
{
	way->ifindex = fib->ifindex;
	way->known = result == BPF_FIB_LKUP_RET_SUCCESS;
	__builtin_memcpy(way->macs, fib->dmac, MAC_LEN);
	__builtin_memcpy(way->macs + MAC_LEN, fib->smac, MAC_LEN);
}

/* Does a device take frames from XDP at another one? Where our program runs alike on both, it does. */
static inline bool way_crosses(u32 from, u32 to)
{
	struct uplink *in = uplinks.lookup(&from);
	struct uplink *out = uplinks.lookup(&to);

	return in && out && in->wire && in->wire == out->wire;
}

static inline bool way_left(frame_t *frame, struct translation *t, struct way *way)
{
	u32 ifindex = frame_ifindex(frame);

	if (t->marks & TRANSLATION_ROUTE && way->known && t->last >> WINDOW_SHIFT == coarse_now() >> WINDOW_SHIFT &&
	    (way->ifindex == ifindex || way_crosses(ifindex, way->ifindex)))
		return false;
	count(COUNTER_XDP_LEFT, 1);
	return true;
}

static inline int way_send(frame_t *frame, struct way *way)
{
	if (frame_store(frame, 0, way->macs, sizeof(way->macs)) < 0)
		return FRAME_DROP;
	return way->ifindex == frame_ifindex(frame) ? XDP_TX : bpf_redirect(way->ifindex, 0);
}

#endif
