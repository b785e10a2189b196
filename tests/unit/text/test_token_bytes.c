/* The bytes of an encoding's tokens, one after the other, are the text that was encoded. */
#include "engine/text/token_bytes.h"

#include "sample.h"

static const char text[] = "the cat {\"name\": 1} é 日本 \xf0\x9f\x99\x82 naïve\n\tx  y";

static void join(const px_tokenizer *tokenizer, const px_ids *ids, px_buf *out)
{
    px_token_bytes *bytes = px_token_bytes_create(tokenizer);
    for (size_t i = 0; i < ids->count; i++) px_token_bytes_of(bytes, ids->data[i], out);
    px_token_bytes_free(bytes);
}

static void check(const char *name, bool is_lossless)
{
    px_tokenizer *tokenizer = sample_tokenizer(name);
    PX_REQUIRE(tokenizer);
    px_ids ids = {0};
    PX_CHECK_OK(
        px_tokenizer_encode(tokenizer, text, sizeof text - 1, &(px_encode_options){0}, &ids));
    px_buf joined, decoded;
    px_buf_init(&joined, 1 << 16);
    px_buf_init(&decoded, 1 << 16);
    join(tokenizer, &ids, &joined);
    PX_CHECK_OK(px_tokenizer_decode(tokenizer, ids.data, ids.count, true, &decoded));
    const char *found = px_buf_text(&joined);
    /* In the middle of a text the blank that a word begins with is there. */
    if (found[0] == ' ' && px_buf_text(&decoded)[0] != ' ') found++;
    PX_CHECK_STR(found, px_buf_text(&decoded));
    if (is_lossless) PX_CHECK_STR(found, text);
    px_buf_done(&joined);
    px_buf_done(&decoded);
    free(ids.data);
    px_tokenizer_free(tokenizer);
}

PX_TEST(byte_level_tokens_have_their_bytes)
{
    static const char *const names[] = {"gpt2", "smollm", "llama3", "qwen", "falcon"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) check(names[i], i != 3);
}

PX_TEST(sentencepiece_tokens_have_their_bytes)
{
    check("llama2", false);
    check("t5", false);
}

PX_TEST(special_tokens_add_nothing)
{
    px_tokenizer *tokenizer = sample_tokenizer("llama3");
    PX_REQUIRE(tokenizer);
    int64_t end = px_tokenizer_id(tokenizer, "</s>", 4);
    px_ids ids = {.data = &(uint32_t){(uint32_t)end}, .count = 1};
    px_buf joined;
    px_buf_init(&joined, 100);
    join(tokenizer, &ids, &joined);
    PX_CHECK(end >= 0 && joined.length == 0);
    px_buf_done(&joined);
    px_tokenizer_free(tokenizer);
}

PX_TEST_MAIN()
