/* tokenizer_gguf.c - px_tokenizer_from_gguf(): a tokenizer from the metadata of a GGUF file.
 *
 * A GGUF holds the vocabulary and two names, the model's and the pre-tokenizer's; what the names
 * mean is written here, as the same descriptions that tokenizer.json uses. Source: the GGUF
 * specification (tokenizer.ggml.*); the models' published tokenizer.json files for what each
 * pre-tokenizer name stands for.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "engine/text/gguf_names.h"
#include "engine/text/tokenizer_impl.h"

/* --- what the names of pre-tokenizers mean --- */

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define TAIL         "\\s+(?!\\S)|\\s+"
#define GPT2         "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|" TAIL
#define LLAMA3_LIKE(digits)                                                                        \
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits                                          \
                 "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" TAIL
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define O200K_LIKE(suffix, digits)                                                                 \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" suffix "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER  \
    "*" suffix "|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|" TAIL
#define DEEPSEEK3_WORDS                                                                            \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}"    \
    "\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|" TAIL
/* Letters with case. Escaped: two are spelled as their canonical equivalents by editors. */
#define DEEPSEEK1_LETTERS                                                                          \
    "\\s?[A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}"            \
    "\\x{1c4}-\\x{293}\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}"         \
    "\\x{37f}\\x{386}\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}"                  \
    "\\x{3f7}-\\x{481}\\x{48a}-\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}"                       \
    "\\x{13a0}-\\x{13f5}\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}"                 \
    "\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}"                 \
    "\\x{1f18}-\\x{1f1d}\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}"                 \
    "\\x{1f59}\\x{1f5b}\\x{1f5d}\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}"         \
    "\\x{1fbe}\\x{1fc2}-\\x{1fc4}\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}"                           \
    "\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}"                 \
    "\\x{2102}\\x{2107}\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{2124}\\x{2126}"          \
    "\\x{2128}\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}\\x{2139}\\x{213c}-\\x{213f}"                  \
    "\\x{2145}-\\x{2149}\\x{214e}\\x{2183}\\x{2184}\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}"         \
    "\\x{2ceb}-\\x{2cee}\\x{2cf2}\\x{2cf3}\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}"                  \
    "\\x{a722}-\\x{a76f}\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}"                 \
    "\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}"                 \
    "\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}"         \
    "\\x{10cc0}-\\x{10cf2}\\x{118a0}-\\x{118df}\\x{1e900}-\\x{1e943}]+"
#define CJK_KANA "[一-龥぀-ゟ゠-ヿ]+"
#define BLOOM    " ?[^(\\s|.,!?…。，、।۔،)]+"

enum { PATTERNS_MAX = 6, NAMES_MAX = 20 };

typedef struct pre_kind {
    const char *names[NAMES_MAX];       /* NULL-terminated unless full */
    const char *patterns[PATTERNS_MAX]; /* applied one after the other, matches isolated */
    bool ignore_merges, add_bos, nfc;
    bool text; /* the vocabulary is written as text, blanks as "▁", not in byte-level characters */
} pre_kind;

static const pre_kind pre_kinds[] = {
    {.names = {"gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "gigachat",
         "modern-bert", "mellum", "roberta-bpe", "a.x-4.0", "jina-es", "jina-de", "jina-v1-en",
         "jina-v2-es", "jina-v2-de", "jina-v2-code", "exaone4"},
        .patterns = {GPT2}},
    {.names = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b",
         "mellum2"},
        .patterns = {"\\p{N}", GPT2}},
    {.names = {"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0",
         "lfm2", "jina-v5-nano"},
        .patterns = {LLAMA3_LIKE("\\p{N}{1,3}")},
        .ignore_merges = true,
        .add_bos = true},
    {.names = {"dbrx", "smaug-bpe"}, .patterns = {LLAMA3_LIKE("\\p{N}{1,3}")}},
    {.names = {"chatglm-bpe", "glm4", "glm5"},
        .patterns = {LLAMA3_LIKE("\\p{N}{1,3}")},
        .ignore_merges = true},
    {.names = {"qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2"},
        .patterns = {LLAMA3_LIKE("\\p{N}")},
        .nfc = true},
    {.names = {"stablelm2", "hunyuan", "megrez", "grok-2", "solar-open"},
        .patterns = {LLAMA3_LIKE("\\p{N}")}},
    {.names = {"qwen35"},
        .patterns = {CONTRACTIONS
            "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|"
            "\\s*[\\r\\n]+|" TAIL},
        .nfc = true},
    {.names = {"deepseek-llm"},
        .patterns = {"[\\r\\n]", DEEPSEEK1_LETTERS, "\\s?[!-/:-~！-／：-～‘-‟　-。]+", "\\s+$",
            "[一-龥ࠀ-一가-퟿]+", "\\p{N}"}},
    {.names = {"deepseek-coder"},
        .patterns = {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[一-龥ࠀ-一가-퟿]+",
            "\\p{N}"}},
    {.names = {"deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"},
        .patterns = {"\\p{N}{1,3}", CJK_KANA, DEEPSEEK3_WORDS}},
    {.names = {"falcon"}, .patterns = {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]"}},
    {.names = {"bloom", "poro-chat", "gpt3-finnish"}, .patterns = {BLOOM}},
    {.names = {"viking"}, .patterns = {BLOOM, "\\p{N}"}},
    {.names = {"tekken"},
        .patterns = {O200K_LIKE("", "\\p{N}")},
        .ignore_merges = true,
        .add_bos = true},
    {.names = {"gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"},
        .patterns = {O200K_LIKE(CONTRACTIONS "?", "\\p{N}{1,3}")}},
    {.names = {"kimi-k2"},
        .patterns = {"\\p{Han}+|[^\\r\\n\\p{L}\\p{N}]?[" UPPER "&&[^\\p{Han}]]*[" LOWER
                     "&&[^\\p{Han}]]+" CONTRACTIONS "?|[^\\r\\n\\p{L}\\p{N}]?[" UPPER
                     "&&[^\\p{Han}]]+[" LOWER "&&[^\\p{Han}]]*" CONTRACTIONS
                     "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" TAIL}},
    {.names = {"tiny_aya", "cohere2moe"},
        .patterns = {"\\d{1,3}(?=(?:\\d{3})*\\b)", O200K_LIKE(CONTRACTIONS "?", "\\p{N}")}},
    {.names = {"superbpe"}, .patterns = {"\\p{N}+", "(?=(\\d{3})+(?!\\d))"}},
    {.names = {"bailingmoe", "bailingmoe2", "llada-moe"},
        .patterns = {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}"
                     "\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|" TAIL}},
    {.names = {"seed-coder"},
        .patterns = {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}"
                                  "\\r\\n]+|\\s*[\\r\\n]+|" TAIL}},
    {.names = {"exaone-moe"},
        .patterns = {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|"
                                  "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]|" TAIL}},
    {.names = {"jais-2"},
        .patterns = {CONTRACTIONS
            "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
            "\\s*[\\r\\n]+|\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)|\\s{64}(?!\\S)|"
            "\\s{32}(?!\\S)|\\s{16}(?!\\S)|\\s{8}(?!\\S)|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s"}},
    {.names = {"granite-embed-multi-97m"},
        .patterns = {O200K_LIKE(CONTRACTIONS "?", "\\p{N}{1,3}")},
        .ignore_merges = true},
    {.names = {"minicpm5"},
        .patterns = {"\\p{N}{1,3}", LLAMA3_LIKE("\\p{N}+")},
        .ignore_merges = true},
    {.names = {"laguna"}, .patterns = {"[^\\n]+|[\\n]+", LLAMA3_LIKE("\\p{N}")}},
    {.names = {"ufakzeka"},
        .patterns = {"[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
                     "\\s*[\\r\\n]+|" TAIL}},
    {.names = {"spark2_5"},
        .patterns = {"\\p{N}{1,3}", CJK_KANA,
            "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?"
            "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+|[\\r\\n]|" TAIL,
            "\\p{N}"}},
    {.names = {"afmoe"}, /* digits in groups of three from the right */
        .patterns = {"\\p{N}{1,3}(?=(?:\\p{N}{3})*(?!\\p{N}))",
            "[一-鿿㐀-䶿豈-\\x{faff}぀-ゟ゠-ヿ･-ﾟ⼀-\\x{2fdf}เ-\\x{e7f}\\x{e80}-"
            "\\x{"
            "eff}"
            "ក-"
            "\\x{"
            "17ff}"
            "က-႟ꩠ-ꩿꧠ-\\x{a9ff}가-\\x{d7af}ᄀ-ᇿ]+",
            DEEPSEEK3_WORDS}},
    {.names = {"youtu"},
        .patterns =
            {"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-"
             "龥぀-"
             "ゟ゠-"
             "ヿ]"
             "+",
                O200K_LIKE(CONTRACTIONS "?", "\\p{N}")},
        .ignore_merges = true},
    {.names = {"chameleon"},
        .patterns = {"<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
            "([\\t\\n]|    |  )", "\\p{N}", "[\\p{P}!-/:-@\\[-`{-~]", GPT2},
        .add_bos = true},
    {.names = {"gemma4", "granite-embed-multi-311m", "sarvam-moe"},
        .patterns = {"[^\\n]+|[\\n]+"},
        .text = true},
    {.names = {"default", ""},
        .patterns = {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
};

static bool is_text(px_slice slice, const char *text)
{
    if (!slice.length) return !*text; /* an absent field has no bytes to compare */
    return slice.length == strlen(text) && memcmp(slice.data, text, slice.length) == 0;
}

static px_status find_pre(px_slice name, const pre_kind **out)
{
    for (size_t i = 0; i < sizeof pre_kinds / sizeof *pre_kinds; i++)
        for (int n = 0; n < NAMES_MAX && pre_kinds[i].names[n]; n++)
            if (is_text(name, pre_kinds[i].names[n])) {
                *out = &pre_kinds[i];
                return px_ok();
            }
    return px_fail(PX_UNIMPLEMENTED,
        "the GGUF names the pre-tokenizer '%.*s', which is not known; give the model's folder with "
        "its tokenizer.json instead",
        name.length > 60 ? 60 : (int)name.length, name.data);
}

/* The next character of a pattern, where some write line ends as they are and some escaped. */
static char next_of_pattern(const char **at)
{
    const char *p = *at;
    bool escaped = p[0] == '\\' && (p[1] == 'r' || p[1] == 'n');
    *at = p + (escaped ? 2 : *p != '\0');
    return escaped ? (p[1] == 'r' ? '\r' : '\n') : *p;
}

static bool is_same_pattern(const char *a, const char *b)
{
    for (;;) {
        char of_a = next_of_pattern(&a), of_b = next_of_pattern(&b);
        if (of_a != of_b) return false;
        if (!of_a) return true;
    }
}

static bool is_same_pre(const pre_kind *kind, const char *const *patterns, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (i == PATTERNS_MAX || !kind->patterns[i] ||
            !is_same_pattern(kind->patterns[i], patterns[i]))
            return false;
    return count == PATTERNS_MAX || !kind->patterns[count];
}

const char *px_gguf_pre_name(
    const char *const *patterns, size_t count, bool ignore_merges, bool nfc)
{
    const char *name = "default"; /* what llama.cpp takes for those it does not know */
    for (size_t i = 0; i < sizeof pre_kinds / sizeof *pre_kinds; i++) {
        const pre_kind *kind = &pre_kinds[i];
        if (!is_same_pre(kind, patterns, count)) continue;
        name = kind->names[0];
        if (kind->ignore_merges == ignore_merges && kind->nfc == nfc) break;
    }
    return name;
}

/* --- parts that all models share --- */

static px_status read_vocab(px_tokenizer *t, const px_tokenizer_gguf *f)
{
    PX_TRY(px_vocab_init(&t->vocab));
    for (uint32_t i = 0; i < f->token_count; i++) {
        px_slice token = f->tokens[i];
        if (px_utf8_valid_prefix(token.data, token.length) != token.length)
            return px_fail(PX_INVALID_ARGUMENT, "the GGUF's token %u is not UTF-8", (unsigned)i);
        PX_TRY(px_vocab_add(&t->vocab, token, i));
    }
    return px_vocab_seal(&t->vocab);
}

static int type_of(const px_tokenizer_gguf *f, uint32_t id)
{
    return f->types ? f->types[id] : PX_TOKEN_NORMAL;
}

/* Phi-3's published tokenizer says so of all its added tokens but three. */
static bool strips_after(const px_tokenizer_gguf *f, px_slice token)
{
    return f->strips_after_special && !is_text(token, "<unk>") && !is_text(token, "<s>") &&
           !is_text(token, "<|endoftext|>");
}

static px_status read_added(px_tokenizer *t, const px_tokenizer_gguf *f)
{
    PX_TRY(px_added_init(&t->added));
    for (uint32_t id = 0; id < f->token_count; id++) {
        int type = type_of(f, id);
        if (type != PX_TOKEN_CONTROL && type != PX_TOKEN_USER_DEFINED && type != PX_TOKEN_UNKNOWN)
            continue;
        px_added_token token = {.id = id,
            .special = type != PX_TOKEN_USER_DEFINED,
            .strip_right = strips_after(f, f->tokens[id])};
        PX_TRY(px_tokenizer_add_token(t, f->tokens[id], &token));
    }
    return px_ok();
}

static px_status put_ids(px_ids *ids, int64_t id)
{
    if (id < 0) return px_ok();
    ids->data = px_alloc_array(1, sizeof *ids->data);
    ids->data[0] = (uint32_t)id;
    ids->count = ids->capacity = 1;
    return px_ok();
}

static px_status read_ends(px_tokenizer *t, const px_tokenizer_gguf *f, bool bos, bool eos)
{
    if (f->add_bos >= 0) bos = f->add_bos;
    if (f->add_eos >= 0) eos = f->add_eos;
    if (bos) PX_TRY(put_ids(&t->post.before, f->bos_id));
    return eos ? put_ids(&t->post.after, f->eos_id) : px_ok();
}

static uint32_t unknown_token(const px_tokenizer_gguf *f)
{
    return f->unknown_id < 0 ? PX_NO_TOKEN : (uint32_t)f->unknown_id;
}

/* jansson's description from a text of our own; the caller releases it. */
static json_t *describe(const char *json)
{
    json_t *value = json_loads(json, 0, NULL);
    PX_ASSERT(value);
    return value;
}

static px_status use_normalizer(px_tokenizer *t, const char *json)
{
    json_t *config = describe(json);
    px_status status = px_normalizer_create(config, &t->normalizer);
    json_decref(config);
    return status;
}

static px_status use_pretokenizer(px_tokenizer *t, json_t *config)
{
    px_status status = px_pretokenizer_create(config, &t->pretokenizer);
    json_decref(config);
    return status;
}

static px_status use_decoder(px_tokenizer *t, const char *json)
{
    json_t *config = describe(json);
    px_status status = px_decoder_create(config, &t->decoder);
    json_decref(config);
    return status;
}

/* What SentencePiece does to blanks, and back. */
#define REPLACE_SPACES                                                                             \
    "{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"▁\"}"
#define MARKS_TO_SPACES                                                                            \
    "{\"type\": \"Replace\", \"pattern\": {\"String\": \"▁\"}, \"content\": \" \"}, "            \
    "{\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}"
#define DECODE_MARKS "{\"type\": \"Sequence\", \"decoders\": [" MARKS_TO_SPACES "]}"
#define DECODE_MARKS_AND_PREFIX                                                                    \
    "{\"type\": \"Sequence\", \"decoders\": [" MARKS_TO_SPACES                                     \
    ", {\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}]}"

/* --- "gpt2": byte-level BPE --- */

static json_t *describe_pre(const pre_kind *pre)
{
    json_t *steps = json_array();
    for (int i = 0; i < PATTERNS_MAX && pre->patterns[i]; i++)
        json_array_append_new(steps, json_pack("{s:s, s:{s:s}, s:s}", "type", "Split", "pattern",
                                         "Regex", pre->patterns[i], "behavior", "Isolated"));
    if (!pre->text)
        json_array_append_new(steps, json_pack("{s:s, s:b, s:b}", "type", "ByteLevel",
                                         "add_prefix_space", 0, "use_regex", 0));
    return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", steps);
}

static px_status read_merges(const px_tokenizer_gguf *f, px_merges *merges)
{
    for (uint32_t i = 0; i < f->merge_count; i++) {
        px_slice text = f->merges[i];
        /* A part may itself begin with a blank, never both: the first from the second byte on. */
        const char *space = text.length > 1 ? memchr(text.data + 1, ' ', text.length - 1) : NULL;
        if (!space)
            return px_fail(
                PX_INVALID_ARGUMENT, "the GGUF's merge %u is not a pair of texts", (unsigned)i);
        px_slice left = {text.data, (size_t)(space - text.data)};
        px_slice right = {space + 1, text.length - left.length - 1};
        PX_TRY(px_merges_add(merges, left, right));
    }
    return px_merges_seal(merges);
}

static px_status build_gpt2(px_tokenizer *t, const px_tokenizer_gguf *f)
{
    const pre_kind *pre = NULL;
    PX_TRY(find_pre(is_text(f->model, "gemma4") ? f->model : f->pre, &pre));
    if (pre->nfc) PX_TRY(use_normalizer(t, "{\"type\": \"NFC\"}"));
    if (pre->text) PX_TRY(use_normalizer(t, REPLACE_SPACES));
    PX_TRY(use_pretokenizer(t, describe_pre(pre)));
    if (!pre->text) px_pretokenizer_leave_bytes(t->pretokenizer);
    px_bpe_options options = {.byte_level = !pre->text,
        .byte_fallback = pre->text,
        .ignore_merges = pre->ignore_merges,
        .drop_unknown = true,
        .unknown_id = PX_NO_TOKEN};
    t->model = PX_MODEL_BPE;
    px_merges merges = {.vocab = &t->vocab,
        .skip_unknown = true}; /* a trimmed vocabulary lost some: of no use, and no harm */
    px_status status = read_merges(f, &merges);
    if (px_is_ok(status)) t->bpe = px_bpe_create(&t->vocab, &options, &merges);
    px_merges_done(&merges);
    PX_TRY(status);
    px_bpe_seal(t->bpe);
    PX_TRY(read_ends(t, f, pre->add_bos, false));
    return use_decoder(t, pre->text ? DECODE_MARKS : "{\"type\": \"ByteLevel\"}");
}

/* --- "llama": SentencePiece BPE by scores --- */

static px_status need_scores(const px_tokenizer_gguf *f)
{
    return f->scores ? px_ok()
                     : px_fail(PX_INVALID_ARGUMENT, "the GGUF has no tokenizer.ggml.scores");
}

static px_status build_llama(px_tokenizer *t, const px_tokenizer_gguf *f)
{
    PX_TRY(need_scores(f));
    bool prefix_space = f->add_space_prefix != 0;
    PX_TRY(use_normalizer(
        t, prefix_space ? "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Prepend\", "
                          "\"prepend\": \"▁\"}, " REPLACE_SPACES "]}"
                        : REPLACE_SPACES));
    px_bpe_options options = {.byte_fallback = true,
        .join_unknown = true,
        .drop_unknown = f->unknown_id < 0,
        .unknown_id = unknown_token(f)};
    t->model = PX_MODEL_BPE;
    t->bpe = px_bpe_create(&t->vocab, &options, &(px_merges){0});
    PX_TRY(px_bpe_use_scores(t->bpe, f->scores));
    px_bpe_seal(t->bpe);
    PX_TRY(read_ends(t, f, true, false));
    return use_decoder(t, prefix_space ? DECODE_MARKS_AND_PREFIX : DECODE_MARKS);
}

/* --- "t5": unigram --- */

static px_status build_t5(px_tokenizer *t, const px_tokenizer_gguf *f)
{
    PX_TRY(need_scores(f));
    json_t *blanks =
        !f->remove_extra_spaces
            ? NULL
            : describe("{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Strip\"}, "
                       "{\"type\": \"Replace\", \"pattern\": {\"Regex\": \" {2,}\"}, "
                       "\"content\": \" \"}]}");
    px_status status = px_normalizer_create_after(f->charsmap, blanks, &t->normalizer);
    json_decref(blanks);
    PX_TRY(status);
    bool prefix_space = f->add_space_prefix != 0 || f->remove_extra_spaces;
    const char *scheme = prefix_space ? "always" : "never";
    PX_TRY(use_pretokenizer(t, json_pack("{s:s, s:s, s:s}", "type", "Metaspace", "replacement", "▁",
                                   "prepend_scheme", scheme)));
    double *scores = px_alloc_array(f->token_count + 1, sizeof *scores);
    for (uint32_t i = 0; i < f->token_count; i++)
        scores[i] = type_of(f, i) == PX_TOKEN_USER_DEFINED ? 0.0 : f->scores[i];
    t->model = PX_MODEL_UNIGRAM;
    status = px_unigram_create(&t->vocab, scores, unknown_token(f), false, &t->unigram);
    free(scores);
    PX_TRY(status);
    PX_TRY(read_ends(t, f, false, true));
    return use_decoder(t,
        prefix_space
            ? "{\"type\": \"Metaspace\", \"replacement\": \"▁\"}"
            : "{\"type\": \"Metaspace\", \"replacement\": \"▁\", \"prepend_scheme\": \"never\"}");
}

/* --- "bert": WordPiece, with words written as "▁word" instead of the rest as "##rest" --- */

static px_status build_bert(px_tokenizer *t, const px_tokenizer_gguf *f)
{
    json_t *normalizer = json_pack("{s:s, s:b, s:b}", "type", "BertNormalizer", "lowercase",
        !f->keeps_case, "strip_accents", !f->keeps_accents);
    px_status status = px_normalizer_create(normalizer, &t->normalizer);
    json_decref(normalizer);
    PX_TRY(status);
    PX_TRY(use_pretokenizer(t, describe("{\"type\": \"BertPreTokenizer\"}")));
    t->model = PX_MODEL_WORDPIECE;
    t->wordpiece = (px_wordpiece){.vocab = &t->vocab,
        .unknown_id = unknown_token(f),
        .first_prefix = "▁",
        .word_runes_max = 100};
    PX_TRY(read_ends(t, f, true, true));
    return use_decoder(t, "{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\", "
                          "\"pattern\": {\"String\": \"▁\"}, \"content\": \" \"}, {\"type\": "
                          "\"Fuse\"}, {\"type\": \"Strip\", \"content\": \" \", \"start\": 1}]}");
}

typedef struct model_kind {
    const char *name;
    px_status (*build)(px_tokenizer *t, const px_tokenizer_gguf *f);
    int bos_id, eos_id, unknown_id; /* where the file names none; -1: none */
} model_kind;

static const model_kind model_kinds[] = {{"gpt2", build_gpt2, -1, -1, -1},
    {"gemma4", build_gpt2, -1, -1, -1}, {"llama", build_llama, 1, 2, 0}, {"t5", build_t5, -1, 1, 2},
    {"bert", build_bert, 101, 102, 100}};

/* An id outside the vocabulary is how some files say that there is none. */
static int64_t id_of(const px_tokenizer_gguf *f, int64_t given, int fallback)
{
    if (given >= 0 && given < (int64_t)f->token_count) return given;
    return fallback < (int64_t)f->token_count ? fallback : -1;
}

static px_status build(px_tokenizer *t, const px_tokenizer_gguf *given)
{
    const model_kind *kind = NULL;
    for (size_t i = 0; i < sizeof model_kinds / sizeof *model_kinds; i++)
        if (is_text(given->model, model_kinds[i].name)) kind = &model_kinds[i];
    if (!kind)
        return px_fail(PX_UNIMPLEMENTED,
            "the GGUF's tokenizer model '%.*s' is not known; known: gpt2, gemma4, llama, t5, bert",
            given->model.length > 60 ? 60 : (int)given->model.length, given->model.data);
    px_tokenizer_gguf fields = *given, *f = &fields;
    f->bos_id = id_of(f, f->bos_id, kind->bos_id);
    f->eos_id = id_of(f, f->eos_id, kind->eos_id);
    f->unknown_id = id_of(f, f->unknown_id, kind->unknown_id);
    PX_TRY(read_vocab(t, f));
    PX_TRY(kind->build(t, f));
    PX_TRY(read_added(t, f));
    return px_tokenizer_seal(t);
}

px_status px_tokenizer_from_gguf(const px_tokenizer_gguf *fields, px_tokenizer **out)
{
    px_tokenizer *tokenizer = px_tokenizer_alloc();
    px_status status = build(tokenizer, fields);
    if (!px_is_ok(status)) {
        px_tokenizer_free(tokenizer);
        return status;
    }
    *out = tokenizer;
    return px_ok();
}
