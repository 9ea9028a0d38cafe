/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A frame in a socket buffer, which knows by itself what checksums and super-packets ask for. */
#ifndef REMORA_FRAME_TC_H
#define REMORA_FRAME_TC_H

typedef struct __sk_buff frame_t;

#define FRAME_PASS TC_ACT_UNSPEC
#define FRAME_DROP TC_ACT_SHOT

static inline u32 frame_ifindex(frame_t *frame)
{
	return frame->ifindex;
}

static inline u32 frame_length(frame_t *frame)
{
	return frame->len;
}

/* Wire packets that it stands for: a super-packet is more than one. */
static inline u64 frame_segments(frame_t *frame)
{
	return frame->gso_segs > 1 ? frame->gso_segs : 1;
}

/* Has the device taken a VLAN tag out of it? */
static inline bool frame_untagged(frame_t *frame)
{
	return frame->vlan_present;
}

/*
 * Copy a header to `head`; < 0 where the packet ends before it. Headers lie in
 * the linear part nearly always and are read there; bpf_skb_load_bytes reads the
 * rest.
 */
#define read_header(frame, at, head)                                                                                   \
	({                                                                                                             \
		u32 offset = (at);                                                                                     \
		typeof(head) *from = (void *)(long)(frame)->data + (offset & (DIRECT_MAX - 1));                        \
		int result = 0;                                                                                        \
		if (offset < DIRECT_MAX && (void *)(from + 1) <= (void *)(long)(frame)->data_end)                      \
			(head) = *from;                                                                                \
		else                                                                                                   \
			result = bpf_skb_load_bytes(frame, offset, &(head), sizeof(head));                             \
		result;                                                                                                \
	})

static inline long frame_load(frame_t *frame, u32 at, void *to, u32 size)
{
	return bpf_skb_load_bytes(frame, at, to, size);
}

static inline long frame_store(frame_t *frame, u32 at, const void *from, u32 size)
{
	return bpf_skb_store_bytes(frame, at, from, size, 0);
}

/* Mend the checksum of an IPv4 header: of `size` bytes, 0: `to` is the difference. */
static inline long frame_sum_ip(frame_t *frame, u32 at, u64 from, u64 to, u32 size)
{
	return bpf_l3_csum_replace(frame, at, from, to, size);
}

/* The same for a transport header; `flags` as the kernel's. */
static inline long frame_sum(frame_t *frame, u32 at, u64 from, u64 to, u64 flags)
{
	return bpf_l4_csum_replace(frame, at, from, to, flags);
}

/* Make it `length` bytes; behind the Ethernet header they are anything. */
static inline long frame_resize(frame_t *frame, u32 length)
{
	return bpf_skb_change_tail(frame, length, 0);
}

/* Make room behind the IP header that begins at `l3`, before its options. */
static inline long frame_widen(frame_t *frame, u32 l3, u8 family, u32 room)
{
	return bpf_skb_adjust_room(frame, room, BPF_ADJ_ROOM_NET, 0);
}

/* Does a device take it, with `room` bytes more? > 0: it does not, and `mtu` says how much it takes. */
static inline long frame_measure(frame_t *frame, u32 ifindex, u32 *mtu, u32 room)
{
	/* the kernel measures the segments of a super-packet only where nothing is added */
	return bpf_check_mtu(frame, ifindex, mtu, room, room ? 0 : BPF_MTU_CHK_SEGS);
}

/* Send it out of the device that it came by. */
static inline int frame_back(frame_t *frame)
{
	return bpf_redirect(frame->ifindex, 0);
}

#endif
