/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How much may come from one source. A limit says which packets it counts, and how
 * wide a source is: one address, or all that share a prefix. Each source has a
 * bucket of tokens that fills up at the limit's rate; a packet takes its tokens
 * out, or is dropped where too few are left, and takes none.
 *
 * Time is counted in ticks of 512 ns, and a token is 1,953,125 parts: so one tick
 * at a rate of one token a second is one part exactly, and nothing is lost by
 * rounding, however slow the rate or dense the packets. Several CPUs may be at one
 * bucket: what a tick brings may count twice, and what they take out is only lost
 * where it is full again in the same instant.
 *
 * Who goes on and on over its limits is banned for a time, where that is asked for.
 */
#ifndef REMORA_LIMIT_H
#define REMORA_LIMIT_H

#include "include/shield_verdict.h"

#define TICK_SHIFT 9           /* ns to ticks */
#define TOKEN 1953125          /* parts: ticks of a second */
#define BURST_MAX (1ULL << 41) /* tokens; more would not fit as parts */
#define UNLIMITED (~0ULL >> 1)

/* Does the packet open a TCP connection? */
static inline bool arrival_opens(struct arrival *a)
{
	return a->proto == IPPROTO_TCP_ && (a->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

static inline bool limit_matches(struct shield_limit *limit, struct arrival *a)
{
	if (limit->proto && limit->proto != a->proto)
		return false;
	if (limit->port && limit->port != a->dst_port)
		return false;
	return !limit->syn || arrival_opens(a);
}

/* The first `bits` of a word of an address; also for those that are fewer than none, or more than it has. */
static inline u32 prefix_mask(int bits)
{
	if (bits <= 0)
		return 0;
	return bits >= 32 ? ~0U : bpf_htonl(~0U << (32 - bits));
}

static inline void bucket_key(struct shield_bucket_key *key, struct shield_limit *limit, struct arrival *a)
{
	int bits = a->family == 4 ? 96 + limit->prefix4 : limit->prefix6;

	key->rule = limit->rule;
#pragma unroll
	for (int i = 0; i < 4; i++)
		key->addr[i] = a->src[i] & prefix_mask(bits - 32 * i);
}

/* What a limit says of one kind of tokens, in parts. */
struct allowance {
	u64 rate; /* a tick, 0: not limited */
	s64 full; /* what a bucket holds */
	s64 cost; /* of this packet */
	s64 gain; /* what came in since the last one */
	u64 filled;
};

/* What is reckoned for the packet at hand; in a map for the verifier's sake: its sixteen rounds would be too many ways.
 */
struct reckoning {
	struct allowance packets;
	struct allowance bytes;
	u64 tick; /* the clock, once it was looked at */
};

BPF_PERCPU_ARRAY(reckoning_scratch, struct reckoning, 1);

static inline void allow(struct allowance *made, u64 rate, u64 burst, u64 tokens)
{
	u64 held = burst ? burst : rate;

	made->rate = rate;
	made->full = rate ? (held < BURST_MAX ? held : BURST_MAX) * TOKEN : UNLIMITED;
	made->cost = rate ? tokens * TOKEN : 0;
}

/* Are there enough tokens, with those of the last `ticks`? Never more than full, and no number is too large for it. */
static inline bool affords(struct allowance *allowed, s64 parts, u64 ticks)
{
	s64 room = allowed->full - parts; /* negative where the limit became less */
	u64 rate = allowed->rate;

	allowed->filled = room <= 0 || ((rate | ticks) >> 32 ? ticks > room / rate : rate * ticks > room);
	allowed->gain = allowed->filled ? room : rate * ticks;
	return parts + allowed->gain >= allowed->cost;
}

/* What fills a bucket, or cuts it to a limit that became less, is written: two CPUs that add it would do it twice. */
static inline void settle(u64 *parts, struct allowance *allowed, bool taken)
{
	s64 cost = taken ? allowed->cost : 0;

	if (allowed->filled && allowed->gain)
		*parts = allowed->full - cost;
	else if (allowed->gain != cost)
		__sync_fetch_and_add(parts, allowed->gain - cost);
}

/* Take a packet's tokens out of its source's bucket; false where there are too few. */
static inline bool limit_admits(struct shield_limit *limit, struct arrival *a, struct reckoning *r)
{
	struct shield_bucket fresh = {};
	struct shield_bucket_key key = {};
	struct shield_bucket *bucket;
	bool enough;
	u64 ticks;

	if (!r->tick)
		r->tick = bpf_ktime_get_ns() >> TICK_SHIFT;
	allow(&r->packets, limit->packet_rate, limit->packet_burst, 1);
	allow(&r->bytes, limit->byte_rate, limit->byte_burst, a->length);
	forget();
	fresh.packets = r->packets.full;
	fresh.bytes = r->bytes.full;
	fresh.last = r->tick;
	bucket_key(&key, limit, a);
	bucket = shield_buckets.lookup_or_try_init(&key, &fresh);
	if (!bucket)
		return true;
	ticks = r->tick > bucket->last ? r->tick - bucket->last : 0; /* another CPU may have been ahead */
	if (ticks)
		bucket->last = r->tick;
	enough = affords(&r->packets, bucket->packets, ticks);
	enough &= affords(&r->bytes, bucket->bytes, ticks);
	forget();
	settle(&bucket->packets, &r->packets, enough);
	settle(&bucket->bytes, &r->bytes, enough);
	return enough;
}

/* A packet over a limit counts against its source, which is banned when there are too many of them. */
static inline void offend(struct shield_config *config, struct arrival *a, u32 rule)
{
	u64 now = coarse_now();
	struct shield_offence none = {.window = now}, *offence;
	struct address_key *source = (struct address_key *)a->src;
	struct shield_ban ban = {.until = now + config->ban_seconds * NS_PER_SECOND, .rule = rule};

	if (!config->ban_after)
		return;
	offence = shield_offences.lookup_or_try_init(source, &none);
	if (!offence)
		return;
	if (now >= offence->window + config->ban_window * NS_PER_SECOND)
		*offence = none;
	__sync_fetch_and_add(&offence->count, 1);
	if (offence->count < config->ban_after)
		return;
	shield_bans.update(source, &ban);
	shield_offences.delete(source);
}

/* Is the packet over a limit, and must be dropped for it? */
static inline bool limit_check(struct xdp_md *ctx, struct shield_config *config, struct arrival *a)
{
	struct objection why = {.counter = COUNTER_SHIELD_LIMITED, .reason = DROP_RATE_LIMITED};
	u32 zero = 0;
	struct reckoning *r = reckoning_scratch.lookup(&zero);

	if (!r)
		return false;
	r->tick = 0;
#pragma clang loop unroll(disable)
	for (u32 i = 0; i < SHIELD_LIMITS_MAX && i < config->limits; i++) {
		u32 place = i;
		struct shield_limit *limit = shield_limits.lookup(&place);

		forget();
		if (!limit || !limit_matches(limit, a) || limit_admits(limit, a, r))
			continue;
		why.rule = limit->rule;
		why.dry = limit->dry;
		if (shield_object(ctx, config, a, &why)) {
			offend(config, a, limit->rule);
			return true;
		}
	}
	return false;
}

#endif
