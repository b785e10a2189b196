/* tokenizer_json.c - px_tokenizer_from_json(): reads Hugging Face's tokenizer.json.
 *
 * The file is walked once. The vocabulary and the merges, which are nearly all of its megabytes,
 * are read where the walk meets them; small members (normalizer, the model's options, ...) are set
 * aside for jansson. What comes before that on which it depends, which no library writes, is set
 * aside too. Source: Hugging Face tokenizers, the serialisation of Tokenizer and of each model.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/text/grow.h"
#include "engine/text/json_scan.h"
#include "engine/text/tokenizer_impl.h"

static const size_t JSON_BYTES_MAX = 256u << 20;
static const size_t UNESCAPED_BYTES_MAX = 1u << 30;

/* Members of the file, as they stand there; data NULL: not there. */
typedef struct json_parts {
    px_slice added_tokens, normalizer, pre_tokenizer, post_processor, decoder;
    px_slice merges; /* of the model, if they came too early */
    px_buf options;  /* the model's small members as an object, not yet closed */
} json_parts;

typedef struct score_list {
    double *data;
    size_t count, capacity;
} score_list;

typedef struct builder {
    json_parts parts;
    json_t *model; /* the model's small members */
    px_tokenizer *tokenizer;
    px_merges merges;
    px_arena unescaped; /* texts of merges that are not in the file as they are */
    bool has_model, has_vocab, has_merges;
    px_vocab added;    /* ids of the added tokens that the model does not know */
    score_list scores; /* of a unigram model */
} builder;

static bool is_key(px_slice key, const char *name)
{
    return key.length == strlen(name) && memcmp(key.data, name, key.length) == 0;
}

/* --- the vocabulary --- */

static px_status check_id(double id, uint32_t *out)
{
    if (!(id >= 0 && id < PX_VOCAB_MAX) || id != (uint32_t)id)
        return px_fail(PX_INVALID_ARGUMENT, "tokenizer.json: a token has the impossible id %g", id);
    *out = (uint32_t)id;
    return px_ok();
}

/* {"token": id, ...} */
static px_status read_vocab_object(builder *b, px_json_scan *scan)
{
    bool first = true;
    px_slice token;
    px_json_scan_enter(scan, '{');
    while (px_json_scan_key(scan, &first, &token)) {
        /* Reading the number does not touch the work buffer, which may hold the token. */
        double number;
        uint32_t id = 0;
        if (!px_json_scan_number(scan, &number)) break;
        PX_TRY(check_id(number, &id));
        PX_TRY(px_vocab_add(&b->tokenizer->vocab, token, id));
    }
    return px_ok();
}

/* [["token", score], ...] of a unigram model */
static px_status read_vocab_list(builder *b, px_json_scan *scan)
{
    bool first = true;
    px_json_scan_enter(scan, '[');
    while (px_json_scan_item(scan, &first)) {
        bool first_of_pair = true;
        px_slice token;
        double score;
        if (!px_json_scan_enter(scan, '[') || !px_json_scan_item(scan, &first_of_pair) ||
            !px_json_scan_string(scan, &token))
            break;
        PX_TRY(px_vocab_add(&b->tokenizer->vocab, token, (uint32_t)b->scores.count));
        if (!px_json_scan_item(scan, &first_of_pair) || !px_json_scan_number(scan, &score)) break;
        PX_TRY(PX_GROW(&b->scores, b->scores.count + 1));
        b->scores.data[b->scores.count++] = score;
        if (px_json_scan_item(scan, &first_of_pair))
            return px_fail(PX_INVALID_ARGUMENT,
                "tokenizer.json: an entry of the vocabulary is not [text, score]");
    }
    return px_ok();
}

/* The scan's own errors stay in it. */
static px_status read_vocab(builder *b, px_json_scan *scan)
{
    if (b->has_vocab)
        return px_fail(PX_INVALID_ARGUMENT, "tokenizer.json: the model has two vocabularies");
    b->has_vocab = true;
    PX_TRY(px_json_scan_peek(scan) == '[' ? read_vocab_list(b, scan) : read_vocab_object(b, scan));
    return px_vocab_seal(&b->tokenizer->vocab);
}

/* --- the merges --- */

/* `text` for as long as the builder lives. */
static px_status keep(builder *b, const px_json_scan *scan, px_slice *text)
{
    if (px_json_scan_is_lasting(scan, *text)) return px_ok();
    text->data = px_arena_copy(&b->unescaped, text->data, text->length);
    return text->data ? px_ok()
                      : px_fail(PX_RESOURCE_EXHAUSTED, "no memory for the tokenizer's merges");
}

static px_status not_a_pair(const px_json_scan *scan)
{
    if (scan->error) return px_ok(); /* which the scan will say */
    return px_fail(PX_INVALID_ARGUMENT, "tokenizer.json: a merge is not a pair of texts");
}

/* ["left", "right"] */
static px_status read_pair(builder *b, px_json_scan *scan)
{
    bool first = true;
    px_slice left, right;
    if (!px_json_scan_enter(scan, '[') || !px_json_scan_item(scan, &first) ||
        !px_json_scan_bytes(scan, &left))
        return not_a_pair(scan);
    PX_TRY(keep(b, scan, &left));
    if (!px_json_scan_item(scan, &first) || !px_json_scan_bytes(scan, &right))
        return not_a_pair(scan);
    PX_TRY(keep(b, scan, &right));
    if (px_json_scan_item(scan, &first)) return not_a_pair(scan);
    return px_merges_add(&b->merges, left, right);
}

/* "left right" */
static px_status read_joined(builder *b, px_json_scan *scan)
{
    px_slice text;
    if (!px_json_scan_bytes(scan, &text)) return px_ok();
    PX_TRY(keep(b, scan, &text));
    const char *space = memchr(text.data, ' ', text.length);
    if (!space) return not_a_pair(scan);
    px_slice left = {text.data, (size_t)(space - text.data)};
    px_slice right = {space + 1, text.length - left.length - 1};
    if (memchr(right.data, ' ', right.length)) return not_a_pair(scan);
    return px_merges_add(&b->merges, left, right);
}

/* `options`: the model's small members, of which the prefix says how merges are read. */
static px_status read_merges(builder *b, px_json_scan *scan, const json_t *options)
{
    const json_t *prefix = json_object_get(options, "continuing_subword_prefix");
    b->merges.prefix_bytes = json_string_length(prefix);
    b->merges.vocab = &b->tokenizer->vocab;
    bool first = true;
    px_json_scan_enter(scan, '[');
    while (px_json_scan_item(scan, &first))
        PX_TRY(px_json_scan_peek(scan) == '[' ? read_pair(b, scan) : read_joined(b, scan));
    return scan->error ? px_ok() : px_merges_seal(&b->merges);
}

static px_status parse_options(const json_parts *parts, json_t **out)
{
    px_buf object;
    px_buf_init(&object, parts->options.max + 1);
    px_buf_append(&object, px_buf_text(&parts->options), parts->options.length);
    px_buf_putc(&object, '}');
    px_status status =
        px_json_parse_texts(px_buf_text(&object), object.length, "tokenizer.json: model", out);
    px_buf_done(&object);
    return status;
}

/* At once, if what merges are read by is known. */
static px_status take_merges(builder *b, px_json_scan *scan)
{
    if (b->has_merges)
        return px_fail(PX_INVALID_ARGUMENT, "tokenizer.json: the model has two lists of merges");
    b->has_merges = true;
    json_t *options;
    PX_TRY(parse_options(&b->parts, &options));
    px_status status = px_ok();
    if (b->has_vocab && json_object_get(options, "continuing_subword_prefix"))
        status = read_merges(b, scan, options);
    else
        px_json_scan_skip(scan, &b->parts.merges);
    json_decref(options);
    return status;
}

static px_status read_late_merges(builder *b)
{
    if (!b->parts.merges.data) return px_ok();
    px_json_scan scan;
    px_json_scan_init(&scan, b->parts.merges);
    px_status status = read_merges(b, &scan, b->model);
    if (px_is_ok(status)) status = px_json_scan_status(&scan, "tokenizer.json: merges");
    px_json_scan_done(&scan);
    return status;
}

/* --- the walk --- */

static void keep_option(builder *b, px_json_scan *scan, px_slice key)
{
    px_buf *options = &b->parts.options;
    if (options->length > 1) px_buf_putc(options, ',');
    px_json_quote(options, key.data, key.length);
    px_slice value;
    if (!px_json_scan_skip(scan, &value)) return;
    px_buf_putc(options, ':');
    px_buf_append(options, value.data, value.length);
}

static px_status walk_model(builder *b, px_json_scan *scan)
{
    if (b->has_model) return px_fail(PX_INVALID_ARGUMENT, "tokenizer.json has two models");
    b->has_model = true;
    bool first = true;
    px_slice key;
    px_buf_putc(&b->parts.options, '{');
    px_json_scan_enter(scan, '{');
    while (px_json_scan_key(scan, &first, &key)) {
        if (is_key(key, "vocab"))
            PX_TRY(read_vocab(b, scan));
        else if (is_key(key, "merges"))
            PX_TRY(take_merges(b, scan));
        else
            keep_option(b, scan, key);
    }
    return px_ok();
}

static px_status walk(builder *b, px_json_scan *scan)
{
    json_parts *parts = &b->parts;
    const struct {
        const char *key;
        px_slice *value;
    } members[] = {{"added_tokens", &parts->added_tokens}, {"normalizer", &parts->normalizer},
        {"pre_tokenizer", &parts->pre_tokenizer}, {"post_processor", &parts->post_processor},
        {"decoder", &parts->decoder}};
    bool first = true;
    px_slice key;
    px_json_scan_enter(scan, '{');
    while (px_json_scan_key(scan, &first, &key)) {
        if (is_key(key, "model")) {
            PX_TRY(walk_model(b, scan));
            continue;
        }
        px_slice *to = NULL, ignored;
        for (size_t i = 0; i < sizeof members / sizeof *members; i++)
            if (is_key(key, members[i].key)) to = members[i].value;
        px_json_scan_skip(scan, to ? to : &ignored);
    }
    px_json_scan_end(scan);
    return px_json_scan_status(scan, "tokenizer.json");
}

static px_status read_members(builder *b, px_slice json)
{
    px_json_scan scan;
    px_json_scan_init(&scan, json);
    px_status status = walk(b, &scan);
    px_json_scan_done(&scan);
    PX_TRY(status);
    if (!b->has_model) return px_fail(PX_INVALID_ARGUMENT, "tokenizer.json has no 'model'");
    if (!b->has_vocab)
        return px_fail(PX_INVALID_ARGUMENT, "tokenizer.json: the model has no 'vocab'");
    PX_TRY(parse_options(&b->parts, &b->model));
    return read_late_merges(b);
}

/* --- models --- */

/* PX_NO_TOKEN if the file names none, or one that the vocabulary lacks. */
static uint32_t unknown_id(const builder *b)
{
    const json_t *token = json_object_get(b->model, "unk_token");
    if (!json_is_string(token)) return PX_NO_TOKEN;
    return px_vocab_find(&b->tokenizer->vocab, json_string_value(token), json_string_length(token));
}

static px_status read_bpe(builder *b)
{
    const char *where = "tokenizer.json: model";
    if (!b->has_merges)
        return px_fail(PX_INVALID_ARGUMENT, "tokenizer.json: the model has no 'merges'");
    px_bpe_options options = {0};
    PX_TRY(px_json_get_bool(b->model, "byte_fallback", where, &options.byte_fallback));
    PX_TRY(px_json_get_bool(b->model, "fuse_unk", where, &options.fuse_unknown));
    PX_TRY(px_json_get_bool(b->model, "ignore_merges", where, &options.ignore_merges));
    PX_TRY(px_json_get_str(b->model, "continuing_subword_prefix", where, &options.subword_prefix));
    PX_TRY(px_json_get_str(b->model, "end_of_word_suffix", where, &options.word_suffix));
    options.unknown_id = unknown_id(b);
    options.drop_unknown = !json_is_string(json_object_get(b->model, "unk_token"));
    /* Words of a byte-level tokenizer can stay bytes unless the model looks at characters. */
    bool has_prefix = options.subword_prefix && *options.subword_prefix;
    bool has_suffix = options.word_suffix && *options.word_suffix;
    px_tokenizer *t = b->tokenizer;
    options.byte_level = px_pretokenizer_ends_in_bytes(t->pretokenizer) && !has_prefix &&
                         !has_suffix && options.drop_unknown && !options.byte_fallback;
    if (options.byte_level) px_pretokenizer_leave_bytes(t->pretokenizer);
    t->model = PX_MODEL_BPE;
    t->bpe = px_bpe_create(&t->vocab, &options, &b->merges);
    px_bpe_seal(t->bpe);
    return px_ok();
}

static px_status read_unigram(builder *b)
{
    px_tokenizer *t = b->tokenizer;
    if (b->scores.count != t->vocab.size)
        return px_fail(
            PX_INVALID_ARGUMENT, "tokenizer.json: a Unigram vocabulary is a list of [text, score]");
    int64_t unknown = -1;
    bool byte_fallback = false;
    PX_TRY(px_json_get_int(b->model, "unk_id", "tokenizer.json: model", &unknown));
    PX_TRY(px_json_get_bool(b->model, "byte_fallback", "tokenizer.json: model", &byte_fallback));
    if (unknown >= (int64_t)t->vocab.size)
        return px_fail(PX_INVALID_ARGUMENT, "tokenizer.json: unk_id is not in the vocabulary");
    t->model = PX_MODEL_UNIGRAM;
    return px_unigram_create(&t->vocab, b->scores.data,
        unknown < 0 ? PX_NO_TOKEN : (uint32_t)unknown, byte_fallback, &t->unigram);
}

static px_status read_words(builder *b, px_token_model model)
{
    px_tokenizer *t = b->tokenizer;
    const char *prefix = "##";
    int64_t runes_max = 100;
    t->model = model;
    t->wordpiece.vocab = &t->vocab;
    t->wordpiece.unknown_id = unknown_id(b);
    PX_TRY(
        px_json_get_str(b->model, "continuing_subword_prefix", "tokenizer.json: model", &prefix));
    PX_TRY(
        px_json_get_int(b->model, "max_input_chars_per_word", "tokenizer.json: model", &runes_max));
    if (strlen(prefix) >= sizeof t->wordpiece.prefix || runes_max < 0 || runes_max > 1 << 20)
        return px_fail(PX_INVALID_ARGUMENT,
            "tokenizer.json: continuing_subword_prefix or max_input_chars_per_word is too large");
    memcpy(t->wordpiece.prefix, prefix, strlen(prefix) + 1);
    t->wordpiece.word_runes_max = (size_t)runes_max;
    return px_ok();
}

/* Files before "type" was written are told apart by what they hold. */
static const char *model_type(const builder *b)
{
    const char *type = json_string_value(json_object_get(b->model, "type"));
    if (type) return type;
    if (b->has_merges) return "BPE";
    if (b->scores.count) return "Unigram";
    return json_object_get(b->model, "continuing_subword_prefix") ? "WordPiece" : "WordLevel";
}

static px_status read_model(builder *b)
{
    const char *type = model_type(b);
    if (strcmp(type, "BPE") == 0) return read_bpe(b);
    if (strcmp(type, "Unigram") == 0) return read_unigram(b);
    if (strcmp(type, "WordPiece") == 0) return read_words(b, PX_MODEL_WORDPIECE);
    if (strcmp(type, "WordLevel") == 0) return read_words(b, PX_MODEL_WORDLEVEL);
    return px_fail(PX_UNIMPLEMENTED, "tokenizer.json: the model '%s' is not known", type);
}

/* --- the other members --- */

static size_t model_size(const builder *b)
{
    return b->scores.data ? b->scores.count : b->tokenizer->vocab.used;
}

static px_status read_flag(px_slice value, bool *out)
{
    if (is_key(value, "null")) return px_ok();
    *out = is_key(value, "true");
    if (*out || is_key(value, "false")) return px_ok();
    return px_fail(
        PX_INVALID_ARGUMENT, "tokenizer.json: added_tokens: a flag must be true or false");
}

/* {"content": "<s>", "special": true, ...}; the content goes to *content. */
static px_status scan_added_token(px_json_scan *scan, px_buf *content, px_added_token *token)
{
    const struct {
        const char *key;
        bool *value;
    } flags[] = {{"special", &token->special}, {"normalized", &token->normalized},
        {"single_word", &token->single_word}, {"lstrip", &token->strip_left},
        {"rstrip", &token->strip_right}};
    bool first = true, says_normalized = false;
    px_slice key, value;
    px_json_scan_enter(scan, '{');
    while (px_json_scan_key(scan, &first, &key)) {
        if (is_key(key, "content")) {
            if (!px_json_scan_string(scan, &value)) break;
            px_buf_reset(content);
            px_buf_append(content, value.data, value.length);
            continue;
        }
        bool *flag = NULL;
        for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
            if (is_key(key, flags[i].key)) flag = flags[i].value;
        if (flag == &token->normalized) says_normalized = true;
        if (!px_json_scan_skip(scan, &value)) break;
        if (flag) PX_TRY(read_flag(value, flag));
    }
    if (!says_normalized) token->normalized = !token->special;
    return px_ok();
}

/* A token that the model knows has the model's id. The others are numbered on from the model's
 * size, in the file's order; the reference does not look at the ids in the file. */
static px_status add_token(builder *b, px_slice content, px_added_token *token)
{
    token->id = px_vocab_find(&b->tokenizer->vocab, content.data, content.length);
    if (token->id == PX_NO_TOKEN)
        token->id = px_vocab_find(&b->added, content.data, content.length);
    if (token->id == PX_NO_TOKEN) {
        PX_TRY(check_id((double)model_size(b) + b->added.used, &token->id));
        PX_TRY(px_vocab_add(&b->added, content, token->id));
        PX_TRY(px_vocab_seal(&b->added));
    }
    return px_tokenizer_add_token(b->tokenizer, content, token);
}

static px_status scan_added_tokens(builder *b, px_json_scan *scan, px_buf *content)
{
    bool first = true;
    px_json_scan_enter(scan, '[');
    while (px_json_scan_item(scan, &first)) {
        px_added_token token = {0};
        px_buf_reset(content);
        PX_TRY(scan_added_token(scan, content, &token));
        px_slice text = {px_buf_text(content), content->length};
        if (!scan->error && text.length) PX_TRY(add_token(b, text, &token));
    }
    return px_json_scan_status(scan, "tokenizer.json: added_tokens");
}

static px_status read_added_tokens(builder *b)
{
    PX_TRY(px_added_init(&b->tokenizer->added));
    PX_TRY(px_vocab_init(&b->added));
    if (!b->parts.added_tokens.data || is_key(b->parts.added_tokens, "null")) return px_ok();
    px_json_scan scan;
    px_buf content;
    px_json_scan_init(&scan, b->parts.added_tokens);
    px_buf_init(&content, JSON_BYTES_MAX);
    px_status status = scan_added_tokens(b, &scan, &content);
    px_buf_done(&content);
    px_json_scan_done(&scan);
    return status;
}

/* jansson's tree of a small member; *out = NULL for one that is not there. */
static px_status parse_part(px_slice part, const char *name, json_t **out)
{
    *out = NULL;
    return part.data ? px_json_parse_texts(part.data, part.length, name, out) : px_ok();
}

static px_status read_pipeline(builder *b)
{
    px_tokenizer *t = b->tokenizer;
    json_t *config;
    PX_TRY(parse_part(b->parts.normalizer, "tokenizer.json: normalizer", &config));
    px_status status = px_normalizer_create(config, &t->normalizer);
    json_decref(config);
    PX_TRY(status);
    PX_TRY(parse_part(b->parts.pre_tokenizer, "tokenizer.json: pre_tokenizer", &config));
    status = px_pretokenizer_create(config, &t->pretokenizer);
    json_decref(config);
    PX_TRY(status);
    PX_TRY(parse_part(b->parts.post_processor, "tokenizer.json: post_processor", &config));
    status = px_post_processor_read(config, &t->post);
    json_decref(config);
    PX_TRY(status);
    PX_TRY(parse_part(b->parts.decoder, "tokenizer.json: decoder", &config));
    status = px_decoder_create(config, &t->decoder);
    json_decref(config);
    return status;
}

static px_status build(builder *b, px_slice json)
{
    PX_TRY(px_vocab_init(&b->tokenizer->vocab));
    PX_TRY(read_members(b, json));
    PX_TRY(read_pipeline(b));
    PX_TRY(read_model(b));
    PX_TRY(read_added_tokens(b));
    return px_tokenizer_seal(b->tokenizer);
}

px_status px_tokenizer_from_json(const char *json, size_t length, px_tokenizer **out)
{
    if (length > JSON_BYTES_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "tokenizer.json has %zu bytes; at most %zu are allowed",
            length, JSON_BYTES_MAX);
    builder b = {.tokenizer = px_tokenizer_alloc()};
    px_buf_init(&b.parts.options, 1 << 20);
    px_arena_init(&b.unescaped, UNESCAPED_BYTES_MAX);
    px_status status = build(&b, (px_slice){json, length});
    px_buf_done(&b.parts.options);
    px_arena_done(&b.unescaped);
    px_merges_done(&b.merges);
    json_decref(b.model);
    px_vocab_done(&b.added);
    free(b.scores.data);
    if (!px_is_ok(status)) {
        px_tokenizer_free(b.tokenizer);
        return status;
    }
    *out = b.tokenizer;
    return px_ok();
}
