/* draft_parts.c - see draft_parts.h. */
#include "engine/speculate/draft_parts.h"

#include <string.h>

#include "engine/kv/kvpool.h"
#include "engine/need.h"
#include "engine/text/text.h"

enum { ROUND_ROWS = 128 /* of the draft model's forward, unless more sequences run at once */ };

/* Besides KV. Its tokenizer is only compared and closed again. */
static px_status reckon(const px_draft_setting *setting, px_draft_parts *out)
{
    px_need_options options = {.model = {.kernels = out->kernels, .plan = &out->plan},
        .kv_type = out->kv_type,
        .threads = setting->threads,
        .vocabulary = out->info.vocabulary,
        .limits = out->limits};
    px_need need;
    PX_TRY(px_need_reckon(out->file, &options, &need));
    out->weight_bytes = need.weight_bytes;
    out->work_bytes = need.scratch_bytes + need.logit_bytes;
    return px_ok();
}

static px_status describe(const px_draft_setting *setting, px_draft_parts *out)
{
    px_plan_shape shape;
    out->kernels = setting->kernels;
    PX_TRY(px_model_file_open(setting->path, &out->file));
    PX_TRY(px_model_describe(out->file, &out->info, &shape));
    PX_TRY(px_model_check_generates(&out->info));
    PX_TRY(px_plan_make(&shape, 1, 1, NULL, &out->plan));
    out->kv_type = out->kernels == px_kernels_scalar() ? PX_F32 : PX_F16;
    px_kv_shape kv = px_forward_kv_shape_of(&out->info, &out->plan, 0);
    out->block_bytes = px_kvpool_block_bytes(kv, out->kv_type);
    out->context = setting->context < out->info.context ? setting->context : out->info.context;
    out->rows = setting->slots > ROUND_ROWS ? setting->slots : ROUND_ROWS;
    out->limits = (px_forward_limits){
        .rows_max = out->rows, .logit_rows_max = setting->slots, .position_max = out->context};
    return reckon(setting, out);
}

px_status px_draft_parts_describe(const px_draft_setting *setting, px_draft_parts *out)
{
    px_status status = describe(setting, out);
    if (!px_is_ok(status)) return px_prefix(status, "the draft model");
    if (out->info.vocabulary == setting->target->vocabulary) return px_ok();
    return px_fail(PX_INVALID_ARGUMENT,
        "the draft model has %u tokens in its vocabulary, the model %u: a draft must have the same",
        out->info.vocabulary, setting->target->vocabulary);
}

static px_status forward_step(void *self, const px_batch *batch, float *out_logits)
{
    return px_forward_step(self, batch, out_logits);
}

static px_status load(px_draft_parts *parts, px_team *team, uint32_t blocks)
{
    px_model_options options = {.kernels = parts->kernels, .plan = &parts->plan, .team = team};
    PX_TRY(px_comm_self(&parts->comm));
    PX_TRY(px_model_load(parts->file, &options, &parts->model));
    px_kv_shape shape = px_forward_kv_shape(parts->model);
    PX_TRY(px_kvpool_create(shape, parts->kv_type, blocks, &parts->pool));
    PX_TRY(px_forward_create(parts->model, parts->kernels, parts->comm, team,
        px_kvpool_layers(parts->pool), &parts->limits, &parts->model_forward));
    parts->forward = forward_step;
    parts->forward_self = parts->model_forward;
    return px_ok();
}

px_status px_draft_parts_load(px_draft_parts *parts, px_team *team, uint32_t blocks)
{
    px_status status = load(parts, team, blocks);
    return px_is_ok(status) ? status : px_prefix(status, "the draft model");
}

static bool is_same(px_slice a, px_slice b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

static px_status compare(const px_tokenizer *draft, const px_tokenizer *target)
{
    uint32_t count = px_tokenizer_size(target);
    if (px_tokenizer_size(draft) != count)
        return px_fail(PX_INVALID_ARGUMENT,
            "the draft model's tokenizer knows %u tokens, the model's %u: a draft must have the "
            "same vocabulary",
            px_tokenizer_size(draft), count);
    for (uint32_t id = 0; id < count; id++)
        if (!is_same(px_tokenizer_token(draft, id), px_tokenizer_token(target, id)))
            return px_fail(PX_INVALID_ARGUMENT,
                "token %u is not the same in the draft model's vocabulary and in the model's", id);
    return px_ok();
}

px_status px_draft_parts_check(const px_draft_parts *parts, const px_tokenizer *target)
{
    px_text text;
    px_status status = px_text_open(px_model_file_path(parts->file), parts->file, &text);
    if (!px_is_ok(status)) return px_prefix(status, "the draft model");
    status = compare(text.tokenizer, target);
    px_text_close(&text);
    return status;
}

void px_draft_parts_done(px_draft_parts *parts)
{
    px_forward_free(parts->model_forward);
    px_model_free(parts->model);
    px_kvpool_free(parts->pool);
    px_model_file_close(parts->file);
    px_comm_free(parts->comm);
}
