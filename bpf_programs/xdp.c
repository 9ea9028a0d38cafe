/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The first line, at the devices that lead to the world outside: frames as they
 * come off the wire, before the kernel makes a socket buffer of them. What is not
 * decided here goes on to uplink.c and the node's stack as if nothing had been.
 */
#include "include/common.h"
#include "include/maps.h"

int from_wire(struct xdp_md *ctx)
{
	return XDP_PASS;
}
