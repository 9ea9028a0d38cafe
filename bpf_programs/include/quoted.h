/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The packet that an ICMP error repeats, so that its sender knows which it was.
 * Where that packet was translated, the error must say what its sender had
 * written, or the sender does not recognize it: a path MTU would never be learned.
 *
 * Checksums of the quoted TCP or UDP header are left as they are: only a part of
 * what they cover is there, and nobody verifies them.
 *
 * Sources: RFC 5508 (4), RFC 792, RFC 4443.
 */
#ifndef REMORA_QUOTED_H
#define REMORA_QUOTED_H

#include "include/reject.h"

#define ICMP_IDENTIFIER 4

/* It holds type and code of the error. */
BPF_PERCPU_ARRAY(quoted_scratch, struct packet, 1);

/* Does an ICMP packet report about another packet? */
static inline bool icmp_is_error(struct packet *p)
{
	if (p->later_fragment)
		return false;
	if (p->proto == IPPROTO_ICMP_)
		return p->icmp_type == ICMP_UNREACHABLE || p->icmp_type == ICMP_TIME_EXCEEDED ||
		       p->icmp_type == ICMP_PARAMETER;
	return p->proto == IPPROTO_ICMPV6_ && p->icmp_type >= ICMPV6_UNREACHABLE && p->icmp_type <= ICMPV6_PARAMETER;
}

/* Read the quoted IP header; < 0: there is none, or no ports behind it. */
static inline int quoted_network(frame_t *frame, struct packet *p, struct packet *q)
{
	struct ipv4_head ip;
	struct ipv6_head ip6;

	q->family = p->family;
	q->l3 = p->l4 + sizeof(struct icmp_head);
	if (p->family == 4) {
		if (frame_load(frame, q->l3, &ip, sizeof(ip)) < 0 || ip.fragment & bpf_htons(0x1fff))
			return -1;
		map_ipv4(q->src, ip.src);
		map_ipv4(q->dst, ip.dst);
		q->proto = ip.proto;
		q->length = bpf_ntohs(ip.length);
		q->l4 = q->l3 + (ip.version_ihl & 15) * 4;
		return 0;
	}
	if (frame_load(frame, q->l3, &ip6, sizeof(ip6)) < 0)
		return -1;
	__builtin_memcpy(q->src, ip6.src, sizeof(q->src));
	__builtin_memcpy(q->dst, ip6.dst, sizeof(q->dst));
	q->proto = ip6.next;
	q->length = sizeof(ip6) + bpf_ntohs(ip6.length);
	q->l4 = q->l3 + sizeof(ip6);
	return 0;
}

/* What an ICMP error speaks of; 0: it is none, or of nothing that has ports or the identifier of an echo. */
static inline struct packet *quoted_packet(frame_t *frame, struct packet *p)
{
	u32 zero = 0;
	u32 ports; /* both */
	struct packet *q;
	bool icmp;

	if (!icmp_is_error(p))
		return 0;
	q = quoted_scratch.lookup(&zero);
	if (!q)
		return 0;
	__builtin_memset(q, 0, sizeof(*q));
	if (quoted_network(frame, p, q) < 0)
		return 0;
	icmp = q->proto == IPPROTO_ICMP_ || q->proto == IPPROTO_ICMPV6_;
	if (frame_load(frame, q->l4 + (icmp ? ICMP_IDENTIFIER : 0), &ports, sizeof(ports)) < 0)
		return 0;
	ports = bpf_ntohl(ports);
	q->src_port = ports >> 16;
	q->dst_port = icmp ? ports >> 16 : ports;
	q->icmp_type = p->icmp_type;
	q->icmp_code = p->icmp_code;
	return q;
}

/*
 * Write an address into the quoted IP header. Over IPv4 its own checksum makes up
 * for the change, so the ICMP checksum stays right; IPv6 has none.
 */
static inline int quoted_address(frame_t *frame, struct packet *p, struct packet *q, u32 *to, int side)
{
	u32 from[4];

	__builtin_memcpy(from, side == REWRITE_SOURCE ? q->src : q->dst, sizeof(from));
	if (p->family == 4) {
		if (frame_sum_ip(frame, q->l3 + IPV4_CHECK, from[3], to[3], 4) < 0)
			return -1;
		return frame_store(frame, q->l3 + (side == REWRITE_SOURCE ? IPV4_SRC : IPV4_DST), &to[3], 4);
	}
	if (frame_sum(frame, p->l4 + ICMP_CHECK, 0, bpf_csum_diff(from, 16, to, 16, 0), 0) < 0)
		return -1;
	return frame_store(frame, q->l3 + (side == REWRITE_SOURCE ? IPV6_SRC : IPV6_DST), to, 16);
}

static inline int quoted_port(frame_t *frame, struct packet *p, struct packet *q, u16 to, int side)
{
	u16 from = bpf_htons(side == REWRITE_SOURCE ? q->src_port : q->dst_port);

	to = bpf_htons(to);
	if (frame_sum(frame, p->l4 + ICMP_CHECK, from, to, 2) < 0)
		return -1;
	return frame_store(frame, q->l4 + (side == REWRITE_SOURCE ? PORT_SRC : PORT_DST), &to, 2);
}

/* What an error says after translation; outer addresses that are 0 stay. */
struct retold {
	u32 *quoted[2]; /* by enum rewrite_side */
	u16 ports[2];
	u32 *outer[2];
};

/* Write both ends of the quoted packet, and of the error itself; < 0: it could not be written. */
static inline int quoted_write(frame_t *frame, struct packet *p, struct packet *q, struct retold *to)
{
	int result = 0;

#pragma clang loop unroll(disable) /* one copy of the code for both sides */
	for (int side = REWRITE_SOURCE; side <= REWRITE_DESTINATION && !result; side++) {
		u32 *outer = side == REWRITE_SOURCE ? to->outer[0] : to->outer[1];

		result = quoted_address(frame, p, q, side == REWRITE_SOURCE ? to->quoted[0] : to->quoted[1], side);
		if (!result)
			result = quoted_port(frame, p, q, side == REWRITE_SOURCE ? to->ports[0] : to->ports[1], side);
		if (!result && outer)
			result = rewrite_address(frame, p, outer, side);
	}
	count(result < 0 ? COUNTER_TRANSLATE_FAILED : COUNTER_ICMP_TRANSLATED, 1);
	return result;
}

#endif
