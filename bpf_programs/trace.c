/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Packets that the kernel itself drops, by the kernel's own reason. The reason
 * is an argument of the tracepoint; its name is looked up in the running kernel's
 * type information, as the numbers differ from release to release. A dropped
 * packet of a TCP handshake is noted at its connection: should nobody ever answer,
 * that is why. Where the packet lies in the kernel's struct comes from the same
 * type information (ebpf/features.py), and without it only the count is kept.
 */
#include "include/common.h"
#include "include/connection.h"

#define KFREE_SKB_REASON 2          /* third argument since Linux 5.17 */
#define DROP_REASON_NOT_SPECIFIED 2 /* this and smaller ones say nothing */

#ifdef SKB_HEAD
static inline void read_kernel(void *to, u32 size, const void *from)
{
	if (bpf_probe_read_kernel(to, size, from) < 0)
		__builtin_memset(to, 0, size);
}

/* The addresses of a dropped TCP packet as its sender writes them; returns its TCP flags, 0 where it is not TCP. */
static inline u8 read_dropped(void *skb, struct owner_key *key)
{
	struct tcp_head tcp = {};
	u16 network = 0;
	void *at = 0;
	u8 version = 0;

	read_kernel(&at, sizeof(at), skb + SKB_HEAD);
	read_kernel(&network, sizeof(network), skb + SKB_NETWORK);
	at += network;
	read_kernel(&version, sizeof(version), at);
	if (version >> 4 == 4) {
		struct ipv4_head ip = {};

		read_kernel(&ip, sizeof(ip), at);
		if (ip.proto != IPPROTO_TCP_ || (ip.fragment & bpf_htons(0x1fff)))
			return 0;
		map_ipv4(key->local, ip.src);
		map_ipv4(key->remote, ip.dst);
		at += (ip.version_ihl & 15) * 4;
	} else {
		struct ipv6_head ip = {};

		read_kernel(&ip, sizeof(ip), at);
		if (version >> 4 != 6 || ip.next != IPPROTO_TCP_)
			return 0;
		copy_address(key->local, ip.src);
		copy_address(key->remote, ip.dst);
		at += sizeof(ip);
	}
	read_kernel(&tcp, sizeof(tcp), at);
	key->local_port = bpf_ntohs(tcp.src);
	key->remote_port = bpf_ntohs(tcp.dst);
	key->proto = IPPROTO_TCP_;
	return tcp.flags;
}

/* Note the reason at the connection, on the device of one of its ends. */
static inline void note_at_device(u32 *end, u32 *other, u16 port, u16 other_port, u32 reason)
{
	struct address *holder = addresses.lookup((struct address_key *)end);
	struct conn_key key = {.local_port = port, .remote_port = other_port, .proto = IPPROTO_TCP_};
	struct conn *c;

	if (!holder || !holder->ifindex)
		return;
	copy_address(key.local, end);
	copy_address(key.remote, other);
	key.ifindex = holder->ifindex;
	c = connections.lookup(&key);
	if (c && !c->used)
		c->dropped = reason;
}

/* The connection as its other end sends it. */
static inline void turn(struct owner_key *key)
{
	u32 address[4];
	u16 port = key->local_port;

	copy_address(address, key->local);
	copy_address(key->local, key->remote);
	copy_address(key->remote, address);
	key->local_port = key->remote_port;
	key->remote_port = port;
}

static inline void note_handshake(void *skb, u32 reason)
{
	struct owner_key key = {};
	struct owner *owner;
	u8 flags = read_dropped(skb, &key);

	if (!(flags & TCP_SYN) && (!flags || reason != DROP_LISTEN_OVERFLOW))
		return;
	if (flags & TCP_SYN && flags & TCP_ACK)
		turn(&key); /* the initiator is to know */
	owner = owners.lookup(&key);
	if (owner)
		owner->dropped = reason;
	note_at_device(key.local, key.remote, key.local_port, key.remote_port, reason);
	note_at_device(key.remote, key.local, key.remote_port, key.local_port, reason);
}
#endif

int kfree_skb(struct bpf_raw_tracepoint_args *ctx)
{
	u32 reason = ctx->args[KFREE_SKB_REASON];
	u64 *value = kernel_drops.lookup(&reason);

	if (value)
		*value += 1;
#ifdef SKB_HEAD
	/* a bridge floods copies, and whom they do not concern drops them as somebody else's */
	if (reason > DROP_REASON_NOT_SPECIFIED && reason != DROP_OTHERHOST)
		note_handshake((void *)ctx->args[0], reason);
#endif
	return 0;
}
