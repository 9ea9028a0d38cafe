/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The keys and values that the shield decides by, as they cross the kernel
 * border: like structs.h, and under the same rules.
 */
#ifndef REMORA_SHIELD_STRUCTS_H
#define REMORA_SHIELD_STRUCTS_H

#define FRAGMENTS_WATCHED 48
#define SHIELD_BLOCK_SLOTS 10

/* What the shield does; written in one update, so that all of it comes into force at once. All zero: nothing. */
struct shield_config {
	u32 flags;          /* enum shield_flag */
	u32 limits;         /* the first so many of `shield_limits` hold */
	u32 syn_rate;       /* SYNs a second and destination from where on sources must prove themselves, 0: never */
	u32 proven_seconds; /* for which a proof holds */
	u32 ban_after;      /* packets over a limit within `ban_window` for which a source is banned, 0: never */
	u32 ban_window;     /* seconds */
	u32 ban_seconds;
	u32 pad;
};

/* What a list says of a source. */
struct shield_entry {
	u32 rule;  /* the list's number */
	u8 action; /* enum shield_action */
	u8 dry;    /* a denial that is only told and counted */
	u8 pad[2];
};

/* IPv4 addresses with one hash, a cache line; slots from the first on, those behind the last are zero. */
struct shield_block {
	u32 addr[SHIELD_BLOCK_SLOTS];
	u16 said[SHIELD_BLOCK_SLOTS]; /* enum shield_said and the list's number */
	u16 more;                     /* others with this hash are in `shield_addresses` */
	u16 pad;
};

struct network4_key {
	u32 prefixlen;
	u32 addr;
};

/* How much a source may send: tokens a second, and how many can be saved up. */
struct shield_limit {
	u64 packet_rate; /* a second, 0: not limited */
	u64 packet_burst;
	u64 byte_rate; /* a second, 0: not limited */
	u64 byte_burst;
	u32 rule;
	u16 port;   /* destination's, in host order, 0: any */
	u8 proto;   /* 0: any */
	u8 prefix4; /* bits of an IPv4 address that sources with one bucket share */
	u8 prefix6;
	u8 syn; /* only SYNs count */
	u8 dry; /* a denial is only told and counted */
	u8 pad[5];
};

struct shield_bucket_key {
	u32 rule;
	u32 addr[4]; /* cut to the limit's prefix */
};

/* What a source has left. */
struct shield_bucket {
	u64 packets; /* in parts, see limit.h */
	u64 bytes;
	u64 last; /* CLOCK_MONOTONIC, in ticks of 512 ns, when it was filled up */
};

struct shield_ban {
	u64 until; /* ns, CLOCK_MONOTONIC */
	u32 rule;  /* the limit for which it was banned */
	u32 pad;
};

/* Packets of a source that limits dropped. */
struct shield_offence {
	u64 window; /* ns, CLOCK_MONOTONIC, when counting began */
	u64 count;
};

struct shield_syn_key {
	u32 addr[4];
	u16 port; /* host order */
	u16 pad;
};

/* SYNs to a destination. */
struct shield_syn {
	u64 window; /* ns, CLOCK_MONOTONIC, when the second began that `count` is of */
	u64 count;
	u64 until; /* ns, CLOCK_MONOTONIC, for how long sources must prove themselves */
};

/* Bytes of a datagram that a fragment carried. */
struct shield_range {
	u32 from;
	u32 to; /* the first byte behind it */
};

/* What was seen of a datagram in fragments. */
struct shield_datagram {
	u64 since;  /* ns, CLOCK_MONOTONIC, of the first that came */
	u32 seen;   /* ranges that are filled */
	u32 bytes;  /* in all of them */
	u32 length; /* of the datagram's payload, once the last was seen, else 0 */
	u32 end;    /* the first byte behind all of them */
	u32 overlaps;
	u32 pad;
	struct shield_range range[FRAGMENTS_WATCHED];
};

/* What a rule decided, on one CPU. */
struct shield_hit {
	u64 packets; /* dropped, or let in by a list that allows */
	u64 bytes;
	u64 would; /* packets that would have been dropped */
};

#endif
