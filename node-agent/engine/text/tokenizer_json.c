/* tokenizer_json.c - px_tokenizer_from_json(): reads Hugging Face's tokenizer.json.
 *
 * The file is walked once to find its members. Small ones (normalizer, added tokens, ...) go
 * through jansson; the vocabulary and the merges, which are nearly all of its megabytes, are
 * scanned in place. Source: Hugging Face tokenizers, the serialisation of Tokenizer and of each
 * model.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/text/json_scan.h"
#include "engine/text/tokenizer_impl.h"

static const size_t JSON_BYTES_MAX = 256u << 20;

/* Members of the file, as they stand there; data NULL: not there. */
typedef struct json_parts {
    px_slice added_tokens, normalizer, pre_tokenizer, post_processor, decoder;
    px_slice vocab, merges; /* of the model */
    px_buf small;           /* the model's other members as an object */
} json_parts;

typedef struct builder {
    json_parts parts;
    json_t *model; /* the model's small members */
    px_tokenizer *tokenizer;
    px_vocab added; /* ids of the added tokens that the model does not know */
    double *scores; /* of a unigram model */
    size_t score_count, score_capacity;
} builder;

/* --- finding the members --- */

static bool is_key(px_slice key, const char *name)
{
    return key.length == strlen(name) && memcmp(key.data, name, key.length) == 0;
}

/* The model's members: vocab and merges are set apart, the rest is gathered for jansson. */
static void find_model_parts(px_json_scan *scan, json_parts *parts)
{
    bool first = true;
    px_slice key;
    px_buf_reset(&parts->small);
    px_buf_putc(&parts->small, '{');
    px_json_scan_enter(scan, '{');
    while (px_json_scan_key(scan, &first, &key)) {
        px_slice value, *to = is_key(key, "vocab")    ? &parts->vocab
                              : is_key(key, "merges") ? &parts->merges
                                                      : NULL;
        if (!to) {
            if (parts->small.length > 1) px_buf_putc(&parts->small, ',');
            px_json_quote(&parts->small, key.data, key.length);
        }
        if (!px_json_scan_skip(scan, to ? to : &value)) break;
        if (!to) px_buf_printf(&parts->small, ":%.*s", (int)value.length, value.data);
    }
    px_buf_putc(&parts->small, '}');
}

static px_status find_parts(px_slice json, json_parts *parts)
{
    const struct {
        const char *key;
        px_slice *value;
    } members[] = {{"added_tokens", &parts->added_tokens}, {"normalizer", &parts->normalizer},
        {"pre_tokenizer", &parts->pre_tokenizer}, {"post_processor", &parts->post_processor},
        {"decoder", &parts->decoder}};
    px_json_scan scan;
    px_json_scan_init(&scan, json);
    bool first = true, has_model = false;
    px_slice key;
    px_json_scan_enter(&scan, '{');
    while (px_json_scan_key(&scan, &first, &key)) {
        if (is_key(key, "model")) {
            find_model_parts(&scan, parts);
            has_model = true;
            continue;
        }
        px_slice *to = NULL, ignored;
        for (size_t i = 0; i < sizeof members / sizeof *members; i++)
            if (is_key(key, members[i].key)) to = members[i].value;
        px_json_scan_skip(&scan, to ? to : &ignored);
    }
    px_json_scan_end(&scan);
    px_status status = px_json_scan_status(&scan, "tokenizer.json");
    px_json_scan_done(&scan);
    PX_TRY(status);
    if (!has_model) return px_fail(PX_INVALID_ARGUMENT, "tokenizer.json has no 'model'");
    return parts->vocab.data
               ? px_ok()
               : px_fail(PX_INVALID_ARGUMENT, "tokenizer.json: the model has no 'vocab'");
}

/* jansson's tree of a small member; *out = NULL for one that is not there. */
static px_status parse_part(px_slice part, const char *name, json_t **out)
{
    *out = NULL;
    return part.data ? px_json_parse(part.data, part.length, name, out) : px_ok();
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
    return px_json_scan_status(scan, "tokenizer.json: vocab");
}

static px_status add_score(builder *b, double score)
{
    if (b->score_count == b->score_capacity) {
        size_t capacity = b->score_capacity ? 2 * b->score_capacity : 4096;
        double *grown = realloc(b->scores, capacity * sizeof *grown);
        if (!grown) return px_fail(PX_RESOURCE_EXHAUSTED, "no memory for the vocabulary's scores");
        b->scores = grown;
        b->score_capacity = capacity;
    }
    b->scores[b->score_count++] = score;
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
        PX_TRY(px_vocab_add(&b->tokenizer->vocab, token, (uint32_t)b->score_count));
        if (!px_json_scan_item(scan, &first_of_pair) || !px_json_scan_number(scan, &score)) break;
        PX_TRY(add_score(b, score));
        if (px_json_scan_item(scan, &first_of_pair))
            return px_fail(PX_INVALID_ARGUMENT,
                "tokenizer.json: an entry of the vocabulary is not [text, score]");
    }
    return px_json_scan_status(scan, "tokenizer.json: vocab");
}

static px_status read_vocab(builder *b)
{
    px_slice raw = b->parts.vocab;
    /* About 20 bytes of JSON a token. */
    PX_TRY(px_vocab_init(&b->tokenizer->vocab, raw.length / 20, raw.length / 2));
    px_json_scan scan;
    px_json_scan_init(&scan, raw);
    px_status status =
        px_json_scan_peek(&scan) == '[' ? read_vocab_list(b, &scan) : read_vocab_object(b, &scan);
    px_json_scan_done(&scan);
    return status;
}

/* --- models --- */

/* PX_NO_TOKEN if the file names none, or one that the vocabulary lacks. */
static uint32_t unknown_id(const builder *b)
{
    const json_t *token = json_object_get(b->model, "unk_token");
    if (!json_is_string(token)) return PX_NO_TOKEN;
    return px_vocab_find(&b->tokenizer->vocab, json_string_value(token), json_string_length(token));
}

/* ["left", "right"]; `left` is kept in a buffer of its own, as both may be unescaped. */
static bool scan_pair(px_json_scan *scan, px_buf *keep, px_slice *left, px_slice *right)
{
    bool first = true;
    if (!px_json_scan_enter(scan, '[') || !px_json_scan_item(scan, &first) ||
        !px_json_scan_string(scan, left))
        return false;
    px_buf_reset(keep);
    px_buf_append(keep, left->data, left->length);
    *left = (px_slice){px_buf_text(keep), keep->length};
    if (!px_json_scan_item(scan, &first) || !px_json_scan_string(scan, right)) return false;
    return !px_json_scan_item(scan, &first) && !scan->error;
}

/* "left right" */
static bool scan_joined(px_json_scan *scan, px_slice *left, px_slice *right)
{
    px_slice text;
    if (!px_json_scan_string(scan, &text)) return false;
    const char *space = memchr(text.data, ' ', text.length);
    if (!space) return false;
    *left = (px_slice){text.data, (size_t)(space - text.data)};
    *right = (px_slice){space + 1, text.length - left->length - 1};
    return !memchr(right->data, ' ', right->length);
}

static px_status scan_merges(builder *b, px_json_scan *scan, px_buf *keep)
{
    bool first = true;
    px_json_scan_enter(scan, '[');
    while (px_json_scan_item(scan, &first)) {
        px_slice left, right;
        char kind = px_json_scan_peek(scan);
        if (!(kind == '[' ? scan_pair(scan, keep, &left, &right)
                          : scan_joined(scan, &left, &right))) {
            PX_TRY(px_json_scan_status(scan, "tokenizer.json: merges"));
            return px_fail(PX_INVALID_ARGUMENT, "tokenizer.json: a merge is not a pair of texts");
        }
        PX_TRY(px_bpe_add_merge(b->tokenizer->bpe, left, right));
    }
    return px_json_scan_status(scan, "tokenizer.json: merges");
}

static px_status read_merges(builder *b)
{
    if (!b->parts.merges.data)
        return px_fail(PX_INVALID_ARGUMENT, "tokenizer.json: the model has no 'merges'");
    px_json_scan scan;
    px_buf keep;
    px_json_scan_init(&scan, b->parts.merges);
    px_buf_init(&keep, JSON_BYTES_MAX);
    px_status status = scan_merges(b, &scan, &keep);
    px_buf_done(&keep);
    px_json_scan_done(&scan);
    return status;
}

static px_status read_bpe(builder *b)
{
    const char *where = "tokenizer.json: model";
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
    PX_TRY(px_bpe_create(&t->vocab, &options, b->parts.merges.length / 12, &t->bpe));
    PX_TRY(read_merges(b));
    return px_bpe_seal(t->bpe);
}

static px_status read_unigram(builder *b)
{
    px_tokenizer *t = b->tokenizer;
    if (b->score_count != t->vocab.size)
        return px_fail(
            PX_INVALID_ARGUMENT, "tokenizer.json: a Unigram vocabulary is a list of [text, score]");
    int64_t unknown = -1;
    bool byte_fallback = false;
    PX_TRY(px_json_get_int(b->model, "unk_id", "tokenizer.json: model", &unknown));
    PX_TRY(px_json_get_bool(b->model, "byte_fallback", "tokenizer.json: model", &byte_fallback));
    if (unknown >= (int64_t)t->vocab.size)
        return px_fail(PX_INVALID_ARGUMENT, "tokenizer.json: unk_id is not in the vocabulary");
    t->model = PX_MODEL_UNIGRAM;
    return px_unigram_create(&t->vocab, b->scores, unknown < 0 ? PX_NO_TOKEN : (uint32_t)unknown,
        byte_fallback, &t->unigram);
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
    if (b->parts.merges.data) return "BPE";
    if (b->score_count) return "Unigram";
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
    return b->scores ? b->score_count : b->tokenizer->vocab.used;
}

/* A token that the model knows has the model's id. The others are numbered on from the model's
 * size, in the file's order; the reference does not look at the ids in the file. */
static px_status read_added_token(builder *b, const json_t *config)
{
    const char *where = "tokenizer.json: added_tokens";
    px_tokenizer *tokenizer = b->tokenizer;
    px_slice content;
    px_added_token token = {.normalized = true};
    PX_TRY(px_json_slice(config, "content", where, &content));
    if (content.length == 0) return px_ok();
    PX_TRY(px_json_get_bool(config, "special", where, &token.special));
    token.normalized = !token.special;
    PX_TRY(px_json_get_bool(config, "normalized", where, &token.normalized));
    PX_TRY(px_json_get_bool(config, "single_word", where, &token.single_word));
    PX_TRY(px_json_get_bool(config, "lstrip", where, &token.strip_left));
    PX_TRY(px_json_get_bool(config, "rstrip", where, &token.strip_right));
    token.id = px_vocab_find(&tokenizer->vocab, content.data, content.length);
    if (token.id == PX_NO_TOKEN) token.id = px_vocab_find(&b->added, content.data, content.length);
    if (token.id == PX_NO_TOKEN) {
        PX_TRY(check_id((double)model_size(b) + b->added.used, &token.id));
        PX_TRY(px_vocab_add(&b->added, content, token.id));
    }
    return px_tokenizer_add_token(tokenizer, content, &token);
}

static px_status read_added_tokens(builder *b)
{
    PX_TRY(px_added_init(&b->tokenizer->added));
    PX_TRY(px_vocab_init(&b->added, 0, 0));
    json_t *list;
    PX_TRY(parse_part(b->parts.added_tokens, "tokenizer.json: added_tokens", &list));
    size_t i;
    const json_t *each;
    px_status status = px_ok();
    json_array_foreach(list, i, each)
    {
        status = read_added_token(b, each);
        if (!px_is_ok(status)) break;
    }
    json_decref(list);
    return status;
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
    PX_TRY(find_parts(json, &b->parts));
    PX_TRY(px_json_parse(
        px_buf_text(&b->parts.small), b->parts.small.length, "tokenizer.json: model", &b->model));
    PX_TRY(read_pipeline(b));
    PX_TRY(read_vocab(b));
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
    px_buf_init(&b.parts.small, 1 << 20);
    px_status status = build(&b, (px_slice){json, length});
    px_buf_done(&b.parts.small);
    json_decref(b.model);
    px_vocab_done(&b.added);
    free(b.scores);
    if (!px_is_ok(status)) {
        px_tokenizer_free(b.tokenizer);
        return status;
    }
    *out = b.tokenizer;
    return px_ok();
}
