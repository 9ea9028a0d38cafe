/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The shield: what must not come in. Its stages go from the cheapest to the
 * dearest. Who is on a list that allows passes all that follow the lists; what a
 * stage that is only tried would drop goes on to the next.
 */
#ifndef REMORA_SHIELD_H
#define REMORA_SHIELD_H

#include "include/limit.h"
#include "include/listed.h"
#include "include/overlap.h"
#include "include/syn.h"

/* Hubble's nearest word for what a malformed frame breaks. */
static inline u8 malformed_reason(u32 rule)
{
	if (rule == SHIELD_RULE_IPV6_EXTENSION)
		return DROP_INVALID_EXTENSION;
	if (rule >= SHIELD_RULE_SOURCE && rule <= SHIELD_RULE_LAND)
		return DROP_INVALID_SOURCE_IP;
	return DROP_INVALID_PACKET;
}

/* Is the frame dropped for being malformed? */
static inline bool drops_malformed(struct xdp_md *ctx, struct shield_config *config, struct arrival *a)
{
	struct objection why = {.counter = COUNTER_SHIELD_MALFORMED};

	if (!a->wrong && a->fragment && fragment_overlaps(a))
		a->wrong = SHIELD_RULE_FRAGMENT_OVERLAP;
	if (!a->wrong)
		return false;
	why.rule = a->wrong;
	why.reason = malformed_reason(a->wrong);
	why.dry = !!(config->flags & SHIELD_MALFORMED_DRY);
	return shield_object(ctx, config, a, &why);
}

/* Is it dropped because its source is banned, and still is? */
static inline bool drops_banned(struct xdp_md *ctx, struct shield_config *config, struct arrival *a)
{
	struct objection why = {.rule = SHIELD_RULE_BAN, .counter = COUNTER_SHIELD_BANNED, .reason = DROP_POLICY_DENY};
	struct shield_ban *ban = shield_bans.lookup((struct address_key *)a->src);

	return ban && coarse_now() < ban->until && shield_object(ctx, config, a, &why);
}

/* Is it dropped for what a list says? `allowed`: a list lets it pass all that follows. */
static inline bool drops_listed(struct xdp_md *ctx, struct shield_config *config, struct arrival *a, bool *allowed)
{
	struct objection why = {.counter = COUNTER_SHIELD_DENIED, .reason = DROP_POLICY_DENY};
	u32 said = listed(config, a);

	if (!said)
		return false;
	why.rule = said / SHIELD_SAID_RULE;
	why.dry = !!(said & SHIELD_SAID_DRY);
	*allowed = said & SHIELD_SAID_ALLOW;
	if (!*allowed)
		return shield_object(ctx, config, a, &why);
	shield_count(why.rule, a->length, false);
	return false;
}

/* The frame at hand, one per CPU; in a map for the verifier's sake, as packet_scratch is. */
BPF_PERCPU_ARRAY(arrival_scratch, struct arrival, 1);

/* The stages, for a frame that carries IP; XDP_PASS: it may go on; XDP_DROP; or XDP_TX: it was made the answer. */
static inline int shield_stages(struct xdp_md *ctx, struct shield_config *config, struct arrival *a)
{
	bool allowed = false;

	if (config->flags & SHIELD_MALFORMED && drops_malformed(ctx, config, a))
		return XDP_DROP;
	if (!a->known)
		return XDP_PASS;
	if (config->flags & SHIELD_BANS && drops_banned(ctx, config, a))
		return XDP_DROP;
	if (drops_listed(ctx, config, a, &allowed))
		return XDP_DROP;
	if (allowed)
		return XDP_PASS;
	if (config->limits && limit_check(ctx, config, a))
		return XDP_DROP;
	return config->syn_rate ? syn_check(ctx, config, a) : XDP_PASS;
}

/* As shield_stages, for any frame. */
static inline int shield_check(struct xdp_md *ctx)
{
	u32 zero = 0;
	struct shield_config *config = shield_config.lookup(&zero);
	struct arrival *a = arrival_scratch.lookup(&zero);

	if (!a || !config || (!config->flags && !config->limits && !config->syn_rate))
		return XDP_PASS;
	__builtin_memset(a, 0, sizeof(*a));
	if (!arrive(ctx, a))
		return XDP_PASS;
	forget();
	return shield_stages(ctx, config, a);
}

#endif
