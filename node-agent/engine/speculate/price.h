/* price.h - what a step that only generates costs by its number of rows, and how many more rows are
 * worth it.
 *
 * Learnt from the steps: a mean for each number of rows. Between two that were seen a line; beyond
 * the largest a hopeful guess, so that it is tried once there is reason to; and what has not been
 * seen for long is taken for a little cheaper with every step, so that it is tried again: what is
 * true today replaces what was, at the price of a bounded share of steps.
 *
 * Worth:   each sequence's speed is its tokens of a step over the step's time. Rows are added, the
 *          most promising first, while the product of all speeds grows: alone that is the
 * sequence's own speed; in company a sequence whose proposals are good gets rows only as far as it
 *          gains more than all the others lose by the longer step.
 *          Source: F. Kelly, "Charging and rate control for elastic traffic" (1997): proportional
 *          fairness.
 * Threads: one at a time. No memory of its own.
 */
#ifndef PX_SPECULATE_PRICE_H
#define PX_SPECULATE_PRICE_H

#include <stdint.h>

enum { PX_PRICE_ROWS_MAX = 96, PX_PROPOSALS_MAX = 31 };

typedef struct px_price {
    double ns[PX_PRICE_ROWS_MAX + 1];     /* by rows; 0: not seen */
    uint64_t seen[PX_PRICE_ROWS_MAX + 1]; /* the step that saw it last */
    uint64_t steps;
} px_price;

void px_price_observe(px_price *price, uint32_t rows, int64_t ns);
/* 0: nothing is known yet. */
double px_price_ns(const px_price *price, uint32_t rows);

typedef struct px_bid {            /* of one sequence */
    uint32_t count;                /* proposals it has */
    float right[PX_PROPOSALS_MAX]; /* each one's chance, if all before it are right */
    uint32_t rows;                 /* out: how many of them to try */
} px_bid;

typedef struct px_auction {
    px_bid *bids;
    uint32_t count; /* at least 1 */
    uint32_t rows;  /* of the step without proposals */
    uint32_t rows_max;
    double ns_max;     /* of the step; INFINITY: no bound */
    double ns_before;  /* what any proposal costs before the step, */
    double ns_a_depth; /* and each depth of proposals: a draft model's own steps */
} px_auction;
/* Sets every bid's rows; all 0 when nothing pays. */
void px_price_auction(const px_price *price, const px_auction *auction);

#endif
