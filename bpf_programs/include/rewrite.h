/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Writing addresses and ports into a packet, with its checksums: of the IPv4
 * header, and of TCP and UDP, whose pseudo-header covers the addresses. A UDP
 * packet over IPv4 may carry no checksum; then it keeps none.
 *
 * Sources: RFC 791, RFC 8200 (8.1), RFC 1624 (incremental update).
 */
#ifndef REMORA_REWRITE_H
#define REMORA_REWRITE_H

#include "include/packet.h"
#include "include/structs.h"

#define IPV4_CHECK 10
#define IPV4_SRC 12
#define IPV4_DST 16
#define IPV6_SRC 8
#define IPV6_DST 24
#define TCP_SEQUENCE 4
#define TCP_FLAGS 12
#define TCP_CHECK 16
#define UDP_CHECK 6
#define ICMP_CHECK 2
#define IPV4_TTL 8
#define IPV6_HOPS 7
#define PORT_SRC 0
#define PORT_DST 2

enum rewrite_side {
	REWRITE_SOURCE = 0,
	REWRITE_DESTINATION = 1,
};

/* Place and flags of the transport checksum; 0 where there is none to mend. */
static inline u32 checksum_offset(struct packet *p, u64 *flags)
{
	if (p->later_fragment)
		return 0;
	if (p->proto == IPPROTO_TCP_)
		return p->l4 + TCP_CHECK;
	if (p->proto == IPPROTO_UDP_) {
		*flags = BPF_F_MARK_MANGLED_0;
		return p->l4 + UDP_CHECK;
	}
	if (p->proto == IPPROTO_ICMPV6_)
		return p->l4 + ICMP_CHECK;
	return 0;
}

static inline int rewrite_ipv4(frame_t *frame, struct packet *p, u32 from, u32 to, int side)
{
	u64 flags = 0;
	u32 check = checksum_offset(p, &flags);

	if (check && frame_sum(frame, check, from, to, flags | BPF_F_PSEUDO_HDR | 4) < 0)
		return -1;
	if (frame_sum_ip(frame, p->l3 + IPV4_CHECK, from, to, 4) < 0)
		return -1;
	return frame_store(frame, p->l3 + (side == REWRITE_SOURCE ? IPV4_SRC : IPV4_DST), &to, 4);
}

static inline int rewrite_ipv6(frame_t *frame, struct packet *p, u32 *from, u32 *to, int side)
{
	u64 flags = 0;
	u32 check = checksum_offset(p, &flags);
	s64 difference = bpf_csum_diff(from, 16, to, 16, 0);

	if (check && frame_sum(frame, check, 0, difference, flags | BPF_F_PSEUDO_HDR) < 0)
		return -1;
	return frame_store(frame, p->l3 + (side == REWRITE_SOURCE ? IPV6_SRC : IPV6_DST), to, 16);
}

static inline int rewrite_port(frame_t *frame, struct packet *p, u16 from, u16 to, int side)
{
	u64 flags = 0;
	u32 check = checksum_offset(p, &flags);

	from = bpf_htons(from);
	to = bpf_htons(to);
	if (p->later_fragment || from == to)
		return 0;
	if (check && frame_sum(frame, check, from, to, flags | 2) < 0)
		return -1;
	return frame_store(frame, p->l4 + (side == REWRITE_SOURCE ? PORT_SRC : PORT_DST), &to, 2);
}

/* Exchange two neighbouring runs of `size` bytes; sums over both stay as they are. */
static inline int rewrite_swap(frame_t *frame, u32 at, u32 size)
{
	u8 both[32];
	u8 swapped[32];

	if (frame_load(frame, at, both, 2 * size) < 0)
		return -1;
	__builtin_memcpy(swapped, both + size, size);
	__builtin_memcpy(swapped + size, both, size);
	return frame_store(frame, at, swapped, 2 * size);
}

/* Turn a frame round: to the MAC address that it came from. */
static inline int rewrite_turn(frame_t *frame)
{
	return rewrite_swap(frame, 0, MAC_LEN);
}

/* Make the reset of a TCP packet out of the packet itself (RFC 9293, 3.10.7.1). */
static inline int rewrite_reset(frame_t *frame, struct packet *p)
{
	u32 check = p->l4 + TCP_CHECK;
	u32 numbers[2]; /* sequence, acknowledgement */
	u32 answer[2];
	u16 word, reset; /* data offset and flags */

	if (frame_load(frame, p->l4 + TCP_SEQUENCE, numbers, 8) < 0 ||
	    frame_load(frame, p->l4 + TCP_FLAGS, &word, 2) < 0)
		return -1;
	answer[0] = 0;
	answer[1] = bpf_htonl(bpf_ntohl(numbers[0]) + 1);
	reset = (word & bpf_htons(0xf000)) | bpf_htons(TCP_RST | TCP_ACK);
	if (frame_sum(frame, check, numbers[0], answer[0], 4) < 0 ||
	    frame_sum(frame, check, numbers[1], answer[1], 4) < 0 || frame_sum(frame, check, word, reset, 2) < 0)
		return -1;
	if (frame_store(frame, p->l4 + TCP_SEQUENCE, answer, 8) < 0 ||
	    frame_store(frame, p->l4 + TCP_FLAGS, &reset, 2) < 0)
		return -1;
	if (rewrite_swap(frame, p->l4, 2) < 0 || rewrite_turn(frame) < 0)
		return -1;
	return p->family == 4 ? rewrite_swap(frame, p->l3 + IPV4_SRC, 4) : rewrite_swap(frame, p->l3 + IPV6_SRC, 16);
}

/* Put an address into one side of a packet; < 0: it could not be written. */
static inline int rewrite_address(frame_t *frame, struct packet *p, u32 *address, int side)
{
	u32 from[4];

	__builtin_memcpy(from, side == REWRITE_SOURCE ? p->src : p->dst, sizeof(from));
	if (p->family == 4)
		return rewrite_ipv4(frame, p, from[3], address[3], side);
	return rewrite_ipv6(frame, p, from, address, side);
}

/* Put an address and a port (host order) into one side of a packet; < 0: it could not be written. */
static inline int rewrite_packet(frame_t *frame, struct packet *p, u32 *address, u16 port, int side)
{
	u16 from_port = side == REWRITE_SOURCE ? p->src_port : p->dst_port;
	int result = rewrite_address(frame, p, address, side);

	return result < 0 ? result : rewrite_port(frame, p, from_port, port, side);
}

#endif
