/* text_export.h - the text side of a model's folder as keys of a GGUF. */
#ifndef PX_TEXT_TEXT_EXPORT_H
#define PX_TEXT_TEXT_EXPORT_H

#include "engine/model/gguf_write.h"

typedef struct px_text_export_options {
    uint32_t vocabulary; /* rows of the embedding: the list of tokens has as many */
    int64_t bos_id;      /* where the folder names no such token; -1: none */
    int64_t eos_id;
} px_text_export_options;

/* Puts tokenizer.ggml.* and tokenizer.chat_template as llama.cpp reads them, and beside them the
 * files themselves: tokenizer.json as tokenizer.huggingface.json, the configurations as documents
 * (px_gguf_document). A folder without tokenizer.json puts nothing. */
px_status px_text_export(
    const char *folder, const px_text_export_options *options, px_gguf_writer *writer) PX_MUST_USE;

#endif
