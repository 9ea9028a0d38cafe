/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* BCC's helpers name struct pt_regs in macros for kprobes, which are not used here. */
#ifndef REMORA_SHIM_PTRACE_H
#define REMORA_SHIM_PTRACE_H
#include "/usr/include/linux/ptrace.h"
#endif
