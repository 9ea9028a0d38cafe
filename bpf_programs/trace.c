/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Packets that the kernel itself drops, by the kernel's own reason. The reason
 * is an argument of the tracepoint, so no kernel struct is read; its name is
 * looked up in the running kernel's type information, as the numbers differ
 * from release to release.
 */
#include "include/common.h"
#include "include/maps.h"

#define KFREE_SKB_REASON 2 /* third argument since Linux 5.17 */

int kfree_skb(struct bpf_raw_tracepoint_args *ctx)
{
	u32 reason = ctx->args[KFREE_SKB_REASON];
	u64 *value = kernel_drops.lookup(&reason);

	if (value)
		*value += 1;
	return 0;
}
