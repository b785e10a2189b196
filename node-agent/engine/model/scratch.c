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

/* What matrices want of rows at the desk where they read them. */
typedef struct wants {
    unsigned kinds;        /* prepared forms, as bits */
    unsigned shelves;      /* orders of columns, as bits of where they lie */
    uint32_t ordered_cols; /* the widest of these */
} wants;

static void add_wants(wants *to, const px_forward *f, const px_matrix *w)
{
    if (!w->rows) return;
    to->kinds |= 1u << f->kernels->act_kind(w->dtype);
    if (!w->order) return;
    to->shelves |= 1u << w->order->shelf;
    if (w->cols > to->ordered_cols) to->ordered_cols = w->cols;
}

static uint32_t layer_count(const px_forward *f)
{
    return f->model->plan.stages[px_model_stage(f->model)].count;
}

static wants wants_of_rows(const px_forward *f)
{
    wants all = {0};
    for (px_role role = PX_ROLE_EMBED + 1; role < PX_ROLE_COUNT; role++) {
        add_wants(&all, f, &f->model->shared.matrix[role]);
        for (uint32_t i = 0; i < layer_count(f); i++)
            add_wants(&all, f, &f->model->layers[i].matrix[role]);
    }
    return all;
}

static wants wants_of_heads(const px_forward *f)
{
    wants all = {0};
    for (uint32_t i = 0; i < layer_count(f); i++) {
        const px_head *heads = f->model->layers[i].heads;
        for (uint32_t h = 0; heads && h < px_model_place(f->model)->heads.count; h++) {
            add_wants(&all, f, &heads[h].k_up);
            add_wants(&all, f, &heads[h].v_up);
        }
    }
    return all;
}

static wants wants_of_experts(const px_forward *f)
{
    wants all = {0};
    for (uint32_t i = 0; i < layer_count(f); i++) {
        const px_expert *experts = f->model->layers[i].experts;
        for (uint32_t e = 0; experts && e < f->model->arch.experts.count; e++) {
            add_wants(&all, f, &experts[e].gate);
            add_wants(&all, f, &experts[e].up);
            add_wants(&all, f, &experts[e].down);
        }
    }
    return all;
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

static void carve_orders(carver *c, size_t rows, wants wanted, px_desk *out)
{
    out->ordered_cols = wanted.ordered_cols;
    for (int i = 0; i < PX_ROLE_SHELVES; i++)
        if (wanted.shelves >> i & 1) out->ordered[i] = carve_floats(c, rows, wanted.ordered_cols);
}

static void carve_shelves(const px_forward *f, carver *c, size_t rows, px_desk *out)
{
    for (int i = 0; f->limits.adapters && i < PX_ROLE_SHELVES; i++)
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
    carve_orders(c, rows * heads, wants_of_heads(f), &latent->desk);
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
    carve_orders(c, slots, wants_of_experts(f), &r->desk);
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
    wants wanted = wants_of_rows(f);

    f->x = carve_floats(c, rows, arch->hidden);
    f->narrow_at = carve(c, is_last ? rows : 0, sizeof *f->narrow_at);
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
    carve_orders(c, rows, wanted, &f->shared);
    for (uint32_t i = 0; i < f->workers; i++) {
        carve_desk(f, c, PX_LANE_ALONE_ROWS_MAX, NULL, &f->own[i]);
        carve_shelves(f, c, PX_LANE_ALONE_ROWS_MAX, &f->own[i]);
        carve_orders(c, PX_LANE_ALONE_ROWS_MAX, wanted, &f->own[i]);
    }
    carve_routing(f, c);
}

size_t px_forward_carve(px_forward *f, void *memory)
{
    carver c = {.memory = memory};
    f->act_kinds = wants_of_rows(f).kinds | wants_of_heads(f).kinds | wants_of_experts(f).kinds;
    if (f->limits.adapters) f->act_kinds |= 1u << PX_ACT_F32;
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
