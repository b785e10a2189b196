/* config.h - one way to ask for a model's settings, whether they stand in config.json or in GGUF
 * metadata.
 *
 * A key has a spelling for each source; GGUF keys get the architecture's prefix ("llama.").
 * A missing or null value leaves the output untouched, a wrong kind or range fails with a sentence.
 */
#ifndef PX_MODEL_CONFIG_H
#define PX_MODEL_CONFIG_H

#include "engine/model/model_file.h"
#include "engine/model/rope_freqs.h"

typedef struct px_config {
    const px_model_file *file;
    json_t *json;        /* config.json, of a wrapper its text half; owned; NULL: GGUF */
    const px_gguf *gguf; /* NULL: config.json, be it one that a GGUF carries */
    bool is_wrapper;     /* of text and images: model_type tells the text half's family */
    char prefix[64];     /* "llama", of GGUF keys */
} px_config;

typedef struct px_key { /* NULL: the source has no such setting */
    const char *json, *gguf;
} px_key;

px_status px_config_open(const px_model_file *file, px_config *out) PX_MUST_USE;
void px_config_done(px_config *config);
/* architectures[0] (of a wrapper its own), or general.architecture; empty: it names none. Valid as
 * long as the config. */
px_slice px_config_architecture(const px_config *config);
/* config.json's model_type (of a wrapper: that of its text half), which also names a family; empty
 * as above. */
px_slice px_config_model_type(const px_config *config);
/* What keys mean that config.json leaves out: `defaults` is a JSON object (ours). A key that is
 * there as null stays null. */
void px_config_set_defaults(px_config *config, const char *defaults);

px_status px_config_u32(const px_config *config, px_key key, uint32_t *out) PX_MUST_USE;
px_status px_config_f32(const px_config *config, px_key key, float *out) PX_MUST_USE;
px_status px_config_bool(const px_config *config, px_key key, bool *out) PX_MUST_USE;
/* A list of numbers; *out_count is 0 when it is missing. More than `max` fails. */
px_status px_config_reals(
    const px_config *config, px_key key, uint32_t max, float *out, uint32_t *out_count) PX_MUST_USE;

/* config.json's `layer_types`, one for each layer: true is "sliding_attention", false
 * "full_attention", others fail by name; or GGUF's attention.sliding_window_pattern, a list of
 * flags or a period whose last layer is full. *out_found is false when there is neither. */
px_status px_config_sliding_layers(
    const px_config *config, uint32_t layers, bool *out_sliding, bool *out_found) PX_MUST_USE;

/* RoPE of config.json's `rope_scaling` or `rope_parameters`, or of GGUF's rope.*: theta and
 * scaling. `layer_type`, for models with two bases: "full_attention" or "sliding_attention", whose
 * object within `rope_parameters` it is; a `rope_scaling` is that of full attention. */
typedef struct px_rope_settings {
    double theta;
    double partial; /* share of a head that is rotated */
    px_rope_scaling scaling;
} px_rope_settings;
px_status px_config_rope(
    const px_config *config, const char *layer_type, px_rope_settings *out) PX_MUST_USE;

/* Ids that end an answer (at most `max`) and the id that begins a text. */
px_status px_config_ends(
    const px_config *config, uint32_t max, uint32_t *out_ids, uint32_t *out_count) PX_MUST_USE;
px_status px_config_begin(const px_config *config, int64_t *out_id) PX_MUST_USE;

#endif
