/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Payload probe: the head of each DNS message (UDP and TCP port 53), of each
 * HTTP/1.x request and response and each TLS hello (TCP, any port) goes to the
 * second ring buffer. Only the first bytes are looked at here, and where a head
 * ends, so that its other packets follow; decoding is user space's work.
 */
#ifndef REMORA_PAYLOAD_H
#define REMORA_PAYLOAD_H

#include "include/record.h"

#define DNS_PORT 53
#define HTTP_PROBE_LEN 8 /* bytes that tell a request or response line, or a TLS hello */
#define HTTP_HEAD_END 0x0d0a0d0a
#define TLS_HANDSHAKE 22
#define TLS_CLIENT_HELLO 1
#define TLS_SERVER_HELLO 2
#define TLS_RECORD_HEAD 5
#define TINY 64 /* bytes: a program that writes so little at a time takes many packets for a head */
#define MORE_OF_REQUEST 8
#define MORE_OF_RESPONSE 3
#define MORE_MAX 63            /* packets that may continue a head or hello; enough for one that comes byte by byte */
#define MORE_TLS 0x80          /* it is a TLS hello */
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

/*
 * A request or response line whose packet ends before it can be told: the first
 * two letters have to do.
 */
static inline u8 payload_short(struct __sk_buff *skb, struct packet *p, u32 length, bool initiator)
{
	struct {
		u8 bytes[2];
	} head = {};

	if (length == 1 ? bpf_skb_load_bytes(skb, p->at, &head.bytes[0], 1) < 0 : read_header(skb, p->at, head) < 0)
		return 0;
	if (!initiator)
		return head.bytes[0] == 'H' && (length == 1 || head.bytes[1] == 'T') ? PAYLOAD_HTTP_RESPONSE : 0;
	switch ((u32)head.bytes[0] << 8 | (length == 1 ? 0 : head.bytes[1])) {
	case 'G' << 8:
	case 'P' << 8:
	case 'H' << 8:
	case 'D' << 8:
	case 'O' << 8:
	case 'C' << 8:
	case 'T' << 8:
	case 'G' << 8 | 'E':
	case 'P' << 8 | 'O':
	case 'P' << 8 | 'U':
	case 'P' << 8 | 'A':
	case 'H' << 8 | 'E':
	case 'D' << 8 | 'E':
	case 'O' << 8 | 'P':
	case 'C' << 8 | 'O':
	case 'T' << 8 | 'R':
		return PAYLOAD_HTTP_REQUEST;
	}
	return 0;
}

/* First bytes of a TLS record (RFC 8446, 5.1) that begins with a hello. */
static inline u8 payload_tls(const u8 *b)
{
	if (b[0] != TLS_HANDSHAKE || b[1] != 3 || b[2] > 4)
		return 0;
	return b[5] == TLS_CLIENT_HELLO ? PAYLOAD_TLS_CLIENT : b[5] == TLS_SERVER_HELLO ? PAYLOAD_TLS_SERVER : 0;
}

static inline u8 payload_kind(struct __sk_buff *skb, struct packet *p, struct conn *c, u32 length, bool out)
{
	struct {
		u8 bytes[HTTP_PROBE_LEN];
	} head;
	u8 more = out ? c->more_out : c->more_in;
	u8 kind;

	if (p->src_port == DNS_PORT || p->dst_port == DNS_PORT)
		return PAYLOAD_DNS;
	if (p->proto != IPPROTO_TCP_)
		return 0;
	if (length < HTTP_PROBE_LEN)
		return more ? PAYLOAD_CONTINUED
			    : payload_short(skb, p, length, (c->direction == DIRECTION_EGRESS) == out);
	if (read_header(skb, p->at, head) < 0)
		return 0;
	kind = payload_http(head.bytes);
	if (!kind)
		kind = payload_tls(head.bytes);
	return kind || !more ? kind : PAYLOAD_CONTINUED;
}

/* The last four bytes of a direction, those of this packet included. */
static inline u32 payload_tail(struct __sk_buff *skb, struct packet *p, u32 length, u32 before)
{
	u32 last = 0;
	u8 byte;

	if (length >= sizeof(last))
		return bpf_skb_load_bytes(skb, p->at + length - sizeof(last), &last, sizeof(last)) < 0
			       ? 0
			       : bpf_ntohl(last);
#pragma unroll
	for (int i = 0; i < 3; i++) {
		if (i < length && bpf_skb_load_bytes(skb, p->at + i, &byte, 1) == 0)
			before = before << 8 | byte;
	}
	return before;
}

/*
 * How many further packets of this direction may continue what was copied. Only a
 * head that ends with its packet is known to be whole: to look for the end before
 * a body is user space's work, and so a few packets of the body come along. The
 * tail of a TLS hello is the number of bytes that are still to come.
 */
static inline u8 payload_more(struct __sk_buff *skb, struct packet *p, struct payload_event *e, u8 before, u32 *tail)
{
	bool tls = e->kind == PAYLOAD_TLS_CLIENT || e->kind == PAYLOAD_TLS_SERVER;
	u32 old = e->kind == PAYLOAD_CONTINUED ? *tail : 0;

	if (e->captured != e->length)
		return 0; /* cut by the limit: the rest of this very packet is not there to be continued */
	if (tls || (e->kind == PAYLOAD_CONTINUED && (before & MORE_TLS))) {
		old = tls ? TLS_RECORD_HEAD + ((u32)e->data[3] << 8 | e->data[4]) : old;
		*tail = old > e->captured ? old - e->captured : 0;
		if (!*tail)
			return 0;
		return MORE_TLS | (tls ? MORE_MAX : (before - 1) & MORE_MAX);
	}
	*tail = payload_tail(skb, p, e->length, old);
	if (*tail == HTTP_HEAD_END)
		return 0;
	if (e->kind == PAYLOAD_CONTINUED)
		return before - 1;
	if (e->length < TINY)
		return MORE_MAX;
	return e->kind == PAYLOAD_HTTP_REQUEST ? MORE_OF_REQUEST : MORE_OF_RESPONSE;
}

/* Keep what the next packet of this direction has to know. */
static inline void payload_continue(struct __sk_buff *skb, struct packet *p, struct conn *c, bool out,
				    struct payload_event *e)
{
	u32 tail = out ? c->tail_out : c->tail_in;
	u8 more = payload_more(skb, p, e, out ? c->more_out : c->more_in, &tail);

	if (out) {
		c->more_out = more;
		c->tail_out = tail;
	} else {
		c->more_in = more;
		c->tail_in = tail;
	}
}

/* Copy a message's head behind the flow that carries it; `e->flow` is filled. */
static inline void payload_write(struct __sk_buff *skb, struct packet *p, struct conn *c, bool out,
				 struct payload_event *e, struct news *news)
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
	e->flow.failure = FAILURE_NONE;
	e->length = news->length;
	e->captured = captured;
	e->kind = news->payload;
	e->alone = news->alone;
	e->sequence = p->seq;
	e->pad = 0;
	if (news->payload != PAYLOAD_DNS)
		payload_continue(skb, p, c, out, e);
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

	if (kind == PAYLOAD_TLS_SERVER || kind == PAYLOAD_CONTINUED)
		return c->sampled;
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
	if (c->open < 255 && kind == PAYLOAD_HTTP_REQUEST)
		c->open++;
	if (!c->sampled)
		count(COUNTER_PAYLOAD_SKIPPED, 1);
	return c->sampled;
}

/* Does the packet carry a head to copy? */
static inline void payload_probe(struct __sk_buff *skb, struct packet *p, struct conn *c, bool out, u64 now,
				 struct news *news)
{
	u32 end = p->l3 + p->length;
	u8 kind;

	if (!c->probe || p->later_fragment || (p->proto != IPPROTO_TCP_ && p->proto != IPPROTO_UDP_))
		return;
	if (end > skb->len)
		end = skb->len;
	if (p->at >= end)
		return;
	kind = payload_kind(skb, p, c, end - p->at, out);
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
		payload_write(skb, p, c, out, e, news);
}

#endif
