/* config_impl.h - the half of config.h that reads GGUF metadata; for config.c alone.
 *
 * Keys are given without the architecture's prefix. A key that is there with a value of another
 * kind fails by name.
 */
#ifndef PX_MODEL_CONFIG_IMPL_H
#define PX_MODEL_CONFIG_IMPL_H

#include "engine/model/config.h"

/* A number, or a list of the same number for every layer. */
px_status px_config_gguf_number(
    const px_config *config, const char *key, bool *out_found, double *out) PX_MUST_USE;
px_status px_config_gguf_bool(const px_config *config, const char *key, bool *out) PX_MUST_USE;
px_status px_config_gguf_reals(const px_config *config, const char *key, uint32_t max, float *out,
    uint32_t *out_count) PX_MUST_USE; /* *out_count is left where there is none */
px_status px_config_gguf_sliding_layers(
    const px_config *config, uint32_t layers, bool *out_sliding, bool *out_found) PX_MUST_USE;
px_status px_config_gguf_rope(const px_config *config, px_rope_settings *out) PX_MUST_USE;
px_status px_config_gguf_ends(
    const px_config *config, uint32_t max, uint32_t *out_ids, uint32_t *out_count) PX_MUST_USE;
/* Adds an id that ends an answer, once; negative and impossible ones are none. */
px_status px_config_add_end(int64_t id, uint32_t max, uint32_t *ids, uint32_t *count) PX_MUST_USE;

#endif
