/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The frame at hand, as the hook of this unit has it: TC a socket buffer, XDP the
 * bytes that came off the wire. What is done with a packet is written once, in
 * these words, so that both do the very same.
 */
#ifndef REMORA_FRAME_H
#define REMORA_FRAME_H

#define DIRECT_MAX 256 /* what begins behind this offset is read and written by the slower way */

#ifdef WITH_XDP
#include "include/frame_xdp.h"
#else
#include "include/frame_tc.h"
#endif

#endif
