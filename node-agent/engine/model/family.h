/* family.h - what one architecture adds to the common description: how its configuration is read
 * and what its tensors are called.
 */
#ifndef PX_MODEL_FAMILY_H
#define PX_MODEL_FAMILY_H

#include "engine/model/arch.h"
#include "engine/model/config.h"

/* Which rows of the named tensor a role takes. */
typedef enum px_take {
    PX_TAKE_ALL,
    PX_TAKE_QKV,                /* q, k and v rows follow each other */
    PX_TAKE_FIRST_HALF,         /* gate of a fused gate-and-up */
    PX_TAKE_SECOND_HALF,        /* up of it */
    PX_TAKE_EXPERT,             /* of a stack [experts or heads, rows, cols] its own */
    PX_TAKE_EXPERT_FIRST_HALF,  /* of a stack [experts, 2 rows, cols]: gate */
    PX_TAKE_EXPERT_SECOND_HALF, /* up of it */
    /* The same, of stacks as gpt-oss has them: */
    PX_TAKE_EXPERT_TURNED,      /* [experts, cols, rows] */
    PX_TAKE_EXPERT_TURNED_EVEN, /* [experts, cols, 2 rows]: rows 0, 2, 4, ... */
    PX_TAKE_EXPERT_TURNED_ODD,
    PX_TAKE_EXPERT_EVEN, /* [experts, 2 rows] */
    PX_TAKE_EXPERT_ODD,
    PX_TAKE_EXPERT_MXFP4, /* "..._blocks" [experts, rows, cols / 32, 16] and "..._scales" */
    PX_TAKE_EXPERT_MXFP4_EVEN,
    PX_TAKE_EXPERT_MXFP4_ODD,
    /* Of each head in turn the unrotated part of the key [cols, rows] and the value [rows, cols]:
     */
    PX_TAKE_HEAD_KEY,
    PX_TAKE_HEAD_VALUE,
} px_take;

typedef struct px_name { /* a table ends with pattern NULL */
    px_role role;
    /* The first "%u" is the layer, a second one the expert. "model." at the beginning stands for
     * whatever the file puts there ("model.language_model." in the text half of a wrapper). */
    const char *pattern;
    px_take take;
} px_name;

/* A family is read from config.json and from GGUF, and its names are the map for writing GGUF
 * (px_family_name): both directions are these tables. */
struct px_family {
    const char *name; /* ours */
    const char *gguf; /* general.architecture; of two families with the same the first reads it */
    const char *hf;   /* what architectures[0] of config.json begins with ("Llama"); its end tells
                         the head, see px_head_kind */
    const char *model_type; /* the same, where a config says no more: the text half of a wrapper */
    const char *defaults;   /* JSON: what a config.json that leaves a key out means */
    px_status (*describe)(const px_config *config, px_arch *arch); /* after the common part */
    const px_name *gguf_names, *hf_names; /* looked up before the common tables; may be NULL */
    bool gguf_pairs_rows; /* GGUF files hold the rows of q and k for rotation of neighbours, and
                             config.json's models for rotation of halves */
};

/* Spells JSON without escapes. */
#define PX_JSON(...) #__VA_ARGS__

/* One for each group of relatives, ended by name NULL. */
extern const px_family px_families_llama[], px_families_qwen[], px_families_gemma[],
    px_families_phi[], px_families_glm[], px_families_gpt_oss[], px_families_deepseek[];

/* The family that `config` names, whose defaults it gets, and what stands on its layers;
 * UNIMPLEMENTED lists the known ones. */
px_status px_family_find(
    px_config *config, const px_family **out, px_head_kind *out_head) PX_MUST_USE;

/* The activation that `key` of config.json names, if it does. */
px_status px_family_activation(const px_config *config, const char *key, px_arch *arch) PX_MUST_USE;
/* For describe(): a window on the layers that `is_sliding` picks (config.json's layer_types decide
 * instead, where there are any). 0: none. */
px_status px_family_windows(const px_config *config, px_arch *arch, uint32_t window,
    bool (*is_sliding)(uint32_t layer, uint32_t arg), uint32_t arg) PX_MUST_USE;
bool px_family_every_layer(uint32_t layer, uint32_t arg);
/* Which layers of a mixture are routed shows in a GGUF's tensors alone. */
void px_family_routed_layers(const px_config *config, px_arch *arch);
/* The mixture as DeepSeek-V3 and GLM-4 describe it: sigmoid scores, a bias for the choice, groups,
 * shared experts, dense first layers. */
px_status px_family_deepseek_experts(const px_config *config, px_arch *arch) PX_MUST_USE;
/* Refuses a GGUF by the name of a tensor or setting that would have an effect and that nothing here
 * reads. */
px_status px_family_check_leftovers(const px_config *config, const px_arch *arch) PX_MUST_USE;
/* GGUF metadata says nothing of biases and the like: they are there or not. */
bool px_family_present(const px_config *config, const char *tensor);
bool px_family_qkv_bias_present(const px_config *config); /* stored together or not */

/* The name a role has in this model's format; index 1, 2, ...: other names that a family's own
 * table gives it, for files without the first. NULL: no more. */
const px_name *px_family_name(const px_family *family, bool gguf, px_role role, uint32_t index);

enum { PX_TENSOR_NAME_MAX = 128 };
/* The pattern with layer and expert put in, and `prefix` for "model." (NULL: as it is). */
void px_name_fill(
    const char *pattern, const char *prefix, px_weight_id id, char out[PX_TENSOR_NAME_MAX]);

/* How a weight's rows lie among all rows of its tensor, reading or writing. */
typedef struct px_placing {
    uint32_t begin, step, total; /* our row i is row begin + i * step of total */
    bool stacked;                /* [experts, ...] */
    bool turned;                 /* [..., cols, rows] */
} px_placing;
px_placing px_take_place(const px_arch *arch, px_role role, px_take take, uint32_t rows);

#endif
