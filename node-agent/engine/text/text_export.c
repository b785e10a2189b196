/* text_export.c - see text_export.h.
 *
 * tokenizer.ggml.* is what other programs need: the vocabulary in order of ids, a type for each
 * token, merges or scores, the name of the pre-tokenizer, and ids of special tokens. Source: the
 * GGUF specification and what llama.cpp's converter writes for the same tokenizers.
 */
#include "engine/text/text_export.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/model/model_file.h"
#include "engine/text/gguf_names.h"
#include "engine/text/text_files.h"
#include "engine/text/tokenizer.h"

enum { PATTERNS_MAX = 16, PATH_BYTES_MAX = 4096 };
static const size_t SPELLINGS_BYTES_MAX = 1u << 28;

typedef struct exporter {
    const px_text_export_options *options;
    px_gguf_writer *writer;
    px_text_files files;
    json_t *root, *model; /* tokenizer.json and its "model" */
    px_tokenizer *tokenizer;
    json_t *special; /* texts by name: "bos_token", ... */
    px_slice *tokens;
    int32_t *types;
    float *scores;
    px_arena spellings; /* of tokens that the folder spells otherwise */
} exporter;

static bool is_type(const exporter *e, const char *type)
{
    const char *is = json_string_value(json_object_get(e->model, "type"));
    if (!is) is = json_object_get(e->model, "merges") ? "BPE" : "";
    return strcmp(is, type) == 0;
}

static bool is_true(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

/* --- tokens ----------------------------------------------------------------------------------- */

/* An id of the embedding that no token has still needs a text of its own. */
static px_status name_unused(exporter *e, uint32_t id)
{
    char name[32];
    int length = snprintf(name, sizeof name, "[PAD%u]", id);
    char *copy = px_arena_copy(&e->spellings, name, (size_t)length);
    if (!copy) return px_fail(PX_RESOURCE_EXHAUSTED, "the vocabulary takes too much memory");
    e->tokens[id] = (px_slice){copy, (size_t)length};
    e->types[id] = PX_TOKEN_UNUSED;
    return px_ok();
}

static bool is_byte_token(px_slice token)
{
    return token.length == 6 && memcmp(token.data, "<0x", 3) == 0 && token.data[5] == '>';
}

static px_status list_tokens(exporter *e)
{
    uint32_t count = e->options->vocabulary, size = px_tokenizer_size(e->tokenizer);
    bool bytes = is_true(e->model, "byte_fallback");
    e->tokens = px_alloc_array(count + 1, sizeof *e->tokens);
    e->types = px_alloc_array(count + 1, sizeof *e->types);
    e->scores = px_alloc_array(count + 1, sizeof *e->scores);
    for (uint32_t id = 0; id < count; id++) {
        px_slice token = {0};
        if (id < size) token = px_tokenizer_token(e->tokenizer, id);
        if (!token.data) {
            PX_TRY(name_unused(e, id));
            continue;
        }
        e->tokens[id] = token;
        e->types[id] = bytes && is_byte_token(token) ? PX_TOKEN_BYTE : PX_TOKEN_NORMAL;
    }
    size_t i;
    const json_t *added;
    json_array_foreach(json_object_get(e->root, "added_tokens"), i, added)
    {
        json_int_t id = json_integer_value(json_object_get(added, "id"));
        if (id >= 0 && id < count)
            e->types[id] = is_true(added, "special") ? PX_TOKEN_CONTROL : PX_TOKEN_USER_DEFINED;
    }
    return px_ok();
}

static int64_t id_of_text(const exporter *e, const json_t *text)
{
    if (!json_is_string(text)) return -1;
    int64_t id = px_tokenizer_id(e->tokenizer, json_string_value(text), json_string_length(text));
    return id < (int64_t)e->options->vocabulary ? id : -1;
}

static void mark_unknown(exporter *e, int64_t id)
{
    if (id >= 0 && id < (int64_t)e->options->vocabulary) e->types[id] = PX_TOKEN_UNKNOWN;
}

/* --- models ----------------------------------------------------------------------------------- */

/* Merges as "left right", whichever of the two forms the folder has. */
static px_status put_merges(exporter *e)
{
    const json_t *list = json_object_get(e->model, "merges"), *merge;
    size_t count = json_array_size(list), i;
    px_slice *merges = px_alloc_array(count + 1, sizeof *merges);
    px_status status = px_ok();
    json_array_foreach(list, i, merge)
    {
        if (json_is_string(merge)) {
            merges[i] = (px_slice){json_string_value(merge), json_string_length(merge)};
            continue;
        }
        const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
        size_t left_length = json_string_length(left), right_length = json_string_length(right);
        size_t length = left_length + 1 + right_length;
        char *joined = px_arena_alloc(&e->spellings, length);
        if (!joined) {
            status = px_fail(PX_RESOURCE_EXHAUSTED, "the merges take too much memory");
            break;
        }
        memcpy(joined, json_string_value(left), left_length);
        joined[left_length] = ' ';
        memcpy(joined + left_length + 1, json_string_value(right), right_length);
        merges[i] = (px_slice){joined, length};
    }
    if (px_is_ok(status)) px_gguf_put_strs(e->writer, "tokenizer.ggml.merges", merges, count);
    free(merges);
    return status;
}

/* One step of a pre-tokenizer: the pattern it splits by, NULL: none that GGUF could name. */
static const char *pattern_of(const json_t *step)
{
    static const char gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|"
                               "\\s+(?!\\S)|\\s+";
    const char *type = json_string_value(json_object_get(step, "type"));
    if (!type) return NULL;
    if (strcmp(type, "Split") == 0)
        return json_string_value(json_object_get(json_object_get(step, "pattern"), "Regex"));
    if (strcmp(type, "Digits") == 0 && is_true(step, "individual_digits")) return "\\p{N}";
    if (strcmp(type, "ByteLevel") == 0 && !json_is_false(json_object_get(step, "use_regex")))
        return gpt2;
    return NULL;
}

static const char *pre_name(const exporter *e)
{
    const char *patterns[PATTERNS_MAX];
    size_t count = 0, i;
    const json_t *pre = json_object_get(e->root, "pre_tokenizer"), *step;
    const json_t *steps = json_object_get(pre, "pretokenizers");
    const char *normalizer =
        json_string_value(json_object_get(json_object_get(e->root, "normalizer"), "type"));
    if (!steps && pattern_of(pre)) patterns[count++] = pattern_of(pre);
    json_array_foreach(steps, i, step)
    {
        if (count < PATTERNS_MAX && pattern_of(step)) patterns[count++] = pattern_of(step);
    }
    return px_gguf_pre_name(patterns, count, is_true(e->model, "ignore_merges"),
        normalizer && strcmp(normalizer, "NFC") == 0);
}

static px_status export_byte_level(exporter *e)
{
    px_gguf_put_text(e->writer, "tokenizer.ggml.model", "gpt2");
    px_gguf_put_text(e->writer, "tokenizer.ggml.pre", pre_name(e));
    return put_merges(e);
}

/* Does a text get a blank in front, as Prepend and Metaspace do? */
static bool adds_space_prefix(const exporter *e)
{
    char *text = json_dumps(json_object_get(e->root, "normalizer"), JSON_ENCODE_ANY);
    bool prepends = text && strstr(text, "\"Prepend\"");
    free(text);
    const json_t *pre = json_object_get(e->root, "pre_tokenizer");
    const char *type = json_string_value(json_object_get(pre, "type"));
    const char *scheme = json_string_value(json_object_get(pre, "prepend_scheme"));
    bool metaspace = type && strcmp(type, "Metaspace") == 0;
    if (!scheme) metaspace = metaspace && !json_is_false(json_object_get(pre, "add_prefix_space"));
    return prepends || (metaspace && (!scheme || strcmp(scheme, "never") != 0));
}

static void put_vocabulary_scores(exporter *e)
{
    px_gguf_put_f32s(e->writer, "tokenizer.ggml.scores", e->scores, e->options->vocabulary);
    px_gguf_put_bool(e->writer, "tokenizer.ggml.add_space_prefix", adds_space_prefix(e));
}

/* SentencePiece joins the pair whose token has the best score; merges say the same by their order:
 * a token is worth as much as the first merge that makes it. */
static px_status export_sentencepiece(exporter *e)
{
    const json_t *list = json_object_get(e->model, "merges"), *merge;
    size_t i;
    px_buf joined;
    px_buf_init(&joined, SPELLINGS_BYTES_MAX);
    json_array_foreach(list, i, merge)
    {
        px_buf_reset(&joined);
        if (json_is_string(merge)) {
            const char *text = json_string_value(merge), *space = strchr(text, ' ');
            if (!space) continue;
            px_buf_append(&joined, text, (size_t)(space - text));
            px_buf_puts(&joined, space + 1);
        } else {
            for (size_t side = 0; side < 2; side++) {
                const json_t *half = json_array_get(merge, side);
                if (json_is_string(half))
                    px_buf_append(&joined, json_string_value(half), json_string_length(half));
            }
        }
        int64_t id = px_tokenizer_id(e->tokenizer, px_buf_text(&joined), joined.length);
        if (id >= 0 && id < (int64_t)e->options->vocabulary && e->scores[id] == 0)
            e->scores[id] = -(float)i - 1;
    }
    px_buf_done(&joined);
    mark_unknown(e, id_of_text(e, json_object_get(e->model, "unk_token")));
    px_gguf_put_text(e->writer, "tokenizer.ggml.model", "llama");
    px_gguf_put_text(e->writer, "tokenizer.ggml.pre", "default");
    put_vocabulary_scores(e);
    return px_ok();
}

static px_status export_unigram(exporter *e)
{
    const json_t *list = json_object_get(e->model, "vocab");
    const json_t *unknown = json_object_get(e->model, "unk_id");
    size_t count = json_array_size(list);
    for (size_t i = 0; i < count && i < e->options->vocabulary; i++)
        e->scores[i] = (float)json_number_value(json_array_get(json_array_get(list, i), 1));
    if (json_is_integer(unknown)) mark_unknown(e, json_integer_value(unknown));
    px_gguf_put_text(e->writer, "tokenizer.ggml.model", "t5");
    put_vocabulary_scores(e);
    return px_ok();
}

/* "##rest" is "rest" in a GGUF, and "word" is "▁word". */
static px_status export_wordpiece(exporter *e)
{
    const char *prefix = json_string_value(json_object_get(e->model, "continuing_subword_prefix"));
    if (!prefix) prefix = "##";
    size_t prefix_length = strlen(prefix);
    for (uint32_t id = 0; id < e->options->vocabulary; id++) {
        px_slice token = e->tokens[id];
        if (e->types[id] != PX_TOKEN_NORMAL) continue;
        if (token.length > prefix_length && !memcmp(token.data, prefix, prefix_length)) {
            e->tokens[id] = (px_slice){token.data + prefix_length, token.length - prefix_length};
            continue;
        }
        char *spelled = px_arena_alloc(&e->spellings, token.length + 3);
        if (!spelled) return px_fail(PX_RESOURCE_EXHAUSTED, "the vocabulary takes too much memory");
        memcpy(spelled, "\xe2\x96\x81", 3);
        memcpy(spelled + 3, token.data, token.length);
        e->tokens[id] = (px_slice){spelled, token.length + 3};
    }
    px_gguf_put_text(e->writer, "tokenizer.ggml.model", "bert");
    return px_ok();
}

static px_status export_model(exporter *e)
{
    if (is_type(e, "Unigram")) return export_unigram(e);
    if (is_type(e, "WordPiece")) return export_wordpiece(e);
    if (is_type(e, "BPE"))
        return is_true(e->model, "byte_fallback") ? export_sentencepiece(e) : export_byte_level(e);
    return px_ok(); /* the file itself goes along; GGUF has no name for this model */
}

/* --- special tokens --------------------------------------------------------------------------- */

static void put_id(exporter *e, const char *key, int64_t id)
{
    if (id >= 0) px_gguf_put_u32(e->writer, key, (uint32_t)id);
}

/* What the post-processor puts around an empty text shows which of the two it adds. */
static px_status put_ends(exporter *e, int64_t bos, int64_t eos)
{
    px_ids ids = {0};
    px_encode_options options = {.add_special = true};
    px_status status = px_tokenizer_encode(e->tokenizer, "a", 1, &options, &ids);
    if (px_is_ok(status)) {
        bool first = ids.count && bos >= 0 && ids.data[0] == (uint32_t)bos;
        bool last = ids.count && eos >= 0 && ids.data[ids.count - 1] == (uint32_t)eos;
        px_gguf_put_bool(e->writer, "tokenizer.ggml.add_bos_token", first);
        px_gguf_put_bool(e->writer, "tokenizer.ggml.add_eos_token", last);
    }
    free(ids.data);
    return status;
}

static px_status put_special(exporter *e)
{
    static const struct {
        const char *name, *key;
    } others[] = {{"unk_token", "tokenizer.ggml.unknown_token_id"},
        {"pad_token", "tokenizer.ggml.padding_token_id"},
        {"sep_token", "tokenizer.ggml.seperator_token_id"}, /* as GGUF spells it */
        {"cls_token", "tokenizer.ggml.cls_token_id"},
        {"mask_token", "tokenizer.ggml.mask_token_id"}};
    int64_t bos = id_of_text(e, json_object_get(e->special, "bos_token"));
    int64_t eos = id_of_text(e, json_object_get(e->special, "eos_token"));
    if (bos < 0) bos = e->options->bos_id;
    if (eos < 0) eos = e->options->eos_id;
    put_id(e, "tokenizer.ggml.bos_token_id", bos);
    put_id(e, "tokenizer.ggml.eos_token_id", eos);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        put_id(e, others[i].key, id_of_text(e, json_object_get(e->special, others[i].name)));
    }
    return put_ends(e, bos, eos);
}

/* --- the files -------------------------------------------------------------------------------- */

static px_status put_document(exporter *e, const char *name, const json_t *document)
{
    if (!document) return px_ok();
    json_t *copy = json_copy((json_t *)(uintptr_t)document);
    json_object_del(copy, "chat_template"); /* it has a key of its own */
    char *text = json_dumps(copy, JSON_COMPACT), key[64];
    json_decref(copy);
    if (!text) return px_fail(PX_RESOURCE_EXHAUSTED, "no memory for %s", name);
    snprintf(key, sizeof key, PX_GGUF_DOCUMENTS "%s", name);
    px_gguf_put_text(e->writer, key, text);
    free(text);
    return px_ok();
}

static void put_template(exporter *e, const char *key, const json_t *source)
{
    if (source)
        px_gguf_put_str(
            e->writer, key, (px_slice){json_string_value(source), json_string_length(source)});
}

static px_status put_files(exporter *e)
{
    px_gguf_put_str(e->writer, "tokenizer.huggingface.json",
        (px_slice){(const char *)e->files.tokenizer.data, e->files.tokenizer.bytes});
    put_template(e, "tokenizer.chat_template", e->files.chat);
    put_template(e, "tokenizer.chat_template.tool_use", e->files.chat_tools);
    PX_TRY(put_document(e, "tokenizer_config.json",
        e->files.config ? e->files.config : e->special)); /* there, even if empty */
    return put_document(e, "special_tokens_map.json", e->files.special_map);
}

static px_status export_all(exporter *e)
{
    const char *json = (const char *)e->files.tokenizer.data;
    size_t length = e->files.tokenizer.bytes;
    PX_TRY(px_tokenizer_from_json(json, length, &e->tokenizer));
    e->root = json_loadb(json, length, JSON_ALLOW_NUL, NULL);
    e->model = json_object_get(e->root, "model");
    if (!e->model) return px_fail(PX_INVALID_ARGUMENT, "tokenizer.json is not strict JSON");
    e->special = json_object();
    px_text_special_tokens(e->files.config, e->files.special_map, e->special);
    PX_TRY(list_tokens(e));
    PX_TRY(put_files(e));
    PX_TRY(put_special(e));
    PX_TRY(export_model(e));
    px_gguf_put_strs(e->writer, "tokenizer.ggml.tokens", e->tokens, e->options->vocabulary);
    px_gguf_put_i32s(e->writer, "tokenizer.ggml.token_type", e->types, e->options->vocabulary);
    return px_ok();
}

px_status px_text_export(
    const char *folder, const px_text_export_options *options, px_gguf_writer *writer)
{
    char path[PATH_BYTES_MAX];
    int used = snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    if (used >= PATH_BYTES_MAX - 100 || !px_fs_is_file(path)) return px_ok();
    exporter e = {.options = options, .writer = writer};
    px_arena_init(&e.spellings, SPELLINGS_BYTES_MAX);
    px_status status = px_text_files_open(folder, &e.files);
    if (px_is_ok(status)) status = export_all(&e);
    px_tokenizer_free(e.tokenizer);
    json_decref(e.root);
    json_decref(e.special);
    px_text_files_close(&e.files);
    px_arena_done(&e.spellings);
    free(e.tokens);
    free(e.types);
    free(e.scores);
    return px_prefix(status, "%s", folder);
}
