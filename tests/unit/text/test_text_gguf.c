/* px_text_open() of a GGUF: what its lists may leave out, and what they get wrong. */
#include "engine/text/text.h"
#include "test.h"
#include "unit/model/gguf_meta.h"

enum { NORMAL = 1 };

/* A byte-level vocabulary of few letters, a word and the end of a turn, called plain text. */
static meta begin(bool has_merges)
{
    static const char *const tokens[] = {"a", "b", "ab", "<|im_end|>", "<", "|"};
    static const char *const merges[] = {"a b"};
    meta m = {.arch = "llama"};
    meta_text(&m, "general.architecture", "llama");
    meta_text(&m, "tokenizer.ggml.model", "gpt2");
    meta_text(&m, "tokenizer.ggml.pre", "gpt-2");
    meta_texts(&m, "tokenizer.ggml.tokens", tokens, 6);
    if (has_merges) meta_texts(&m, "tokenizer.ggml.merges", merges, 1);
    return m;
}

static px_status open_text(const meta *m, px_text *out)
{
    static bytes b;
    gguf_head(&b, 3, 1, m->count);
    put(&b, m->keys.data, m->keys.length);
    gguf_matrix(&b, "token_embd.weight", 1, 1, 0, 0);
    pad(&b, 32);
    put_u32(&b, 0);
    const char *path = write_bytes("text.gguf", &b);
    px_model_file *file = NULL;
    PX_TRY(px_model_file_open(path, &file));
    px_status status = px_text_open(path, file, out);
    px_model_file_close(file);
    return status;
}

static void check_ids(const meta *m, const char *text, const uint32_t *want, size_t count)
{
    px_text opened = {0};
    px_ids ids = {0};
    px_encode_options options = {.parse_special = true};
    PX_CHECK_OK(open_text(m, &opened));
    PX_REQUIRE(opened.tokenizer);
    PX_CHECK_OK(px_tokenizer_encode(opened.tokenizer, text, strlen(text), &options, &ids));
    PX_CHECK(ids.count == count && memcmp(ids.data, want, count * sizeof *want) == 0);
    free(ids.data);
    px_text_close(&opened);
}

static void check_refused(const meta *m, const char *word)
{
    px_text opened = {0};
    px_status status = open_text(m, &opened);
    PX_CHECK(!px_is_ok(status) && strstr(status.text, word));
}

PX_TEST(ends_of_turns_are_one_token_whatever_their_type)
{
    meta m = begin(true);
    check_ids(&m, "ab<|im_end|>", (uint32_t[]){2, 3}, 2);
    meta_i32s(&m, "tokenizer.ggml.token_type",
        (int32_t[]){NORMAL, NORMAL, NORMAL, NORMAL, NORMAL, NORMAL}, 6);
    check_ids(&m, "a<|im_end|>b", (uint32_t[]){0, 3, 1}, 3);
}

PX_TEST(lists_may_be_longer_than_the_vocabulary_but_not_shorter)
{
    meta m = begin(true);
    meta_i32s(&m, "tokenizer.ggml.scores", (int32_t[]){0, 0, 0, 0, 0, 0, 0}, 7);
    check_ids(&m, "ab", (uint32_t[]){2}, 1);
    meta_i32s(&m, "tokenizer.ggml.token_type", (int32_t[]){NORMAL}, 1);
    check_refused(&m, "tokenizer.ggml.token_type");
}

PX_TEST(pieces_without_a_list_of_merges_are_refused)
{
    meta m = begin(false);
    check_refused(&m, "tokenizer.ggml.merges");
}

PX_TEST_MAIN()
