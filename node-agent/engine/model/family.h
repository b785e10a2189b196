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
    PX_TAKE_QKV,         /* q, k and v rows follow each other */
    PX_TAKE_FIRST_HALF,  /* gate of a fused gate-and-up */
    PX_TAKE_SECOND_HALF, /* up of it */
} px_take;

typedef struct px_name { /* a table ends with pattern NULL */
    px_role role;
    const char *pattern; /* "%u" is the layer */
    px_take take;
} px_name;

struct px_family {
    const char *name; /* ours */
    const char *gguf; /* general.architecture; NULL: none */
    const char *hf;   /* architectures[0] of config.json; NULL: none */
    px_status (*describe)(const px_config *config, px_arch *arch); /* after the common part */
    const px_name *gguf_names, *hf_names; /* looked up before the common tables; may be NULL */
};

extern const px_family px_families[]; /* ends with name NULL */

/* The name a role has in this model's format, or NULL. */
const px_name *px_family_name(const px_family *family, bool gguf, px_role role);

#endif
