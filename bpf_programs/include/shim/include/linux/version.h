/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Named by BCC's helpers; nothing of it is used here. */
#ifndef REMORA_SHIM_VERSION_H
#define REMORA_SHIM_VERSION_H
#define LINUX_VERSION_CODE 0
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#endif
