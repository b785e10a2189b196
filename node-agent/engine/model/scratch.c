/* scratch.c - the memory that a step works in: pieces of one allocation, each for the limits.
 *
 * Its size follows from a model's outline, so that an engine can reckon before anything loads.
 */
#include <stdlib.h>

#include "engine/model/lane.h"

/* Does this stage have other places? f->places is not there yet where sizes are reckoned. */
static bool has_peers(const px_forward *f)
{
    return f->model->plan.tp > 1;
}

/* Hands out aligned pieces of one allocation; with memory NULL it only measures. */
typedef struct carver {
    unsigned char *memory;
    size_t used;
} carver;

static void *carve(carver *c, size_t count, size_t element_bytes)
{
    enum { ALIGN_BYTES = 64 };
    void *piece = c->memory ? c->memory + c->used : NULL;
    c->used += (count * element_bytes + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
    return count ? piece : NULL;
}

static float *carve_floats(carver *c, size_t rows, size_t cols)
{
    return carve(c, rows * cols, sizeof(float));
}

/* The widest input that a matrix reads. */
static uint32_t widest_input(const px_model *model)
{
    uint32_t widest = model->arch.hidden;
    const px_axis axes[] = {
        PX_AXIS_ATTENTION, PX_AXIS_LATENT_Q, PX_AXIS_FFN, PX_AXIS_FFN_EXPERT, PX_AXIS_FFN_SHARED};
    for (size_t i = 0; i < sizeof axes / sizeof *axes; i++)
        if (px_axis_size(&model->arch, axes[i]) > widest)
            widest = px_axis_size(&model->arch, axes[i]);
    return widest;
}

/* The widest MLP whose rows a desk gates. */
static uint32_t widest_mlp(const px_model *model)
{
    uint32_t dense = px_model_width(model, PX_AXIS_FFN);
    uint32_t shared = px_model_width(model, PX_AXIS_FFN_SHARED);
    return dense > shared ? dense : shared;
}

/* `mlp`: where the desk keeps the gated rows, or NULL: room of its own. */
static void carve_desk(px_forward *f, carver *c, size_t rows, float *mlp, px_desk *out)
{
    const px_model *model = f->model;
    out->normed = carve_floats(c, rows, model->arch.hidden);
    out->mlp = mlp ? mlp : carve_floats(c, rows, widest_mlp(model));
    /* Float32 is prepared only to meet that of other places. */
    for (px_act_kind kind = has_peers(f) ? PX_ACT_F32 : PX_ACT_F32 + 1; kind < PX_ACT_KIND_COUNT;
         kind++)
        if (f->act_kinds >> kind & 1)
            out->act[kind] = carve(c, rows, f->kernels->act_row_bytes(kind, widest_input(model)));
}

static void carve_shelves(const px_forward *f, carver *c, size_t rows, px_desk *out)
{
    for (int i = 0; f->limits.adapters && i < PX_LANE_SHELVES; i++)
        out->low[i] = carve_floats(c, rows, PX_ADAPTER_RANK_MAX);
}

static void carve_latent(px_forward *f, carver *c)
{
    const px_arch *arch = &f->model->arch;
    px_latent_step *latent = &f->latent;
    size_t rows = f->limits.rows_max, heads = px_model_place(f->model)->heads.count;
    uint32_t rank = arch->latent.kv_rank, cached = px_axis_size(arch, PX_AXIS_LATENT_DOWN);
    uint32_t plain = px_axis_size(arch, PX_AXIS_HEAD_PLAIN);
    latent->q = carve_floats(c, rows, arch->latent.q_rank);
    latent->kv = carve_floats(c, rows, cached);
    latent->query = f->query = carve_floats(c, rows * heads, cached);
    latent->seen = f->seen = carve_floats(c, rows * heads, rank);
    latent->plain = carve_floats(c, rows * heads, plain > arch->head_v ? plain : arch->head_v);
    latent->by_head = carve_floats(c, rows * heads, rank);
    for (px_act_kind kind = PX_ACT_F32 + 1; kind < PX_ACT_KIND_COUNT; kind++)
        if (f->act_kinds >> kind & 1)
            latent->desk.act[kind] = carve(
                c, rows * heads, f->kernels->act_row_bytes(kind, plain > rank ? plain : rank));
}

static void carve_routing(px_forward *f, carver *c)
{
    const px_experts *experts = &f->model->arch.experts;
    px_routing *r = &f->routing;
    size_t rows = f->limits.rows_max, slots = rows * experts->used;
    if (!experts->count) return;
    r->scores = carve_floats(c, rows, experts->count);
    r->chosen = carve(c, slots, sizeof *r->chosen);
    r->slot = carve(c, slots, sizeof *r->slot);
    r->weight = carve_floats(c, rows, experts->used);
    r->row_of = carve(c, slots, sizeof *r->row_of);
    r->first = carve(c, experts->count + 1, sizeof *r->first);
    r->gate = carve_floats(c, slots, px_model_width(f->model, PX_AXIS_FFN_EXPERT));
    r->up = carve_floats(c, slots, px_model_width(f->model, PX_AXIS_FFN_EXPERT));
    r->shared_gate = carve_floats(c, rows, px_model_width(f->model, PX_AXIS_FFN_SHARED));
    r->shared_up = carve_floats(c, rows, px_model_width(f->model, PX_AXIS_FFN_SHARED));
    r->shared_weight = carve_floats(c, rows, 1);
    carve_desk(f, c, slots, r->gate, &r->desk);
}

static size_t scratch_floats(const px_forward *f)
{
    const px_plan_place *place = px_model_place(f->model);
    if (!place->heads.count) return 0;
    px_kv_layer kv = f->kv[0];
    px_attention op = {.kv = &kv,
        .rows = f->limits.rows_max,
        .heads = place->heads.count,
        .group = f->model->arch.heads / f->model->arch.kv_heads,
        .position_max = f->limits.position_max};
    return f->kernels->attention_scratch_floats(&op);
}

static void carve_all(px_forward *f, carver *c)
{
    const px_model *model = f->model;
    const px_arch *arch = &model->arch;
    size_t rows = f->limits.rows_max, logit_rows = f->limits.logit_rows_max;
    bool is_last = px_model_stage(model) == model->plan.pp - 1;
    bool many = has_peers(f) || model->plan.pp > 1;

    f->x = carve_floats(c, rows, arch->hidden);
    f->delta = carve_floats(c, rows, arch->hidden);
    f->q = f->query = carve_floats(c, rows, px_model_width(model, PX_AXIS_Q));
    f->attended = f->seen = carve_floats(c, rows, px_model_width(model, PX_AXIS_ATTENTION));
    if (arch->latent.kv_rank) {
        carve_latent(f, c);
    } else {
        f->k = carve_floats(c, rows, px_model_width(model, PX_AXIS_K));
        f->v = carve_floats(c, rows, px_model_width(model, PX_AXIS_V));
    }
    f->gate = carve_floats(c, rows, widest_mlp(model)); /* the shared desk gates in it, see below */
    f->up = carve_floats(c, rows, px_model_width(model, PX_AXIS_FFN));
    for (int r = 0; r < 2; r++) {
        f->cosine[r] = carve_floats(c, rows, arch->ropes[r].dims / 2);
        f->sine[r] = carve_floats(c, rows, arch->ropes[r].dims / 2);
    }
    f->scratch = carve_floats(c, f->workers, scratch_floats(f));
    if (is_last && many)
        f->logits = carve_floats(c, logit_rows, px_model_width(model, PX_AXIS_VOCABULARY));
    bool meets_logits = is_last && px_plan_place_of(&model->plan, model->rank) == 0;
    if (has_peers(f) && (meets_logits || model->rank == 0))
        f->gathered = carve_floats(c, logit_rows, arch->vocabulary);
    /* Gating in place: row by row and element by element. */
    carve_desk(f, c, rows, f->gate, &f->shared);
    carve_shelves(f, c, rows, &f->shared);
    for (uint32_t i = 0; i < f->workers; i++) {
        carve_desk(f, c, PX_LANE_ALONE_ROWS_MAX, NULL, &f->own[i]);
        carve_shelves(f, c, PX_LANE_ALONE_ROWS_MAX, &f->own[i]);
    }
    carve_routing(f, c);
}

static unsigned kinds_of_expert(const px_forward *f, const px_expert *expert)
{
    const px_matrix *parts[] = {&expert->gate, &expert->up, &expert->down};
    unsigned kinds = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i]->rows) kinds |= 1u << f->kernels->act_kind(parts[i]->dtype);
    return kinds;
}

/* The prepared forms that any of this rank's matrices reads. */
static unsigned find_act_kinds(const px_forward *f)
{
    const px_model *model = f->model;
    unsigned kinds = 0;
    uint32_t layers = model->plan.stages[px_model_stage(model)].count;
    for (px_role role = 0; role < PX_ROLE_COUNT; role++) {
        if (role == PX_ROLE_EMBED) continue;
        const px_matrix *w = &model->shared.matrix[role];
        if (w->rows) kinds |= 1u << f->kernels->act_kind(w->dtype);
        for (uint32_t i = 0; i < layers; i++) {
            w = &model->layers[i].matrix[role];
            if (w->rows) kinds |= 1u << f->kernels->act_kind(w->dtype);
        }
    }
    for (uint32_t i = 0; i < layers; i++)
        for (uint32_t h = 0; model->layers[i].heads && h < px_model_place(model)->heads.count; h++)
            kinds |= 1u << f->kernels->act_kind(model->layers[i].heads[h].k_up.dtype) |
                     1u << f->kernels->act_kind(model->layers[i].heads[h].v_up.dtype);
    for (uint32_t i = 0; i < layers; i++)
        for (uint32_t e = 0; model->layers[i].experts && e < model->arch.experts.count; e++)
            kinds |= kinds_of_expert(f, &model->layers[i].experts[e]);
    if (f->limits.adapters) kinds |= 1u << PX_ACT_F32;
    return kinds;
}

size_t px_forward_carve(px_forward *f, void *memory)
{
    carver c = {.memory = memory};
    f->act_kinds = find_act_kinds(f);
    carve_all(f, &c);
    return c.used;
}

uint64_t px_forward_scratch_bytes(const px_forward_sizing *of)
{
    px_kv_shape shape = px_forward_kv_shape(of->model);
    px_kv_layer kv = {.dtype = of->kv_type,
        .kv_heads = shape.kv_heads,
        .k_dim = shape.k_dim,
        .v_dim = shape.v_dim};
    px_forward f = {.model = of->model,
        .kernels = of->kernels,
        .workers = of->threads,
        .kv = &kv,
        .limits = of->limits,
        .own = px_alloc_array(of->threads, sizeof *f.own)};
    size_t bytes = px_forward_carve(&f, NULL);
    free(f.own);
    return bytes;
}
