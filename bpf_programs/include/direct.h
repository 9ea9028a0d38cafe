/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Direct server return: the backend's node learns from the packet which frontend
 * the client asked for, and answers in its name. Over IPv4 that stands in an
 * option of the IP header, over IPv6 in a destination option, always the first.
 * TCP says it with the SYN, UDP with every packet. Types and sizes are those that
 * are in use elsewhere; hosts that do not know them pass over them.
 *
 * Sources: RFC 791 (3.1), RFC 8200 (4.2, 4.6).
 */
#ifndef REMORA_DIRECT_H
#define REMORA_DIRECT_H

#include "include/rewrite.h"

#define IPV4_TOLD 0x9a /* copied into fragments */
#define IPV6_TOLD 0x1b
#define IPV6_TOLD_BYTES 18
#define IPV4_WORDS_MAX 15
#define IPV6_LENGTH 4
#define IPV6_NEXT 6

struct ipv4_told {
	u8 type;
	u8 length;
	u16 port; /* network order, as all here */
	u32 addr;
};

struct ipv6_told {
	u8 next;
	u8 length; /* units of 8 bytes after the first */
	u8 type;
	u8 bytes;
	u32 addr[4];
	u16 port;
	u8 pad[2]; /* an option of its own: PadN without data */
};

/* Bytes that a packet of a connection with direct return has to carry, 0: none. */
static inline u32 direct_room(struct packet *p)
{
	if (p->proto == IPPROTO_TCP_ && !(p->tcp_flags & TCP_SYN))
		return 0;
	return p->family == 4 ? sizeof(struct ipv4_told) : sizeof(struct ipv6_told);
}

static inline int direct_tell_ipv4(frame_t *frame, struct packet *p)
{
	struct ipv4_told told = {
		.type = IPV4_TOLD,
		.length = sizeof(told),
		.port = bpf_htons(p->dst_port),
		.addr = p->dst[3],
	};
	u32 before, after; /* version and header length, type of service, total length */
	s64 sum;

	if (frame_load(frame, p->l3, &before, sizeof(before)) < 0)
		return -1;
	after = bpf_htonl(bpf_ntohl(before) + ((sizeof(told) / 4) << 24) + sizeof(told));
	if (((bpf_ntohl(after) >> 24) & 15) < ((bpf_ntohl(before) >> 24) & 15))
		return -1; /* the header cannot be longer than 15 words */
	sum = bpf_csum_diff(&before, sizeof(before), &after, sizeof(after), 0);
	sum = bpf_csum_diff(0, 0, (u32 *)&told, sizeof(told), sum);
	if (frame_sum_ip(frame, p->l3 + IPV4_CHECK, 0, sum, 0) < 0 ||
	    frame_store(frame, p->l3, &after, sizeof(after)) < 0)
		return -1;
	return frame_store(frame, p->l3 + sizeof(struct ipv4_head), &told, sizeof(told));
}

static inline int direct_tell_ipv6(frame_t *frame, struct packet *p)
{
	struct ipv6_told told = {
		.length = sizeof(told) / 8 - 1,
		.type = IPV6_TOLD,
		.bytes = IPV6_TOLD_BYTES,
		.port = bpf_htons(p->dst_port),
		.pad = {1, 0},
	};
	u8 next = IPV6_DESTINATION;
	u16 length;

	copy_address(told.addr, p->dst);
	if (frame_load(frame, p->l3 + IPV6_LENGTH, &length, sizeof(length)) < 0 ||
	    frame_load(frame, p->l3 + IPV6_NEXT, &told.next, sizeof(told.next)) < 0)
		return -1;
	length = bpf_htons(bpf_ntohs(length) + sizeof(told));
	if (frame_store(frame, p->l3 + IPV6_LENGTH, &length, sizeof(length)) < 0 ||
	    frame_store(frame, p->l3 + IPV6_NEXT, &next, sizeof(next)) < 0)
		return -1;
	return frame_store(frame, p->l3 + sizeof(struct ipv6_head), &told, sizeof(told));
}

/* Write into a packet which frontend it was for; < 0: there is no room. */
static inline int direct_tell(frame_t *frame, struct packet *p, u32 room)
{
	if (frame_widen(frame, p->l3, p->family, room) < 0)
		return -1;
	return p->family == 4 ? direct_tell_ipv4(frame, p) : direct_tell_ipv6(frame, p);
}

/* Which frontend a packet was for, by the word of the node that sent it; false: none is told. */
static inline bool direct_told(frame_t *frame, struct packet *p, struct backend *frontend)
{
	struct ipv4_told told = {};
	struct ipv6_told told6 = {};
	u8 next = 0;

	if (p->family == 4) {
		if (p->l4 - p->l3 < sizeof(struct ipv4_head) + sizeof(told) ||
		    frame_load(frame, p->l3 + sizeof(struct ipv4_head), &told, sizeof(told)) < 0 ||
		    told.type != IPV4_TOLD || told.length != sizeof(told))
			return false;
		map_ipv4(frontend->addr, told.addr);
		frontend->port = told.port;
		return true;
	}
	if (p->l4 - p->l3 < sizeof(struct ipv6_head) + sizeof(told6) ||
	    frame_load(frame, p->l3 + IPV6_NEXT, &next, sizeof(next)) < 0 || next != IPV6_DESTINATION ||
	    frame_load(frame, p->l3 + sizeof(struct ipv6_head), &told6, sizeof(told6)) < 0 || told6.type != IPV6_TOLD ||
	    told6.bytes != IPV6_TOLD_BYTES)
		return false;
	copy_address(frontend->addr, told6.addr);
	frontend->port = told6.port;
	return true;
}

#endif
