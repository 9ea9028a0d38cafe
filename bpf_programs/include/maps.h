/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every map, one sentence each: key, value, who writes, who reads. Maps are
 * pinned in PIN_DIR and reused by the next build, so that a restart or an
 * upgrade of the agent loses no state; the ring buffers and scratch space hold
 * none and are made anew by each build.
 */
#ifndef REMORA_MAPS_H
#define REMORA_MAPS_H

#include "include/policy_structs.h"
#include "include/structs.h"

/* A ring buffer as BCC's own, and pinned: the objects that are compiled side by side share it. */
#define RING(_name, _pages)                                                                                            \
	struct _name##_table_t {                                                                                       \
		int key;                                                                                               \
		u32 leaf;                                                                                              \
		int (*ringbuf_output)(void *, u64, u64);                                                               \
		void *(*ringbuf_reserve)(u64);                                                                         \
		void (*ringbuf_discard)(void *, u64);                                                                  \
		void (*ringbuf_submit)(void *, u64);                                                                   \
		u32 max_entries;                                                                                       \
	};                                                                                                             \
	__attribute__((section("maps/ringbuf:" RING_DIR "/" #_name))) struct _name##_table_t _name = {                 \
		.max_entries = (_pages)*PAGE_SIZE}

/* Frontend address to service; written by the agent, read by socket.c. */
BPF_TABLE_PINNED("hash", struct frontend_key, struct frontend, services, SERVICES_MAX, PIN_DIR "/services",
		 BPF_F_NO_PREALLOC);

/* Service and slot to backend address; written by the agent, read by socket.c. */
BPF_TABLE_PINNED("hash", struct backend_key, struct backend, backends, BACKENDS_MAX, PIN_DIR "/backends",
		 BPF_F_NO_PREALLOC);

/* Client and service to the backend that it stays with; written and read by socket.c. */
BPF_TABLE_PINNED("lru_hash", struct affinity_key, struct affinity, affinities, AFFINITIES_MAX, PIN_DIR "/affinities");

/* Namespaces that are left to the per-packet path; written by the agent (packet_path.py), read by socket.c. */
BPF_TABLE_PINNED("hash", struct packet_client, u32, packet_clients, PACKET_CLIENTS_MAX, PIN_DIR "/packet_clients",
		 BPF_F_NO_PREALLOC);

/* 0 to what the programs must know of the node; written by the agent, read by socket.c. */
BPF_TABLE_PINNED("array", u32, struct node, node, 1, PIN_DIR "/node");

/* Address to workload and identity; written by the agent, read by endpoint.c. */
BPF_TABLE_PINNED("hash", struct address_key, struct address, addresses, ADDRESSES_MAX, PIN_DIR "/addresses",
		 BPF_F_NO_PREALLOC);

/* Connection on a device to its totals; written by endpoint.c, read and swept by the agent. */
BPF_TABLE_PINNED("lru_hash", struct conn_key, struct conn, connections, CONNECTIONS_MAX, PIN_DIR "/connections");

/* Connection to a frontend to the backend that its packets get; written and read by endpoint.c. */
BPF_TABLE_PINNED("lru_hash", struct conn_key, struct detour, detours, CONNECTIONS_MAX, PIN_DIR "/detours");

/* First fragment to ports; written and read by endpoint.c. */
BPF_TABLE_PINNED("lru_hash", struct fragment_key, struct fragment, fragments, 4096, PIN_DIR "/fragments");

/* Direction of a connection from outside to what its packets get; written by uplink.c and xdp.c, read by endpoint.c,
 * swept by the agent. Its entries never give way to others: a connection that finds no room is refused, those that are
 * open live on.
 */
BPF_TABLE_PINNED("hash", struct translation_key, struct translation, translations, TRANSLATIONS_MAX,
		 PIN_DIR "/translations", BPF_F_NO_PREALLOC);

/* Device to what is known of it; written by the agent, read by uplink.c and xdp.c. */
BPF_TABLE_PINNED("hash", u32, struct uplink, uplinks, 64, PIN_DIR "/uplinks", BPF_F_NO_PREALLOC);

/* Service and prefix that may reach its load balancer addresses; written by the agent, read by service.h. */
BPF_TABLE_PINNED("lpm_trie", struct range_key, u32, source_ranges, SOURCE_RANGES_MAX, PIN_DIR "/source_ranges",
		 BPF_F_NO_PREALLOC);

/* Service to its Maglev table and list; written by the agent, read by uplink.c. */
BPF_TABLE_PINNED("hash", u32, struct maglev, maglevs, SERVICES_MAX, PIN_DIR "/maglevs", BPF_F_NO_PREALLOC);

/* Table and row to indices of backends; written by the agent, read by uplink.c. */
BPF_TABLE_PINNED("hash", struct maglev_key, struct maglev_row, maglev_rows, MAGLEV_ROWS_MAX, PIN_DIR "/maglev_rows",
		 BPF_F_NO_PREALLOC);

/* List and index to backend; written by the agent, read by uplink.c. */
BPF_TABLE_PINNED("hash", struct backend_key, struct backend, maglev_backends, BACKENDS_MAX, PIN_DIR "/maglev_backends",
		 BPF_F_NO_PREALLOC);

/* Initiator's view of a connection to process and service; written by socket.c, read by endpoint.c. */
BPF_TABLE_PINNED("lru_hash", struct owner_key, struct owner, owners, OWNERS_MAX, PIN_DIR "/owners");

/* Socket to its owner and translation; lives and dies with the socket; written and read by socket.c. */
BPF_TABLE_PINNED("sk_storage", int, struct socket_state, sockets, 0, PIN_DIR "/sockets",
		 BPF_F_NO_PREALLOC | BPF_F_CLONE);

/* UDP socket and backend to frontend; written by connect and sendmsg, read by recvmsg, and by the agent in udp.py. */
BPF_TABLE_PINNED("lru_hash", struct reverse_key, struct reverse, reverses, REVERSES_MAX, PIN_DIR "/reverses");

/* 0 to the policy state that is in force; written by the agent, read by endpoint.c. */
BPF_TABLE_PINNED("array", u32, struct policy_state, policy_state, 1, PIN_DIR "/policy_state");

/* Workload's device to its rulesets; written by the agent, read by endpoint.c. */
BPF_TABLE_PINNED("hash", u32, struct guard, guards, GUARDS_MAX, PIN_DIR "/guards", BPF_F_NO_PREALLOC);

/* Address to class; written by the agent, read by endpoint.c. */
BPF_TABLE_PINNED("hash", struct address_key, struct class_of, classes, CLASSES_MAX, PIN_DIR "/classes",
		 BPF_F_NO_PREALLOC);

/* Network to class, for addresses without one of their own; written by the agent, read by endpoint.c. */
BPF_TABLE_PINNED("lpm_trie", struct network_key, struct class_of, networks, NETWORKS_MAX, PIN_DIR "/networks",
		 BPF_F_NO_PREALLOC);

/* Ruleset to what holds where no entry matches; written by the agent, read by endpoint.c. */
BPF_TABLE_PINNED("hash", u32, struct policy_rule, rulesets, RULESETS_MAX, PIN_DIR "/rulesets", BPF_F_NO_PREALLOC);

/* Ruleset, class, protocol and port to the rule that holds; written by the agent, read by endpoint.c. */
BPF_TABLE_PINNED("lpm_trie", struct policy_key, struct policy_rule, policies, POLICIES_MAX, PIN_DIR "/policies",
		 BPF_F_NO_PREALLOC);

/* Rule to packets that it decided; written by endpoint.c, read and tidied by the agent. */
BPF_TABLE_PINNED("percpu_hash", u32, u64, rule_hits, RULES_MAX, PIN_DIR "/rule_hits", BPF_F_NO_PREALLOC);

/* Denied connection to when that was last told (ns); written and read by endpoint.c. */
BPF_TABLE_PINNED("lru_hash", struct conn_key, u64, denials, 8192, PIN_DIR "/denials");

/* enum counter to packets or events; written by all programs, read by the agent at scrape. */
BPF_TABLE_PINNED("percpu_array", u32, u64, counters, COUNTER_MAX, PIN_DIR "/counters");

/* Kernel drop reason to packets; written by trace.c, read by the agent at scrape. */
BPF_TABLE_PINNED("percpu_array", u32, u64, kernel_drops, KERNEL_DROP_REASONS, PIN_DIR "/kernel_drops");

/* struct flow_event records; written by endpoint.c, read by the agent. */
RING(flows, FLOW_RING_PAGES);

/* struct payload_event records, cut after `captured` bytes; written by endpoint.c, read by the agent. */
RING(payloads, PAYLOAD_RING_PAGES);

/* Space for values that are too large for the stack; one of each per CPU. */
BPF_PERCPU_ARRAY(payload_scratch, struct payload_event, 1);
BPF_PERCPU_ARRAY(budget_scratch, struct budget, 1);
BPF_PERCPU_ARRAY(conn_scratch, struct conn, 1);

static inline void count(u32 index, u64 amount)
{
	u64 *value = counters.lookup(&index);

	if (value)
		*value += amount;
}

#endif
