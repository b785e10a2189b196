/* adapter.h - a LoRA adapter from the inside: beside some of a model's matrices a pair of small
 * ones.
 *
 *   y = W x + scale * B (A x)        A [rank, columns of W], B [rows of W, rank]
 *
 * A rank of the group holds A whole, as the product with it is small, and of B the rows that it
 * has of W: so an output is one sum over all columns and one over all of the adapter's rank, the
 * same for any number of ranks.
 *
 * Source:  E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (arXiv 2106.09685).
 * Threads: immutable; adapter/load.h makes it.
 */
#ifndef PX_MODEL_ADAPTER_H
#define PX_MODEL_ADAPTER_H

#include "engine/model/weights.h"

enum { PX_ADAPTER_RANK_MAX = 512 };

typedef struct px_low_rank {
    px_matrix a; /* [rank, cols]; no rows: the matrix stays as it is */
    px_matrix b; /* [rows of this place, rank]; may have no rows */
    float scale;
} px_low_rank;

typedef struct px_adapter {
    px_low_rank (*at)[PX_ROLE_COUNT]; /* [1 + layers of this stage]; 0: of no layer */
    void *memory;
    size_t memory_bytes;
    size_t bytes; /* with the table */
} px_adapter;

/* What it adds to a matrix of a layer, counted in this stage (PX_ROLE_OUTPUT: any layer); NULL:
 * nothing. */
static inline const px_low_rank *px_adapter_at(
    const px_adapter *adapter, px_role role, uint32_t layer)
{
    const px_low_rank *pair = &adapter->at[role < PX_ROLE_FIRST_IN_LAYER ? 0 : 1 + layer][role];
    return pair->a.rows ? pair : NULL;
}

#endif
