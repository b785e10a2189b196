/* store.h - which models lie in a folder: DIR/NAME/VERSION/…, DIR/NAME/… or DIR/NAME.gguf.
 *
 * A version is a folder whose name is a number; the highest is the one reported. What is listed is
 * not opened: whether a model is good shows when it is loaded.
 */
#ifndef PX_CLUSTER_STORE_H
#define PX_CLUSTER_STORE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { PX_STORE_MODELS_MAX = 1024 };

typedef struct px_store_model { /* strings owned */
    char *name, *path;          /* path is absolute */
    uint64_t bytes;             /* of its weight files */
} px_store_model;

typedef struct px_store {
    px_store_model *models; /* by name */
    size_t count;
} px_store;

/* NOT_FOUND when `dir` is no folder. *out is px_store_done()'s to free. */
px_status px_store_scan(const char *dir, px_store *out) PX_MUST_USE;
void px_store_done(px_store *store);

#endif
