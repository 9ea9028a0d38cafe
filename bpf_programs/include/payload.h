/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Payload probe: the head of each DNS message (UDP and TCP port 53) and of each
 * HTTP/1.x request and response (TCP, any port) goes to the second ring buffer.
 * Only the first bytes are looked at here; decoding is user space's work.
 */
#ifndef REMORA_PAYLOAD_H
#define REMORA_PAYLOAD_H

#include "include/record.h"

#define DNS_PORT 53
#define HTTP_PROBE_LEN 8       /* bytes that tell a request or response line */
#define BUDGET_WINDOW_SHIFT 27 /* 134 ms */
#define CHOICE_WINDOWS 8       /* windows of time after which a choice falls anew */

/* First bytes of every HTTP/1.x method that RFC 9110 and RFC 5789 define, and of a response. */
static inline u8 payload_http(const u8 *b)
{
	u32 head = (u32)b[0] << 24 | (u32)b[1] << 16 | (u32)b[2] << 8 | b[3];

	switch (head) {
	case 0x48545450: /* HTTP */
		return b[4] == '/' && b[5] == '1' && b[6] == '.' ? PAYLOAD_HTTP_RESPONSE : 0;
	case 0x47455420: /* "GET " */
	case 0x50555420: /* "PUT " */
		return PAYLOAD_HTTP_REQUEST;
	case 0x504f5354: /* POST */
	case 0x48454144: /* HEAD */
		return b[4] == ' ' ? PAYLOAD_HTTP_REQUEST : 0;
	case 0x50415443: /* PATCH */
		return b[4] == 'H' && b[5] == ' ' ? PAYLOAD_HTTP_REQUEST : 0;
	case 0x54524143: /* TRACE */
		return b[4] == 'E' && b[5] == ' ' ? PAYLOAD_HTTP_REQUEST : 0;
	case 0x44454c45: /* DELETE */
		return b[4] == 'T' && b[5] == 'E' && b[6] == ' ' ? PAYLOAD_HTTP_REQUEST : 0;
	case 0x4f505449: /* OPTIONS */
		return b[4] == 'O' && b[5] == 'N' && b[6] == 'S' && b[7] == ' ' ? PAYLOAD_HTTP_REQUEST : 0;
	case 0x434f4e4e: /* CONNECT */
		return b[4] == 'E' && b[5] == 'C' && b[6] == 'T' && b[7] == ' ' ? PAYLOAD_HTTP_REQUEST : 0;
	}
	return 0;
}

static inline u8 payload_kind(struct __sk_buff *skb, struct packet *p, u32 length)
{
	struct {
		u8 bytes[HTTP_PROBE_LEN];
	} head;

	if (p->src_port == DNS_PORT || p->dst_port == DNS_PORT)
		return PAYLOAD_DNS;
	if (p->proto != IPPROTO_TCP_ || length < HTTP_PROBE_LEN)
		return 0;
	if (read_header(skb, p->at, head) < 0)
		return 0;
	return payload_http(head.bytes);
}

/* Copy a message's head behind the flow that carries it; `e->flow` is filled. */
static inline void payload_write(struct __sk_buff *skb, struct packet *p, struct payload_event *e, struct news *news)
{
	u64 captured = (news->length < PAYLOAD_MAX ? news->length : PAYLOAD_MAX) - 1;

	/* the verifier wants the bounds on the very register that it checks: 1 … PAYLOAD_MAX, a power of two */
	asm volatile("" : "+r"(captured));
	captured = (captured & (PAYLOAD_MAX - 1)) + 1;
	if (bpf_skb_load_bytes(skb, p->at, e->data, captured) < 0) {
		count(COUNTER_PAYLOAD_UNREADABLE, 1);
		return;
	}
	e->flow.kind = EVENT_L7;
	e->length = news->length;
	e->captured = captured;
	e->kind = news->payload;
	e->alone = news->alone;
	if (payloads.ringbuf_output(e, offsetof(struct payload_event, data) + captured, 0) < 0)
		count(COUNTER_PAYLOAD_LOST, 1);
}

/* Charge this CPU for a request; is it within the budget? Windows are an eighth of a second, nearly. */
static inline bool payload_affordable(u64 window)
{
	u32 zero = 0;
	struct budget *budget = budget_scratch.lookup(&zero);

	if (!budget)
		return false;
	if (budget->window != window) {
		budget->window = window;
		budget->used = 0;
	}
	return ++budget->used <= ((u64)HTTP_BUDGET << BUDGET_WINDOW_SHIFT) / NS_PER_SECOND + 1;
}

/*
 * Is this HTTP head to be copied? The choice falls with the request, and again
 * only when all are answered: a request and its response are copied both or
 * neither, also when they are pipelined. A response that was not seen must not
 * make the choice last for ever, so after a second it falls anew in any case.
 */
static inline bool payload_sampled(struct conn *c, u8 kind, u64 now)
{
	u64 window = now >> BUDGET_WINDOW_SHIFT;
	bool affordable;

	if (kind == PAYLOAD_HTTP_RESPONSE) {
		if (c->open)
			c->open--;
		return c->sampled;
	}
	affordable = payload_affordable(window);
	if (!c->open || (u8)((u8)window - c->since) > CHOICE_WINDOWS) {
		c->open = 0;
		c->sampled = affordable;
		c->since = window;
	}
	if (c->open < 255)
		c->open++;
	if (!c->sampled)
		count(COUNTER_PAYLOAD_SKIPPED, 1);
	return c->sampled;
}

/* Does the packet carry a head to copy? */
static inline void payload_probe(struct __sk_buff *skb, struct packet *p, struct conn *c, u64 now, struct news *news)
{
	u32 end = p->l3 + p->length;
	u8 kind;

	if (!c->probe || p->later_fragment || (p->proto != IPPROTO_TCP_ && p->proto != IPPROTO_UDP_))
		return;
	if (end > skb->len)
		end = skb->len;
	if (p->at >= end)
		return;
	kind = payload_kind(skb, p, end - p->at);
	news->alone = kind == PAYLOAD_HTTP_REQUEST && !c->open;
	if (!kind || (kind != PAYLOAD_DNS && !payload_sampled(c, kind, now)))
		return;
	news->payload = kind;
	news->length = end - p->at;
}

/* Tell user space what there is to tell. */
static inline void report(struct __sk_buff *skb, struct packet *p, struct conn *c, bool out, struct news *news)
{
	u32 zero = 0;
	struct payload_event *e;

	if (!news->kind && !news->payload)
		return;
	e = payload_scratch.lookup(&zero);
	if (!e)
		return;
	record_fill(&e->flow, p, c, skb->ifindex, out, bpf_ktime_get_ns());
	record_macs(skb, &e->flow);
	if (news->kind)
		record_write(&e->flow, news);
	if (news->payload)
		payload_write(skb, p, e, news);
}

#endif
