/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* BCC carries its own copy of the BPF UAPI; the system's must not be read beside it. */
#ifndef REMORA_SHIM_BPF_H
#define REMORA_SHIM_BPF_H
#ifndef _UAPI__LINUX_BPF_H__
#include <bcc/bpf.h>
#endif
#ifndef _UAPI__LINUX_BPF_H__
#define _UAPI__LINUX_BPF_H__
#endif
#ifndef __LINUX_BPF_H__
#define __LINUX_BPF_H__
#endif
#endif
