/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What becomes of a packet that a rule of the shield is against: it is counted,
 * for the rule and by reason, told as a flow as long as there are not too many,
 * and dropped, unless all that was only to be tried.
 */
#ifndef REMORA_SHIELD_VERDICT_H
#define REMORA_SHIELD_VERDICT_H

#include "include/arrival.h"
#include "include/shield_maps.h"

#define VERDICTS_TOLD 1000 /* flow records a second and CPU: a flood is counted, not told */

BPF_PERCPU_ARRAY(verdict_scratch, struct budget, 1);

/* What a rule of the shield says against a packet. */
struct objection {
	u32 rule;
	u32 counter; /* enum counter */
	u8 reason;   /* enum drop_reason */
	u8 dry;      /* only counted and told */
};

/* One more packet that a rule decided; `would`: the rule is only tried. */
static inline void shield_count(u32 rule, u32 bytes, bool would)
{
	struct shield_hit first = {};
	struct shield_hit *hit = shield_hits.lookup(&rule);

	if (!hit) {
		first.packets = !would;
		first.bytes = would ? 0 : bytes;
		first.would = would;
		if (shield_hits.update(&rule, &first) < 0)
			count(COUNTER_SHIELD_UNCOUNTED, 1);
	} else if (would) {
		hit->would += 1;
	} else {
		hit->packets += 1;
		hit->bytes += bytes;
	}
}

/* May one more verdict be told in this second? */
static inline bool verdict_told(void)
{
	u64 now = coarse_now();
	u32 zero = 0;
	struct budget *budget = verdict_scratch.lookup(&zero);

	if (!budget)
		return false;
	if (now - budget->window >= NS_PER_SECOND) { /* no division: that takes as long as all the rest */
		budget->window = now;
		budget->used = 0;
	}
	if (budget->used++ < VERDICTS_TOLD)
		return true;
	count(COUNTER_SHIELD_UNTOLD, 1);
	return false;
}

/* What the packet itself says, in a flow record. */
static inline void verdict_packet(struct flow_event *e, struct xdp_md *ctx, struct arrival *a)
{
	struct {
		u8 dst[MAC_LEN];
		u8 src[MAC_LEN];
	} macs;

	if (frame_header(ctx, 0, macs) == 0) {
		__builtin_memcpy(e->dst_mac, macs.dst, MAC_LEN);
		__builtin_memcpy(e->src_mac, macs.src, MAC_LEN);
	}
	__builtin_memcpy(e->src, a->src, sizeof(e->src));
	__builtin_memcpy(e->dst, a->dst, sizeof(e->dst));
	e->forward_packets = 1;
	e->forward_bytes = e->length = a->length;
	e->src_port = a->src_port;
	e->dst_port = a->dst_port;
	e->family = a->family;
	e->proto = a->proto;
	e->tcp_flags = a->tcp_flags;
	e->marks = a->fragment ? MARK_FRAGMENT : 0;
}

/* A flow record of the packet, and of what was said of it. */
static inline void verdict_tell(struct xdp_md *ctx, struct arrival *a, const struct objection *why, bool dry)
{
	struct flow_event *e = flows.ringbuf_reserve(sizeof(*e));
	struct address *source, *target;

	if (!e) {
		count(COUNTER_FLOW_LOST, 1);
		return;
	}
	__builtin_memset(e, 0, sizeof(*e));
	verdict_packet(e, ctx, a);
	source = addresses.lookup((struct address_key *)a->src);
	target = addresses.lookup((struct address_key *)a->dst);
	e->src_workload = source ? source->workload : 0;
	e->dst_workload = target ? target->workload : 0;
	e->time = e->started = bpf_ktime_get_ns();
	e->ifindex = ctx->ingress_ifindex;
	e->kind = EVENT_NEW;
	e->verdict = dry ? VERDICT_AUDIT : VERDICT_DROPPED;
	e->reason = why->reason;
	e->rule = why->rule;
	e->point = POINT_FROM_NETWORK;
	e->direction = DIRECTION_INGRESS;
	flows.ringbuf_submit(e, 0);
}

/* Must the packet be dropped? It is counted and told in either case. */
static inline bool shield_object(struct xdp_md *ctx, struct shield_config *config, struct arrival *a,
				 const struct objection *why)
{
	bool dry = why->dry || config->flags & SHIELD_DRY_RUN;

	shield_count(why->rule, a->length, dry);
	count(dry ? COUNTER_SHIELD_AUDITED : why->counter, 1);
	if (verdict_told())
		verdict_tell(ctx, a, why, dry);
	return !dry;
}

#endif
