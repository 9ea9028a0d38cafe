/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The system's UAPI header, by full path: <linux/if_ether.h> would find this file again. */
#ifndef REMORA_SHIM_UAPI_IF_ETHER_H
#define REMORA_SHIM_UAPI_IF_ETHER_H
#include "/usr/include/linux/if_ether.h"
#endif
