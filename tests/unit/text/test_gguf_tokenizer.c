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

/* The byte-level characters and nothing else. */
static void make_bytes(tiny_vocab *v)
{
    for (int b = 0, extra = 0x100; b < 256; b++) {
        bool shown = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b != 0xad);
        int rune = shown ? b : extra++;
        char *to = v->bytes[b];
        if (rune < 0x80)
            *to++ = (char)rune;
        else {
            *to++ = (char)(0xc0 | rune >> 6);
            *to++ = (char)(0x80 | (rune & 0x3f));
        }
        *to = '\0';
        add(v, v->bytes[b], 0, 1);
    }
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

PX_TEST(unknown_names_are_refused)
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
    PX_CHECK(!tokenizer);
}

PX_TEST(ids_outside_the_vocabulary_are_none)
{
    tiny_vocab *v = calloc(1, sizeof *v);
    make_llama(v);
    px_tokenizer_gguf fields = {.model = TEXT("llama"),
        .tokens = v->tokens,
        .scores = v->scores,
        .types = v->types,
        .token_count = v->count,
        .bos_id = 9999, /* so the usual one of its kind */
        .eos_id = UINT32_MAX,
        .unknown_id = -7,
        .add_bos = 1,
        .add_eos = 1,
        .add_space_prefix = -1};
    px_tokenizer *tokenizer = NULL;
    PX_CHECK_OK(px_tokenizer_from_gguf(&fields, &tokenizer));
    PX_REQUIRE(tokenizer);
    px_encode_options options = {.add_special = true};
    check_ids(tokenizer, TEXT("a"), options, (uint32_t[]){1, 263, 2}, 3);
    px_tokenizer_free(tokenizer);
    free(v);
}

/* All names that are in use; each must at least compile, and give back what it cut. */
PX_TEST(every_pre_tokenizer_is_known_by_name)
{
    static const char *const names[] = {"a.x-4.0", "afmoe", "bailingmoe", "bailingmoe2", "bloom",
        "chameleon", "chatglm-bpe", "codeshell", "cohere2moe", "command-r", "dbrx",
        "deepseek-coder", "deepseek-llm", "deepseek-r1-qwen", "deepseek-v3", "default", "exaone",
        "exaone-moe", "exaone4", "f2llmv2", "falcon", "falcon-h1", "falcon3", "gemma4", "gigachat",
        "glm4", "glm5", "gpt-2", "gpt-4o", "gpt3-finnish", "granite-docling",
        "granite-embed-multi-311m", "granite-embed-multi-97m", "grok-2", "hunyuan", "hunyuan-dense",
        "hy_v4", "jais", "jais-2", "jina-de", "jina-es", "jina-v1-en", "jina-v2-code", "jina-v2-de",
        "jina-v2-es", "jina-v5-nano", "joyai-llm", "kanana2", "kimi-k2", "kormo", "laguna", "lfm2",
        "llada-moe", "llama-bpe", "llama-v3", "llama3", "llama4", "megrez", "mellum", "mellum2",
        "midm-2.0", "minerva-7b", "minicpm5", "minimax-m2", "modern-bert", "mpt", "olmo", "phi-2",
        "pixtral", "poro-chat", "qwen2", "qwen35", "refact", "roberta-bpe", "sarvam-moe",
        "seed-coder", "smaug-bpe", "smollm", "solar-open", "spark2_5", "stablelm2", "starcoder",
        "superbpe", "talkie", "tekken", "tiny_aya", "trillion", "ufakzeka", "viking", "youtu"};
    static const char text[] = "Hello, it's 1234567 \u4f60\u597d\n\n  x";
    tiny_vocab *v = calloc(1, sizeof *v);
    make_bytes(v);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        px_tokenizer_gguf fields = {.model = TEXT("gpt2"),
            .pre = {names[i], strlen(names[i])},
            .tokens = v->tokens,
            .token_count = v->count,
            .bos_id = -1,
            .eos_id = -1,
            .unknown_id = -1,
            .add_bos = 0,
            .add_eos = -1,
            .add_space_prefix = -1};
        px_tokenizer *tokenizer = NULL;
        PX_CHECK_OK(px_tokenizer_from_gguf(&fields, &tokenizer));
        PX_REQUIRE(tokenizer);
        px_ids ids = {0};
        px_encode_options options = {0};
        PX_CHECK_OK(px_tokenizer_encode(tokenizer, text, sizeof text - 1, &options, &ids));
        if (!strstr("gemma4 granite-embed-multi-311m sarvam-moe", names[i]))
            check_text(tokenizer, ids.data, ids.count, text);
        free(ids.data);
        px_tokenizer_free(tokenizer);
    }
    free(v);
}

/* Words of Gemma 4's kind: merges over text, blanks as marks, bytes where there is no token. */
PX_TEST(bpe_over_text_with_marks)
{
    tiny_vocab *v = calloc(1, sizeof *v);
    make_llama(v);
    static const px_slice merges[] = {TEXT("a b"), TEXT("▁ a")};
    px_tokenizer_gguf fields = {.model = TEXT("gemma4"),
        .tokens = v->tokens,
        .types = v->types,
        .token_count = v->count,
        .merges = merges,
        .merge_count = 2,
        .bos_id = 1,
        .eos_id = 2,
        .unknown_id = -1,
        .add_bos = -1,
        .add_eos = -1,
        .add_space_prefix = -1};
    px_tokenizer *tokenizer = NULL;
    PX_CHECK_OK(px_tokenizer_from_gguf(&fields, &tokenizer));
    PX_REQUIRE(tokenizer);
    const uint32_t bytes = 3, words = 3 + 256;
    const uint32_t want[] = {words + 3, words, words + 3, bytes + '\n', bytes + 'c'};
    check_ids(tokenizer, TEXT("ab ab\nc"), (px_encode_options){0}, want, 5);
    check_text(tokenizer, want, 5, "ab ab\nc");
    px_tokenizer_free(tokenizer);
    free(v);
}

/* T5: blanks at the ends and in a row go, ids that the file does not name are the usual ones. */
PX_TEST(unigram_without_extra_spaces)
{
    static const px_slice tokens[] = {
        TEXT("<pad>"), TEXT("</s>"), TEXT("<unk>"), TEXT("▁a"), TEXT("▁"), TEXT("b")};
    static const float scores[] = {0, 0, 0, -1, -2, -3};
    px_tokenizer_gguf fields = {.model = TEXT("t5"),
        .tokens = tokens,
        .scores = scores,
        .token_count = 6,
        .bos_id = -1,
        .eos_id = -1,
        .unknown_id = -1,
        .add_bos = -1,
        .add_eos = -1,
        .add_space_prefix = -1,
        .remove_extra_spaces = true};
    px_tokenizer *tokenizer = NULL;
    PX_CHECK_OK(px_tokenizer_from_gguf(&fields, &tokenizer));
    PX_REQUIRE(tokenizer);
    check_ids(tokenizer, TEXT("  a   b z "), (px_encode_options){.add_special = true},
        (uint32_t[]){3, 4, 5, 4, 2, 1}, 6);
    px_tokenizer_free(tokenizer);
    fields.charsmap = TEXT("\x05");
    px_status status = px_tokenizer_from_gguf(&fields, &tokenizer);
    PX_CHECK(status.code == PX_INVALID_ARGUMENT && strstr(status.text, "map"));
}

PX_TEST_MAIN()
