/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What packets have in common that are written here and not only handed on. */
#ifndef REMORA_ANSWER_H
#define REMORA_ANSWER_H

#define ANSWER_HOPS 64

/* A checksum (RFC 1071) out of the sum that bpf_csum_diff makes. */
static inline u16 checksum_fold(u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

#endif
