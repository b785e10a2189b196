/* repetition.h - the marks * + ? {n} {n,} {n,m} behind what they repeat: the same in every
 * notation.
 */
#ifndef PX_GRAMMAR_REPETITION_H
#define PX_GRAMMAR_REPETITION_H

#include <stdbool.h>
#include <stdint.h>

typedef struct px_repetition {
    uint32_t min, max; /* max: PX_EXPR_UNBOUNDED for no bound */
} px_repetition;

/* Reads a mark at *at and moves behind it. False: there is none, or it is wrong and *out_why (else
 * NULL) says how. */
bool px_repetition_read(const char **at, const char *end, px_repetition *out, const char **out_why);

#endif
