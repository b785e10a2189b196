/* need.c - see need.h. */
#include "engine/need.h"

#include "engine/model/pooling.h"

/* Measured: 14 MiB for a model of a few bytes; tokenizers of 50,000 to 262,000 entries took 150 to
 * 290 bytes for each while they were read. */
enum { TEXT_BYTES = 16 << 20, TEXT_BYTES_EACH = 320 };

/* Of the layers that make vectors of hidden states; a model whose kind we lack gets none. */
static uint64_t pooling_bytes(const px_model_file *file)
{
    px_pooling *pooling;
    if (!px_is_ok(px_pooling_open(file, &pooling))) return 0;
    uint64_t bytes = px_pooling_bytes(pooling);
    px_pooling_free(pooling);
    return bytes;
}

px_status px_need_reckon(const px_model_file *file, const px_need_options *options, px_need *out)
{
    px_model *outline;
    PX_TRY(px_model_outline(file, &options->model, &outline));
    uint64_t vocabulary = options->vocabulary;
    bool leads = options->model.rank == 0;
    *out = (px_need){.weight_bytes = px_model_resident_bytes(outline),
        .scratch_bytes = px_forward_scratch_bytes(&(px_forward_sizing){.model = outline,
            .kernels = options->model.kernels,
            .kv_type = options->kv_type,
            .threads = options->threads,
            .limits = options->limits}),
        .logit_bytes = leads ? options->limits.logit_rows_max * vocabulary * sizeof(float) : 0,
        .pooling_bytes = leads ? pooling_bytes(file) : 0,
        .text_bytes = TEXT_BYTES + (leads ? vocabulary * TEXT_BYTES_EACH : 0)};
    px_model_free(outline);
    return px_ok();
}
