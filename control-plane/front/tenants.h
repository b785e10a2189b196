/* tenants.h - the weights an operator gave to tenants: "NAME=WEIGHT,NAME=WEIGHT".
 *
 * A tenant that is not named has weight 1. Nobody is refused for being unknown.
 * Owns:    a copy of the names.
 * Threads: immutable after parse.
 */
#ifndef PX_CONTROL_TENANTS_H
#define PX_CONTROL_TENANTS_H

#include "base/status.h"

typedef struct px_tenants px_tenants;

/* INVALID_ARGUMENT with a sentence. NULL or "": nobody has a weight. */
px_status px_tenants_parse(const char *text, px_tenants **out) PX_MUST_USE;
void px_tenants_free(px_tenants *tenants);                             /* NULL is fine */
double px_tenants_weight(const px_tenants *tenants, const char *name); /* both may be NULL */

#endif
