/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The keys and values that policy decides by, as they cross the kernel border:
 * like structs.h, and under the same rules.
 */
#ifndef REMORA_POLICY_STRUCTS_H
#define REMORA_POLICY_STRUCTS_H

/*
 * What policy decides by has two sides. One is in force; the agent writes the
 * other and then changes `epoch`, so that all that belongs together comes into
 * force in the same instant.
 */
struct policy_state {
	u32 epoch; /* counts the states; its lowest bit is the side in force */
	u32 flags; /* enum policy_flag */
};

/* What restricts a workload. */
struct isolation {
	u32 ingress;    /* ruleset for what comes to it, 0: everything passes */
	u32 egress;     /* ruleset for what it sends, 0: everything passes */
	u32 generation; /* changes with every change of its verdicts; never 0, 0: this side has no entry */
	u32 flags;      /* enum guard_flag */
};

struct guard {
	struct isolation side[2];
};

/* The class of an address or a network on either side, 0: none of its own. */
struct class_of {
	u32 side[2];
};

struct network_key {
	u32 prefixlen; /* bits of addr; IPv4 networks have 96 more */
	u32 addr[4];
};

/* A class, protocol and port of a ruleset; the prefix ends behind the class, the protocol or any bit of the port. */
struct policy_key {
	u32 prefixlen;
	u32 ruleset;
	u32 class; /* 0: any that has no entry of its own that matches */
	u8 proto;
	u8 port[2]; /* network order */
	u8 pad;
};

struct policy_rule {
	u32 rule;  /* the agent's number for it, never 0 */
	u8 action; /* enum policy_action */
	u8 audit;  /* a denial that is only told and counted */
	u8 pad[2];
};

#endif
