/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What every hook's file begins with: BCC's types, our numbers, the defaults of the options. */
#ifndef REMORA_COMMON_H
#define REMORA_COMMON_H

#define BPF_LICENSE GPL /* of the two that may be chosen, the one that lets a program read kernel structs */

#include <linux/types.h>
#include <linux/bpf.h>
#include "include/enums.h"

#ifndef TC_ACT_UNSPEC
#define TC_ACT_UNSPEC (-1) /* no opinion: the next filter decides */
#endif

#ifndef TC_ACT_SHOT
#define TC_ACT_SHOT 2 /* drop */
#endif

/* Time of day to some milliseconds, for a fraction of what the exact one costs. */
#ifdef HAVE_COARSE_CLOCK
#define coarse_now() bpf_ktime_get_coarse_ns()
#else
#define coarse_now() bpf_ktime_get_ns()
#endif

#ifndef offsetof
#define offsetof(type, member) __builtin_offsetof(type, member)
#endif

/* Keeps the compiler from knowing more of a value than the verifier does. */
#define barrier(value) asm volatile("" : "+r"(value))

/* Sizes come from the settings (ebpf.source.Options); these are for reading the code alone. */
#ifndef PIN_DIR
#define PIN_DIR "/sys/fs/bpf/remora/maps"
#define RING_DIR "/sys/fs/bpf/remora/build"
#define SERVICES_MAX 65536
#define BACKENDS_MAX 262144
#define AFFINITIES_MAX 65536
#define PACKET_CLIENTS_MAX 4096
#define ADDRESSES_MAX 65536
#define CONNECTIONS_MAX 65536
#define OWNERS_MAX 65536
#define REVERSES_MAX 65536
#define TRANSLATIONS_MAX 131072
#define SOURCE_RANGES_MAX 16384
#define MAGLEV_ROWS_MAX 65536
#define SNAT_PORT_FIRST 10000
#define SNAT_PORT_LAST 29999
#define GUARDS_MAX 4096
#define CLASSES_MAX 65536
#define NETWORKS_MAX 16384
#define RULESETS_MAX 8192
#define POLICIES_MAX 131072
#define RULES_MAX 16384
#define SHIELD_ADDRESSES_MAX 131072
#define SHIELD_NETWORKS_MAX 131072
#define SHIELD_RULES_MAX 4096
#define SHIELD_BUCKETS_MAX 131072
#define SHIELD_BANS_MAX 65536
#define SHIELD_SYNS_MAX 16384
#define SHIELD_PROVEN_MAX 131072
#define SHIELD_FRAGMENTS_MAX 4096
#define FLOW_RING_PAGES 2048
#define PAYLOAD_RING_PAGES 1024
#define REPORT_INTERVAL_NS 5000000000ULL
#define HTTP_BUDGET 500
#endif

#ifndef PAGE_SIZE
#define PAGE_SIZE 4096 /* the loader names the machine's own */
#endif

#define AF_INET_ 2
#define AF_INET6_ 10

#define NS_PER_SECOND 1000000000ULL

#define KERNEL_DROP_REASONS 256 /* slots; the kernel has about half as many reasons */

#endif
