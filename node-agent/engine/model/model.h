/* model.h - a model, loaded: its description and this rank's weights in its kernels' layout.
 *
 * Owns:    packed weights; borrows the px_model_file (for the embedding table and other weights
 *          used in place), which must outlive it.
 * Threads: immutable after load.
 */
#ifndef PX_MODEL_MODEL_H
#define PX_MODEL_MODEL_H

#include "engine/model/model_file.h"
#include "kernels/kernels.h"
#include "parallel/plan.h"
#include "parallel/team.h"

/* What the rest of the engine needs to know; the whole description is px_arch (arch.h). */
typedef struct px_model_info {
    char arch[32];  /* "llama" */
    char name[128]; /* from the file, else the file's base name */
    uint32_t vocabulary, hidden, layers, heads, kv_heads;
    uint32_t kv_heads_cached, k_dim, v_dim; /* what one token's KV holds in a layer (whole model) */
    bool v_in_k;    /* V is the first v_dim of K, which every rank holds whole (latent attention) */
    bool generates; /* else it makes embeddings or scores (pooling.h), and has no logits */
    bool both_ways; /* tokens see those after them: a sequence's rows must be in one step, with
                       px_kv_row.prompt = its length */
    uint32_t context;                /* positions the model was made for */
    uint32_t rotation_turns_at;      /* all KV of longer sequences is another (longrope): one that
                                        grows past it is computed anew; 0: none */
    uint32_t rotation_grows_from;    /* the KV of longer prompts depends on their length (dynamic
                                        NTK); 0: never */
    uint32_t eos_ids[16], eos_count; /* any of them ends an answer */
    int64_t bos_id;                  /* -1: none */
    uint64_t weight_bytes, parameters;
} px_model_info;

/* FAILED_PRECONDITION with a sentence, where the model makes no text. */
px_status px_model_check_generates(const px_model_info *info) PX_MUST_USE;

typedef struct px_model px_model;

typedef void (*px_progress_fn)(void *arg, double fraction, const char *what);

typedef struct px_model_options {
    const px_kernels *kernels;
    int rank;            /* of plan: which slices to load */
    const px_plan *plan; /* copied */
    px_team *team;       /* packs in parallel; borrowed for the call */
    px_progress_fn on_progress;
    void *progress_arg;
} px_model_options;

/* Description only: cheap, touches no weights. Also checks every tensor's name, type and shape. */
px_status px_model_describe(
    const px_model_file *file, px_model_info *out_info, px_plan_shape *out_shape) PX_MUST_USE;
/* The model as this rank will hold it, without the weights themselves: for arithmetic before they
 * are loaded (px_model_resident_bytes, px_forward_scratch_bytes). No step can run on it. The
 * options' team is not used. */
px_status px_model_outline(
    const px_model_file *file, const px_model_options *options, px_model **out) PX_MUST_USE;
px_status px_model_load(
    px_model_file *file, const px_model_options *options, px_model **out) PX_MUST_USE;
void px_model_free(px_model *model);
uint64_t px_model_resident_bytes(const px_model *model); /* of this rank */

#endif
