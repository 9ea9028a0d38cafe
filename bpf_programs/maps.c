/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * All maps and rings, made before any program is compiled. The units that share
 * them are compiled side by side, and BCC looks for the pin of a map when it reads
 * the text, but makes the map only in the end: of two that found none, the slower
 * would have to begin anew.
 */
#include "include/common.h"
#include "include/maps.h"

/* Never loaded: BCC writes down the types of maps only beside a program. */
int nothing(void *ctx)
{
	return 0;
}
