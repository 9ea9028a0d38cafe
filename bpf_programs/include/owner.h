/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who holds a socket: kept in the socket itself, and written down where the packet path finds it. */
#ifndef REMORA_OWNER_H
#define REMORA_OWNER_H

#include "include/connection.h"

#define FAMILY_V6 10

/* The calling process holds the socket. */
static inline void owner_is_current(struct socket_state *state)
{
	state->pid = bpf_get_current_pid_tgid() >> 32;
	state->cgroup = bpf_get_current_cgroup_id();
	bpf_get_current_comm(state->comm, COMM_LEN);
	state->inherited = 0;
}

/*
 * Both ends of a socket, read field by field from a context or a bpf_sock. The
 * IPv4 fields are read before it is known whether they count: the compiler would
 * merge the two ways into one read through a computed pointer, which the verifier
 * refuses.
 */
#define read_ends(key, family, from, local6, remote6, local4, remote4)                                                 \
	do {                                                                                                           \
		u32 near = (from)->local4, far = (from)->remote4;                                                      \
                                                                                                                       \
		asm volatile("" : "+r"(near), "+r"(far));                                                              \
		if ((family) == FAMILY_V6) {                                                                           \
			(key)->local[0] = (from)->local6[0];                                                           \
			(key)->local[1] = (from)->local6[1];                                                           \
			(key)->local[2] = (from)->local6[2];                                                           \
			(key)->local[3] = (from)->local6[3];                                                           \
			(key)->remote[0] = (from)->remote6[0];                                                         \
			(key)->remote[1] = (from)->remote6[1];                                                         \
			(key)->remote[2] = (from)->remote6[2];                                                         \
			(key)->remote[3] = (from)->remote6[3];                                                         \
		} else {                                                                                               \
			map_ipv4((key)->local, near);                                                                  \
			map_ipv4((key)->remote, far);                                                                  \
		}                                                                                                      \
	} while (0)

/* Write the socket's owner down under the connection as it sends it. */
static inline int owner_write(struct socket_state *state, struct owner_key *key, u32 watched)
{
	struct owner value = {
		.cgroup = state->cgroup, .pid = state->pid, .service = state->service, .watched = watched};

	__builtin_memcpy(value.comm, state->comm, COMM_LEN);
	if (owners.update(key, &value) < 0) {
		count(COUNTER_OWNER_FULL, 1);
		return -1;
	}
	return 0;
}

static inline bool in_node_namespace(u64 client)
{
	u32 zero = 0;
	struct node *own = node.lookup(&zero);

	return own && own->netns == client;
}

#endif
