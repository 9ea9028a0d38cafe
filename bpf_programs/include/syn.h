/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Floods of SYNs have sources that are made up, so nothing that is kept by source
 * helps. But who is really there can be asked: while more SYNs come for a
 * destination than it should get, a source that is not known is answered with a
 * SYN-ACK that acknowledges what nobody sent. Who did send a SYN refuses that, by a
 * reset that repeats the number, and sends its SYN again. The number is a SYN
 * cookie of the kernel's for just these addresses and ports, so nothing has to be
 * kept for those that never answer, and none of them can be guessed.
 *
 * Sources: RFC 9293 (3.10.7.3, what a client does with a wrong acknowledgement).
 */
#ifndef REMORA_SYN_H
#define REMORA_SYN_H

#include "include/answer.h"
#include "include/limit.h"

#define SYN_CALM (10 * NS_PER_SECOND) /* sources must prove themselves for so long after the last SYN over the rate */
#define ANSWER_BYTES_MIN 60           /* of a frame on Ethernet */
#define MAC_GROUP 1                   /* bit of the first byte */
#define IPV4_DO_NOT_FRAGMENT 0x4000
#define MIRROR (1U << 31)
#define TCP_WORDS 5
#define TCP_SEQUENCE 4 /* offset in the header */

struct segment_head {
	u16 src;
	u16 dst;
	u32 seq;
	u32 ack;
	u8 offset;
	u8 flags;
	u16 window;
	u16 check;
	u16 urgent;
};

struct ipv4_segment {
	struct ipv4_head ip;
	struct segment_head tcp;
};

struct ipv6_segment {
	struct ipv6_head ip;
	struct segment_head tcp;
};

/* Is it an address that stands for many? Nothing opens a connection from or to one, and none is answered. */
static inline bool address_of_group(const u32 *address, u8 family)
{
	if (family == 6)
		return (bpf_ntohl(address[0]) >> 24) == 0xff;
	return (bpf_ntohl(address[3]) >> 28) == 0xe || address[3] == ~0U;
}

/* Count a SYN to its destination; 0 where there is no room to. */
static inline struct shield_syn *syn_count(struct shield_config *config, struct shield_syn_key *key, u64 now)
{
	struct shield_syn none = {.window = now}, *syn = shield_syns.lookup_or_try_init(key, &none);

	if (!syn)
		return 0;
	if (now >= syn->window + NS_PER_SECOND) {
		syn->window = now;
		syn->count = 0;
	}
	__sync_fetch_and_add(&syn->count, 1);
	if (syn->count > config->syn_rate)
		syn->until = now + SYN_CALM;
	return syn;
}

#ifdef HAVE_SYN_COOKIES

/* What a cookie is made of: nothing in it but the addresses and ports differs from one packet to another. */
struct cookie_heads {
	struct ipv4_head ipv4;
	struct ipv6_head ipv6;
	struct segment_head tcp;
};

static inline void cookie_heads(struct cookie_heads *heads, struct arrival *a)
{
	heads->ipv4.src = a->src[3];
	heads->ipv4.dst = a->dst[3];
	__builtin_memcpy(heads->ipv6.src, a->src, sizeof(a->src));
	__builtin_memcpy(heads->ipv6.dst, a->dst, sizeof(a->dst));
	heads->tcp.src = bpf_htons(a->src_port);
	heads->tcp.dst = bpf_htons(a->dst_port);
	heads->tcp.offset = TCP_WORDS << 4;
}

/* The number that this source must repeat, from this port and to that one; < 0: the kernel makes none. */
static inline s64 cookie_make(struct arrival *a)
{
	struct cookie_heads heads = {};
	struct tcphdr *tcp = (struct tcphdr *)&heads.tcp;
	s64 made;

	cookie_heads(&heads, a);
	if (a->family == 4)
		made = bpf_tcp_raw_gen_syncookie_ipv4((struct iphdr *)&heads.ipv4, tcp, sizeof(heads.tcp));
	else
		made = bpf_tcp_raw_gen_syncookie_ipv6((struct ipv6hdr *)&heads.ipv6, tcp, sizeof(heads.tcp));
	return made < 0 ? made : (u32)made; /* above it: a segment size */
}

/* Is it a cookie that was made a minute or two ago at most? The kernel looks for it in an ACK that follows. */
static inline bool cookie_holds(struct arrival *a, u32 number)
{
	struct cookie_heads heads = {};
	struct tcphdr *tcp = (struct tcphdr *)&heads.tcp;

	cookie_heads(&heads, a);
	heads.tcp.seq = bpf_htonl(1);
	heads.tcp.ack = bpf_htonl(number + 1);
	if (a->family == 4)
		return bpf_tcp_raw_check_syncookie_ipv4((struct iphdr *)&heads.ipv4, tcp) == 0;
	return bpf_tcp_raw_check_syncookie_ipv6((struct ipv6hdr *)&heads.ipv6, tcp) == 0;
}

/* Sum over a segment without payload; the pseudo-header adds the addresses, which stand in a row, and two numbers. */
static inline u16 segment_check(void *addresses, u32 size, struct segment_head *tcp)
{
	s64 sum = bpf_csum_diff(0, 0, addresses, size, bpf_htonl(sizeof(*tcp) + IPPROTO_TCP_));

	return checksum_fold(bpf_csum_diff(0, 0, (u32 *)tcp, sizeof(*tcp), sum));
}

static inline long answer_ipv4(struct xdp_md *ctx, struct arrival *a, const struct segment_head *tcp)
{
	struct ipv4_segment answer = {.tcp = *tcp};

	answer.ip.version_ihl = 0x45;
	answer.ip.length = bpf_htons(sizeof(answer));
	answer.ip.fragment = bpf_htons(IPV4_DO_NOT_FRAGMENT);
	answer.ip.ttl = ANSWER_HOPS;
	answer.ip.proto = IPPROTO_TCP_;
	answer.ip.src = a->dst[3];
	answer.ip.dst = a->src[3];
	answer.ip.check = checksum_fold(bpf_csum_diff(0, 0, (u32 *)&answer.ip, sizeof(answer.ip), 0));
	answer.tcp.check = segment_check(&answer.ip.src, 2 * sizeof(answer.ip.src), &answer.tcp);
	return bpf_xdp_store_bytes(ctx, a->l3, &answer, sizeof(answer));
}

static inline long answer_ipv6(struct xdp_md *ctx, struct arrival *a, const struct segment_head *tcp)
{
	struct ipv6_segment answer = {.tcp = *tcp};

	answer.ip.version_class_flow = bpf_htonl(6 << 28);
	answer.ip.length = bpf_htons(sizeof(answer.tcp));
	answer.ip.next = IPPROTO_TCP_;
	answer.ip.hops = ANSWER_HOPS;
	__builtin_memcpy(answer.ip.src, a->dst, sizeof(answer.ip.src));
	__builtin_memcpy(answer.ip.dst, a->src, sizeof(answer.ip.dst));
	answer.tcp.check = segment_check(answer.ip.src, 2 * sizeof(answer.ip.src), &answer.tcp);
	return bpf_xdp_store_bytes(ctx, a->l3, &answer, sizeof(answer));
}

/* Turn a frame round, and let it end behind the answer; a VLAN tag stays. < 0: it was not for one machine alone. */
static inline long answer_turn(struct xdp_md *ctx, u32 end)
{
	struct {
		u8 target[MAC_LEN];
		u8 source[MAC_LEN];
	} macs, turned;
	u32 length = bpf_xdp_get_buff_len(ctx);

	if (frame_header(ctx, 0, macs) < 0 || macs.target[0] & MAC_GROUP)
		return -1;
	if (end < ANSWER_BYTES_MIN)
		end = ANSWER_BYTES_MIN;
	if (length > end && bpf_xdp_adjust_tail(ctx, (int)(end - length)) < 0)
		return -1;
	__builtin_memcpy(turned.target, macs.source, MAC_LEN);
	__builtin_memcpy(turned.source, macs.target, MAC_LEN);
	return bpf_xdp_store_bytes(ctx, 0, &turned, sizeof(turned));
}

/*
 * The cookie, or its mirror, so that it lies before the SYN's own number: a client
 * could accept what lies behind, and firewalls that follow connections mostly let
 * an old acknowledgement through, but none of what was never sent.
 */
static inline u32 number_before(u32 cookie, u32 sequence)
{
	return (s32)(cookie - sequence) > 0 ? cookie ^ MIRROR : cookie;
}

/* Ask a source whether it is there: its SYN becomes the answer. What cannot be asked is dropped. */
static inline int syn_answer(struct xdp_md *ctx, struct arrival *a)
{
	struct segment_head tcp = {.offset = TCP_WORDS << 4, .flags = TCP_SYN | TCP_ACK};
	u32 size = a->family == 4 ? sizeof(struct ipv4_segment) : sizeof(struct ipv6_segment);
	s64 cookie = cookie_make(a);
	u32 sequence;

	if (cookie < 0 || frame_header(ctx, a->l4 + TCP_SEQUENCE, sequence) < 0)
		return XDP_DROP;
	tcp.src = bpf_htons(a->dst_port);
	tcp.dst = bpf_htons(a->src_port);
	tcp.ack = bpf_htonl(number_before(cookie, bpf_ntohl(sequence)));
	if (answer_turn(ctx, a->l3 + size) < 0)
		return XDP_DROP;
	return (a->family == 4 ? answer_ipv4(ctx, a, &tcp) : answer_ipv6(ctx, a, &tcp)) < 0 ? XDP_DROP : XDP_TX;
}

/* A reset with the right number proves its source, and was not meant for anybody else. */
static inline int syn_proof(struct xdp_md *ctx, struct shield_config *config, struct arrival *a,
			    struct shield_syn_key *key, u64 now)
{
	struct shield_syn *syn = shield_syns.lookup(key);
	u64 until = now + config->proven_seconds * NS_PER_SECOND;
	u32 number;

	if ((a->tcp_flags & (TCP_SYN | TCP_RST | TCP_ACK)) != TCP_RST || !syn || syn->until <= now)
		return XDP_PASS;
	if (frame_header(ctx, a->l4 + TCP_SEQUENCE, number) < 0)
		return XDP_PASS;
	number = bpf_ntohl(number);
	if (!cookie_holds(a, number) && !cookie_holds(a, number ^ MIRROR))
		return XDP_PASS;
	shield_proven.update((struct address_key *)a->src, &until);
	count(COUNTER_SHIELD_PROVEN, 1);
	return XDP_DROP;
}

static inline bool syn_refused(struct shield_config *config, struct shield_syn *syn, u64 now)
{
	return syn->until > now;
}

#else /* a kernel that makes no cookies for programs: nobody can be asked, and what is too much is dropped */

static inline int syn_answer(struct xdp_md *ctx, struct arrival *a)
{
	return XDP_DROP;
}

static inline int syn_proof(struct xdp_md *ctx, struct shield_config *config, struct arrival *a,
			    struct shield_syn_key *key, u64 now)
{
	return XDP_PASS;
}

static inline bool syn_refused(struct shield_config *config, struct shield_syn *syn, u64 now)
{
	return syn->count > config->syn_rate;
}

#endif

static inline bool source_proven(struct arrival *a, u64 now)
{
	u64 *until = shield_proven.lookup((struct address_key *)a->src);

	return until && *until > now;
}

/* What becomes of a packet as far as it opens a connection, or shows who does. */
static inline int syn_check(struct xdp_md *ctx, struct shield_config *config, struct arrival *a)
{
	struct objection why = {.rule = SHIELD_RULE_SYN,
				.counter = COUNTER_SHIELD_UNPROVEN,
				.reason = DROP_RATE_LIMITED,
				.dry = (config->flags & SHIELD_SYN_DRY) != 0};
	struct shield_syn_key key = {.port = a->dst_port};
	struct shield_syn *syn;
	u64 now;

	if (a->proto != IPPROTO_TCP_ || !(a->tcp_flags & (TCP_SYN | TCP_RST)) || address_of_group(a->src, a->family) ||
	    address_of_group(a->dst, a->family))
		return XDP_PASS;
	now = coarse_now();
	__builtin_memcpy(key.addr, a->dst, sizeof(key.addr));
	if (!arrival_opens(a))
		return syn_proof(ctx, config, a, &key, now);
	syn = syn_count(config, &key, now);
	if (!syn || !syn_refused(config, syn, now) || source_proven(a, now) || !shield_object(ctx, config, a, &why))
		return XDP_PASS;
	return syn_answer(ctx, a);
}

#endif
