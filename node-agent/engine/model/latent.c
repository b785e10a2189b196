/* latent.c - multi-head latent attention in the absorbed form.
 *
 *   q      = (norm(h Wq_down)) Wq_up, or h Wq           of each head: unrotated part | rotated part
 *   c | r  = h Wkv_down;  c = norm(c)                   cached: one latent, one rotated part for
 * all query  = q_plain Wk_up | rotate(q_rotated)          of each head, as wide as what is cached
 *   seen   = attention(query, c | r, c)                 one KV head, whose values are its keys' c
 *   value  = seen Wv_up                                 of each head; then the output projection
 *
 * Keys n = Wk_up^T c and values Wv_up c are never made: q . n = (q Wk_up) . c, and the weighted sum
 * of the values is Wv_up of that of the latents (DeepSeek-V2, arXiv 2405.04434, 2.1.2). All rows
 * take this way, in prompts too, so that a row's bits do not depend on how its prompt was cut.
 *
 * Products of a head read its rows one after the other, so what goes through them is turned to
 * [heads, rows, ...] and back. All workers share one desk here.
 */
#include <string.h>

#include "engine/model/lane.h"

static const px_part whole = {.index = 0, .count = 1};

static uint32_t head_count(const px_lane *lane)
{
    return px_model_place(lane->f->model)->heads.count;
}

static px_lane with_desk(const px_lane *lane, px_desk *desk)
{
    px_lane together = *lane;
    together.alone = false;
    together.desk = desk;
    return together;
}

/* --- down to the latents ------------------------------------------------------------------ */

/* The first products, all of the normed hidden rows. */
static void project_down(const px_lane *lane, uint32_t layer)
{
    px_forward *f = lane->f;
    const px_weights *w = &f->model->layers[layer];
    static const px_role readers[] = {PX_ROLE_Q, PX_ROLE_Q_DOWN, PX_ROLE_KV_DOWN};
    static const px_role biases[] = {PX_ROLE_Q_BIAS, PX_ROLE_Q_DOWN_BIAS, PX_ROLE_KV_DOWN_BIAS};
    float *outputs[] = {f->q, f->latent.q, f->latent.kv};
    px_lane_norm(lane, (px_norm){.weight = w->vector[PX_ROLE_ATTN_NORM],
                           .x = f->x,
                           .y = lane->desk->normed,
                           .range = lane->mine});
    px_lane_prepare(lane, (px_input){.x = lane->desk->normed,
                              .cols = f->model->arch.hidden,
                              .range = lane->mine,
                              .readers = {&w->matrix[PX_ROLE_Q], &w->matrix[PX_ROLE_Q_DOWN],
                                  &w->matrix[PX_ROLE_KV_DOWN]}});
    for (int i = 0; i < 3; i++)
        px_lane_lower(lane, (px_lowering){readers[i], layer, lane->desk->normed, lane->mine});
    px_lane_barrier(lane);
    for (int i = 0; i < 3; i++)
        px_lane_project(lane, (px_product){.w = &w->matrix[readers[i]],
                                  .x = lane->desk->normed,
                                  .bias = w->vector[biases[i]],
                                  .y = outputs[i],
                                  .rows = lane->rows});
    px_lane_barrier(lane);
    if (!px_lane_is_adapted(lane)) return;
    for (int i = 0; i < 3; i++)
        px_lane_raise(
            lane, (px_raising){readers[i], layer, outputs[i], w->matrix[readers[i]].rows});
    px_lane_barrier(lane);
}

/* The first `cols` of this worker's rows of x, in place. */
typedef struct latent_norm {
    const float *weight;
    float *x;
    size_t stride;
    uint32_t cols;
} latent_norm;

static void norm_latent(const px_lane *lane, latent_norm n)
{
    float *x = n.x + lane->mine.begin * n.stride;
    px_rmsnorm op = {.x = x,
        .weight = n.weight,
        .y = x,
        .x_stride = n.stride,
        .y_stride = n.stride,
        .rows = lane->mine.count,
        .groups = 1,
        .cols = n.cols,
        .eps = lane->f->model->arch.latent.norm_eps};
    if (op.rows) lane->f->kernels->rmsnorm(&op, whole);
}

/* --- queries ------------------------------------------------------------------------------ */

static void project_queries(const px_lane *lane, uint32_t layer)
{
    px_forward *f = lane->f;
    const px_weights *w = &f->model->layers[layer];
    const px_matrix *up = &w->matrix[PX_ROLE_Q_UP];
    uint32_t rank = f->model->arch.latent.q_rank;
    norm_latent(lane, (latent_norm){w->vector[PX_ROLE_Q_DOWN_NORM], f->latent.q, rank, rank});
    px_lane_prepare(
        lane, (px_input){.x = f->latent.q, .cols = rank, .range = lane->mine, .readers = {up}});
    px_lane_lower(lane, (px_lowering){PX_ROLE_Q_UP, layer, f->latent.q, lane->mine});
    px_lane_barrier(lane);
    px_lane_project(lane, (px_product){.w = up, .x = f->latent.q, .y = f->q, .rows = lane->rows});
    px_lane_barrier(lane);
    if (!px_lane_is_adapted(lane)) return;
    px_lane_raise(lane, (px_raising){PX_ROLE_Q_UP, layer, f->q, up->rows});
    px_lane_barrier(lane);
}

/* Rows [row, ...) of `cols` floats of each head, from [rows, heads, from_stride] to
 * [heads, rows, cols] or back: this worker's rows. */
typedef struct turn {
    float *by_row, *by_head;
    uint32_t row_stride; /* floats from head to head of a row */
    uint32_t cols;
} turn;

static void turn_to_heads(const px_lane *lane, turn t)
{
    size_t heads = head_count(lane), end = lane->mine.begin + (size_t)lane->mine.count;
    for (size_t row = lane->mine.begin; row < end; row++)
        for (size_t h = 0; h < heads; h++)
            memcpy(t.by_head + (h * lane->rows + row) * t.cols,
                t.by_row + (row * heads + h) * t.row_stride, t.cols * sizeof(float));
}

static void turn_to_rows(const px_lane *lane, turn t)
{
    size_t heads = head_count(lane), end = lane->mine.begin + (size_t)lane->mine.count;
    for (size_t row = lane->mine.begin; row < end; row++)
        for (size_t h = 0; h < heads; h++)
            memcpy(t.by_row + (row * heads + h) * t.row_stride,
                t.by_head + (h * lane->rows + row) * t.cols, t.cols * sizeof(float));
}

typedef struct head_product { /* y = x W^T of each head, [heads, rows, ...] both */
    const float *x;
    float *y;
    uint32_t cols; /* of x */
    bool values;   /* by v_up; else by k_up */
} head_product;

static const px_matrix *matrix_of(const px_weights *w, uint32_t head, bool values)
{
    return values ? &w->heads[head].v_up : &w->heads[head].k_up;
}

/* This worker's rows of each head, prepared for its matrix. */
static void prepare_heads(const px_lane *lane, const px_weights *w, head_product p)
{
    for (uint32_t h = 0; h < head_count(lane); h++)
        px_lane_prepare(lane,
            (px_input){.x = p.x,
                .cols = p.cols,
                .range = {.begin = h * lane->rows + lane->mine.begin, .count = lane->mine.count},
                .readers = {matrix_of(w, h, p.values)}});
}

static void project_heads(const px_lane *lane, const px_weights *w, head_product p)
{
    for (uint32_t h = 0; h < head_count(lane); h++) {
        const px_matrix *up = matrix_of(w, h, p.values);
        size_t first = (size_t)h * lane->rows;
        px_lane_project(lane, (px_product){.w = up,
                                  .x = p.x,
                                  .y = p.y + first * up->rows,
                                  .rows = lane->rows,
                                  .first = (uint32_t)first});
    }
}

/* The rotated parts of this worker's queries go behind what meets the latents. */
static void join_queries(const px_lane *lane)
{
    px_forward *f = lane->f;
    const px_arch *arch = &f->model->arch;
    uint32_t rotated = arch->ropes[0].dims, rank = arch->latent.kv_rank;
    size_t heads = head_count(lane), width = rank + rotated;
    turn_to_rows(lane, (turn){f->latent.query, f->latent.by_head, (uint32_t)width, rank});
    for (size_t i = lane->mine.begin * heads;
         i < (lane->mine.begin + (size_t)lane->mine.count) * heads; i++)
        memcpy(f->latent.query + i * width + rank, f->q + i * arch->head_k + arch->rope_offset,
            rotated * sizeof(float));
}

/* --- places ------------------------------------------------------------------------------- */

/* The last part of each head of this worker's rows, rotated by its position. */
static void rotate(const px_lane *lane, float *x, uint32_t heads)
{
    const px_forward *f = lane->f;
    const px_arch *arch = &f->model->arch;
    uint32_t dims = arch->ropes[0].dims, rank = arch->latent.kv_rank;
    size_t first = lane->mine.begin, stride = (size_t)heads * (rank + dims);
    px_rope op = {.x = x + first * stride,
        .x_stride = stride,
        .cos = f->cosine[0] + first * (dims / 2),
        .sin = f->sine[0] + first * (dims / 2),
        .rows = lane->mine.count,
        .heads = heads,
        .head_dim = rank + dims,
        .dims = dims,
        .offset = rank,
        .interleaved = arch->rope_interleaved};
    f->kernels->rope(&op, whole);
}

static void place_rows(const px_lane *lane, uint32_t layer)
{
    const px_forward *f = lane->f;
    const px_kv_layer *kv = &f->kv[layer];
    if (!lane->mine.count) return;
    rotate(lane, f->latent.query, head_count(lane));
    rotate(lane, f->latent.kv, 1);
    px_kv_store op = {.kv = kv,
        .at = lane->at + lane->mine.begin,
        .k = f->latent.kv + (size_t)lane->mine.begin * kv->k_dim,
        .k_stride = kv->k_dim,
        .rows = lane->mine.count};
    f->kernels->kv_store(&op, whole);
}

/* --- the two halves ----------------------------------------------------------------------- */

void px_layer_latent_qkv(const px_lane *lane, uint32_t layer)
{
    px_forward *f = lane->f;
    const px_arch *arch = &f->model->arch;
    const px_weights *w = &f->model->layers[layer];
    px_lane together = with_desk(lane, &f->shared), by_head = with_desk(lane, &f->latent.desk);

    project_down(&together, layer);
    if (w->matrix[PX_ROLE_Q_UP].rows) project_queries(&together, layer);
    norm_latent(lane, (latent_norm){w->vector[PX_ROLE_KV_DOWN_NORM], f->latent.kv,
                          px_axis_size(arch, PX_AXIS_LATENT_DOWN), arch->latent.kv_rank});
    turn_to_heads(lane, (turn){f->q, f->latent.plain, arch->head_k, arch->rope_offset});
    head_product keys = {.x = f->latent.plain,
        .y = f->latent.by_head,
        .cols = px_axis_size(arch, PX_AXIS_HEAD_PLAIN)};
    prepare_heads(&by_head, w, keys);
    px_lane_barrier(lane);
    project_heads(&by_head, w, keys);
    px_lane_barrier(lane);
    join_queries(lane);
    place_rows(lane, layer);
    px_lane_barrier(lane);
}

void px_layer_latent_values(const px_lane *lane, uint32_t layer)
{
    px_forward *f = lane->f;
    const px_arch *arch = &f->model->arch;
    const px_weights *w = &f->model->layers[layer];
    px_lane by_head = with_desk(lane, &f->latent.desk);
    uint32_t rank = arch->latent.kv_rank;

    turn_to_heads(lane, (turn){f->seen, f->latent.by_head, rank, rank});
    head_product values = {
        .x = f->latent.by_head, .y = f->latent.plain, .cols = rank, .values = true};
    prepare_heads(&by_head, w, values);
    px_lane_barrier(lane);
    project_heads(&by_head, w, values);
    px_lane_barrier(lane);
    turn_to_rows(lane, (turn){f->attended, f->latent.plain, arch->head_v, arch->head_v});
    px_lane_barrier(lane);
}
