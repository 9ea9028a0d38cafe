/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The life of TCP sockets, told by the sockets. No device leads to the node's own
 * processes, so their connections are seen here: opened, measured, ended, failed
 * and why. Workloads have devices for that; of them only what no packet shows is
 * told: a connect() that failed before one was sent.
 *
 * Nothing here stands in the way of a connection: every program lets it go on.
 */
#include "include/common.h"
#include "include/owner.h"
#include "include/service.h"

#define PASS 1

#define ECONNRESET_ 104
#define ETIMEDOUT_ 110
#define ECONNREFUSED_ 111

#define SOCKET_STREAM 1

/* A record of a socket, but for its addresses; 0 where the ring is full. */
static inline struct flow_event *socket_record(struct socket_state *state, u8 kind)
{
	struct flow_event *e = flows.ringbuf_reserve(sizeof(*e));
	bool passive = state->stage == STAGE_ACCEPTED;

	if (!e) {
		count(COUNTER_FLOW_LOST, 1);
		return 0;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->time = bpf_ktime_get_ns();
	e->started = state->since;
	e->cgroup = state->cgroup;
	e->service = state->service;
	e->pid = state->pid;
	e->handshake = state->handshake;
	e->proto = IPPROTO_TCP_;
	e->kind = kind;
	e->verdict = VERDICT_FORWARDED;
	e->point = passive ? POINT_TO_HOST : POINT_FROM_HOST;
	e->direction = passive ? DIRECTION_INGRESS : DIRECTION_EGRESS;
	e->tcp_flags = kind == EVENT_NEW ? TCP_SYN : kind == EVENT_END ? TCP_FIN | TCP_ACK : TCP_ACK;
	e->marks = MARK_SOCKET;
	__builtin_memcpy(e->comm, state->comm, COMM_LEN);
	state->reported = e->time;
	return e;
}

/* The connection as its socket sends it. */
static inline void socket_key(struct bpf_sock_ops *ctx, struct owner_key *key)
{
	read_ends(key, ctx->family, ctx, local_ip6, remote_ip6, local_ip4, remote_ip4);
	key->local_port = ctx->local_port;
	key->remote_port = bpf_ntohl(ctx->remote_port);
	key->proto = IPPROTO_TCP_;
}

static inline void record_ends_of(struct flow_event *e, struct owner_key *key)
{
	struct address *remote = addresses.lookup((struct address_key *)key->remote);
	u32 far = remote ? remote->workload : 0;
	bool passive = e->direction == DIRECTION_INGRESS;

	copy_address(e->src, passive ? key->remote : key->local);
	copy_address(e->dst, passive ? key->local : key->remote);
	e->src_port = passive ? key->remote_port : key->local_port;
	e->dst_port = passive ? key->local_port : key->remote_port;
	e->src_workload = passive ? far : RESERVED_HOST;
	e->dst_workload = passive ? RESERVED_HOST : far;
	e->family = is_mapped(key->local) && is_mapped(key->remote) ? 4 : 6;
}

/* Segments and payload bytes of both ways, round trip and retransmits. */
static inline void record_totals(struct flow_event *e, struct bpf_sock_ops *ctx)
{
	bool passive = e->direction == DIRECTION_INGRESS;

	u32 segments_in = ctx->segs_in, segments_out = ctx->segs_out;
	u64 received = ctx->bytes_received, sent = ctx->bytes_acked;

	/* read before it is known where they go: see read_ends */
	asm volatile("" : "+r"(segments_in), "+r"(segments_out), "+r"(received), "+r"(sent));
	e->forward_packets = passive ? segments_in : segments_out;
	e->reverse_packets = passive ? segments_out : segments_in;
	e->forward_bytes = passive ? received : sent;
	e->reverse_bytes = passive ? sent : received;
	e->srtt_us = ctx->srtt_us >> 3;
	e->retransmits = ctx->total_retrans;
}

/* The kernel's reason for dropping a packet of this handshake, noted by trace.c or at the listener's device; 0: none.
 */
static inline u32 handshake_dropped(struct owner_key *key)
{
	struct address *remote = addresses.lookup((struct address_key *)key->remote);
	struct owner *owner = owners.lookup(key);
	struct conn_key there = {};
	struct conn *c;

	if (owner && owner->dropped)
		return owner->dropped;
	if (!remote || !remote->ifindex)
		return 0;
	copy_address(there.local, key->remote);
	copy_address(there.remote, key->local);
	there.local_port = key->remote_port;
	there.remote_port = key->local_port;
	there.ifindex = remote->ifindex;
	there.proto = IPPROTO_TCP_;
	c = connections.lookup(&there);
	return c ? c->dropped : 0;
}

/* Silence has a reason where the kernel is known to have dropped what was said. */
static inline u8 failure_of_silence(struct owner_key *key, u32 *reason)
{
	*reason = handshake_dropped(key);
	if (!*reason)
		return FAILURE_TIMED_OUT;
#ifdef DROP_LISTEN_OVERFLOW
	if (*reason == DROP_LISTEN_OVERFLOW)
		return FAILURE_ACCEPT_QUEUE;
#endif
	return FAILURE_KERNEL_DROP;
}

#ifdef SK_ERR
/* What a socket that closes says of its connection. */
static inline u8 failure_of_close(struct bpf_sock_ops *ctx, struct owner_key *key, u32 before, u32 *detail)
{
	struct bpf_sock *sk = ctx->sk;
	void *tcp = sk ? bpf_skc_to_tcp_sock(sk) : 0;
	u32 error;

	if (!tcp)
		return FAILURE_NONE;
	error = *(u32 *)(tcp + SK_ERR);
	if (before == BPF_TCP_SYN_SENT) {
		if (error == ETIMEDOUT_ || (!error && ctx->total_retrans))
			return failure_of_silence(key, detail);
		if (error == ECONNREFUSED_)
			return FAILURE_REFUSED;
		return error ? FAILURE_UNREACHABLE : FAILURE_NONE;
	}
	if (error == ETIMEDOUT_)
		return FAILURE_TIMED_OUT;
	if (error != ECONNRESET_ || before != BPF_TCP_ESTABLISHED)
		return FAILURE_NONE;
	if (!ctx->bytes_received && ctx->bytes_acked <= 1)
		return FAILURE_HANDSHAKE;
	return (s32)(*(u32 *)(tcp + SK_LAST_SENT) - *(u32 *)(tcp + SK_LAST_RECEIVED)) >= 0 ? FAILURE_RESET
											   : FAILURE_NONE;
}
#endif

static inline void socket_tell(struct bpf_sock_ops *ctx, struct socket_state *state, u8 kind, u32 before)
{
	struct owner_key key = {};
	struct flow_event *e;
	u32 detail = 0;
	u8 failure = FAILURE_NONE;

	socket_key(ctx, &key);
#ifdef SK_ERR
	if (kind == EVENT_END && state->stage != STAGE_ACCEPTED)
		failure = failure_of_close(ctx, &key, before, &detail);
#endif
	if (kind == EVENT_END && before == BPF_TCP_SYN_SENT && !failure)
		return; /* closed before it was answered: nothing came of it, and nothing is wrong */
	e = socket_record(state, kind);
	if (!e)
		return;
	record_ends_of(e, &key);
	record_totals(e, ctx);
	e->failure = failure;
	e->detail = detail;
	if (before == BPF_TCP_SYN_SENT && kind == EVENT_END)
		e->tcp_flags = TCP_SYN;
	flows.ringbuf_submit(e, 0);
}

/* The SYN is about to be sent: the connection's addresses are known and the socket is at hand. */
static inline void socket_connects(struct bpf_sock_ops *ctx, struct socket_state *state, bool own)
{
	struct owner_key key = {};

	state->stage = STAGE_SENT;
	state->since = bpf_ktime_get_ns();
	socket_key(ctx, &key);
	if (owner_write(state, &key, own) == 0) {
		copy_address(state->noted_remote, key.remote);
		state->noted_port = key.remote_port;
	}
	if (own)
		bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG | BPF_SOCK_OPS_RTT_CB_FLAG);
}

static inline void socket_opens(struct bpf_sock_ops *ctx, struct socket_state *state, bool passive)
{
	u64 now = bpf_ktime_get_ns();

	if (passive) {
		state->stage = STAGE_ACCEPTED;
		state->since = now;
		bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG | BPF_SOCK_OPS_RTT_CB_FLAG);
	} else {
		state->stage = STAGE_OPEN;
		state->handshake = (now - state->since) / 1000 ? (now - state->since) / 1000 : 1;
	}
	socket_tell(ctx, state, EVENT_NEW, 0);
}

static inline void socket_changes(struct bpf_sock_ops *ctx, struct socket_state *state)
{
	if (ctx->args[1] != BPF_TCP_CLOSE || state->stage == STAGE_NONE)
		return;
	socket_tell(ctx, state, EVENT_END, ctx->args[0]);
	state->stage = STAGE_NONE;
}

int watch_sockets(struct bpf_sock_ops *ctx)
{
	u32 op = ctx->op;
	bool passive = op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB;
	struct bpf_sock *sk = ctx->sk;
	struct socket_state *state;
	bool own;

	if (op != BPF_SOCK_OPS_TCP_CONNECT_CB && op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB && !passive &&
	    op != BPF_SOCK_OPS_STATE_CB && op != BPF_SOCK_OPS_RTT_CB)
		return PASS;
	if (!sk)
		return PASS;
	own = in_node_namespace(bpf_get_netns_cookie(ctx));
	if (!own && op != BPF_SOCK_OPS_TCP_CONNECT_CB)
		return PASS;
	state = sockets.sk_storage_get(sk, 0, passive ? BPF_SK_STORAGE_GET_F_CREATE : 0);
	if (!state)
		return PASS;
	if (op == BPF_SOCK_OPS_TCP_CONNECT_CB)
		socket_connects(ctx, state, own);
	else if (op == BPF_SOCK_OPS_STATE_CB)
		socket_changes(ctx, state);
	else if (op != BPF_SOCK_OPS_RTT_CB)
		socket_opens(ctx, state, passive);
	else if (coarse_now() - state->reported >= REPORT_INTERVAL_NS && state->stage >= STAGE_OPEN)
		socket_tell(ctx, state, EVENT_INTERVAL, 0);
	return PASS;
}

/* bind(): who will accept or answer. A listener's children inherit what its state says. */
static inline int bound(struct bpf_sock *sk)
{
	struct socket_state *state;

	if (sk->protocol != IPPROTO_TCP_ && sk->protocol != IPPROTO_UDP_)
		return PASS;
	state = sockets.sk_storage_get(sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state) {
		count(COUNTER_OWNER_FULL, 1);
		return PASS;
	}
	owner_is_current(state);
	state->inherited = 1;
	return PASS;
}

int note_bind4(struct bpf_sock *sk)
{
	return bound(sk);
}

int note_bind6(struct bpf_sock *sk)
{
	return bound(sk);
}

/* A socket is closed whose connect() sent nothing: the connection failed before there was a packet to be seen. */
int note_release(struct bpf_sock *sk)
{
	struct socket_state *state;
	struct flow_event *e;
	struct address *remote;

	if (sk->type != SOCKET_STREAM || sk->protocol != IPPROTO_TCP_)
		return PASS;
	state = sockets.sk_storage_get(sk, 0, 0);
	if (!state || (state->stage != STAGE_CALLED && state->stage != STAGE_REFUSED))
		return PASS;
	e = socket_record(state, EVENT_END);
	if (!e)
		return PASS;
	remote = addresses.lookup((struct address_key *)state->backend);
	copy_address(e->dst, state->backend);
	e->dst_port = bpf_ntohs(state->backend_port);
	e->dst_workload = remote ? remote->workload : 0;
	e->family = is_mapped(state->backend) ? 4 : 6;
	if (e->family == 4)
		map_ipv4(e->src, 0);
	e->src_workload = in_node_namespace(bpf_get_netns_cookie(sk)) ? RESERVED_HOST : 0;
	e->tcp_flags = TCP_SYN;
	e->failure = state->stage == STAGE_REFUSED ? FAILURE_REFUSED : FAILURE_NO_ROUTE;
	flows.ringbuf_submit(e, 0);
	return PASS;
}
