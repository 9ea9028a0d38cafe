/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Services for the world outside, before there is a socket buffer: what goes on
 * to another machine, or back to who sent it, never gets one. It is what
 * uplink.c does at the same device with the same maps. Whatever is rare, or ends
 * on this node, is left to it, so a packet may go either way at any time.
 */
#ifndef REMORA_ACCELERATE_H
#define REMORA_ACCELERATE_H

#include "include/outside.h"

/* Is it of a kind that is sped up? Fragments, tagged frames and SCTP are rare; of ICMP only errors concern Services. */
static inline bool accelerated(struct packet *p)
{
	if (p->marks & (MARK_FRAGMENT | MARK_VLAN))
		return false;
	return p->proto == IPPROTO_TCP_ || p->proto == IPPROTO_UDP_ || icmp_is_error(p);
}

/* Is the frame for this node, by the address of the device that it came by? */
static inline bool addressed(frame_t *frame, struct uplink *up)
{
	u16 mac[MAC_WORDS];

	return frame_load(frame, 0, mac, sizeof(mac)) == 0 && mac[0] == up->mac[0] && mac[1] == up->mac[1] &&
	       mac[2] == up->mac[2];
}

/* Send on or answer a packet that was read, if it is of a Service and that can be done here; else it passes as it is.
 */
static inline int accelerate(frame_t *frame, struct packet *p)
{
	u32 ifindex = frame_ifindex(frame);
	struct uplink *up = uplinks.lookup(&ifindex);
	int action;

	if (!up || !accelerated(p) || !addressed(frame, up))
		return XDP_PASS;
	action = outside_take(frame, p);
	if (action == ACT_TOO_BIG) { /* generic XDP sees super-packets, which only TC can tell from large ones */
		count(COUNTER_XDP_LEFT, 1);
		return XDP_PASS;
	}
	action = act(frame, p, action);
	if (action == XDP_TX || action == XDP_REDIRECT)
		count(COUNTER_XDP_SENT, 1);
	return action;
}

#endif
