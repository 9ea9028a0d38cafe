/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the lists say of a source. Feeds are lists of a hundred thousand single
 * IPv4 addresses, and a flood may come from all of them alike: then a hash makes
 * each packet wait for memory three times. So these addresses lie in blocks of one
 * cache line, all that an address can be in, with what is said beside it: one wait.
 * daemon/shield/blocks.py lays them out. What finds no place in its block is in
 * the hash, where the addresses of IPv6 are too.
 */
#ifndef REMORA_LISTED_H
#define REMORA_LISTED_H

#include "include/arrival.h"
#include "include/shield_maps.h"

/* Which block an address belongs to, in its low bits; the finalizer of MurmurHash3, public domain. */
static inline u32 block_hash(u32 addr)
{
	addr ^= addr >> 16;
	addr *= 0x85ebca6b;
	addr ^= addr >> 13;
	addr *= 0xc2b2ae35;
	return addr ^ addr >> 16;
}

/* What a block says of an address; no branches, as a wrong guess takes as long as all the slots. */
static inline u32 block_said(struct shield_block *block, u32 addr)
{
	u64 said = 0;

#pragma unroll
	for (int i = 0; i < SHIELD_BLOCK_SLOTS; i++) {
		u64 differ = block->addr[i] ^ addr;

		asm volatile("" : "+r"(differ)); /* or the compiler makes a branch of it */
		said |= (u64)((s64)(differ - 1) >> 63) & block->said[i];
	}
	return said;
}

static inline u32 entry_said(struct shield_entry *entry)
{
	if (!entry)
		return 0;
	return entry->rule * SHIELD_SAID_RULE | (entry->dry ? SHIELD_SAID_DRY : 0) |
	       (entry->action == SHIELD_ALLOW ? SHIELD_SAID_ALLOW : 0);
}

/* Without this, look-ups on both sides of a branch become one with a map that is not known, which takes 13 ns more. */
#define keep_apart(value, word) asm volatile("# " word : "+r"(value))

/* What the blocks say of an IPv4 address; `elsewhere`: the hash may say something, too. */
static inline u32 blocks_say(u32 flags, u32 addr, bool *elsewhere)
{
	u32 index = block_hash(addr) & ((1 << flags / SHIELD_BLOCKS) - 1);
	struct shield_block *block;

	if (flags & SHIELD_BLOCKS_SECOND) {
		block = shield_blocks_second.lookup(&index);
		keep_apart(block, "second");
	} else {
		block = shield_blocks.lookup(&index);
		keep_apart(block, "first");
	}
	if (!block)
		return 0;
	*elsewhere = block->more;
	return block_said(block, addr);
}

/* What the lists say of the source as a single address. */
static inline u32 address_said(u32 flags, struct arrival *a)
{
	bool elsewhere = flags & SHIELD_ADDRESSES;
	struct shield_entry *entry;
	u32 said = 0;

	if (a->family == 4 && flags >= SHIELD_BLOCKS)
		said = blocks_say(flags, a->src[3], &elsewhere);
	if (said || !elsewhere)
		return said;
	if (flags & SHIELD_ADDRESSES_SECOND) {
		entry = shield_addresses_second.lookup((struct address_key *)a->src);
		keep_apart(entry, "second");
	} else {
		entry = shield_addresses.lookup((struct address_key *)a->src);
		keep_apart(entry, "first");
	}
	return entry_said(entry);
}

static inline u32 network4_said(u32 flags, struct arrival *a)
{
	struct network4_key network = {.prefixlen = 32, .addr = a->src[3]};
	struct shield_entry *entry;

	if (!(flags & SHIELD_NETWORKS4))
		return 0;
	if (flags & SHIELD_NETWORKS4_SECOND) {
		entry = shield_networks4_second.lookup(&network);
		keep_apart(entry, "second");
	} else {
		entry = shield_networks4.lookup(&network);
		keep_apart(entry, "first");
	}
	return entry_said(entry);
}

static inline u32 network6_said(u32 flags, struct arrival *a)
{
	struct network_key network = {.prefixlen = 128};
	struct shield_entry *entry;

	if (!(flags & SHIELD_NETWORKS6))
		return 0;
	__builtin_memcpy(network.addr, a->src, sizeof(network.addr));
	if (flags & SHIELD_NETWORKS6_SECOND) {
		entry = shield_networks6_second.lookup(&network);
		keep_apart(entry, "second");
	} else {
		entry = shield_networks6.lookup(&network);
		keep_apart(entry, "first");
	}
	return entry_said(entry);
}

/* What the lists say of the source, by its longest prefix: enum shield_said; 0: nothing. */
static inline u32 listed(struct shield_config *config, struct arrival *a)
{
	u32 flags = *(volatile u32 *)&config->flags; /* once: at any time it may come to name the other side */
	u32 said = address_said(flags, a);

	if (said)
		return said;
	return a->family == 4 ? network4_said(flags, a) : network6_said(flags, a);
}

#endif
