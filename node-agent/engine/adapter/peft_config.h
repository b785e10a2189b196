/* peft_config.h - adapter_config.json: which modules an adapter changes, by what rank and scale.
 *
 * Source:  PEFT's LoraConfig (huggingface.co/docs/peft, "LoRA"), its matching of module names
 *          (target_modules, exclude_modules, layers_to_transform, rank_pattern, alpha_pattern).
 *          What would change the arithmetic beyond y += scale * B (A x) is refused with a sentence.
 * Owns:    the parsed file and its compiled expressions.
 * Threads: one at a time.
 */
#ifndef PX_ADAPTER_PEFT_CONFIG_H
#define PX_ADAPTER_PEFT_CONFIG_H

#include "engine/model/adapter.h"

typedef struct px_peft_config px_peft_config;

/* `folder` holds adapter_config.json. */
px_status px_peft_config_read(const char *folder, px_peft_config **out) PX_MUST_USE;
void px_peft_config_free(px_peft_config *config); /* NULL is fine */

typedef struct px_peft_module {
    bool targeted;
    uint32_t rank; /* 1 to PX_ADAPTER_RANK_MAX */
    float scale;   /* alpha / rank, or alpha / sqrt(rank) */
} px_peft_module;

/* What the settings say of a module, by its name in the base model:
 * "model.layers.3.self_attn.q_proj". */
px_status px_peft_config_module(
    px_peft_config *config, const char *module, px_peft_module *out) PX_MUST_USE;

#endif
