/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Only the first fragment of a datagram has ports. It leaves them here for those that follow. */
#ifndef REMORA_FRAGMENT_H
#define REMORA_FRAGMENT_H

#include "include/connection.h"

/* Ports of a fragment: the first one leaves them for those that follow. */
static inline void fragment_ports(struct packet *p)
{
	struct fragment_key key = {};
	struct fragment ports = {};
	struct fragment *known;

	copy_address(key.src, p->src);
	copy_address(key.dst, p->dst);
	key.id = p->fragment;
	key.proto = p->proto;
	if (!p->later_fragment) {
		ports.src_port = p->src_port;
		ports.dst_port = p->dst_port;
		fragments.update(&key, &ports);
		return;
	}
	known = fragments.lookup(&key);
	if (!known) {
		p->marks |= MARK_NO_PORTS;
		count(COUNTER_FRAGMENT_UNKNOWN, 1);
		return;
	}
	p->src_port = known->src_port;
	p->dst_port = known->dst_port;
}

#endif
