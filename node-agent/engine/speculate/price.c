/* price.c - see price.h. */
#include "engine/speculate/price.h"

#include <math.h>
#include <stddef.h>

#include "base/status.h"

static const double learning_rate = 0.2, outlier = 2, slack = 1.5;
static const double hoped_row = 0.2; /* of a one-row step, what a row of an unseen step may add */
static const double fading = 0.0005; /* a step, of what was not seen */
static const double fading_least = 0.5; /* never cheaper than so much of what it was */
static const double margin = 0.03;      /* what the product of speeds must grow by: noise */

/* More rows take longer, but not more than about in proportion. What contradicts that was learnt
 * while something else held a step up. */
static void correct_others(px_price *price, uint32_t rows, double ns)
{
    for (uint32_t i = 1; i <= PX_PRICE_ROWS_MAX; i++) {
        double most = ns * slack * (i > rows ? (double)i / rows : 1);
        if (price->ns[i] > most) price->ns[i] = most;
    }
}

void px_price_observe(px_price *price, uint32_t rows, int64_t ns)
{
    if (!rows || rows > PX_PRICE_ROWS_MAX || ns <= 0) return;
    double *mean = &price->ns[rows];
    price->seen[rows] = ++price->steps;
    correct_others(price, rows, (double)ns);
    if (*mean == 0) {
        *mean = (double)ns;
        return;
    }
    /* One step that was held up by something else must not rule out the next hundred. */
    double seen = (double)ns < outlier * *mean ? (double)ns : outlier * *mean;
    *mean += learning_rate * (seen - *mean);
}

static double faded(const px_price *price, uint32_t rows)
{
    double left = 1 - fading * (double)(price->steps - price->seen[rows]);
    return price->ns[rows] * (left > fading_least ? left : fading_least);
}

double px_price_ns(const px_price *price, uint32_t rows)
{
    uint32_t below = rows, above = rows + 1;
    while (below && price->ns[below] == 0) below--;
    if (below == rows) return faded(price, rows);
    while (above <= PX_PRICE_ROWS_MAX && price->ns[above] == 0) above++;
    bool ends = above > PX_PRICE_ROWS_MAX;
    if (!below) return ends ? 0 : faded(price, above);
    double low = faded(price, below);
    double slope = ends ? hoped_row * low / below : (faded(price, above) - low) / (above - below);
    return low + slope * (rows - below);
}

/* The bid whose next row adds most to the logarithm of its speed; NULL: none has any left. */
static px_bid *best_bid(const px_auction *auction, const double *tokens, const double *chance)
{
    px_bid *best = NULL;
    double most = 0;
    for (uint32_t i = 0; i < auction->count; i++) {
        px_bid *bid = &auction->bids[i];
        if (bid->rows == bid->count) continue;
        double gain = chance[i] * bid->right[bid->rows] / tokens[i];
        if (gain > most) most = gain, best = bid;
    }
    return best;
}

void px_price_auction(const px_price *price, const px_auction *auction)
{
    double tokens[PX_PRICE_ROWS_MAX], chance[PX_PRICE_ROWS_MAX]; /* of the last row taken */
    uint32_t taken[PX_PRICE_ROWS_MAX], count = 0, best_count = 0, depth = 0;
    uint32_t most = auction->rows_max < PX_PRICE_ROWS_MAX ? auction->rows_max : PX_PRICE_ROWS_MAX;
    PX_ASSERT(auction->count && auction->count <= PX_PRICE_ROWS_MAX);
    for (uint32_t i = 0; i < auction->count; i++) {
        auction->bids[i].rows = 0;
        tokens[i] = chance[i] = 1;
    }
    double plain_ns = px_price_ns(price, auction->rows), gained = 0, best = margin;
    if (plain_ns == 0) return;
    for (uint32_t rows = auction->rows + 1; rows <= most; rows++) {
        px_bid *bid = best_bid(auction, tokens, chance);
        if (!bid) break;
        uint32_t i = (uint32_t)(bid - auction->bids);
        chance[i] *= bid->right[bid->rows++];
        gained += log((tokens[i] + chance[i]) / tokens[i]);
        tokens[i] += chance[i];
        taken[count++] = i;
        if (bid->rows > depth) depth = bid->rows;
        double ns = px_price_ns(price, rows) + auction->ns_before + depth * auction->ns_a_depth;
        if (ns > auction->ns_max) break;
        double worth = gained - auction->count * log(ns / plain_ns);
        if (worth > best) best = worth, best_count = count;
    }
    while (count > best_count) auction->bids[taken[--count]].rows--;
}
