/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What policy leaves alone: what keeps a link alive, the node's own traffic,
 * what a workload sends to itself, ICMP errors about connections that passed.
 * And what it never lets out: a source address that is not the workload's.
 */
#ifndef REMORA_EXEMPT_H
#define REMORA_EXEMPT_H

#include "include/quoted.h"
#include "include/service.h"

#define IPPROTO_IGMP_ 2
#define ICMPV6_MLD_QUERY 130 /* followed by report, done, router and neighbour discovery, … */
#define ICMPV6_REDIRECT 137  /* … up to this one */
#define ICMPV6_MLD2_REPORT 143
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

/* Is an ICMP error about a connection that passed? It comes back along the connection, so it quotes the other way. */
static inline bool policy_related(struct packet *q, u32 ifindex, bool out)
{
	struct conn_key key = {};
	struct conn *about;

	connection_key(&key, q, ifindex, !out);
	about = connections.lookup(&key);
	return about && !about->denied;
}

#endif
