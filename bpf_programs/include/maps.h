/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every map, one sentence each: key, value, who writes, who reads. Maps are
 * pinned in PIN_DIR and reused by the next build, so that a restart or an
 * upgrade of the agent loses no state; the ring buffers and scratch space hold
 * none and are made anew by each build.
 */
#ifndef REMORA_MAPS_H
#define REMORA_MAPS_H

#include "include/structs.h"

/* Frontend address to service; written by the agent, read by socket.c. */
BPF_TABLE_PINNED("hash", struct frontend_key, struct frontend, services, SERVICES_MAX, PIN_DIR "/services",
		 BPF_F_NO_PREALLOC);

/* Service and slot to backend address; written by the agent, read by socket.c. */
BPF_TABLE_PINNED("hash", struct backend_key, struct backend, backends, BACKENDS_MAX, PIN_DIR "/backends",
		 BPF_F_NO_PREALLOC);

/* Client and service to the backend that it stays with; written and read by socket.c. */
BPF_TABLE_PINNED("lru_hash", struct affinity_key, struct affinity, affinities, AFFINITIES_MAX, PIN_DIR "/affinities");

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

/* Initiator's view of a connection to process and service; written by socket.c, read by endpoint.c. */
BPF_TABLE_PINNED("lru_hash", struct owner_key, struct owner, owners, OWNERS_MAX, PIN_DIR "/owners");

/* Socket to its owner and translation; lives and dies with the socket; written and read by socket.c. */
BPF_TABLE_PINNED("sk_storage", int, struct socket_state, sockets, 0, PIN_DIR "/sockets",
		 BPF_F_NO_PREALLOC | BPF_F_CLONE);

/* UDP socket and backend to frontend; written by connect and sendmsg, read by recvmsg, and by the agent in udp.py. */
BPF_TABLE_PINNED("lru_hash", struct reverse_key, struct reverse, reverses, REVERSES_MAX, PIN_DIR "/reverses");

/* enum counter to packets or events; written by all programs, read by the agent at scrape. */
BPF_TABLE_PINNED("percpu_array", u32, u64, counters, COUNTER_MAX, PIN_DIR "/counters");

/* Kernel drop reason to packets; written by trace.c, read by the agent at scrape. */
BPF_TABLE_PINNED("percpu_array", u32, u64, kernel_drops, KERNEL_DROP_REASONS, PIN_DIR "/kernel_drops");

/* struct flow_event records; written by endpoint.c, read by the agent. */
BPF_RINGBUF_OUTPUT(flows, FLOW_RING_PAGES);

/* struct payload_event records, cut after `captured` bytes; written by endpoint.c, read by the agent. */
BPF_RINGBUF_OUTPUT(payloads, PAYLOAD_RING_PAGES);

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
