/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What policy leaves alone: what keeps a link alive, the node's own traffic,
 * what a workload sends to itself, ICMP errors about connections that passed.
 * And what it never lets out: a source address that is not the workload's.
 */
#ifndef REMORA_EXEMPT_H
#define REMORA_EXEMPT_H

#include "include/rewrite.h"
#include "include/service.h"

#define IPPROTO_IGMP_ 2
#define IPV6_NEXT 6
#define ICMP_UNREACHABLE 3
#define ICMP_SOURCE_QUENCH 4
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER 12
#define ICMPV6_UNREACHABLE 1
#define ICMPV6_PARAMETER 4
#define ICMPV6_MLD_QUERY 130 /* followed by report, done, router and neighbour discovery, … */
#define ICMPV6_REDIRECT 137  /* … up to this one */
#define ICMPV6_MLD2_REPORT 143
#define ICMP_HEADER 8
#define DHCP_SERVER 67
#define DHCP_CLIENT 68
#define DHCPV6_CLIENT 546
#define DHCPV6_SERVER 547

static inline bool is_link_local(const u32 *address)
{
	if (is_mapped(address))
		return (address[3] & bpf_htonl(0xffff0000)) == bpf_htonl(0xa9fe0000);
	return (address[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

/* Multicast of IPv4, and of the link for IPv6. */
static inline bool is_multicast(const u32 *address)
{
	if (is_mapped(address))
		return (address[3] & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000);
	return (address[0] & bpf_htonl(0xffff0000)) == bpf_htonl(0xff020000);
}

/* DHCP between a workload and whoever is on its link; renewals to an address need a rule, or become broadcasts. */
static inline bool policy_dhcp(struct packet *p, bool out)
{
	u16 client = p->family == 4 ? DHCP_CLIENT : DHCPV6_CLIENT;
	u16 server = p->family == 4 ? DHCP_SERVER : DHCPV6_SERVER;

	if (p->proto != IPPROTO_UDP_ || (p->marks & MARK_NO_PORTS))
		return false;
	if (!out)
		return p->src_port == server && p->dst_port == client && (p->family == 4 || is_link_local(p->src));
	if (p->src_port != client || p->dst_port != server)
		return false;
	return is_multicast(p->dst) || (is_mapped(p->dst) && (p->dst[3] == ~0U || !p->src[3]));
}

/* What keeps a link alive. */
static inline bool policy_link(struct packet *p, bool out)
{
	if (p->proto == IPPROTO_ICMPV6_ && p->family == 6 && !p->later_fragment)
		return (p->icmp_type >= ICMPV6_MLD_QUERY && p->icmp_type <= ICMPV6_REDIRECT) ||
		       p->icmp_type == ICMPV6_MLD2_REPORT;
	if (p->proto == IPPROTO_IGMP_)
		return is_multicast(p->dst);
	return policy_dhcp(p, out);
}

static inline bool policy_spoofed(struct packet *p, u32 ifindex)
{
	struct address *known;

	if (is_link_local(p->src))
		return false;
	if (is_unspecified(p->src))
		return !policy_link(p, true);
	known = addresses.lookup((struct address_key *)p->src);
	return !known || known->ifindex != ifindex;
}

/* The node itself on the other end, or the workload on both. */
static inline bool policy_at_home(struct conn_key *key)
{
	struct address *known;

	if (same_address(key->local, key->remote))
		return true;
	known = addresses.lookup((struct address_key *)key->remote);
	return known && known->workload == RESERVED_HOST;
}

static inline bool is_icmp(struct packet *p)
{
	return p->proto == IPPROTO_ICMP_ || p->proto == IPPROTO_ICMPV6_;
}

/* Packets that no connection entry speaks for: ICMP other than echo, and fragments without ports. */
static inline bool policy_stateless(struct packet *p)
{
	if (p->marks & MARK_NO_PORTS)
		return true;
	if (!is_icmp(p) || p->later_fragment)
		return false;
	if (p->proto == IPPROTO_ICMP_)
		return p->icmp_type != ICMP_ECHO_REQUEST && p->icmp_type != ICMP_ECHO_REPLY;
	return p->icmp_type != ICMPV6_ECHO_REQUEST && p->icmp_type != ICMPV6_ECHO_REPLY;
}

static inline bool is_icmp_error(struct packet *p)
{
	u8 type = p->icmp_type;

	if (!is_icmp(p) || p->later_fragment)
		return false;
	if (p->proto == IPPROTO_ICMP_)
		return type == ICMP_UNREACHABLE || type == ICMP_SOURCE_QUENCH || type == ICMP_TIME_EXCEEDED ||
		       type == ICMP_PARAMETER;
	return type >= ICMPV6_UNREACHABLE && type <= ICMPV6_PARAMETER;
}

/* Addresses of the packet that an ICMP error is about; where its transport header begins, 0: it cannot be read. */
static inline u32 policy_embedded(struct __sk_buff *skb, struct packet *p, u32 *src, u32 *dst, u8 *proto)
{
	u32 at = p->l4 + ICMP_HEADER;

	if (p->family == 4) {
		struct ipv4_head ip;

		if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) < 0 || ip.version_ihl >> 4 != 4)
			return 0;
		map_ipv4(src, ip.src);
		map_ipv4(dst, ip.dst);
		*proto = ip.proto;
		return at + (ip.version_ihl & 15) * 4;
	}
	if (bpf_skb_load_bytes(skb, at + IPV6_NEXT, proto, 1) < 0 ||
	    bpf_skb_load_bytes(skb, at + IPV6_SRC, src, 16) < 0 || bpf_skb_load_bytes(skb, at + IPV6_DST, dst, 16) < 0)
		return 0;
	return at + sizeof(struct ipv6_head);
}

/* Is an ICMP error about a connection that passed? It comes back along the connection, so it embeds the other way. */
static inline bool policy_related(struct __sk_buff *skb, struct packet *p, bool out)
{
	struct conn_key key = {.ifindex = skb->ifindex};
	struct conn *about;
	u16 ports[2];
	u32 at = policy_embedded(skb, p, out ? key.remote : key.local, out ? key.local : key.remote, &key.proto);

	if (!at)
		return false;
	if (key.proto == IPPROTO_ICMP_ || key.proto == IPPROTO_ICMPV6_) {
		if (bpf_skb_load_bytes(skb, at + 4, ports, 2) < 0)
			return false;
		ports[1] = ports[0]; /* the identifier of an echo */
	} else if (bpf_skb_load_bytes(skb, at, ports, 4) < 0) {
		return false;
	}
	key.local_port = bpf_ntohs(ports[out ? 1 : 0]);
	key.remote_port = bpf_ntohs(ports[out ? 0 : 1]);
	about = connections.lookup(&key);
	return about && !about->denied;
}

#endif
