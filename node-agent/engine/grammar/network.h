/* network.h - a grammar as a recursive transition network over bytes: a small automaton for each
 * rule, whose edges read a byte of a range, read nothing, or run another rule.
 *
 * Source: Woods, "Transition network grammars for natural language analysis", 1970; the automata
 *         are Thompson's construction, code points are split into ranges of UTF-8 bytes.
 * Owns:   its states and edges; immutable once made.
 */
#ifndef PX_GRAMMAR_NETWORK_H
#define PX_GRAMMAR_NETWORK_H

#include "engine/grammar/expr.h"

typedef enum px_net_kind { PX_NET_BYTES, PX_NET_EMPTY, PX_NET_CALL } px_net_kind;

typedef struct px_net_edge {
    px_net_kind kind;
    uint8_t low, high; /* BYTES */
    bool is_tail;      /* CALL: nothing is left of the calling rule behind it */
    uint32_t rule;     /* CALL */
    uint32_t to;
} px_net_edge;

typedef struct px_net_rule {
    uint32_t first, last; /* states; `last` has no edges */
} px_net_rule;

typedef struct px_net {
    px_net_edge *edges;   /* by state */
    uint32_t *first_edge; /* [states + 1]: edges of state s are [first_edge[s], first_edge[s+1]) */
    uint32_t states, edge_count;
    px_net_rule *rules;
    uint32_t rule_count;
    bool *is_last; /* [states]: of some rule */
} px_net;

/* INVALID_ARGUMENT: a rule is not defined, or begins with itself (left recursion), or no text at
 * all would match. RESOURCE_EXHAUSTED: more states than are good for anyone. */
px_status px_net_make(const px_expr_source *source, px_net *out) PX_MUST_USE;
void px_net_done(px_net *net);

#endif
