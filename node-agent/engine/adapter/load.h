/* load.h - a LoRA adapter from PEFT's files: this rank's part of it, in its kernels' layout.
 *
 * Source:  files as PEFT writes them: adapter_config.json and adapter_model.safetensors.
 * Owns:    an adapter's weights are copied from the files, which are closed again.
 * Threads: any; the model is only read.
 */
#ifndef PX_ADAPTER_LOAD_H
#define PX_ADAPTER_LOAD_H

#include "engine/model/adapter.h"

typedef struct px_adapter_options {
    const px_model *model; /* whose shapes it must fit, and whose place and stage it is for */
    const px_kernels *kernels;
    const char *folder;
    uint64_t bytes_max;
} px_adapter_options;

/* Nothing is allocated for weights before all are found, of the right shapes and within bytes_max.
 * INVALID_ARGUMENT, UNIMPLEMENTED, NOT_FOUND or RESOURCE_EXHAUSTED say what is wrong with it. */
px_status px_adapter_load(const px_adapter_options *options, px_adapter **out) PX_MUST_USE;
void px_adapter_free(px_adapter *adapter); /* NULL is fine */

#endif
