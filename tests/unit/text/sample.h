/* sample.h - the tokenizers of tests/golden/data/text, for unit tests. */
#ifndef PX_TEST_TEXT_SAMPLE_H
#define PX_TEST_TEXT_SAMPLE_H

#include "base/fs.h"
#include "engine/text/tokenizer.h"
#include "test.h"

/* Next to this file, wherever the tree lies. */
static inline const char *sample_path(const char *name, char out[1024])
{
    snprintf(out, 1024, "%.*s/../../golden/data/text/%s", (int)(strrchr(__FILE__, '/') - __FILE__),
        __FILE__, name);
    return out;
}

static inline void sample_read(const char *name, px_buf *out)
{
    char path[1024];
    px_buf_init(out, 64 << 20);
    PX_CHECK_OK(px_fs_read(sample_path(name, path), out));
}

static inline px_tokenizer *sample_tokenizer(const char *name)
{
    char file[256];
    px_buf json;
    px_tokenizer *tokenizer = NULL;
    snprintf(file, sizeof file, "tokenizers/%s/tokenizer.json", name);
    sample_read(file, &json);
    PX_CHECK_OK(px_tokenizer_from_json(px_buf_text(&json), json.length, &tokenizer));
    px_buf_done(&json);
    return tokenizer;
}

static const char *const sample_names[] = {
    "gpt2", "smollm", "llama3", "qwen", "falcon", "llama2", "t5", "bert"};
enum { SAMPLE_COUNT = sizeof sample_names / sizeof *sample_names };

#endif
