/* nearest.h - "did you mean": the known name that is most like a mistyped one. */
#ifndef PX_BASE_NEAREST_H
#define PX_BASE_NEAREST_H

typedef struct px_nearest {
    const char *typed;
    const char *best; /* NULL: none was like it */
    int best_cost;
} px_nearest;

/* Offer each known name in turn; `best` is then the one to suggest, or NULL. Names count as alike
 * within a third of their length of insertions, deletions, replacements and swaps of neighbours
 * (Damerau and Levenshtein), or when one starts with the other. */
px_nearest px_nearest_to(const char *typed);
void px_nearest_offer(px_nearest *nearest, const char *name);

#endif
