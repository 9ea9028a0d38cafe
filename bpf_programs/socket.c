/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Services at the socket: connect() and sendmsg() to a frontend go to a backend,
 * once per connection instead of once per packet; recvmsg() and getpeername()
 * give the frontend back, so the application never sees the difference. The
 * same hooks note who opened the socket, and note_owner writes it down where
 * the packet path finds it.
 *
 * sock_addr programs return 1 to let the call go on, 0 to refuse it. Refused is
 * only what nothing serves (ECONNREFUSED, as a closed port would).
 */
#include "include/common.h"
#include "include/owner.h"
#include "include/service.h"

#define ALLOW 1
#define REFUSE 0
#define ECONNREFUSED_ 111
#define EHOSTUNREACH_ 113

static inline void copy_wanted(struct bpf_sock_addr *ctx, u32 *address, bool v6)
{
	if (v6) {
		address[0] = ctx->user_ip6[0];
		address[1] = ctx->user_ip6[1];
		address[2] = ctx->user_ip6[2];
		address[3] = ctx->user_ip6[3];
	} else {
		map_ipv4(address, ctx->user_ip4);
	}
}

static inline void rewrite(struct bpf_sock_addr *ctx, const u32 *address, u16 port, bool v6)
{
	if (v6) {
		ctx->user_ip6[0] = address[0];
		ctx->user_ip6[1] = address[1];
		ctx->user_ip6[2] = address[2];
		ctx->user_ip6[3] = address[3];
	} else {
		ctx->user_ip4 = address[3];
	}
	ctx->user_port = port;
}

/* The socket's state, with its owner; made by the first call that names a destination. */
static inline struct socket_state *socket_opened(struct bpf_sock_addr *ctx)
{
	struct socket_state *state;

	if (!ctx->sk)
		return 0;
	state = sockets.sk_storage_get(ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state) {
		count(COUNTER_OWNER_FULL, 1);
		return 0;
	}
	owner_is_current(state);
	return state;
}

static inline void keep_translation(struct socket_state *state, const u32 *frontend, u16 port, struct choice *choice)
{
	copy_address(state->frontend, frontend);
	copy_address(state->backend, choice->backend->addr);
	state->frontend_port = port;
	state->backend_port = choice->backend->port;
	state->service = choice->service;
	state->connected = 1;
}

/* A backend of the other family cannot be reached by this socket. */
static inline bool reachable(struct backend *backend, bool v6, const u32 *wanted)
{
	return is_mapped(backend->addr) == (v6 ? is_mapped(wanted) : true);
}

/*
 * The backend of a call. Workloads that are left to the per-packet path get none: their own network stack, or the
 * mesh beside them, is to see the frontend.
 */
static inline int socket_lookup(const u32 *wanted, u16 port, u8 proto, struct choice *choice)
{
	struct packet_client client = {.netns = choice->client};

	if (packet_clients.lookup(&client))
		return LOOKUP_NONE;
	return service_lookup(wanted, port, proto, choice);
}

static inline int refuse(int error)
{
#ifdef HAVE_SET_RETVAL
	bpf_set_retval(error);
#endif
	return REFUSE;
}

/*
 * What becomes of a call that no backend serves. A workload's packets are let go
 * and dropped at its device, where the drop is seen; the node's own would leave
 * the node, so they are stopped here.
 */
static inline int unserved(int found, u64 client)
{
	if (found == LOOKUP_REFUSED) {
		count(COUNTER_SERVICE_REFUSED, 1);
		return refuse(-ECONNREFUSED_);
	}
	if ((found == LOOKUP_DROPPED || found == LOOKUP_CLOSED) && in_node_namespace(client)) {
		count(found == LOOKUP_CLOSED ? COUNTER_SOURCE_RANGE : COUNTER_SERVICE_DROPPED, 1);
		return refuse(-EHOSTUNREACH_);
	}
	if (found == LOOKUP_BROKEN)
		count(COUNTER_SERVICE_NO_BACKEND, 1);
	return ALLOW;
}

/* Which frontend this socket meant by a backend, for the answers that will come from there. */
static inline int keep_reverse(struct bpf_sock_addr *ctx, const u32 *frontend, u16 port, struct choice *choice)
{
	struct reverse_key key = {.cookie = bpf_get_socket_cookie(ctx), .port = choice->backend->port};
	struct reverse value = {.port = port, .service = choice->service};
	struct reverse *known;

	copy_address(key.backend, choice->backend->addr);
	copy_address(value.frontend, frontend);
	known = reverses.lookup(&key);
	if (known && same_address(known->frontend, frontend) && known->port == port &&
	    known->service == choice->service)
		return 0;
	return reverses.update(&key, &value);
}

/* A UDP socket that connects to a backend by its own address means the backend itself, whatever it meant before. */
static inline void forget_reverse(struct bpf_sock_addr *ctx, const u32 *address, u16 port)
{
	struct reverse_key key = {.cookie = bpf_get_socket_cookie(ctx), .port = port};

	if (ctx->protocol != IPPROTO_UDP_)
		return;
	copy_address(key.backend, address);
	reverses.delete(&key);
}

/* A call that begins anew: where it goes is kept, for the case that it ends before a packet is sent. */
static inline void begin(struct socket_state *state, const u32 *wanted, u16 port, u8 protocol)
{
	state->connected = 0;
	state->service = 0;
	state->noted_port = 0;
	state->handshake = 0;
	copy_address(state->backend, wanted);
	state->backend_port = port;
	if (protocol == IPPROTO_TCP_) {
		state->stage = STAGE_CALLED;
		state->since = bpf_ktime_get_ns();
	}
}

static inline int handle_connect(struct bpf_sock_addr *ctx, bool v6)
{
	u32 wanted[4];
	u16 port = ctx->user_port;
	struct choice choice = {.client = bpf_get_netns_cookie(ctx), .draw = bpf_get_prandom_u32()};
	struct socket_state *state;
	int found;

	if (ctx->protocol != IPPROTO_TCP_ && ctx->protocol != IPPROTO_UDP_)
		return ALLOW;
	copy_wanted(ctx, wanted, v6);
	state = socket_opened(ctx);
	if (state)
		begin(state, wanted, port, ctx->protocol);
	found = socket_lookup(wanted, port, ctx->protocol, &choice);
	if (found == LOOKUP_NONE)
		forget_reverse(ctx, wanted, port);
	if (found != LOOKUP_FOUND) {
		int action = unserved(found, choice.client);

		if (action == REFUSE && state && state->stage == STAGE_CALLED)
			state->stage = STAGE_REFUSED;
		return action;
	}
	if (!reachable(choice.backend, v6, wanted))
		return ALLOW;
	if (!state || (ctx->protocol == IPPROTO_UDP_ && keep_reverse(ctx, wanted, port, &choice) < 0)) {
		count(COUNTER_SERVICE_STATE_FULL, 1);
		return ALLOW;
	}
	keep_translation(state, wanted, port, &choice);
	rewrite(ctx, choice.backend->addr, choice.backend->port, v6);
	count(COUNTER_SERVICE_CONNECTED, 1);
	return ALLOW;
}

/* The frontend that a connected socket knows its peer by. */
static inline struct socket_state *translated(struct bpf_sock_addr *ctx, const u32 *peer, u16 port)
{
	struct socket_state *state;

	if (!ctx->sk)
		return 0;
	state = sockets.sk_storage_get(ctx->sk, 0, 0);
	if (!state || !state->connected || state->backend_port != port || !same_address(state->backend, peer))
		return 0;
	return state;
}

/* All datagrams of a socket go to one backend while the Service stays as it is: the cookie is the draw. */
static inline int handle_sendmsg(struct bpf_sock_addr *ctx, bool v6)
{
	u32 wanted[4];
	u16 port = ctx->user_port;
	struct choice choice = {.client = bpf_get_netns_cookie(ctx), .draw = (u32)bpf_get_socket_cookie(ctx)};
	struct socket_state *state;
	int found;

	if (ctx->protocol != IPPROTO_UDP_)
		return ALLOW;
	copy_wanted(ctx, wanted, v6);
	state = socket_opened(ctx);
	found = socket_lookup(wanted, port, IPPROTO_UDP_, &choice);
	if (found == LOOKUP_NONE && translated(ctx, wanted, port))
		return ALLOW; /* send() on a connected v4-mapped socket comes by here, with the backend as destination
			       */
	if (state)
		state->service = found == LOOKUP_FOUND ? choice.service : 0;
	if (found != LOOKUP_FOUND)
		return unserved(found, choice.client);
	if (!reachable(choice.backend, v6, wanted))
		return ALLOW;
	if (keep_reverse(ctx, wanted, port, &choice) < 0) {
		count(COUNTER_SERVICE_STATE_FULL, 1);
		return ALLOW;
	}
	rewrite(ctx, choice.backend->addr, choice.backend->port, v6);
	count(COUNTER_SERVICE_DATAGRAM, 1);
	return ALLOW;
}

static inline int handle_recvmsg(struct bpf_sock_addr *ctx, bool v6)
{
	struct reverse_key key = {.cookie = bpf_get_socket_cookie(ctx), .port = ctx->user_port};
	struct reverse *reverse;
	struct socket_state *state;

	copy_wanted(ctx, key.backend, v6);
	reverse = reverses.lookup(&key);
	if (reverse) {
		rewrite(ctx, reverse->frontend, reverse->port, v6);
		return ALLOW;
	}
	state = translated(ctx, key.backend, key.port);
	if (state)
		rewrite(ctx, state->frontend, state->frontend_port, v6);
	return ALLOW;
}

/*
 * accept() asks for the peer's address by this way, in the process that accepts:
 * it holds the socket from now on.
 */
static inline void accepted(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct socket_state *state;
	struct owner_key key = {.proto = IPPROTO_TCP_};

	if (!sk || sk->protocol != IPPROTO_TCP_ || sk->state != BPF_TCP_ESTABLISHED)
		return;
	state = sockets.sk_storage_get(sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state || (state->pid && !state->inherited))
		return;
	owner_is_current(state);
	read_ends(&key, sk->family, sk, src_ip6, dst_ip6, src_ip4, dst_ip4);
	key.local_port = sk->src_port;
	key.remote_port = bpf_ntohs(sk->dst_port);
	owner_write(state, &key, 0);
}

static inline int handle_getpeername(struct bpf_sock_addr *ctx, bool v6)
{
	u32 peer[4];
	struct socket_state *state;

	accepted(ctx);
	copy_wanted(ctx, peer, v6);
	state = translated(ctx, peer, ctx->user_port);
	if (state)
		rewrite(ctx, state->frontend, state->frontend_port, v6);
	return ALLOW;
}

int connect4(struct bpf_sock_addr *ctx)
{
	return handle_connect(ctx, false);
}

int connect6(struct bpf_sock_addr *ctx)
{
	return handle_connect(ctx, true);
}

int sendmsg4(struct bpf_sock_addr *ctx)
{
	return handle_sendmsg(ctx, false);
}

int sendmsg6(struct bpf_sock_addr *ctx)
{
	return handle_sendmsg(ctx, true);
}

int recvmsg4(struct bpf_sock_addr *ctx)
{
	return handle_recvmsg(ctx, false);
}

int recvmsg6(struct bpf_sock_addr *ctx)
{
	return handle_recvmsg(ctx, true);
}

int getpeername4(struct bpf_sock_addr *ctx)
{
	return handle_getpeername(ctx, false);
}

int getpeername6(struct bpf_sock_addr *ctx)
{
	return handle_getpeername(ctx, true);
}

/* Write the socket's owner down under the connection's addresses, unless that was done already. */
static inline void owner_note(struct socket_state *state, struct packet *p)
{
	struct owner_key key = {.local_port = p->src_port, .remote_port = p->dst_port, .proto = p->proto};

	if (state->noted_port == p->dst_port && same_address(state->noted_remote, p->dst))
		return;
	copy_address(key.local, p->src);
	copy_address(key.remote, p->dst);
	if (owner_write(state, &key, 0) < 0)
		return;
	copy_address(state->noted_remote, p->dst);
	state->noted_port = p->dst_port;
}

/*
 * cgroup egress: the first place where the connection's own address and port
 * are known while the socket is still at hand.
 */
int note_owner(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct socket_state *state;
	struct packet p = {};

	if (!sk)
		return ALLOW;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return ALLOW;
	state = sockets.sk_storage_get(sk, 0, 0);
	if (!state || (sk->protocol == IPPROTO_TCP_ && (state->noted_port || sk->state == BPF_TCP_LISTEN)))
		return ALLOW;
	if (parse_ip(skb, &p, bpf_ntohs(skb->protocol)) == PARSE_OK && !p.later_fragment)
		owner_note(state, &p);
	return ALLOW;
}
