/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Telling a sender that its packet goes nowhere: TCP gets a reset, everything
 * else an ICMP error. The answer is made out of the packet itself and leaves by
 * the device that it came from.
 *
 * Sources: RFC 792, RFC 1191 (4), RFC 4443 (2.4, 3.1, 3.2).
 */
#ifndef REMORA_REJECT_H
#define REMORA_REJECT_H

#include "include/answer.h"
#include "include/connection.h"
#include "include/rewrite.h"

#define QUOTE_MAX 128 /* bytes of the packet that an error repeats: its IP header and 8 bytes more */

#define ICMP_UNREACHABLE 3
#define ICMP_PORT_UNREACHABLE 3
#define ICMP_FRAGMENTATION_NEEDED 4
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER 12
#define ICMPV6_UNREACHABLE 1
#define ICMPV6_PORT_UNREACHABLE 4
#define ICMPV6_TOO_BIG 2
#define ICMPV6_PARAMETER 4

/* Actions beside the kernel's, for `act`. */
enum own_action {
	ACT_REJECT = 100,  /* tell the sender that nothing serves there */
	ACT_TOO_BIG = 101, /* tell it that the way on takes `mtu` bytes in one piece */
};

struct icmp_head {
	u8 type;
	u8 code;
	u16 check;
	u32 rest; /* of a "too big": the size that would pass */
};

struct icmp_quote {
	u64 bytes[QUOTE_MAX / 8];
};

struct ipv4_answer {
	struct ipv4_head ip;
	struct icmp_head icmp;
};

struct ipv6_answer {
	struct ipv6_head ip;
	struct icmp_head icmp;
};

BPF_PERCPU_ARRAY(quote_scratch, struct icmp_quote, 1);

/* Sum over the ICMP header and what it quotes, which is zeroed behind its end. */
static inline s64 icmp_sum(struct icmp_head *icmp, struct icmp_quote *quote, s64 sum)
{
	sum = bpf_csum_diff(0, 0, (u32 *)icmp, sizeof(*icmp), sum);
	return bpf_csum_diff(0, 0, (u32 *)quote, sizeof(*quote), sum);
}

static inline int icmp_write_ipv4(frame_t *frame, struct packet *p, struct icmp_head *icmp, struct icmp_quote *quote,
				  u32 quoted)
{
	struct ipv4_answer answer = {.icmp = *icmp};

	answer.ip.version_ihl = 0x45;
	answer.ip.length = bpf_htons(sizeof(answer) + quoted);
	answer.ip.ttl = ANSWER_HOPS;
	answer.ip.proto = IPPROTO_ICMP_;
	answer.ip.src = p->dst[3];
	answer.ip.dst = p->src[3];
	answer.ip.check = checksum_fold(bpf_csum_diff(0, 0, (u32 *)&answer.ip, sizeof(answer.ip), 0));
	answer.icmp.check = checksum_fold(icmp_sum(icmp, quote, 0));
	if (frame_resize(frame, p->l3 + sizeof(answer) + quoted) < 0)
		return -1;
	return frame_store(frame, p->l3, &answer, sizeof(answer));
}

static inline int icmp_write_ipv6(frame_t *frame, struct packet *p, struct icmp_head *icmp, struct icmp_quote *quote,
				  u32 quoted)
{
	struct ipv6_answer answer = {.icmp = *icmp};
	u32 pseudo[2] = {bpf_htonl(sizeof(*icmp) + quoted), bpf_htonl(IPPROTO_ICMPV6_)};
	s64 sum;

	answer.ip.version_class_flow = bpf_htonl(6 << 28);
	answer.ip.length = bpf_htons(sizeof(*icmp) + quoted);
	answer.ip.next = IPPROTO_ICMPV6_;
	answer.ip.hops = ANSWER_HOPS;
	__builtin_memcpy(answer.ip.src, p->dst, sizeof(answer.ip.src));
	__builtin_memcpy(answer.ip.dst, p->src, sizeof(answer.ip.dst));
	sum = bpf_csum_diff(0, 0, answer.ip.src, 2 * sizeof(answer.ip.src), 0);
	sum = bpf_csum_diff(0, 0, pseudo, sizeof(pseudo), sum);
	answer.icmp.check = checksum_fold(icmp_sum(icmp, quote, sum));
	if (frame_resize(frame, p->l3 + sizeof(answer) + quoted) < 0)
		return -1;
	return frame_store(frame, p->l3, &answer, sizeof(answer));
}

/* Make an ICMP error about a packet out of the packet, as it came; < 0: nothing can be told. */
static inline int icmp_answer(frame_t *frame, struct packet *p, struct icmp_head *icmp)
{
	u32 zero = 0;
	u64 quoted = p->l4 - p->l3 + 8;
	u32 head = p->family == 4 ? sizeof(struct ipv4_answer) : sizeof(struct ipv6_answer);
	struct icmp_quote *quote = quote_scratch.lookup(&zero);
	int result;

	barrier(quoted); /* the verifier must see the very register that is compared */
	if (!quote || quoted < sizeof(struct ipv4_head) || quoted > QUOTE_MAX || p->later_fragment)
		return -1;
	__builtin_memset(quote, 0, sizeof(*quote));
	if (frame_load(frame, p->l3, quote->bytes, quoted) < 0)
		return -1;
	if (p->family == 4)
		result = icmp_write_ipv4(frame, p, icmp, quote, quoted);
	else
		result = icmp_write_ipv6(frame, p, icmp, quote, quoted);
	if (result < 0 || frame_store(frame, p->l3 + head, quote->bytes, quoted) < 0)
		return -1;
	return rewrite_turn(frame);
}

/*
 * Carry out an action: what is to be answered is answered here, once at the end of
 * a program, as the code for it is long.
 */
static inline int act(frame_t *frame, struct packet *p, int action)
{
	struct icmp_head icmp = {.type = ICMP_UNREACHABLE, .code = ICMP_PORT_UNREACHABLE};
	bool small = action == ACT_TOO_BIG;
	int result;

	if (action != ACT_REJECT && !small)
		return action;
	if (p->family == 6) {
		icmp.type = small ? ICMPV6_TOO_BIG : ICMPV6_UNREACHABLE;
		icmp.code = small ? 0 : ICMPV6_PORT_UNREACHABLE;
	} else if (small) {
		icmp.code = ICMP_FRAGMENTATION_NEEDED;
	}
	icmp.rest = bpf_htonl(p->mtu);
	result = p->proto == IPPROTO_TCP_ && !small ? rewrite_reset(frame, p) : icmp_answer(frame, p, &icmp);
	if (result < 0)
		return FRAME_DROP;
	count(small ? COUNTER_TOO_BIG : COUNTER_REJECTED, 1);
	return frame_back(frame);
}

#endif
