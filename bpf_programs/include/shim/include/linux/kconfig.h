/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* BCC's driver includes this first. Nothing of a kernel configuration is read. */
#ifndef REMORA_SHIM_KCONFIG_H
#define REMORA_SHIM_KCONFIG_H
#define CONFIG_BPF_SYSCALL 1
#endif
