/* weights.h - a loaded model from the inside: shared by load.c, which fills it, and forward.c.
 *
 * A rank holds the layers of its stage, and of each weight the rows or columns of its place. A
 * weight that the model lacks, or of which the place has no part, has 0 rows (or is NULL).
 */
#ifndef PX_MODEL_WEIGHTS_H
#define PX_MODEL_WEIGHTS_H

#include "engine/model/arch.h"
#include "engine/model/model.h"

typedef struct px_expert {
    px_matrix gate, up, down;
    const float *gate_bias, *up_bias, *down_bias;
} px_expert;

typedef struct px_head {
    px_matrix k_up, v_up;
} px_head;

typedef struct px_weights {
    px_matrix matrix[PX_ROLE_COUNT];
    const float *vector[PX_ROLE_COUNT]; /* norms and biases, as float32 */
    px_expert *experts;                 /* [arch.experts.count]; NULL in a dense layer */
    px_head *heads;                     /* [heads of this place]; NULL without latent attention */
} px_weights;

struct px_model {
    px_arch arch;
    px_model_info info;
    px_plan plan;
    int rank;
    px_weights shared;  /* embedding (first stage), final norm and output (last stage) */
    px_weights *layers; /* [plan.stages[stage].count] */
    px_order *orders;   /* of columns, of matrices that have one; NULL: none has */
    uint32_t order_count;
    void *packed;
    size_t packed_bytes;
    uint64_t in_place_bytes; /* of the file, read where they lie */
};

static inline uint32_t px_model_stage(const px_model *model)
{
    return px_plan_stage(&model->plan, model->rank);
}

static inline const px_plan_place *px_model_place(const px_model *model)
{
    return &model->plan.places[px_plan_place_of(&model->plan, model->rank)];
}

/* Elements of an axis that this rank holds. */
static inline uint32_t px_model_width(const px_model *model, px_axis axis)
{
    return px_axis_range(&model->arch, px_model_place(model), axis).count;
}

#endif
