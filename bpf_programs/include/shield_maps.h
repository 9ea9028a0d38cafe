/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Maps of the shield, which only agents with a program for XDP have: like maps.h, and under the same rules. */
#ifndef REMORA_SHIELD_MAPS_H
#define REMORA_SHIELD_MAPS_H

#include "include/maps.h"
#include "include/shield_structs.h"

#define SHIELD_LIMITS_MAX 16

/* 0 to what the shield does; written by the agent, read by xdp.c for every packet. */
BPF_TABLE_PINNED("array", u32, struct shield_config, shield_config, 1, PIN_DIR "/shield_config");

/*
 * What the lists say of sources is there twice. One side is in force, as the
 * configuration says; the agent writes the other, and both change places in the
 * one write of the configuration: a packet finds the old lists or the new ones.
 */
#define SHIELD_BLOCKS_MAX (SHIELD_ADDRESSES_MAX / 4)

/* Hash of single IPv4 addresses to what the lists say of them; written by the agent, read by xdp.c. */
BPF_TABLE_PINNED("array", u32, struct shield_block, shield_blocks, SHIELD_BLOCKS_MAX, PIN_DIR "/shield_blocks");
BPF_TABLE_PINNED("array", u32, struct shield_block, shield_blocks_second, SHIELD_BLOCKS_MAX,
		 PIN_DIR "/shield_blocks_second");

/* Single address that is in no block to what the lists say of it; written by the agent, read by xdp.c. */
BPF_TABLE_PINNED("hash", struct address_key, struct shield_entry, shield_addresses, SHIELD_ADDRESSES_MAX,
		 PIN_DIR "/shield_addresses", BPF_F_NO_PREALLOC);
BPF_TABLE_PINNED("hash", struct address_key, struct shield_entry, shield_addresses_second, SHIELD_ADDRESSES_MAX,
		 PIN_DIR "/shield_addresses_second", BPF_F_NO_PREALLOC);

/* IPv4 network to what the lists say of it; written by the agent, read by xdp.c. */
BPF_TABLE_PINNED("lpm_trie", struct network4_key, struct shield_entry, shield_networks4, SHIELD_NETWORKS_MAX,
		 PIN_DIR "/shield_networks4", BPF_F_NO_PREALLOC);
BPF_TABLE_PINNED("lpm_trie", struct network4_key, struct shield_entry, shield_networks4_second, SHIELD_NETWORKS_MAX,
		 PIN_DIR "/shield_networks4_second", BPF_F_NO_PREALLOC);

/* IPv6 network to what the lists say of it; written by the agent, read by xdp.c. */
BPF_TABLE_PINNED("lpm_trie", struct network_key, struct shield_entry, shield_networks6, SHIELD_NETWORKS_MAX,
		 PIN_DIR "/shield_networks6", BPF_F_NO_PREALLOC);
BPF_TABLE_PINNED("lpm_trie", struct network_key, struct shield_entry, shield_networks6_second, SHIELD_NETWORKS_MAX,
		 PIN_DIR "/shield_networks6_second", BPF_F_NO_PREALLOC);

/* Place to limit; written by the agent, read by xdp.c. */
BPF_TABLE_PINNED("array", u32, struct shield_limit, shield_limits, SHIELD_LIMITS_MAX, PIN_DIR "/shield_limits");

/* Limit and source to what it has left; written and read by xdp.c. */
BPF_TABLE_PINNED("lru_hash", struct shield_bucket_key, struct shield_bucket, shield_buckets, SHIELD_BUCKETS_MAX,
		 PIN_DIR "/shield_buckets");

/* Source to the end of its ban; written by xdp.c and the agent, read by xdp.c. */
BPF_TABLE_PINNED("lru_hash", struct address_key, struct shield_ban, shield_bans, SHIELD_BANS_MAX,
		 PIN_DIR "/shield_bans");

/* Source to the packets of it that limits dropped; written and read by xdp.c. */
BPF_TABLE_PINNED("lru_hash", struct address_key, struct shield_offence, shield_offences, SHIELD_BANS_MAX,
		 PIN_DIR "/shield_offences");

/* Destination to the SYNs that came for it; written and read by xdp.c. */
BPF_TABLE_PINNED("lru_hash", struct shield_syn_key, struct shield_syn, shield_syns, SHIELD_SYNS_MAX,
		 PIN_DIR "/shield_syns");

/* Source that has proven itself to until when that holds (ns); written and read by xdp.c. */
BPF_TABLE_PINNED("lru_hash", struct address_key, u64, shield_proven, SHIELD_PROVEN_MAX, PIN_DIR "/shield_proven");

/* Datagram in fragments to what was seen of it; written and read by xdp.c. */
BPF_TABLE_PINNED("lru_hash", struct fragment_key, struct shield_datagram, shield_fragments, SHIELD_FRAGMENTS_MAX,
		 PIN_DIR "/shield_fragments");

/* Rule to what it decided; written by xdp.c, read and tidied by the agent. */
BPF_TABLE_PINNED("percpu_hash", u32, struct shield_hit, shield_hits, SHIELD_RULES_MAX, PIN_DIR "/shield_hits",
		 BPF_F_NO_PREALLOC);

#endif
