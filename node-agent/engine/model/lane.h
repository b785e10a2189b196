/* lane.h - one step from the inside: what its workers share, and the pieces layers are made of.
 *
 * All workers of the team run the same code. Work is shared out in two ways:
 *
 *   matmul, attention   by the kernel, over outputs; a barrier before and after
 *   chains of rows      norms, rotations, activations, preparing: each worker takes some rows from
 *                       one end of the chain to the other, without barriers inside
 *
 * In a step of very few rows (a single decode) sharing rows out would leave most workers idle
 * between two barriers, so there each worker does the chains whose result only matmuls read for
 * all rows, at a desk of its own ("alone"): six barriers a layer instead of ten.
 */
#ifndef PX_MODEL_LANE_H
#define PX_MODEL_LANE_H

#include "engine/model/adapter.h"
#include "engine/model/forward.h"
#include "engine/model/weights.h"

enum { PX_LANE_ALONE_ROWS_MAX = 2 };

/* Where chains leave what matmuls read. */
typedef struct px_desk {
    float *normed;                         /* [rows, hidden] */
    float *mlp;                            /* [rows, MLP width of this place] */
    unsigned char *act[PX_ACT_KIND_COUNT]; /* prepared inputs */
    float *ordered[PX_ROLE_SHELVES]; /* inputs in the orders of matrices [rows, ordered_cols] */
    uint32_t ordered_cols;           /* of the widest order */
    float *low[PX_ROLE_SHELVES];     /* of adapters: scale * A x [rows, PX_ADAPTER_RANK_MAX] */
} px_desk;

/* A mixture's step: each row takes `used` slots, one for each of its experts; slots are ordered
 * by expert, so that an expert's rows lie together. */
typedef struct px_routing {
    float *scores;                  /* [rows, experts] */
    uint32_t *chosen;               /* [rows, used] */
    uint32_t *slot;                 /* [rows, used] */
    float *weight;                  /* [rows, used] */
    uint32_t *row_of;               /* [slots] */
    uint32_t *first;                /* [experts + 1]: slots of an expert */
    float *gate, *up;               /* [slots, expert width] */
    float *shared_gate, *shared_up; /* [rows, shared width] */
    float *shared_weight;           /* [rows] */
    px_desk desk;                   /* for slots; its `normed` also takes their results */
} px_routing;

/* A step of latent attention; see latent.c. */
typedef struct px_latent_step {
    float *q, *kv;  /* latents [rows, q_rank], [rows, kv_rank + rotated]: what is cached */
    float *query;   /* [rows, heads, kv_rank + rotated] */
    float *seen;    /* attended latents [rows, heads, kv_rank] */
    float *plain;   /* [heads, rows, the unrotated part of a query, or a value] */
    float *by_head; /* [heads, rows, kv_rank] */
    px_desk desk;   /* for [heads * rows] */
} px_latent_step;

struct px_forward {
    const px_model *model;
    const px_kernels *kernels;
    px_comm *world, *places; /* places: this stage's ranks; NULL when it has one */
    px_team *team;
    uint32_t workers; /* of the team */
    const px_kv_layer *kv;
    px_forward_limits limits;
    unsigned act_kinds; /* prepared forms that this rank's matrices read, as bits */

    /* Scratch, one allocation. Widths are those of this place. */
    void *memory;
    size_t memory_bytes;
    float *x;                    /* residual stream [rows, hidden] */
    px_kv_row *narrow_at;        /* of the rows of a narrow lane */
    float *delta;                /* what attention or the MLP adds to it [rows, hidden] */
    float *q, *k, *v, *attended; /* [rows, heads or KV heads, dim] */
    float *query, *seen;         /* what attention reads and writes: q and attended, or those of */
    px_latent_step latent;
    float *gate, *up;           /* [rows, MLP width] */
    float *cosine[2], *sine[2]; /* of arch.ropes [rows, dims / 2] */
    float *scratch;             /* of attention, for each worker */
    float *logits;              /* [logit_rows, vocabulary]; NULL where out_logits serves */
    float *gathered;            /* all places' logits, one place after the other */
    px_desk shared, *own;       /* own: [workers], PX_LANE_ALONE_ROWS_MAX rows each */
    px_routing routing;         /* where layers have experts */

    /* The step in progress. */
    const px_batch *batch;
    float *out_logits;
    uint32_t position_max; /* of its rows */
    px_status status;      /* worker 0 writes it before a barrier, all read it after */
};

/* Points the scratch of f into `memory`, and says how many bytes that takes; NULL: only the latter.
 * f->own has room for all workers. Sets f->act_kinds. */
size_t px_forward_carve(px_forward *f, void *memory);

typedef struct px_lane { /* one worker's view of the step */
    px_forward *f;
    uint32_t worker, workers;
    uint32_t rows;
    const px_kv_row *at; /* [rows] */
    bool is_narrow; /* rows are those that results are made of, in their order; see forward.c */
    px_range mine;  /* rows that this worker alone writes in what is shared */
    px_range chain; /* rows that it does at its desk: all when alone */
    bool alone;
    px_desk *desk;
} px_lane;

/* The rows of `rows` that fall to this worker. */
px_range px_lane_share(const px_lane *lane, uint32_t rows);
void px_lane_barrier(const px_lane *lane);
/* Ends a chain at the desk: a barrier unless everyone has his own. */
void px_lane_chain_done(const px_lane *lane);

/* y = norm(x) of rows `range`, [rows, hidden] each; y may be x. */
typedef struct px_norm {
    const float *weight, *x;
    float *y;
    px_range range;
} px_norm;
void px_lane_norm(const px_lane *lane, px_norm norm);

/* Which prepared forms of an input these weights read, as a set of bits (0: weight not held). */
unsigned px_lane_kinds(const px_lane *lane, const px_matrix *w);
/* Prepares rows `range` of x [rows, cols], cols being its stride, in every form that one of the
 * readers wants: what multiplies them before the next barrier. */
typedef struct px_input {
    const float *x;
    uint32_t cols;
    px_range range;
    const px_matrix *readers[PX_ROLE_SHELVES]; /* NULL, or not held: none */
} px_input;
void px_lane_prepare(const px_lane *lane, px_input input);
/* That part of it which is of readers' own orders of columns; for rows that have met. */
void px_lane_order(const px_lane *lane, px_input input);

/* What products read that add to the residual stream is cut over the places by columns of `axis`;
 * the products themselves are cut by rows, like all others. So every output is one sum over all
 * columns, and has the same bits for any number of places: nothing is added up between ranks, which
 * only bring together what each has made. Here `x` has the columns of this place. */
typedef struct px_own_columns {
    const float *x; /* [rows, cols] */
    uint32_t cols;
    px_range range; /* of rows */
    unsigned kinds;
    px_axis axis;
} px_own_columns;
void px_lane_prepare_part(const px_lane *lane, px_own_columns own);
/* Ends the chain: of what places prepared in `kinds`, each has all columns at its desk. False: a
 * peer failed, see f->status. */
bool px_lane_meet(const px_lane *lane, unsigned kinds, px_axis axis);
/* The float32 rows that a product reads after that, where `own` is what was prepared. */
const float *px_lane_met(const px_lane *lane, const float *own);

typedef struct px_product { /* y = x W^T + bias (+ y), x prepared at the desk */
    const px_matrix *w;     /* nothing happens when it has no rows */
    const float *x, *bias;
    float *y;        /* [rows, w->rows] */
    size_t y_stride; /* 0: w->rows */
    uint32_t rows;
    uint32_t first; /* of the rows prepared at the desk; x is that of row 0, y of row `first` */
    bool accumulate;
} px_product;
void px_lane_project(const px_lane *lane, px_product product);

/* activation(gate) * up of rows `range` of [rows, width]; y may be gate. */
typedef struct px_gating {
    const float *gate, *up;
    float *y;
    uint32_t width;
    px_range range;
} px_gating;
void px_lane_gate(const px_lane *lane, px_gating gating);

/* x += f->delta, of which each place made its columns (px_plan_place.hidden), normed by post_norm
 * (NULL: not). A barrier stands before; false: a peer failed, see f->status. */
bool px_lane_add_delta(const px_lane *lane, const float *post_norm);
/* x += a layer's product and what adapters add to it, in the same way. */
typedef struct px_addition {
    uint32_t layer; /* in this stage */
    px_role role, bias, post_norm;
    const float *x; /* what was prepared and has met */
} px_addition;
bool px_lane_add_product(const px_lane *lane, px_addition addition);

/* What adapters add to the product of a role (adapt.c): y += B (scale * A x) for the rows of each
 * span. `lower` makes the small vectors at the desk, of this worker's rows `range`; `raise` comes
 * after the chain's end and after a barrier behind the product itself, for all rows. */
bool px_lane_is_adapted(const px_lane *lane); /* does any row of the step have an adapter? */
typedef struct px_lowering {
    px_role role;
    uint32_t layer;
    const float *x; /* float32 rows, all columns of the role's matrix */
    px_range range;
} px_lowering;
void px_lane_lower(const px_lane *lane, px_lowering lowering);
typedef struct px_raising {
    px_role role;
    uint32_t layer;
    float *y; /* of row 0 */
    size_t y_stride;
} px_raising;
void px_lane_raise(const px_lane *lane, px_raising raising);
/* Of whole rows that have met, what else a role's product and its adapters read: their lowering,
 * and the rows in the order of the matrix' columns. Ends the chain, if there was something to do.
 */
void px_lane_prepare_met(const px_lane *lane, px_lowering lowering);
/* Kinds that must meet (px_lane_meet) for a product and its adapters. */
unsigned px_lane_meeting_kinds(const px_lane *lane, const px_matrix *w);

/* Fills f->query and the cache from f->x through the latents; ends with a barrier. */
void px_layer_latent_qkv(const px_lane *lane, uint32_t layer);
/* Fills f->attended from f->seen; ends with a barrier. */
void px_layer_latent_values(const px_lane *lane, uint32_t layer);
/* A layer: queries, with keys and values of all rows in the cache, ending with a barrier; then its
 * two halves, which may be for fewer rows; false as above. `layer` counts in this stage. */
void px_layer_queries(const px_lane *lane, uint32_t layer);
bool px_layer_attention(const px_lane *lane, uint32_t layer);
bool px_layer_mlp(const px_lane *lane, uint32_t layer);
bool px_layer_experts(const px_lane *lane, uint32_t layer); /* instead, where a layer is routed */

#endif
