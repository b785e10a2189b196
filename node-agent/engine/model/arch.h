/* arch.h - what a model is: one description that the forward reads from top to bottom.
 *
 * An architecture is a description (px_arch), made from config.json or GGUF metadata by its family,
 * and a name map from roles to tensors. Nothing after this header asks what a model is called.
 *
 *   x = embed_scale * embedding[ids]
 *   for each layer:
 *       h = norm(x)
 *       q, k, v = h Wq + bq, ...         q, k normed per head (qk_norm), rotated
 * (ropes[layer.rope]) a = attention(q, k, v)           attn_scale, attn_softcap, layer.window,
 * sinks x = x + post_norm?(a Wo + bo) h = norm(x) m = (activation(h Wgate) * (h Wup)) Wdown or the
 * same through routed experts x = x + post_norm?(m) logits = softcap(norm(x) Woutput)
 *
 * Threads: a value; immutable once made.
 */
#ifndef PX_MODEL_ARCH_H
#define PX_MODEL_ARCH_H

#include "engine/model/coded.h"
#include "engine/model/model_file.h"
#include "engine/model/rope_freqs.h"
#include "kernels/kernels.h"
#include "parallel/plan.h"

enum {
    PX_ARCH_LAYERS_MAX = 512,
    PX_ARCH_EOS_MAX = 16,
    PX_ARCH_EXPERTS_MAX = 1024,
    PX_ARCH_EXPERTS_USED_MAX = 32,
};

/* What a weight's rows or columns count. The axis alone says how ranks cut a weight's rows; columns
 * are whole on every rank, so that each output is one sum, the same for any number of ranks. */
typedef enum px_axis {
    PX_AXIS_ONE,
    PX_AXIS_HIDDEN,
    PX_AXIS_HIDDEN_OUT, /* the same, where it is added to the residual stream: cut */
    PX_AXIS_VOCABULARY, /* cut in rows */
    PX_AXIS_HEADS,      /* cut by heads, like the next five */
    PX_AXIS_Q,          /* heads * head_k */
    PX_AXIS_K,          /* kv_heads * head_k */
    PX_AXIS_V,          /* kv_heads * head_v */
    PX_AXIS_ATTENTION,  /* heads * head_v: what the output projection reads */
    PX_AXIS_HEAD_K,
    PX_AXIS_LATENT_Q,    /* latent.q_rank; latents are whole on every rank */
    PX_AXIS_LATENT_KV,   /* latent.kv_rank */
    PX_AXIS_LATENT_DOWN, /* latent.kv_rank and the rotated part of a key */
    PX_AXIS_HEAD_PLAIN,  /* the unrotated part of a head */
    PX_AXIS_HEAD_V,
    PX_AXIS_EXPERTS,    /* whole on every rank */
    PX_AXIS_FFN_EXPERT, /* cut like FFN, each expert */
    PX_AXIS_FFN_SHARED,
    PX_AXIS_FFN, /* cut in blocks of activations */
    PX_AXIS_COUNT
} px_axis;

/* The part a weight plays. Rows are outputs, columns inputs; a vector has one column. */
typedef enum px_role {
    PX_ROLE_EMBED,
    PX_ROLE_FINAL_NORM,
    PX_ROLE_OUTPUT,
    PX_ROLE_FIRST_IN_LAYER,
    PX_ROLE_ATTN_NORM = PX_ROLE_FIRST_IN_LAYER,
    PX_ROLE_Q,
    PX_ROLE_K,
    PX_ROLE_V,
    PX_ROLE_O,
    PX_ROLE_Q_DOWN, /* latent attention: to the latents, their norms, and up to the queries */
    PX_ROLE_Q_DOWN_NORM,
    PX_ROLE_Q_UP,
    PX_ROLE_KV_DOWN,
    PX_ROLE_KV_DOWN_NORM,
    PX_ROLE_Q_DOWN_BIAS,
    PX_ROLE_KV_DOWN_BIAS,
    PX_ROLE_Q_BIAS,
    PX_ROLE_K_BIAS,
    PX_ROLE_V_BIAS,
    PX_ROLE_O_BIAS,
    PX_ROLE_Q_NORM,
    PX_ROLE_K_NORM,
    PX_ROLE_SINKS, /* a logit for each head that takes part in the softmax alone */
    PX_ROLE_ATTN_POST_NORM,
    PX_ROLE_FFN_NORM,
    PX_ROLE_GATE,
    PX_ROLE_UP,
    PX_ROLE_DOWN,
    PX_ROLE_GATE_BIAS,
    PX_ROLE_UP_BIAS,
    PX_ROLE_DOWN_BIAS,
    PX_ROLE_FFN_POST_NORM,
    PX_ROLE_ROUTER,
    PX_ROLE_ROUTER_BIAS,
    PX_ROLE_CHOICE_BIAS, /* takes part in choosing experts, not in weighing them */
    PX_ROLE_SHARED_GATE,
    PX_ROLE_SHARED_UP,
    PX_ROLE_SHARED_DOWN,
    PX_ROLE_SHARED_GATE_BIAS,
    PX_ROLE_SHARED_UP_BIAS,
    PX_ROLE_SHARED_DOWN_BIAS,
    PX_ROLE_SHARED_WEIGHT,                /* a row: the shared expert counts sigmoid(row . h) */
    PX_ROLE_FIRST_OF_HEAD,                /* one for each head: */
    PX_ROLE_K_UP = PX_ROLE_FIRST_OF_HEAD, /* unrotated part of a query -> what meets the latent */
    PX_ROLE_V_UP,                         /* attended latent -> value */
    PX_ROLE_FIRST_OF_EXPERT,
    PX_ROLE_EXPERT_GATE = PX_ROLE_FIRST_OF_EXPERT,
    PX_ROLE_EXPERT_UP,
    PX_ROLE_EXPERT_DOWN,
    PX_ROLE_EXPERT_GATE_BIAS,
    PX_ROLE_EXPERT_UP_BIAS,
    PX_ROLE_EXPERT_DOWN_BIAS,
    PX_ROLE_COUNT
} px_role;

typedef struct px_role_traits {
    const char *what; /* for sentences: "query projection" */
    px_axis rows, cols;
} px_role_traits;

const px_role_traits *px_role_of(px_role role);

/* Products that read the same rows go side by side. Each role has a shelf that no other has of
 * those with the same `first`. */
enum { PX_ROLE_SHELVES = 4 };
typedef struct px_reader {
    px_role first; /* one of them, for all */
    uint32_t shelf;
} px_reader;
px_reader px_role_reader(px_role role);

typedef struct px_arch_layer {
    uint32_t window; /* 0: sees everything; else the last `window` positions */
    uint8_t rope;    /* which of arch.ropes */
    bool routed;     /* through experts; else the MLP of width ffn */
} px_arch_layer;

/* A mixture: a router scores the experts for each token; the best `used` answer, weighed. */
typedef struct px_experts {
    uint32_t count, used;     /* 0: no mixture */
    uint32_t ffn, shared_ffn; /* widths; shared: of what every token goes through, 0: none */
    bool sigmoid;             /* scores are sigmoids; else a softmax over all experts */
    bool renormalise;         /* the weights of the chosen are scaled to sum 1 */
    float scale;              /* then multiplied by this */
    bool router_bias, choice_bias, shared_weight, biases, shared_biases;
    uint32_t groups, groups_used; /* chosen within the best groups; 1: all experts are one group */
    bool groups_by_two;           /* a group is as good as its two best experts; else its best */
} px_experts;

/* Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): keys and values come from a small
 * latent, and one rotated part is shared by the keys of all heads. Both are what is cached; see
 * latent.c. */
typedef struct px_latent {
    uint32_t kv_rank; /* 0: plain attention */
    uint32_t q_rank;  /* 0: queries come from the hidden row directly */
    float norm_eps;   /* of the latents' own norms */
    bool biases;      /* of the projections to the latents */
} px_latent;

/* What reads the last hidden states. */
typedef enum px_head_kind {
    PX_HEAD_TOKENS, /* "...ForCausalLM": the output matrix, logits of the next token */
    PX_HEAD_NONE,   /* "...Model": nothing; embeddings are made of them (pooling.h) */
    PX_HEAD_SCORES, /* "...ForSequenceClassification": a matrix of few rows (pooling.h) */
} px_head_kind;

typedef struct px_family px_family;

typedef struct px_arch {
    const px_family *family; /* its name maps */
    bool from_gguf;
    const char *tensor_prefix; /* what stands for the "model." of config.json's names */
    char title[128];           /* the model's own name */
    px_coded_settings coded;   /* how its weights are quantised, in config.json's words */

    /* sizes */
    uint32_t vocabulary, hidden, layer_count, context;
    uint32_t predictor_count; /* layers of a GGUF after these that guess further tokens: not read */
    px_arch_layer layers[PX_ARCH_LAYERS_MAX];

    /* embedding and output */
    float embed_scale;
    px_head_kind head;
    bool tied;           /* the output matrix is the embedding */
    float logit_softcap; /* 0: none */

    /* norms: y = x / rms(x) * (norm_offset + weight) */
    float norm_eps, norm_offset;
    bool post_norms; /* attention's and the MLP's results are normed before they are added */

    /* attention */
    uint32_t heads, kv_heads, head_k, head_v;
    float attn_scale, attn_softcap;
    bool qkv_bias, o_bias, qk_norm, sinks;
    bool both_ways; /* tokens see what comes after them too; windows reach both ways */
    px_latent latent;
    px_rope_freqs ropes[2];
    uint32_t rope_offset;  /* first rotated element of a head */
    bool rope_interleaved; /* pairs are neighbours; else halves of the rotated part */

    /* MLP */
    uint32_t ffn;
    px_activation activation;
    float activation_limit, activation_alpha; /* PX_SWIGLU_OAI's */
    bool mlp_bias;
    px_experts experts;

    /* tokens that end an answer; the one that begins a text (-1: none) */
    uint32_t eos_ids[PX_ARCH_EOS_MAX], eos_count;
    int64_t bos_id;
} px_arch;

/* What files put before a text model's own names, ended by NULL. */
extern const char *const px_tensor_prefixes[];

/* Reads the description; UNIMPLEMENTED names an unknown architecture and lists the known. */
px_status px_arch_read(const px_model_file *file, px_arch *out) PX_MUST_USE;
const char *px_arch_name(const px_arch *arch); /* "llama" */

/* Whole length of an axis, and the part of it that a place holds. */
uint32_t px_axis_size(const px_arch *arch, px_axis axis);
px_range px_axis_range(const px_arch *arch, const px_plan_place *place, px_axis axis);
/* Does the model have this weight in this layer? */
bool px_arch_has(const px_arch *arch, px_role role, uint32_t layer);
/* How many weights of the role the layer has: 0, 1, or one for each expert or head. */
uint32_t px_arch_count(const px_arch *arch, px_role role, uint32_t layer);

/* Where a weight lies in the file. Mostly its rows are whole and only their distance matters; in
 * the other cases they must be put together first (px_weight_is_scattered). */
typedef struct px_weight_view {
    const px_tensor *tensor;
    px_dtype dtype;
    uint32_t rows, cols;
    const unsigned char *data;   /* element (0, 0) */
    size_t row_bytes;            /* distance between rows */
    size_t col_bytes;            /* 0: a row lies whole; else distance between its elements */
    const unsigned char *scales; /* MXFP4 in two tensors: the exponents, one for each block */
    size_t scale_row_bytes;
    bool is_turned_blocks; /* columns are the tensor's rows, which are blocks: `dtype` is F32, or of
                              codes what px_coded_turned_type() says; `data` the first of these
                              rows, col_bytes from one to the next */
    px_coded coded; /* codes with scales in other tensors; `data` is then only what is read */
} px_weight_view;

static inline bool px_weight_is_scattered(const px_weight_view *view)
{
    return view->col_bytes || view->scales || view->coded.coding;
}

typedef struct px_weight_id { /* layer, expert and head count only in roles that are of one */
    px_role role;
    uint32_t layer;
    union {
        uint32_t expert, head;
    };
} px_weight_id;
/* Finds a weight and checks its type and shape. NOT_FOUND and INVALID_ARGUMENT name the tensor. */
px_status px_arch_find(const px_arch *arch, const px_model_file *file, px_weight_id id,
    px_weight_view *out) PX_MUST_USE;

#endif
