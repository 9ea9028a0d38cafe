/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sending a packet on from here, by the node's own routes, as the node's stack
 * would forward it. Asked without a length: with one the kernel measures
 * super-packets as if they went over the wire in one piece.
 */
#ifndef REMORA_ROUTE_H
#define REMORA_ROUTE_H

#include "include/reject.h"

#define FIB_FOUND 0
#define FIB_NO_NEIGHBOUR 7 /* the way is known, the next station's MAC address is yet to be asked for */

#ifdef WITH_XDP
#include "include/way_xdp.h"
#else
#include "include/way_tc.h"
#endif

/* The way of a packet between two addresses that came in by `ifindex`; < 0: there is none. */
static inline int route_find(frame_t *frame, const u32 *src, const u32 *dst, u32 ifindex, u8 family, struct way *way)
{
	struct bpf_fib_lookup fib = {};
	int result;

	if (way_recall(way, src, dst, ifindex))
		return 0;
	fib.ifindex = ifindex;
	if (family == 4) {
		fib.family = AF_INET_;
		fib.ipv4_src = src[3];
		fib.ipv4_dst = dst[3];
	} else {
		fib.family = AF_INET6_;
		__builtin_memcpy(fib.ipv6_src, src, sizeof(fib.ipv6_src));
		__builtin_memcpy(fib.ipv6_dst, dst, sizeof(fib.ipv6_dst));
	}
	result = bpf_fib_lookup(frame, &fib, sizeof(fib), 0);
	if (result != FIB_FOUND && result != FIB_NO_NEIGHBOUR && result != BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return -1;
	way_take(way, &fib, result);
	way_remember(way, src, dst, ifindex);
	return 0;
}

/*
 * What the device of a way takes in one piece, less `room`, where the packet is
 * larger than that; 0: it fits, or the kernel cannot say.
 */
static inline u32 route_too_big(frame_t *frame, struct way *way, u32 room)
{
#ifdef HAVE_CHECK_MTU
	u32 mtu = 0;

	return frame_measure(frame, way->ifindex, &mtu, room) > 0 ? mtu - room : 0;
#else
	return 0;
#endif
}

/* Count the hop; < 0: it was the last one. */
static inline int route_hop(frame_t *frame, struct packet *p)
{
	u8 hops[2]; /* IPv4: with the protocol, as checksums are of pairs */
	u16 from, to;

	if (p->family == 6) {
		if (frame_load(frame, p->l3 + IPV6_HOPS, hops, 1) < 0 || hops[0] <= 1)
			return -1;
		hops[0]--;
		return frame_store(frame, p->l3 + IPV6_HOPS, hops, 1);
	}
	if (frame_load(frame, p->l3 + IPV4_TTL, hops, 2) < 0 || hops[0] <= 1)
		return -1;
	__builtin_memcpy(&from, hops, 2);
	hops[0]--;
	__builtin_memcpy(&to, hops, 2);
	if (frame_sum_ip(frame, p->l3 + IPV4_CHECK, from, to, 2) < 0)
		return -1;
	return frame_store(frame, p->l3 + IPV4_TTL, hops, 1);
}

/* Send a packet that is as it should be; the action that does it. */
static inline int route_send(frame_t *frame, struct packet *p, struct way *way)
{
	if (route_hop(frame, p) < 0) {
		count(COUNTER_OUTSIDE_TTL, 1);
		return FRAME_DROP;
	}
	return way_send(frame, way);
}

#endif
