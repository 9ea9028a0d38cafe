/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Named by BCC's helpers; nothing of it is used here. */
#ifndef REMORA_SHIM_LOG2_H
#define REMORA_SHIM_LOG2_H
#endif
