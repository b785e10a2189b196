/* assemble.h - a row of a weight as its type has it, however it lies in the file. */
#ifndef PX_MODEL_ASSEMBLE_H
#define PX_MODEL_ASSEMBLE_H

#include "engine/model/arch.h"

/* Copies rows, put together, one after the other: px_dtype_bytes(view->dtype, view->cols) bytes
 * each. Of turned blocks some rows cost about as much as all. */
void px_weight_assemble(const px_weight_view *view, px_range rows, void *out);

#endif
