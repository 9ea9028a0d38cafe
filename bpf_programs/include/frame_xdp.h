/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A frame as it came off the wire. Its headers lie in the first buffer nearly
 * always and are read and written there; the kernel's helpers reach the others.
 * Checksums are whole here, and mended by hand.
 *
 * Sources: RFC 1624 (3), RFC 768 (a UDP checksum of 0 means none).
 */
#ifndef REMORA_FRAME_XDP_H
#define REMORA_FRAME_XDP_H

typedef struct xdp_md frame_t;

#define FRAME_PASS XDP_PASS
#define FRAME_DROP XDP_DROP

#define ETHERNET 14      /* bytes of the header */
#define ETHERNET_IPV4 34 /* of both, without options */
#define ETHERNET_IPV6 54

/* A field of the context, by the one instruction that the verifier takes: the compiler would keep its address. */
#define frame_field(frame, field)                                                                                      \
	({                                                                                                             \
		void *value;                                                                                           \
		asm volatile("%0 = *(u32 *)(%1 + %2)"                                                                  \
			     : "=r"(value)                                                                             \
			     : "r"(frame), "i"(offsetof(struct xdp_md, field)));                                       \
		value;                                                                                                 \
	})

static inline u32 frame_ifindex(frame_t *frame)
{
	return frame->ingress_ifindex;
}

static inline u32 frame_length(frame_t *frame)
{
	return bpf_xdp_get_buff_len(frame);
}

static inline u64 frame_segments(frame_t *frame)
{
	return 1;
}

static inline bool frame_untagged(frame_t *frame)
{
	return false;
}

static inline long frame_load(frame_t *frame, u32 at, void *to, u32 size)
{
	void *from = frame_field(frame, data) + (at & (DIRECT_MAX - 1));

	if (__builtin_constant_p(size) && at < DIRECT_MAX && from + size <= frame_field(frame, data_end)) {
		__builtin_memcpy(to, from, size);
		return 0;
	}
	return bpf_xdp_load_bytes(frame, at, to, size);
}

#define read_header(frame, at, head) frame_load(frame, at, &(head), sizeof(head))

static inline long frame_store(frame_t *frame, u32 at, const void *from, u32 size)
{
	void *to = frame_field(frame, data) + (at & (DIRECT_MAX - 1));

	if (__builtin_constant_p(size) && at < DIRECT_MAX && to + size <= frame_field(frame, data_end)) {
		__builtin_memcpy(to, from, size);
		return 0;
	}
	return bpf_xdp_store_bytes(frame, at, (void *)from, size);
}

/* Mend a checksum where `from` became `to`, or by the difference `to` from 0; `flags` as for the kernel's helpers. */
static inline long frame_sum(frame_t *frame, u32 at, u64 from, u64 to, u64 flags)
{
	u16 check;
	u64 sum;

	if (frame_load(frame, at, &check, sizeof(check)) < 0)
		return -1;
	if (flags & BPF_F_MARK_MANGLED_0 && !check)
		return 0;
	sum = (u64)(u16)~check + (u32)~from + (u32)to;
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	check = ~sum;
	if (flags & BPF_F_MARK_MANGLED_0 && !check)
		check = 0xffff;
	return frame_store(frame, at, &check, sizeof(check));
}

static inline long frame_sum_ip(frame_t *frame, u32 at, u64 from, u64 to, u32 size)
{
	return frame_sum(frame, at, from, to, 0);
}

/* There is always room before a frame, and not always behind it. */
static inline long frame_resize(frame_t *frame, u32 length)
{
	s32 more = length - frame_length(frame);
	u8 head[ETHERNET];

	if (more <= 0)
		return bpf_xdp_adjust_tail(frame, more);
	if (bpf_xdp_adjust_head(frame, -more) < 0 || frame_load(frame, more, head, sizeof(head)) < 0)
		return -1;
	return frame_store(frame, 0, head, sizeof(head));
}

static inline long frame_widen(frame_t *frame, u32 l3, u8 family, u32 room)
{
	u8 head[ETHERNET_IPV6];

	if (l3 + (family == 4 ? 20 : 40) != (family == 4 ? ETHERNET_IPV4 : ETHERNET_IPV6) ||
	    bpf_xdp_adjust_head(frame, -(int)room) < 0)
		return -1;
	if (family == 4)
		return frame_load(frame, room, head, ETHERNET_IPV4) < 0 ? -1
									: frame_store(frame, 0, head, ETHERNET_IPV4);
	return frame_load(frame, room, head, ETHERNET_IPV6) < 0 ? -1 : frame_store(frame, 0, head, ETHERNET_IPV6);
}

static inline long frame_measure(frame_t *frame, u32 ifindex, u32 *mtu, u32 room)
{
	return bpf_check_mtu(frame, ifindex, mtu, room, 0);
}

static inline int frame_back(frame_t *frame)
{
	return XDP_TX;
}

#endif
