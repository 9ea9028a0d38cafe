/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The device that a packet leaves by, and the next station, whose MAC address the kernel finds and asks for. */
#ifndef REMORA_WAY_TC_H
#define REMORA_WAY_TC_H

#include "include/frame.h"
#include "include/structs.h"

/* BCC's own declaration lacks a parameter. */
static long (*redirect_neigh)(u32 ifindex, struct bpf_redir_neigh *next, int size,
			      u64 flags) = (void *)BPF_FUNC_redirect_neigh;

struct way {
	u32 ifindex;
	struct bpf_redir_neigh next;
};

/* Take it from the kernel's answer. */
static inline void way_take(struct way *way, struct bpf_fib_lookup *fib, int result)
{
	way->ifindex = fib->ifindex;
	way->next.nh_family = fib->family;
	if (fib->family == AF_INET_)
		way->next.ipv4_nh = fib->ipv4_dst;
	else
		__builtin_memcpy(way->next.ipv6_nh, fib->ipv6_dst, sizeof(fib->ipv6_dst));
}

/* Is the kernel's last answer good enough? It is asked each time. */
static inline bool way_recall(struct way *way, const u32 *src, const u32 *dst, u32 from)
{
	return false;
}

static inline void way_remember(struct way *way, const u32 *src, const u32 *dst, u32 from)
{
}

/* Must packets of a connection be left to a hook that can send them? There is none behind this one. */
static inline bool way_left(frame_t *frame, struct translation *t, struct way *way)
{
	return false;
}

static inline int way_send(frame_t *frame, struct way *way)
{
	return redirect_neigh(way->ifindex, &way->next, sizeof(way->next), 0);
}

#endif
