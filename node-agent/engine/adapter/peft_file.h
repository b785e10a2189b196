/* peft_file.h - adapter_model.safetensors: pairs of tensors, by the module they belong to.
 *
 * Source:  PEFT's names: "base_model.model.MODULE.lora_A.weight", with the adapter's name before
 *          "weight" in files written without PEFT's own saving.
 * Owns:    the map and the names; everything handed out is borrowed until close.
 * Threads: one at a time.
 */
#ifndef PX_ADAPTER_PEFT_FILE_H
#define PX_ADAPTER_PEFT_FILE_H

#include "engine/model/safetensors.h"

typedef struct px_peft_pair {
    const char *module; /* "model.layers.3.self_attn.q_proj" */
    const px_tensor *a; /* [rank, cols] */
    const px_tensor *b; /* [rows, rank] */
    bool used;          /* the reader's mark */
} px_peft_pair;

typedef struct px_peft_file px_peft_file;

/* Every pair is whole, of plain floats, and of one rank. */
px_status px_peft_file_open(const char *folder, px_peft_file **out) PX_MUST_USE;
void px_peft_file_close(px_peft_file *file); /* NULL is fine */
uint32_t px_peft_file_count(const px_peft_file *file);
px_peft_pair *px_peft_file_at(px_peft_file *file, uint32_t index);
px_peft_pair *px_peft_file_find(px_peft_file *file, const char *module); /* or NULL */

#endif
