/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The first line, at the devices that lead to the world outside: frames as they
 * come off the wire, before the kernel makes a socket buffer of them. What is not
 * decided here goes on to uplink.c and the node's stack as if nothing had been.
 *
 * What must not come in and what is sent on are two programs: the verifier, which
 * follows the second once for every way out of the first, would be at its limit.
 * Both are there twice. In the driver they take frames of several buffers. Behind
 * it such a program is given a copy of every packet, of which the kernel (6.9, and
 * 6.18 still) forgets how long the Ethernet header is, so that TC and whoever comes
 * next reads it from the wrong place; one for whole frames is given the packet.
 */
#include "include/common.h"
#include "include/accelerate.h"
#include "include/shield.h"

/* 0 to speed_up; written when it was loaded, read by from_wire. Pinned, or it would be emptied when the compiler ends.
 */
BPF_TABLE_PINNED("prog", u32, u32, wire_next, 1, RING_DIR "/wire_next");

/* 0 to the same, loaded for frames in one piece; read by from_wire_whole. */
BPF_TABLE_PINNED("prog", u32, u32, whole_next, 1, RING_DIR "/whole_next");

static inline bool accelerating(void)
{
	u32 zero = 0;
	struct node *own = node.lookup(&zero);

	return own && own->flags & NODE_ACCELERATE;
}

int from_wire(struct xdp_md *ctx)
{
	int action = shield_check(ctx);

	if (action == XDP_PASS && accelerating())
		wire_next.call(ctx, 0);
	return action;
}

int from_wire_whole(struct xdp_md *ctx)
{
	int action = shield_check(ctx);

	if (action == XDP_PASS && accelerating())
		whole_next.call(ctx, 0);
	return action;
}

/* What the shield lets pass, where Services are sped up. */
int speed_up(struct xdp_md *ctx)
{
	u32 zero = 0;
	struct packet *p = packet_scratch.lookup(&zero);
	u16 protocol = 0;

	if (!p)
		return XDP_PASS;
	__builtin_memset(p, 0, sizeof(*p));
	if (parse_ethernet(ctx, p, &protocol) != PARSE_OK || parse_ip(ctx, p, protocol) != PARSE_OK)
		return XDP_PASS;
	return accelerate(ctx, p);
}
