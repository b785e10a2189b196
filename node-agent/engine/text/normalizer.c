/* normalizer.c - see normalizer.h. */
#include "engine/text/normalizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/text/byte_level.h"
#include "engine/text/charsmap.h"
#include "engine/text/unicode.h"

enum { STEPS_MAX = 64, NESTING_MAX = 16 };

typedef enum step_kind {
    STEP_NORMAL_FORM,
    STEP_LOWERCASE,
    STEP_STRIP,
    STEP_STRIP_ACCENTS,
    STEP_REPLACE,
    STEP_PREPEND,
    STEP_NMT,
    STEP_BYTE_LEVEL,
    STEP_BERT_CLEAN,
    STEP_BERT_CHINESE,
    STEP_BERT_ACCENTS,
    STEP_PRECOMPILED,
} step_kind;

typedef struct step {
    step_kind kind;
    px_norm_form form;     /* NORMAL_FORM */
    bool left, right;      /* STRIP */
    px_pattern *pattern;   /* REPLACE */
    px_buf text;           /* REPLACE: the new text; PREPEND: what is put in front */
    px_charsmap *charsmap; /* PRECOMPILED */
} step;

struct px_normalizer {
    step steps[STEPS_MAX];
    int count;
};

/* --- building --- */

px_status px_json_slice(const json_t *object, const char *key, const char *where, px_slice *out)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_string(value))
        return px_fail(PX_INVALID_ARGUMENT, "%s: '%s' must be a text", where, key);
    *out = (px_slice){json_string_value(value), json_string_length(value)};
    return px_ok();
}

px_status px_pattern_from_json(const json_t *config, const char *where, px_pattern **out)
{
    px_slice text;
    if (json_is_string(config)) {
        text = (px_slice){json_string_value(config), json_string_length(config)};
        return px_pattern_create_literal(text, out);
    }
    if (json_object_get(config, "String")) {
        PX_TRY(px_json_slice(config, "String", where, &text));
        return px_pattern_create_literal(text, out);
    }
    PX_TRY(px_json_slice(config, "Regex", where, &text));
    return px_prefix(px_pattern_create(text, out), "%s", where);
}

static px_status add_step(px_normalizer *normalizer, step_kind kind, step **out)
{
    if (normalizer->count == STEPS_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "the normalizer has more than %d steps", STEPS_MAX);
    *out = &normalizer->steps[normalizer->count++];
    **out = (step){.kind = kind};
    px_buf_init(&(*out)->text, 1 << 20);
    return px_ok();
}

static px_status add_plain(px_normalizer *normalizer, step_kind kind)
{
    step *s = NULL;
    return add_step(normalizer, kind, &s);
}

static px_status add_form(px_normalizer *normalizer, px_norm_form form)
{
    step *s = NULL;
    PX_TRY(add_step(normalizer, STEP_NORMAL_FORM, &s));
    s->form = form;
    return px_ok();
}

static px_status add_strip(px_normalizer *normalizer, const json_t *config)
{
    step *s = NULL;
    PX_TRY(add_step(normalizer, STEP_STRIP, &s));
    s->left = s->right = true;
    PX_TRY(px_json_get_bool(config, "strip_left", "normalizer Strip", &s->left));
    return px_json_get_bool(config, "strip_right", "normalizer Strip", &s->right);
}

static px_status add_replace(px_normalizer *normalizer, const json_t *config)
{
    step *s = NULL;
    px_slice content;
    PX_TRY(px_json_slice(config, "content", "normalizer Replace", &content));
    PX_TRY(add_step(normalizer, STEP_REPLACE, &s));
    px_buf_append(&s->text, content.data, content.length);
    return px_pattern_from_json(
        json_object_get(config, "pattern"), "normalizer Replace", &s->pattern);
}

static px_status add_prepend(px_normalizer *normalizer, const json_t *config)
{
    step *s = NULL;
    px_slice text;
    PX_TRY(px_json_slice(config, "prepend", "normalizer Prepend", &text));
    PX_TRY(add_step(normalizer, STEP_PREPEND, &s));
    px_buf_append(&s->text, text.data, text.length);
    return px_ok();
}

static px_status add_precompiled(px_normalizer *normalizer, const json_t *config)
{
    step *s = NULL;
    px_slice base64;
    PX_TRY(px_json_slice(config, "precompiled_charsmap", "normalizer Precompiled", &base64));
    PX_TRY(add_step(normalizer, STEP_PRECOMPILED, &s));
    return px_charsmap_from_base64(base64, &s->charsmap);
}

static px_status add_bert(px_normalizer *normalizer, const json_t *config)
{
    const char *where = "normalizer BertNormalizer";
    bool clean = true, chinese = true, lower = true;
    PX_TRY(px_json_get_bool(config, "clean_text", where, &clean));
    PX_TRY(px_json_get_bool(config, "handle_chinese_chars", where, &chinese));
    PX_TRY(px_json_get_bool(config, "lowercase", where, &lower));
    bool accents = lower; /* strip_accents: null follows lowercase */
    PX_TRY(px_json_get_bool(config, "strip_accents", where, &accents));
    if (clean) PX_TRY(add_plain(normalizer, STEP_BERT_CLEAN));
    if (chinese) PX_TRY(add_plain(normalizer, STEP_BERT_CHINESE));
    if (accents) PX_TRY(add_form(normalizer, PX_NFD));
    if (accents) PX_TRY(add_plain(normalizer, STEP_BERT_ACCENTS));
    return lower ? add_plain(normalizer, STEP_LOWERCASE) : px_ok();
}

static px_status add_config(px_normalizer *normalizer, const json_t *config, int depth)
{
    const char *type = json_string_value(json_object_get(config, "type"));
    if (!type) return px_fail(PX_INVALID_ARGUMENT, "a normalizer has no 'type'");
    if (depth > NESTING_MAX) return px_fail(PX_INVALID_ARGUMENT, "normalizers nest too deep");
    if (strcmp(type, "Sequence") == 0) {
        size_t i;
        const json_t *each;
        json_array_foreach(json_object_get(config, "normalizers"), i, each)
            PX_TRY(add_config(normalizer, each, depth + 1));
        return px_ok();
    }
    if (strcmp(type, "NFC") == 0) return add_form(normalizer, PX_NFC);
    if (strcmp(type, "NFD") == 0) return add_form(normalizer, PX_NFD);
    if (strcmp(type, "NFKC") == 0) return add_form(normalizer, PX_NFKC);
    if (strcmp(type, "NFKD") == 0) return add_form(normalizer, PX_NFKD);
    if (strcmp(type, "Lowercase") == 0) return add_plain(normalizer, STEP_LOWERCASE);
    if (strcmp(type, "StripAccents") == 0) return add_plain(normalizer, STEP_STRIP_ACCENTS);
    if (strcmp(type, "Nmt") == 0) return add_plain(normalizer, STEP_NMT);
    if (strcmp(type, "ByteLevel") == 0) return add_plain(normalizer, STEP_BYTE_LEVEL);
    if (strcmp(type, "Strip") == 0) return add_strip(normalizer, config);
    if (strcmp(type, "Replace") == 0) return add_replace(normalizer, config);
    if (strcmp(type, "Prepend") == 0) return add_prepend(normalizer, config);
    if (strcmp(type, "Precompiled") == 0) return add_precompiled(normalizer, config);
    if (strcmp(type, "BertNormalizer") == 0) return add_bert(normalizer, config);
    return px_fail(PX_UNIMPLEMENTED, "the normalizer '%s' is not known", type);
}

px_status px_normalizer_create(const json_t *config, px_normalizer **out)
{
    return px_normalizer_create_after((px_slice){0}, config, out);
}

static px_status add_map(px_normalizer *normalizer, px_slice map)
{
    step *s = NULL;
    PX_TRY(add_step(normalizer, STEP_PRECOMPILED, &s));
    return px_charsmap_create(map, &s->charsmap);
}

px_status px_normalizer_create_after(px_slice map, const json_t *config, px_normalizer **out)
{
    *out = NULL;
    bool has_config = config && !json_is_null(config);
    if (!has_config && map.length == 0) return px_ok();
    px_normalizer *normalizer = px_alloc(sizeof *normalizer);
    px_status status = map.length ? add_map(normalizer, map) : px_ok();
    if (px_is_ok(status) && has_config) status = add_config(normalizer, config, 0);
    if (!px_is_ok(status)) {
        px_normalizer_free(normalizer);
        return status;
    }
    *out = normalizer;
    return px_ok();
}

void px_normalizer_free(px_normalizer *normalizer)
{
    if (!normalizer) return;
    for (int i = 0; i < normalizer->count; i++) {
        px_pattern_free(normalizer->steps[i].pattern);
        px_charsmap_free(normalizer->steps[i].charsmap);
        px_buf_done(&normalizer->steps[i].text);
    }
    free(normalizer);
}

/* --- running: each step appends to `out`, which is empty --- */

static void strip(const step *s, px_slice text, px_buf *out, bool *first)
{
    size_t start = 0, end = text.length;
    uint32_t rune;
    while (s->left && start < end) {
        size_t bytes = px_rune_decode(text.data + start, &rune);
        if (!px_rune_is_space(rune)) break;
        start += bytes;
    }
    while (s->right && end > start) {
        size_t last = end - 1;
        while (((unsigned char)text.data[last] & 0xc0) == 0x80) last--;
        px_rune_decode(text.data + last, &rune);
        if (!px_rune_is_space(rune)) break;
        end = last;
    }
    if (start > 0) *first = false;
    px_buf_append(out, text.data + start, end - start);
}

static px_status replace(
    const step *s, px_matcher *matcher, px_slice text, px_buf *out, bool *first)
{
    size_t at = 0;
    px_matcher_start(matcher, s->pattern, text);
    for (;;) {
        bool found;
        px_match match;
        PX_TRY(px_matcher_next(matcher, &found, &match));
        if (!found) break;
        if (match.end > 0 && match.start == 0 && s->text.length == 0) *first = false;
        px_buf_append(out, text.data + at, match.start - at);
        px_buf_append(out, s->text.data, s->text.length);
        at = match.end;
    }
    px_buf_append(out, text.data + at, text.length - at);
    return px_ok();
}

/* U+FFFD and control characters go, all white space becomes a blank. */
static bool bert_clean(uint32_t *rune)
{
    if (*rune == '\t' || *rune == '\n' || *rune == '\r') {
        *rune = ' ';
        return true;
    }
    if (*rune == 0 || *rune == 0xfffd || (px_rune_is_control(*rune) && px_rune_age(*rune) <= 8))
        return false;
    if (px_rune_is_space(*rune)) *rune = ' ';
    return true;
}

static bool is_chinese(uint32_t r)
{
    return (r >= 0x4e00 && r <= 0x9fff) || (r >= 0x3400 && r <= 0x4dbf) ||
           (r >= 0x20000 && r <= 0x2a6df) || (r >= 0x2a700 && r <= 0x2b73f) ||
           (r >= 0x2b740 && r <= 0x2b81f) || (r >= 0x2b920 && r <= 0x2ceaf) ||
           (r >= 0xf900 && r <= 0xfaff) || (r >= 0x2f800 && r <= 0x2fa1f);
}

static bool nmt_clean(uint32_t *rune)
{
    uint32_t r = *rune;
    if ((r >= 1 && r <= 8) || r == 0xb || (r >= 0xe && r <= 0x1f) || r == 0x7f || r == 0x8f ||
        r == 0x9f)
        return false;
    if (r == 9 || r == 0xa || r == 0xc || r == 0xd || r == 0x1680 || (r >= 0x200b && r <= 0x200f) ||
        r == 0x2028 || r == 0x2029 || r == 0x2581 || r == 0xfeff || r == 0xfffd)
        *rune = ' ';
    return true;
}

/* Marks and control characters are those of the reference's tables: Unicode 9, BertNormalizer 8. */
static void map_characters(step_kind kind, px_slice text, px_buf *out, bool *first)
{
    for (size_t at = 0; at < text.length;) {
        uint32_t rune;
        at += px_rune_decode(text.data + at, &rune);
        bool keep = true;
        if (kind == STEP_STRIP_ACCENTS) keep = !px_rune_is_mark(rune) || px_rune_age(rune) > 9;
        if (kind == STEP_BERT_ACCENTS) keep = !px_rune_is_nonspacing(rune) || px_rune_age(rune) > 8;
        if (kind == STEP_BERT_CLEAN) keep = bert_clean(&rune);
        if (kind == STEP_NMT) keep = nmt_clean(&rune);
        if (!keep && out->length == 0) *first = false;
        if (!keep) continue;
        bool spaced = kind == STEP_BERT_CHINESE && is_chinese(rune);
        if (spaced) px_buf_putc(out, ' ');
        px_rune_append(out, rune);
        if (spaced) px_buf_putc(out, ' ');
    }
}

static px_status run_step(
    const step *s, px_matcher *matcher, px_slice text, px_buf *out, bool *first)
{
    switch (s->kind) {
    case STEP_NORMAL_FORM: return px_unicode_normalize(text.data, text.length, s->form, out);
    case STEP_LOWERCASE: px_unicode_lower(text.data, text.length, out); break;
    case STEP_STRIP: strip(s, text, out, first); break;
    case STEP_REPLACE: return replace(s, matcher, text, out, first);
    case STEP_BYTE_LEVEL: px_byte_level_write(text.data, text.length, out); break;
    case STEP_PRECOMPILED:
        if (!px_charsmap_apply(s->charsmap, text, out)) *first = false;
        break;
    case STEP_PREPEND:
        if (text.length) px_buf_append(out, s->text.data, s->text.length);
        px_buf_append(out, text.data, text.length);
        break;
    case STEP_STRIP_ACCENTS:
    case STEP_NMT:
    case STEP_BERT_CLEAN:
    case STEP_BERT_CHINESE:
    case STEP_BERT_ACCENTS: map_characters(s->kind, text, out, first); break;
    }
    return px_ok();
}

px_status px_normalizer_run(
    const px_normalizer *normalizer, px_matcher *matcher, px_buf *text, px_buf *spare, bool *first)
{
    if (!normalizer) return px_ok();
    for (int i = 0; i < normalizer->count; i++) {
        px_buf_reset(spare);
        PX_TRY(run_step(&normalizer->steps[i], matcher, (px_slice){px_buf_text(text), text->length},
            spare, first));
        if (spare->overflowed)
            return px_fail(PX_RESOURCE_EXHAUSTED, "normalising the text takes too much memory");
        px_buf swap = *text;
        *text = *spare;
        *spare = swap;
    }
    return px_ok();
}
