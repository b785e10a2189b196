/* pickle_calls.h - the names a pickle may use, and what calling them gives. Internal to pickle.c.
 */
#ifndef PX_MODEL_PICKLE_CALLS_H
#define PX_MODEL_PICKLE_CALLS_H

#include "engine/model/pickle.h"

/* The known name `module`.`name`, as PX_PICKLE_NAME's number; UNIMPLEMENTED names what is refused.
 */
px_status px_pickle_name(px_slice module, px_slice name, uint32_t *out) PX_MUST_USE;
/* What calling `name` with these arguments gives, into *out. */
px_status px_pickle_call(uint32_t name, const px_pickle_value *arguments, px_arena *arena,
    px_pickle_value *out) PX_MUST_USE;
/* The storage that a persistent id stands for: ('storage', type, key, location, elements). */
px_status px_pickle_persistent(const px_pickle_value *id, px_pickle_value *out) PX_MUST_USE;

#endif
