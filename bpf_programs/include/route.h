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

/* BCC's own declaration lacks a parameter. */
static long (*redirect_neigh)(u32 ifindex, struct bpf_redir_neigh *next, int size,
			      u64 flags) = (void *)BPF_FUNC_redirect_neigh;

/* The device that a packet leaves by, and the next station. */
struct way {
	u32 ifindex;
	struct bpf_redir_neigh next;
};

/* The way of a packet between two addresses that came in by `ifindex`; < 0: there is none. */
static inline int route_find(struct __sk_buff *skb, const u32 *src, const u32 *dst, u32 ifindex, u8 family,
			     struct way *way)
{
	struct bpf_fib_lookup fib = {};
	int result;

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
	result = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	if (result != FIB_FOUND && result != FIB_NO_NEIGHBOUR && result != BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return -1;
	way->ifindex = fib.ifindex;
	way->next.nh_family = fib.family;
	if (fib.family == AF_INET_)
		way->next.ipv4_nh = fib.ipv4_dst;
	else
		__builtin_memcpy(way->next.ipv6_nh, fib.ipv6_dst, sizeof(fib.ipv6_dst));
	return 0;
}

/* What the device of a way takes in one piece, less `room`, where the packet is larger than that; 0: it fits. */
static inline u32 route_too_big(struct __sk_buff *skb, struct way *way, u32 room)
{
	u32 mtu = 0;

	/* the kernel measures the segments of a super-packet only where nothing is added */
	return bpf_check_mtu(skb, way->ifindex, &mtu, room, room ? 0 : BPF_MTU_CHK_SEGS) > 0 ? mtu - room : 0;
}

/* Count the hop; < 0: it was the last one. */
static inline int route_hop(struct __sk_buff *skb, struct packet *p)
{
	u8 hops[2]; /* IPv4: with the protocol, as checksums are of pairs */
	u16 from, to;

	if (p->family == 6) {
		if (bpf_skb_load_bytes(skb, p->l3 + IPV6_HOPS, hops, 1) < 0 || hops[0] <= 1)
			return -1;
		hops[0]--;
		return bpf_skb_store_bytes(skb, p->l3 + IPV6_HOPS, hops, 1, 0);
	}
	if (bpf_skb_load_bytes(skb, p->l3 + IPV4_TTL, hops, 2) < 0 || hops[0] <= 1)
		return -1;
	__builtin_memcpy(&from, hops, 2);
	hops[0]--;
	__builtin_memcpy(&to, hops, 2);
	if (bpf_l3_csum_replace(skb, p->l3 + IPV4_CHECK, from, to, 2) < 0)
		return -1;
	return bpf_skb_store_bytes(skb, p->l3 + IPV4_TTL, hops, 1, 0);
}

/* Send a packet that is as it should be; the action that does it. */
static inline int route_send(struct __sk_buff *skb, struct packet *p, struct way *way)
{
	if (route_hop(skb, p) < 0) {
		count(COUNTER_OUTSIDE_TTL, 1);
		return TC_ACT_SHOT;
	}
	return redirect_neigh(way->ifindex, &way->next, sizeof(way->next), 0);
}

#endif
