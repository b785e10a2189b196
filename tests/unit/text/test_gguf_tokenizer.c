/* Tokenizers from a GGUF's fields: the same ids as the description in tokenizer.json gives. */
#include "engine/text/tokenizer.h"
#include "test.h"

#define TEXT(literal) ((px_slice){literal, sizeof literal - 1})
enum { CONTROL = 3, USER_DEFINED = 4, BYTE = 6 };

typedef struct tiny_vocab {
    px_slice tokens[300];
    float scores[300];
    int32_t types[300];
    char bytes[256][8];
    uint32_t count;
} tiny_vocab;

static void add(tiny_vocab *v, const char *token, float score, int type)
{
    v->tokens[v->count] = (px_slice){token, strlen(token)};
    v->scores[v->count] = score;
    v->types[v->count++] = type;
}

static void check_ids(const px_tokenizer *tokenizer, px_slice text, px_encode_options options,
    const uint32_t *want, size_t count)
{
    px_ids ids = {0};
    PX_CHECK_OK(px_tokenizer_encode(tokenizer, text.data, text.length, &options, &ids));
    PX_CHECK(ids.count == count && memcmp(ids.data, want, count * sizeof *want) == 0);
    for (size_t i = 0; i < ids.count && ids.count != count; i++) printf("  %u\n", ids.data[i]);
    free(ids.data);
}

static void check_text(
    const px_tokenizer *tokenizer, const uint32_t *ids, size_t count, const char *want)
{
    px_buf text;
    px_buf_init(&text, 1024);
    PX_CHECK_OK(px_tokenizer_decode(tokenizer, ids, count, true, &text));
    PX_CHECK_STR(px_buf_text(&text), want);
    px_buf_done(&text);
}

/* 0 <unk> 1 <s> 2 </s>, 3.. the bytes, then words. */
static void make_llama(tiny_vocab *v)
{
    add(v, "<unk>", 0, 2);
    add(v, "<s>", 0, CONTROL);
    add(v, "</s>", 0, CONTROL);
    for (int b = 0; b < 256; b++) {
        snprintf(v->bytes[b], sizeof v->bytes[b], "<0x%02X>", b);
        add(v, v->bytes[b], 0, BYTE);
    }
    const char *const words[] = {"▁", "a", "b", "ab", "▁a", "ba", "aba"};
    const float scores[] = {-10, -11, -12, -1, -2, -3, -4};
    for (int i = 0; i < 7; i++) add(v, words[i], scores[i], 1);
}

PX_TEST(sentencepiece_joins_the_best_score_first)
{
    tiny_vocab *v = calloc(1, sizeof *v);
    make_llama(v);
    px_tokenizer_gguf fields = {.model = TEXT("llama"),
        .tokens = v->tokens,
        .scores = v->scores,
        .types = v->types,
        .token_count = v->count,
        .bos_id = 1,
        .eos_id = 2,
        .unknown_id = 0,
        .add_bos = -1,
        .add_eos = -1,
        .add_space_prefix = -1};
    px_tokenizer *tokenizer = NULL;
    PX_CHECK_OK(px_tokenizer_from_gguf(&fields, &tokenizer));
    PX_REQUIRE(tokenizer);
    enum { MARK = 259, A, B, AB, MARK_A, BA, ABA };
    /* "▁aba": ab (-1) beats ▁a (-2); then "aba" (-4) takes the last a. */
    check_ids(tokenizer, TEXT("aba"), (px_encode_options){0}, (uint32_t[]){MARK, ABA}, 2);
    check_ids(tokenizer, TEXT("aa"), (px_encode_options){0}, (uint32_t[]){MARK_A, A}, 2);
    /* An unknown character is its bytes, "</s>" only a token if asked for. */
    check_ids(tokenizer, TEXT("\xc3\xa9"), (px_encode_options){.add_special = true},
        (uint32_t[]){1, MARK, 3 + 0xc3, 3 + 0xa9}, 4);
    check_ids(tokenizer, TEXT("a</s>b"), (px_encode_options){.parse_special = true},
        (uint32_t[]){MARK_A, 2, MARK, B}, 4);
    check_text(
        tokenizer, (uint32_t[]){1, MARK, ABA, MARK_A, 3 + 0xc3, 3 + 0xa9, 2}, 7, "aba a\xc3\xa9");
    px_tokenizer_free(tokenizer);
    fields.strips_after_special = true;
    PX_CHECK_OK(px_tokenizer_from_gguf(&fields, &tokenizer));
    check_ids(tokenizer, TEXT("a</s> \n b"), (px_encode_options){.parse_special = true},
        (uint32_t[]){MARK_A, 2, MARK, B}, 4);
    px_tokenizer_free(tokenizer);
    free(v);
}

PX_TEST(byte_level_bpe_by_merges)
{
    static const px_slice tokens[] = {TEXT("h"), TEXT("i"), TEXT("\xc4\xa0"), TEXT("hi"),
        TEXT("\xc4\xa0hi"), TEXT("1"), TEXT("<|end|>"), TEXT("<tool>")};
    static const int32_t types[] = {1, 1, 1, 1, 1, 1, CONTROL, USER_DEFINED};
    static const px_slice merges[] = {TEXT("h i"), TEXT("\xc4\xa0 hi")};
    px_tokenizer_gguf fields = {.model = TEXT("gpt2"),
        .pre = TEXT("smollm"),
        .tokens = tokens,
        .types = types,
        .token_count = 8,
        .merges = merges,
        .merge_count = 2,
        .bos_id = 6,
        .eos_id = 6,
        .unknown_id = -1,
        .add_bos = 1,
        .add_eos = -1,
        .add_space_prefix = -1};
    px_tokenizer *tokenizer = NULL;
    PX_CHECK_OK(px_tokenizer_from_gguf(&fields, &tokenizer));
    PX_REQUIRE(tokenizer);
    check_ids(tokenizer, TEXT("hi hi11"), (px_encode_options){0}, (uint32_t[]){3, 4, 5, 5}, 4);
    check_ids(tokenizer, TEXT("hi<tool><|end|>"),
        (px_encode_options){.add_special = true, .parse_special = true}, (uint32_t[]){6, 3, 7, 6},
        4);
    check_text(tokenizer, (uint32_t[]){6, 3, 4, 7}, 4, "hi hi<tool>");
    px_tokenizer_free(tokenizer);
}

PX_TEST(unknown_names_and_ids_are_refused)
{
    static const px_slice tokens[] = {TEXT("a")};
    px_tokenizer_gguf fields = {.model = TEXT("rwkv"),
        .tokens = tokens,
        .token_count = 1,
        .bos_id = -1,
        .eos_id = -1,
        .unknown_id = -1,
        .add_bos = -1,
        .add_eos = -1,
        .add_space_prefix = -1};
    px_tokenizer *tokenizer = NULL;
    px_status status = px_tokenizer_from_gguf(&fields, &tokenizer);
    PX_CHECK(status.code == PX_UNIMPLEMENTED && strstr(status.text, "rwkv"));
    fields.model = TEXT("gpt2");
    fields.pre = TEXT("novel");
    status = px_tokenizer_from_gguf(&fields, &tokenizer);
    PX_CHECK(status.code == PX_UNIMPLEMENTED && strstr(status.text, "novel"));
    fields.model = (px_slice){0};
    status = px_tokenizer_from_gguf(&fields, &tokenizer);
    PX_CHECK(status.code == PX_UNIMPLEMENTED && strstr(status.text, "''"));
    fields.model = TEXT("gpt2");
    fields.pre = TEXT("qwen2");
    fields.eos_id = 1;
    status = px_tokenizer_from_gguf(&fields, &tokenizer);
    PX_CHECK(status.code == PX_INVALID_ARGUMENT && strstr(status.text, "EOS"));
    PX_CHECK(!tokenizer);
}

PX_TEST_MAIN()
