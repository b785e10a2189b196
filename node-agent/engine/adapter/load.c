/* load.c - see load.h.
 *
 * As with a model, the parts are listed first, which finds and checks every pair and sums the
 * memory; then one allocation, then each matrix is packed. The module names are those of the
 * model's config.json form, whatever file the model itself was loaded from.
 */
#include "engine/adapter/load.h"

#include <stdlib.h>
#include <string.h>

#include "engine/adapter/peft_config.h"
#include "engine/adapter/peft_file.h"
#include "engine/model/family.h"

enum { ALIGN_BYTES = 64 };

/* Matrices whose product is made in one go for all rows of a step. Those of experts are not, and
 * keys and values of a latent are never made. */
static const px_role adaptable[] = {PX_ROLE_OUTPUT, PX_ROLE_Q, PX_ROLE_K, PX_ROLE_V, PX_ROLE_O,
    PX_ROLE_Q_DOWN, PX_ROLE_Q_UP, PX_ROLE_KV_DOWN, PX_ROLE_GATE, PX_ROLE_UP, PX_ROLE_DOWN,
    PX_ROLE_ROUTER, PX_ROLE_SHARED_GATE, PX_ROLE_SHARED_UP, PX_ROLE_SHARED_DOWN,
    PX_ROLE_SHARED_WEIGHT};
enum { ADAPTABLE_COUNT = sizeof adaptable / sizeof *adaptable };

/* --- the list of what to load --- */

typedef struct item { /* one matrix of ours: rows of a tensor */
    const px_tensor *tensor;
    px_matrix *out;
    uint32_t begin, rows, cols; /* rows of the tensor */
    uint32_t head_rows;         /* 0, or rows of a head, whose halves become neighbours */
    size_t offset;              /* in the memory */
} item;

typedef struct loader {
    const px_adapter_options *options;
    px_peft_config *config;
    px_peft_file *file;
    px_adapter *adapter;
    item *items;
    size_t count, bytes;
    void *staged; /* a matrix between being put together and being packed */
    size_t staged_bytes;
} loader;

/* The type that the kernels read float32 activations with. */
static px_dtype packed_type(const px_kernels *kernels, px_dtype type)
{
    return kernels->act_kind(type) == PX_ACT_F32 ? type : PX_F32;
}

static void add_item(loader *l, item it)
{
    const px_kernels *kernels = l->options->kernels;
    px_dtype type = packed_type(kernels, it.tensor->dtype);
    size_t plain = it.rows * px_dtype_bytes(type, it.cols);
    size_t packed = kernels->pack_bytes(type, it.rows, it.cols);
    if (!it.rows) return;
    if (plain > l->staged_bytes) l->staged_bytes = plain;
    it.offset = l->bytes;
    l->bytes += ((packed ? packed : plain) + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
    l->items[l->count++] = it;
}

static px_status check_shapes(
    const px_peft_pair *pair, const px_peft_module *settings, uint64_t rows, uint64_t cols)
{
    const uint64_t *a = pair->a->shape, *b = pair->b->shape;
    if (!settings->targeted)
        return px_fail(PX_INVALID_ARGUMENT,
            "there are weights for '%.120s', which adapter_config.json does not target",
            pair->module);
    if (a[0] != settings->rank)
        return px_fail(PX_INVALID_ARGUMENT,
            "'%.120s' has rank %llu, but adapter_config.json says %u", pair->module,
            (unsigned long long)a[0], settings->rank);
    if (a[1] != cols || b[0] != rows)
        return px_fail(PX_INVALID_ARGUMENT,
            "'%.100s' is for a matrix of %llu x %llu, but the model's has %llu x %llu",
            pair->module, (unsigned long long)b[0], (unsigned long long)a[1],
            (unsigned long long)rows, (unsigned long long)cols);
    return px_ok();
}

/* The rows of q and k that GGUF files hold for rotation of neighbours stand in halves here. */
static uint32_t head_rows(const px_arch *arch, px_role role)
{
    bool is_paired = arch->from_gguf && arch->family->gguf_pairs_rows;
    return is_paired && (role == PX_ROLE_Q || role == PX_ROLE_K) ? arch->head_k : 0;
}

static px_status add_pair(loader *l, px_weight_id id, px_take take, px_peft_pair *pair)
{
    const px_model *model = l->options->model;
    const px_arch *arch = &model->arch;
    const px_role_traits *traits = px_role_of(id.role);
    px_range stage = model->plan.stages[px_model_stage(model)];
    px_placing place = px_take_place(arch, id.role, take, px_axis_size(arch, traits->rows));
    uint32_t cols = px_axis_size(arch, traits->cols);
    px_peft_module settings;
    PX_TRY(px_peft_config_module(l->config, pair->module, &settings));
    PX_TRY(check_shapes(pair, &settings, place.total, cols));
    pair->used = true;

    bool is_shared = id.role < PX_ROLE_FIRST_IN_LAYER;
    bool is_here = is_shared ? px_model_stage(model) == model->plan.pp - 1
                             : id.layer >= stage.begin && id.layer < stage.begin + stage.count;
    if (!is_here) return px_ok();
    px_low_rank *to = &l->adapter->at[is_shared ? 0 : 1 + id.layer - stage.begin][id.role];
    px_range rows = px_axis_range(arch, px_model_place(model), traits->rows);
    to->scale = settings.scale;
    add_item(l, (item){.tensor = pair->a, .out = &to->a, .rows = settings.rank, .cols = cols});
    add_item(l, (item){.tensor = pair->b,
                    .out = &to->b,
                    .begin = place.begin + rows.begin,
                    .rows = rows.count,
                    .cols = settings.rank,
                    .head_rows = head_rows(arch, id.role)});
    return px_ok();
}

/* The module of a role's weight, by the `index`-th of its names, whatever stands before the text
 * model's own; false: no such name. */
static bool find_pair(
    loader *l, px_weight_id id, uint32_t index, px_take *out_take, px_peft_pair **out)
{
    const px_family *family = l->options->model->arch.family;
    const px_name *name = px_family_name(family, false, id.role, index);
    *out = NULL;
    if (!name) return false;
    for (const char *const *prefix = px_tensor_prefixes; *prefix && !*out; prefix++) {
        char module[PX_TENSOR_NAME_MAX];
        px_name_fill(name->pattern, *prefix, id, module);
        char *end = strrchr(module, '.');
        if (!end || strcmp(end, ".weight") != 0) continue;
        *end = '\0';
        *out = px_peft_file_find(l->file, module);
    }
    *out_take = name->take;
    return true;
}

static px_status add_role(loader *l, px_weight_id id)
{
    px_peft_pair *pair = NULL;
    px_take take;
    for (uint32_t i = 0; !pair && find_pair(l, id, i, &take, &pair); i++) continue;
    return pair ? add_pair(l, id, take, pair) : px_ok();
}

/* Of the parts of a model that see or hear, which a text model does not have. */
static bool is_of_other_senses(const char *module)
{
    static const char *const parts[] = {
        "vision_", "visual.", "multi_modal_projector.", "embed_vision.", "audio_", "embed_audio."};
    if (strncmp(module, "model.", strlen("model.")) == 0) module += strlen("model.");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strncmp(module, parts[i], strlen(parts[i])) == 0) return true;
    return false;
}

static px_status check_all_used(loader *l)
{
    for (uint32_t i = 0; i < px_peft_file_count(l->file); i++) {
        const px_peft_pair *pair = px_peft_file_at(l->file, i);
        if (!pair->used && !is_of_other_senses(pair->module))
            return px_fail(PX_UNIMPLEMENTED,
                "'%.100s' is adapted: in this model only the projections of attention, of dense "
                "MLPs and of shared experts, routers and the output matrix can be",
                pair->module);
    }
    return px_ok();
}

static px_status list_items(loader *l)
{
    const px_arch *arch = &l->options->model->arch;
    /* Q, K and V may share a pair. */
    l->items =
        px_alloc_array(2 * (size_t)ADAPTABLE_COUNT * (1 + arch->layer_count), sizeof *l->items);
    for (size_t i = 0; i < ADAPTABLE_COUNT; i++) {
        px_weight_id id = {.role = adaptable[i]};
        uint32_t layers = id.role < PX_ROLE_FIRST_IN_LAYER ? 1 : arch->layer_count;
        for (; id.layer < layers; id.layer++)
            if (id.role == PX_ROLE_OUTPUT || px_arch_has(arch, id.role, id.layer))
                PX_TRY(add_role(l, id)); /* of a tied output matrix too */
    }
    return check_all_used(l);
}

/* --- packing --- */

/* The tensor's row that is row `index` of the item. */
static uint32_t source_row(const item *it, uint32_t index)
{
    uint32_t head = it->head_rows, row = it->begin + index;
    if (!head) return row;
    /* Neighbours 2 i, 2 i + 1 of a head were i and i + half. */
    return row / head * head + row % head / 2 + row % 2 * (head / 2);
}

static void pack_item(loader *l, const item *it)
{
    const px_kernels *kernels = l->options->kernels;
    px_dtype from_type = it->tensor->dtype, type = packed_type(kernels, from_type);
    size_t from_bytes = px_dtype_bytes(from_type, it->cols), bytes = px_dtype_bytes(type, it->cols);
    unsigned char *to = (unsigned char *)l->adapter->memory + it->offset;
    unsigned char *staged =
        kernels->pack_bytes(type, it->rows, it->cols) ? (unsigned char *)l->staged : to;
    for (uint32_t i = 0; i < it->rows; i++) {
        const unsigned char *row =
            (const unsigned char *)it->tensor->data + source_row(it, i) * from_bytes;
        if (type == from_type)
            memcpy(staged + i * bytes, row, bytes);
        else
            px_dtype_to_f32(from_type, row, (float *)(void *)(staged + i * bytes), it->cols);
    }
    px_pack op = {.dtype = type,
        .rows = it->rows,
        .cols = it->cols,
        .from = staged,
        .from_row_bytes = bytes,
        .to = to,
        .out = it->out};
    kernels->pack(&op, (px_part){.index = 0, .count = 1});
}

static px_status load(loader *l)
{
    const px_adapter_options *options = l->options;
    const px_model *model = options->model;
    uint32_t layers = model->plan.stages[px_model_stage(model)].count;
    size_t table_bytes = (1 + (size_t)layers) * sizeof *l->adapter->at;
    l->adapter->at = px_alloc_array(1 + (size_t)layers, sizeof *l->adapter->at);
    PX_TRY(px_peft_config_read(options->folder, &l->config));
    PX_TRY(px_peft_file_open(options->folder, &l->file));
    PX_TRY(list_items(l));
    l->adapter->bytes = table_bytes + l->bytes;
    if (l->adapter->bytes > options->bytes_max)
        return px_fail(PX_RESOURCE_EXHAUSTED,
            "it takes %.1f MiB on this rank and %.1f are left for adapters",
            (double)l->adapter->bytes / (1 << 20), (double)options->bytes_max / (1 << 20));
    PX_TRY(px_big_alloc(l->bytes, "the adapter", &l->adapter->memory));
    l->adapter->memory_bytes = l->bytes;
    PX_TRY(px_big_alloc(l->staged_bytes, "an adapter's matrix", &l->staged));
    for (size_t i = 0; i < l->count; i++) pack_item(l, &l->items[i]);
    return px_ok();
}

px_status px_adapter_load(const px_adapter_options *options, px_adapter **out)
{
    loader l = {.options = options, .adapter = px_alloc(sizeof *l.adapter)};
    px_status status = px_prefix(load(&l), "adapter %.120s", options->folder);
    px_big_free(l.staged, l.staged_bytes);
    free(l.items);
    px_peft_file_close(l.file);
    px_peft_config_free(l.config);
    if (!px_is_ok(status)) {
        px_adapter_free(l.adapter);
        return status;
    }
    *out = l.adapter;
    return status;
}

void px_adapter_free(px_adapter *adapter)
{
    if (!adapter) return;
    px_big_free(adapter->memory, adapter->memory_bytes);
    free(adapter->at);
    free(adapter);
}
