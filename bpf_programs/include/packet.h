/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reading a packet: Ethernet, VLAN, IPv4 with options, IPv6 with extension
 * headers, fragments, TCP, UDP, SCTP, ICMP, ICMPv6.
 *
 * Each header has one function. It copies what it needs, within bounds, also from
 * super-packets whose data is not linear, moves `at` behind the header, and
 * returns a parse result.
 * Nothing here drops: a packet that cannot be read is counted and passed.
 */
#ifndef REMORA_PACKET_H
#define REMORA_PACKET_H

#include "include/frame.h"

#define EXTENSION_HEADERS_MAX 8 /* IPv6 extension headers that are followed */
#define VLAN_TAGS_MAX 2         /* tags that are followed: 802.1Q and 802.1ad */

#define IPV6_HOP_BY_HOP 0
#define IPV6_ROUTING 43
#define IPV6_FRAGMENT 44
#define IPV6_AUTH 51
#define IPV6_DESTINATION 60
#define IPV6_MOBILITY 135

#define IPPROTO_TCP_ 6
#define IPPROTO_UDP_ 17
#define IPPROTO_ICMP_ 1
#define IPPROTO_ICMPV6_ 58
#define IPPROTO_SCTP_ 132

#define ICMP_ECHO_REPLY 0
#define ICMP_ECHO_REQUEST 8
#define ICMPV6_ECHO_REQUEST 128
#define ICMPV6_ECHO_REPLY 129

#define SCTP_INIT 1 /* type of the chunk that begins an association */

#define TCP_FIN 1
#define TCP_SYN 2
#define TCP_RST 4
#define TCP_ACK 16

enum parse_result {
	PARSE_OK = 0,
	PARSE_NOT_IP = 1,
	PARSE_TRUNCATED = 2,
	PARSE_EXTENSION_LIMIT = 3,
};

/* What was read of a packet. Ports and ids are in host order. */
struct packet {
	u32 src[4];
	u32 dst[4];
	u32 at;       /* offset of the next unread byte from the start of the frame */
	u32 l3;       /* offset of the IP header */
	u32 l4;       /* offset of the transport header */
	u32 length;   /* bytes from the IP header on, by the IP header's own word */
	u32 seq;      /* TCP sequence number */
	u32 fragment; /* identification of the datagram a fragment belongs to */
	u32 mtu;      /* what the way on takes in one piece, where the packet is larger */
	u16 src_port; /* for ICMP echo: the identifier */
	u16 dst_port;
	u8 family;
	u8 proto;
	u8 tcp_flags;
	u8 icmp_type;
	u8 icmp_code;
	u8 marks;
	u8 later_fragment;
};

static inline int parse_ethernet(frame_t *frame, struct packet *p, u16 *protocol)
{
	u16 type;

	if (read_header(frame, 12, type) < 0)
		return PARSE_TRUNCATED;
	p->at = 14;
	if (frame_untagged(frame))
		p->marks |= MARK_VLAN;
#pragma unroll
	for (int i = 0; i < VLAN_TAGS_MAX; i++) {
		if (type != bpf_htons(0x8100) && type != bpf_htons(0x88a8))
			break;
		if (frame_load(frame, p->at + 2, &type, 2) < 0)
			return PARSE_TRUNCATED;
		p->marks |= MARK_VLAN;
		p->at += 4;
	}
	*protocol = bpf_ntohs(type);
	return PARSE_OK;
}

static inline void map_ipv4(u32 *out, u32 address)
{
	out[0] = 0;
	out[1] = 0;
	out[2] = bpf_htonl(0xffff);
	out[3] = address;
}

/* Length field of an IP header; super-packets over 64 KiB (BIG TCP) carry 0 there. */
static inline u32 ip_length(frame_t *frame, u32 at, u32 field)
{
	return !field && frame_segments(frame) > 1 ? frame_length(frame) - at : field;
}

struct ipv4_head {
	u8 version_ihl;
	u8 tos;
	u16 length;
	u16 id;
	u16 fragment;
	u8 ttl;
	u8 proto;
	u16 check;
	u32 src;
	u32 dst;
};

static inline int parse_ipv4(frame_t *frame, struct packet *p)
{
	struct ipv4_head ip;
	u32 header;

	if (read_header(frame, p->at, ip) < 0)
		return PARSE_TRUNCATED;
	header = (ip.version_ihl & 15) * 4;
	p->length = ip_length(frame, p->at, bpf_ntohs(ip.length));
	if (ip.version_ihl >> 4 != 4 || header < sizeof(ip) || p->length < header)
		return PARSE_TRUNCATED;
	p->family = 4;
	p->proto = ip.proto;
	p->l3 = p->at;
	map_ipv4(p->src, ip.src);
	map_ipv4(p->dst, ip.dst);
	if (ip.fragment & bpf_htons(0x3fff)) {
		p->marks |= MARK_FRAGMENT;
		p->fragment = bpf_ntohs(ip.id);
		p->later_fragment = (ip.fragment & bpf_htons(0x1fff)) != 0;
	}
	p->at += header;
	return PARSE_OK;
}

struct ipv6_head {
	u32 version_class_flow;
	u16 length;
	u8 next;
	u8 hops;
	u32 src[4];
	u32 dst[4];
};

struct extension {
	u8 next;
	u8 length;
	u16 offset; /* fragment header only */
	u32 id;     /* fragment header only */
};

/* One extension header; 1: there may be more, 0: done, -1: cut off. */
static inline int parse_extension(frame_t *frame, struct packet *p)
{
	struct extension ext;

	if (p->proto != IPV6_HOP_BY_HOP && p->proto != IPV6_ROUTING && p->proto != IPV6_FRAGMENT &&
	    p->proto != IPV6_AUTH && p->proto != IPV6_DESTINATION && p->proto != IPV6_MOBILITY)
		return 0;
	if (p->later_fragment)
		return 0;
	if (read_header(frame, p->at, ext) < 0)
		return -1;
	if (p->proto == IPV6_FRAGMENT) {
		if (ext.offset & bpf_htons(0xfff9)) {
			p->marks |= MARK_FRAGMENT;
			p->fragment = bpf_ntohl(ext.id);
			p->later_fragment = (ext.offset & bpf_htons(0xfff8)) != 0;
		}
		p->at += 8;
	} else if (p->proto == IPV6_AUTH) {
		p->at += (ext.length + 2) * 4;
	} else {
		p->at += (ext.length + 1) * 8;
	}
	p->proto = ext.next;
	return 1;
}

static inline int parse_ipv6(frame_t *frame, struct packet *p)
{
	struct ipv6_head ip;

	if (read_header(frame, p->at, ip) < 0 || (bpf_ntohl(ip.version_class_flow) >> 28) != 6)
		return PARSE_TRUNCATED;
	p->family = 6;
	p->proto = ip.next;
	p->l3 = p->at;
	p->length = ip_length(frame, p->at, ip.length ? sizeof(ip) + bpf_ntohs(ip.length) : 0);
	__builtin_memcpy(p->src, ip.src, sizeof(p->src));
	__builtin_memcpy(p->dst, ip.dst, sizeof(p->dst));
	p->at += sizeof(ip);
#pragma clang loop unroll(disable)
	for (int i = 0; i < EXTENSION_HEADERS_MAX; i++) {
		int more = parse_extension(frame, p);

		if (more < 0)
			return PARSE_TRUNCATED;
		if (!more)
			return PARSE_OK;
	}
	return PARSE_EXTENSION_LIMIT;
}

struct tcp_head {
	u16 src;
	u16 dst;
	u32 seq;
	u32 ack;
	u8 offset;
	u8 flags;
};

static inline int parse_tcp(frame_t *frame, struct packet *p)
{
	struct tcp_head tcp;

	if (read_header(frame, p->at, tcp) < 0 || tcp.offset >> 4 < 5)
		return PARSE_TRUNCATED;
	p->src_port = bpf_ntohs(tcp.src);
	p->dst_port = bpf_ntohs(tcp.dst);
	p->tcp_flags = tcp.flags;
	p->seq = bpf_ntohl(tcp.seq);
	p->at += (tcp.offset >> 4) * 4;
	return PARSE_OK;
}

/* UDP and SCTP begin with the same two ports. */
static inline int parse_ports(frame_t *frame, struct packet *p, u32 header)
{
	u16 ports[2];

	if (frame_load(frame, p->at, ports, sizeof(ports)) < 0)
		return PARSE_TRUNCATED;
	p->src_port = bpf_ntohs(ports[0]);
	p->dst_port = bpf_ntohs(ports[1]);
	p->at += header;
	return PARSE_OK;
}

/* The type of the first chunk stands where ICMP has its own. */
static inline int parse_sctp(frame_t *frame, struct packet *p)
{
	if (parse_ports(frame, p, 12) != PARSE_OK)
		return PARSE_TRUNCATED;
	if (frame_load(frame, p->at, &p->icmp_type, sizeof(p->icmp_type)) < 0)
		p->icmp_type = 0; /* a header and nothing else */
	return PARSE_OK;
}

static inline int parse_icmp(frame_t *frame, struct packet *p)
{
	u16 icmp[4]; /* type and code, checksum, identifier, sequence */
	bool echo;

	if (frame_load(frame, p->at, icmp, sizeof(icmp)) < 0)
		return PARSE_TRUNCATED;
	p->icmp_type = bpf_ntohs(icmp[0]) >> 8;
	p->icmp_code = bpf_ntohs(icmp[0]) & 255;
	echo = p->proto == IPPROTO_ICMP_ ? p->icmp_type == ICMP_ECHO_REQUEST || p->icmp_type == ICMP_ECHO_REPLY
					 : p->icmp_type == ICMPV6_ECHO_REQUEST || p->icmp_type == ICMPV6_ECHO_REPLY;
	if (echo)
		p->src_port = p->dst_port = bpf_ntohs(icmp[2]);
	return PARSE_OK;
}

static inline int parse_transport(frame_t *frame, struct packet *p)
{
	if (p->later_fragment)
		return PARSE_OK;
	if (p->proto == IPPROTO_TCP_)
		return parse_tcp(frame, p);
	if (p->proto == IPPROTO_UDP_)
		return parse_ports(frame, p, 8);
	if (p->proto == IPPROTO_SCTP_)
		return parse_sctp(frame, p);
	if (p->proto == IPPROTO_ICMP_ || p->proto == IPPROTO_ICMPV6_)
		return parse_icmp(frame, p);
	return PARSE_OK;
}

/* IP packet whose network protocol is known; `p->at` stands on the IP header. */
static inline int parse_ip(frame_t *frame, struct packet *p, u16 protocol)
{
	int result;

	if (protocol == 0x0800)
		result = parse_ipv4(frame, p);
	else if (protocol == 0x86dd)
		result = parse_ipv6(frame, p);
	else
		return PARSE_NOT_IP;
	p->l4 = p->at;
	return result == PARSE_OK ? parse_transport(frame, p) : result;
}

#endif
