/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reading a frame that comes off the wire, strictly: what no honest sender writes
 * is named by the first rule that it breaks. The frame is read on as far as it
 * goes all the same, as whoever lets it pass still asks where it is from.
 *
 * Headers are read where they lie, which is the frame's first buffer nearly
 * always; of frames in several buffers the rest is copied.
 */
#ifndef REMORA_ARRIVAL_H
#define REMORA_ARRIVAL_H

#include "include/packet.h"

#define FRAGMENT_NONE 0
#define FRAGMENT_FIRST 1
#define FRAGMENT_LATER 2

#define FIRST_BUFFER_MAX 0x4000 /* headers that begin behind this offset are copied */
#define DATAGRAM_MAX 65535      /* bytes */
#define TCP_LENGTH 20
#define UDP_LENGTH 8
#define ICMP_LENGTH 8
#define SCTP_LENGTH 12
#define TCP_CONTROLS 0x3f /* FIN, SYN, RST, PSH, ACK, URG */

/* What was read of a frame; IPv4 addresses as ::ffff:a.b.c.d, numbers in host order. */
struct arrival {
	u32 src[4];
	u32 dst[4];
	u32 l3;       /* offset of the IP header from the start of the frame */
	u32 l4;       /* offset of what the IP headers carry; 0: they do not say */
	u32 length;   /* bytes from the IP header on, by its own word; at most what the frame has */
	u32 id;       /* of the datagram, where this is a fragment */
	u32 from;     /* a fragment's place in the datagram (bytes) */
	u32 size;     /* bytes of the datagram that the fragment carries */
	u16 src_port; /* 0 where there are none, and in later fragments */
	u16 dst_port;
	u8 family; /* 4, 6, or 0: no IP */
	u8 known;  /* the addresses were read */
	u8 proto;
	u8 tcp_flags;
	u8 fragment; /* FRAGMENT_… */
	u8 more;     /* fragments of the datagram are behind this one */
	u8 wrong;    /* enum shield_rule that the frame breaks first, 0: none */
};

/* What was written to maps is read again: the verifier then knows nothing of it, and ways that differ are one. */
#define forget() asm volatile("" ::: "memory")

static inline int frame_copy(struct xdp_md *ctx, u32 at, void *to, u32 size)
{
#ifdef HAVE_XDP_BUFFERS
	return bpf_xdp_load_bytes(ctx, at, to, size);
#else
	return -1;
#endif
}

/* Bytes of a frame behind an offset; where its first buffer has `enough`, the others are not asked for. */
static inline u32 frame_rest(struct xdp_md *ctx, u32 at, u32 enough)
{
	u32 rest = ctx->data_end - ctx->data - at;

#ifdef HAVE_XDP_BUFFERS
	if (rest < enough)
		rest = bpf_xdp_get_buff_len(ctx) - at;
#endif
	return rest;
}

/* Copy a header to `head`; < 0 where the frame ends before it. */
#define frame_header(ctx, at, head)                                                                                    \
	({                                                                                                             \
		u32 offset = (at);                                                                                     \
		typeof(head) *from = (void *)(long)(ctx)->data + (offset & (FIRST_BUFFER_MAX - 1));                    \
		int result = 0;                                                                                        \
		if (offset < FIRST_BUFFER_MAX && (void *)(from + 1) <= (void *)(long)(ctx)->data_end)                  \
			(head) = *from;                                                                                \
		else                                                                                                   \
			result = frame_copy(ctx, offset, &(head), sizeof(head));                                       \
		result;                                                                                                \
	})

static inline void arrival_wrong(struct arrival *a, u8 rule)
{
	if (!a->wrong)
		a->wrong = rule;
}

/* Ethernet and up to two VLAN tags; the protocol behind them, 0 where the frame ends before. */
static inline u16 arrive_ethernet(struct xdp_md *ctx, struct arrival *a)
{
	struct {
		u16 control;
		u16 type;
	} tag;
	u16 type;

	if (frame_header(ctx, 2 * MAC_LEN, type) < 0)
		return 0;
	a->l3 = 2 * MAC_LEN + sizeof(type);
#pragma unroll
	for (int i = 0; i < VLAN_TAGS_MAX; i++) {
		if (type != bpf_htons(0x8100) && type != bpf_htons(0x88a8))
			break;
		if (frame_header(ctx, a->l3, tag) < 0)
			return 0;
		type = tag.type;
		a->l3 += sizeof(tag);
	}
	return type;
}

/*
 * Bytes from the IP header on: its own word, `field`, which leaves out `base`, as
 * far as the frame has them. The kernel's own super-packets are longer than the
 * field can say; they have 0 there.
 */
static inline void arrival_length(struct xdp_md *ctx, struct arrival *a, u32 base, u32 field, u8 rule)
{
	u32 rest = frame_rest(ctx, a->l3, field ? base + field : ~0U);
	u32 length = !field && rest > base + DATAGRAM_MAX ? rest : base + field;

	if (length > rest)
		arrival_wrong(a, rule);
	a->length = length > rest ? rest : length;
}

/* A part of a datagram: `from` bytes behind its beginning; `part` is the offset of what it carries. */
static inline void arrival_fragment(struct arrival *a, u32 part, u32 id, u32 from, bool more)
{
	u32 end = a->l3 + a->length;

	if (!from && !more)
		return; /* the whole of it */
	a->fragment = from ? FRAGMENT_LATER : FRAGMENT_FIRST;
	a->id = id;
	a->from = from;
	a->more = more;
	a->size = end > part ? end - part : 0;
	if (from + a->size > DATAGRAM_MAX || (more && a->size % 8))
		arrival_wrong(a, SHIELD_RULE_FRAGMENT_LENGTH);
}

static inline void arrival_addresses4(struct arrival *a, u32 src, u32 dst)
{
	a->known = 1;
	map_ipv4(a->src, src);
	map_ipv4(a->dst, dst);
	if ((src & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000) || src == 0xffffffff)
		arrival_wrong(a, SHIELD_RULE_SOURCE);
	if ((src & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000) ||
	    (dst & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000))
		arrival_wrong(a, SHIELD_RULE_LOOPBACK);
	if (src == dst)
		arrival_wrong(a, SHIELD_RULE_LAND);
}

static inline void arrive_ipv4(struct xdp_md *ctx, struct arrival *a)
{
	struct ipv4_head ip;
	u32 header;
	u16 fragment;

	if (frame_header(ctx, a->l3, ip) < 0 || ip.version_ihl >> 4 != 4) {
		arrival_wrong(a, SHIELD_RULE_IPV4_HEADER);
		return;
	}
	header = (ip.version_ihl & 15) * 4;
	if (header < sizeof(ip) || header > frame_rest(ctx, a->l3, header)) {
		arrival_wrong(a, SHIELD_RULE_IPV4_HEADER);
		arrival_addresses4(a, ip.src, ip.dst);
		return;
	}
	arrival_length(ctx, a, 0, bpf_ntohs(ip.length), SHIELD_RULE_IPV4_LENGTH);
	if (a->length < header) {
		arrival_wrong(a, SHIELD_RULE_IPV4_LENGTH);
		a->length = header;
	}
	arrival_addresses4(a, ip.src, ip.dst);
	a->proto = ip.proto;
	a->l4 = a->l3 + header;
	fragment = bpf_ntohs(ip.fragment);
	arrival_fragment(a, a->l4, bpf_ntohs(ip.id), (fragment & 0x1fff) * 8, fragment & 0x2000);
}

static inline void arrival_addresses6(struct arrival *a, const struct ipv6_head *ip)
{
	bool same = true;

	a->known = 1;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		a->src[i] = ip->src[i];
		a->dst[i] = ip->dst[i];
		same = same && ip->src[i] == ip->dst[i];
	}
	if ((ip->src[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000) ||
	    (!ip->src[0] && !ip->src[1] && ip->src[2] == bpf_htonl(0xffff)))
		arrival_wrong(a, SHIELD_RULE_SOURCE);
	if ((!ip->src[0] && !ip->src[1] && !ip->src[2] && ip->src[3] == bpf_htonl(1)) ||
	    (!ip->dst[0] && !ip->dst[1] && !ip->dst[2] && ip->dst[3] == bpf_htonl(1)))
		arrival_wrong(a, SHIELD_RULE_LOOPBACK);
	if (same)
		arrival_wrong(a, SHIELD_RULE_LAND);
}

/* By one bit of a word, as the verifier follows every branch in every turn of the loop. */
static inline bool is_extension(u8 proto)
{
	const u64 known = 1ULL << IPV6_HOP_BY_HOP | 1ULL << IPV6_ROUTING | 1ULL << IPV6_FRAGMENT | 1ULL << IPV6_AUTH |
			  1ULL << IPV6_DESTINATION;

	return proto < 64 ? known >> proto & 1 : proto == IPV6_MOBILITY;
}

/* One extension header; false: it is cut off. */
static inline bool arrive_extension(struct xdp_md *ctx, struct arrival *a)
{
	u32 end = a->l3 + a->length;
	u32 size = 8;
	struct extension ext;

	if (a->l4 + size > end || frame_header(ctx, a->l4, ext) < 0)
		return false;
	if (a->proto == IPV6_FRAGMENT)
		arrival_fragment(a, a->l4 + size, bpf_ntohl(ext.id), bpf_ntohs(ext.offset) & 0xfff8,
				 ext.offset & bpf_htons(1));
	else
		size = a->proto == IPV6_AUTH ? (ext.length + 2) * 4 : (ext.length + 1) * 8;
	a->proto = ext.next;
	a->l4 += size;
	return a->l4 <= end;
}

/* Does what the IPv6 header carries begin after its extension headers? False: nobody can say. */
static inline bool arrive_extensions(struct xdp_md *ctx, struct arrival *a)
{
#pragma clang loop unroll(disable)
	for (int i = 0; i < EXTENSION_HEADERS_MAX; i++) {
		forget();
		if (a->fragment == FRAGMENT_LATER || !is_extension(a->proto))
			return true;
		if ((i && a->proto == IPV6_HOP_BY_HOP) || !arrive_extension(ctx, a))
			return false;
	}
	return a->fragment == FRAGMENT_LATER || !is_extension(a->proto);
}

/* False where what the packet carries cannot be found. */
static inline bool arrive_ipv6(struct xdp_md *ctx, struct arrival *a)
{
	struct ipv6_head ip;

	if (frame_header(ctx, a->l3, ip) < 0 || bpf_ntohl(ip.version_class_flow) >> 28 != 6) {
		arrival_wrong(a, SHIELD_RULE_IPV6_HEADER);
		return false;
	}
	arrival_length(ctx, a, sizeof(ip), bpf_ntohs(ip.length), SHIELD_RULE_IPV6_LENGTH);
	arrival_addresses6(a, &ip);
	a->proto = ip.next;
	a->l4 = a->l3 + sizeof(ip);
	if (arrive_extensions(ctx, a))
		return true;
	arrival_wrong(a, SHIELD_RULE_IPV6_EXTENSION);
	return false;
}

static inline bool odd_flags(u8 flags)
{
	return !(flags & TCP_CONTROLS) || (flags & TCP_SYN && flags & (TCP_FIN | TCP_RST)) ||
	       (flags & TCP_FIN && !(flags & TCP_ACK));
}

static inline void arrive_tcp(struct xdp_md *ctx, struct arrival *a, u32 size)
{
	struct tcp_head tcp;
	u32 header;

	if (size < TCP_LENGTH || frame_header(ctx, a->l4, tcp) < 0) {
		arrival_wrong(a, a->fragment ? SHIELD_RULE_FRAGMENT_TINY : SHIELD_RULE_TCP_HEADER);
		return;
	}
	a->src_port = bpf_ntohs(tcp.src);
	a->dst_port = bpf_ntohs(tcp.dst);
	a->tcp_flags = tcp.flags;
	header = (tcp.offset >> 4) * 4;
	if (header < TCP_LENGTH || (!a->fragment && header > size))
		arrival_wrong(a, SHIELD_RULE_TCP_HEADER);
	if (odd_flags(tcp.flags))
		arrival_wrong(a, SHIELD_RULE_TCP_FLAGS);
	if (!tcp.src || !tcp.dst)
		arrival_wrong(a, SHIELD_RULE_PORT);
}

struct udp_head {
	u16 src;
	u16 dst;
	u16 length;
};

static inline void arrive_udp(struct xdp_md *ctx, struct arrival *a, u32 size)
{
	struct udp_head udp;
	u32 length;

	if (size < UDP_LENGTH || frame_header(ctx, a->l4, udp) < 0) {
		arrival_wrong(a, a->fragment ? SHIELD_RULE_FRAGMENT_TINY : SHIELD_RULE_UDP_LENGTH);
		return;
	}
	a->src_port = bpf_ntohs(udp.src);
	a->dst_port = bpf_ntohs(udp.dst);
	length = bpf_ntohs(udp.length);
	if (length < UDP_LENGTH || (!a->fragment && length > size))
		arrival_wrong(a, SHIELD_RULE_UDP_LENGTH);
	if (!udp.dst)
		arrival_wrong(a, SHIELD_RULE_PORT);
}

/* It begins with the same two ports as UDP. */
static inline void arrive_sctp(struct xdp_md *ctx, struct arrival *a, u32 size)
{
	struct udp_head ports;

	if (size < SCTP_LENGTH || frame_header(ctx, a->l4, ports) < 0)
		return;
	a->src_port = bpf_ntohs(ports.src);
	a->dst_port = bpf_ntohs(ports.dst);
}

static inline void arrive_transport(struct xdp_md *ctx, struct arrival *a)
{
	u32 size = a->l3 + a->length - a->l4;

	if (a->fragment == FRAGMENT_LATER) {
		if (a->proto == IPPROTO_TCP_ && a->from == 8)
			arrival_wrong(a, SHIELD_RULE_FRAGMENT_TINY);
	} else if (a->proto == IPPROTO_TCP_) {
		arrive_tcp(ctx, a, size);
	} else if (a->proto == IPPROTO_UDP_) {
		arrive_udp(ctx, a, size);
	} else if (a->proto == IPPROTO_SCTP_) {
		arrive_sctp(ctx, a, size);
	} else if ((a->proto == IPPROTO_ICMP_ || a->proto == IPPROTO_ICMPV6_) && size < ICMP_LENGTH) {
		arrival_wrong(a, a->fragment ? SHIELD_RULE_FRAGMENT_TINY : SHIELD_RULE_ICMP_LENGTH);
	}
}

/* Read a frame into `a`, which is all zero; false: it carries no IP. */
static inline bool arrive(struct xdp_md *ctx, struct arrival *a)
{
	u16 type = arrive_ethernet(ctx, a);

	if (type == bpf_htons(0x0800)) {
		a->family = 4;
		arrive_ipv4(ctx, a);
		if (a->l4)
			arrive_transport(ctx, a);
	} else if (type == bpf_htons(0x86dd)) {
		a->family = 6;
		if (arrive_ipv6(ctx, a))
			arrive_transport(ctx, a);
	}
	return a->family;
}

#endif
