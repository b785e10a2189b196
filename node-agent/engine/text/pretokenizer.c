/* pretokenizer.c - see pretokenizer.h.
 *
 * Nearly every kind is made of three elementary steps: SPLIT (at matches of a pattern or of a class
 * of characters), and two that rewrite pieces, BYTES and METASPACE, with PREFIX_SPACE before them.
 */
#include "engine/text/pretokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/text/byte_level.h"
#include "engine/text/grow.h"
#include "engine/text/normalizer.h"
#include "engine/text/unicode.h"

enum { STEPS_MAX = 64, NESTING_MAX = 16 };

/* What becomes of a match and the text around it. */
typedef enum behaviour {
    REMOVED,
    ISOLATED,
    MERGED_WITH_PREVIOUS,
    MERGED_WITH_NEXT,
    CONTIGUOUS,
    BEHAVIOUR_COUNT
} behaviour;

static const char *const behaviour_names[BEHAVIOUR_COUNT] = {
    "Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};

typedef bool (*rune_class)(uint32_t rune);

typedef enum step_kind {
    STEP_SPLIT,
    STEP_FIXED,
    STEP_SCRIPTS,
    STEP_PREFIX_SPACE,
    STEP_METASPACE,
    STEP_BYTES
} step_kind;
typedef enum prepend_scheme { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER } prepend_scheme;

typedef struct step {
    step_kind kind;
    /* SPLIT: by one of the two */
    px_pattern *pattern;
    rune_class is_member;
    bool ascii_member[128]; /* is_member of ASCII, looked up */
    behaviour behaviour;
    bool invert;
    size_t fixed_length; /* FIXED: characters a piece */
    /* METASPACE */
    char mark[5]; /* what stands for a space, NUL-terminated */
    prepend_scheme prepend;
} step;

struct px_pretokenizer {
    step steps[STEPS_MAX];
    int count;
};

static const char gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* What \w means to Rust's regex library, which "Whitespace" uses, unlike Split. */
#define RUST_WORD_SET "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}"
#define RUST_WORD     "[" RUST_WORD_SET "]"

/* --- building --- */

static px_status add_step(px_pretokenizer *pretokenizer, step_kind kind, step **out)
{
    if (pretokenizer->count == STEPS_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "the pre-tokenizer has more than %d steps", STEPS_MAX);
    *out = &pretokenizer->steps[pretokenizer->count++];
    **out = (step){.kind = kind};
    return px_ok();
}

static px_status add_class_split(px_pretokenizer *p, rune_class is_member, behaviour how)
{
    step *s = NULL;
    PX_TRY(add_step(p, STEP_SPLIT, &s));
    s->is_member = is_member;
    for (uint32_t c = 0; c < 128; c++) s->ascii_member[c] = is_member(c);
    s->behaviour = how;
    return px_ok();
}

static px_status add_regex_split(px_pretokenizer *p, const char *regex, behaviour how, bool invert)
{
    step *s = NULL;
    PX_TRY(add_step(p, STEP_SPLIT, &s));
    s->behaviour = how;
    s->invert = invert;
    return px_pattern_create((px_slice){regex, strlen(regex)}, &s->pattern);
}

static px_status read_behaviour(const json_t *config, const char *where, behaviour *out)
{
    const char *name = json_string_value(json_object_get(config, "behavior"));
    if (!name) return px_ok();
    for (int i = 0; i < BEHAVIOUR_COUNT; i++) {
        if (strcmp(name, behaviour_names[i]) == 0) {
            *out = (behaviour)i;
            return px_ok();
        }
    }
    return px_fail(PX_INVALID_ARGUMENT, "%s: the behavior '%s' is not known", where, name);
}

static px_status add_split(px_pretokenizer *p, const json_t *config)
{
    step *s = NULL;
    PX_TRY(add_step(p, STEP_SPLIT, &s));
    s->behaviour = ISOLATED;
    PX_TRY(read_behaviour(config, "pre-tokenizer Split", &s->behaviour));
    PX_TRY(px_json_get_bool(config, "invert", "pre-tokenizer Split", &s->invert));
    return px_pattern_from_json(
        json_object_get(config, "pattern"), "pre-tokenizer Split", &s->pattern);
}

static px_status add_byte_level(px_pretokenizer *p, const json_t *config)
{
    const char *where = "pre-tokenizer ByteLevel";
    bool prefix_space = true, use_regex = true;
    PX_TRY(px_json_get_bool(config, "add_prefix_space", where, &prefix_space));
    PX_TRY(px_json_get_bool(config, "use_regex", where, &use_regex));
    step *s = NULL;
    if (prefix_space) PX_TRY(add_step(p, STEP_PREFIX_SPACE, &s));
    if (use_regex) PX_TRY(add_regex_split(p, gpt2_pattern, ISOLATED, false));
    return add_step(p, STEP_BYTES, &s);
}

static px_status read_prepend(const json_t *config, const char *where, prepend_scheme *out)
{
    const char *name = json_string_value(json_object_get(config, "prepend_scheme"));
    bool prefix_space = true; /* how files before prepend_scheme said it */
    PX_TRY(px_json_get_bool(config, "add_prefix_space", where, &prefix_space));
    *out = prefix_space ? PREPEND_ALWAYS : PREPEND_NEVER;
    if (!name) return px_ok();
    if (strcmp(name, "always") == 0)
        *out = PREPEND_ALWAYS;
    else if (strcmp(name, "first") == 0)
        *out = PREPEND_FIRST;
    else if (strcmp(name, "never") == 0)
        *out = PREPEND_NEVER;
    else
        return px_fail(
            PX_INVALID_ARGUMENT, "%s: the prepend_scheme '%s' is not known", where, name);
    return px_ok();
}

static px_status add_metaspace(px_pretokenizer *p, const json_t *config)
{
    const char *where = "pre-tokenizer Metaspace";
    px_slice mark;
    PX_TRY(px_json_slice(config, "replacement", where, &mark));
    if (mark.length == 0 || mark.length != px_rune_bytes(mark.data[0]) || !mark.data[0])
        return px_fail(PX_INVALID_ARGUMENT, "%s: 'replacement' must be one character", where);
    step *s = NULL;
    PX_TRY(add_step(p, STEP_METASPACE, &s));
    memcpy(s->mark, mark.data, mark.length);
    PX_TRY(read_prepend(config, where, &s->prepend));
    bool split = true;
    PX_TRY(px_json_get_bool(config, "split", where, &split));
    if (!split) return px_ok();
    PX_TRY(add_step(p, STEP_SPLIT, &s));
    s->behaviour = MERGED_WITH_NEXT;
    return px_pattern_create_literal(mark, &s->pattern);
}

static px_status add_digits(px_pretokenizer *p, const json_t *config)
{
    bool individual = false;
    PX_TRY(px_json_get_bool(config, "individual_digits", "pre-tokenizer Digits", &individual));
    return add_class_split(p, px_rune_is_numeric, individual ? ISOLATED : CONTIGUOUS);
}

/* Of Unicode 8, as the reference's table. */
static bool is_punctuation(uint32_t rune)
{
    return px_rune_is_punctuation(rune) && px_rune_age(rune) <= 8;
}

static px_status add_punctuation(px_pretokenizer *p, const json_t *config)
{
    behaviour how = ISOLATED;
    PX_TRY(read_behaviour(config, "pre-tokenizer Punctuation", &how));
    return add_class_split(p, is_punctuation, how);
}

static px_status add_delimiter(px_pretokenizer *p, const json_t *config)
{
    px_slice delimiter;
    PX_TRY(px_json_slice(config, "delimiter", "pre-tokenizer CharDelimiterSplit", &delimiter));
    step *s = NULL;
    PX_TRY(add_step(p, STEP_SPLIT, &s));
    s->behaviour = REMOVED;
    return px_pattern_create_literal(delimiter, &s->pattern);
}

static px_status add_fixed_length(px_pretokenizer *p, const json_t *config)
{
    int64_t length = 5;
    PX_TRY(px_json_get_int(config, "length", "pre-tokenizer FixedLength", &length));
    if (length < 1)
        return px_fail(
            PX_INVALID_ARGUMENT, "pre-tokenizer FixedLength: 'length' must be 1 or more");
    step *s = NULL;
    PX_TRY(add_step(p, STEP_FIXED, &s));
    s->fixed_length = (size_t)length;
    return px_ok();
}

static px_status add_config(px_pretokenizer *p, const json_t *config, int depth)
{
    const char *type = json_string_value(json_object_get(config, "type"));
    if (!type) return px_fail(PX_INVALID_ARGUMENT, "a pre-tokenizer has no 'type'");
    if (depth > NESTING_MAX) return px_fail(PX_INVALID_ARGUMENT, "pre-tokenizers nest too deep");
    if (strcmp(type, "Sequence") == 0) {
        size_t i;
        const json_t *each;
        json_array_foreach(json_object_get(config, "pretokenizers"), i, each)
            PX_TRY(add_config(p, each, depth + 1));
        return px_ok();
    }
    if (strcmp(type, "Split") == 0) return add_split(p, config);
    if (strcmp(type, "ByteLevel") == 0) return add_byte_level(p, config);
    if (strcmp(type, "Metaspace") == 0) return add_metaspace(p, config);
    if (strcmp(type, "Digits") == 0) return add_digits(p, config);
    if (strcmp(type, "Punctuation") == 0) return add_punctuation(p, config);
    if (strcmp(type, "CharDelimiterSplit") == 0) return add_delimiter(p, config);
    if (strcmp(type, "FixedLength") == 0) return add_fixed_length(p, config);
    if (strcmp(type, "UnicodeScripts") == 0) {
        step *s = NULL;
        return add_step(p, STEP_SCRIPTS, &s);
    }
    if (strcmp(type, "WhitespaceSplit") == 0) return add_class_split(p, px_rune_is_space, REMOVED);
    if (strcmp(type, "Whitespace") == 0)
        return add_regex_split(p, RUST_WORD "+|[^" RUST_WORD_SET "\\s]+", REMOVED, true);
    if (strcmp(type, "BertPreTokenizer") == 0) {
        PX_TRY(add_class_split(p, px_rune_is_space, REMOVED));
        return add_class_split(p, is_punctuation, ISOLATED);
    }
    return px_fail(PX_UNIMPLEMENTED, "the pre-tokenizer '%s' is not known", type);
}

px_status px_pretokenizer_create(const json_t *config, px_pretokenizer **out)
{
    *out = NULL;
    if (!config || json_is_null(config)) return px_ok();
    px_pretokenizer *pretokenizer = px_alloc(sizeof *pretokenizer);
    px_status status = add_config(pretokenizer, config, 0);
    if (!px_is_ok(status)) {
        px_pretokenizer_free(pretokenizer);
        return status;
    }
    *out = pretokenizer;
    return px_ok();
}

void px_pretokenizer_free(px_pretokenizer *pretokenizer)
{
    if (!pretokenizer) return;
    for (int i = 0; i < pretokenizer->count; i++) px_pattern_free(pretokenizer->steps[i].pattern);
    free(pretokenizer);
}

bool px_pretokenizer_ends_in_bytes(const px_pretokenizer *p)
{
    if (!p || p->count == 0) return false;
    for (int i = 0; i < p->count - 1; i++)
        if (p->steps[i].kind == STEP_BYTES) return false;
    return p->steps[p->count - 1].kind == STEP_BYTES;
}

void px_pretokenizer_leave_bytes(px_pretokenizer *p)
{
    PX_ASSERT(px_pretokenizer_ends_in_bytes(p));
    p->count--;
}

void px_pieces_init(px_pieces *pieces, size_t text_max)
{
    *pieces = (px_pieces){0};
    px_buf_init(&pieces->text, text_max);
    px_buf_init(&pieces->spare_text, text_max);
}

void px_pieces_done(px_pieces *pieces)
{
    px_buf_done(&pieces->text);
    px_buf_done(&pieces->spare_text);
    free(pieces->list.data);
    free(pieces->spare_list.data);
    *pieces = (px_pieces){0};
}

/* --- cutting --- */

static px_status emit(px_piece_list *list, px_piece piece)
{
    if (piece.length == 0) return px_ok();
    if (list->count == list->capacity) PX_TRY(PX_GROW(list, list->count + 1));
    list->data[list->count++] = piece;
    return px_ok();
}

/* Takes the matches of one piece and the text between them in order, and joins them as the
 * behaviour says. One segment is held back until it is known what joins it. */
typedef struct cutter {
    behaviour behaviour;
    px_piece piece;
    px_piece_list *out;
    bool holds, held_is_match, last_is_match;
    px_match held;
} cutter;

static px_status put(cutter *c, px_match segment)
{
    return emit(c->out, (px_piece){.start = c->piece.start + (uint32_t)segment.start,
                            .length = (uint32_t)(segment.end - segment.start),
                            .first = c->piece.first && segment.start == 0});
}

static px_status cut(cutter *c, px_match segment, bool is_match)
{
    if (c->behaviour == ISOLATED) return put(c, segment);
    if (c->behaviour == REMOVED) return is_match ? px_ok() : put(c, segment);
    bool joins = false;
    if (c->behaviour == MERGED_WITH_PREVIOUS) joins = is_match && !c->last_is_match;
    if (c->behaviour == MERGED_WITH_NEXT) joins = !is_match && c->held_is_match;
    if (c->behaviour == CONTIGUOUS) joins = is_match == c->last_is_match;
    c->last_is_match = is_match;
    if (c->holds && joins) {
        c->held.end = segment.end;
        c->held_is_match = is_match;
        return px_ok();
    }
    if (c->holds) PX_TRY(put(c, c->held));
    c->holds = true;
    c->held = segment;
    c->held_is_match = is_match;
    return px_ok();
}

static bool next_member(const step *s, px_slice text, size_t from, px_match *out)
{
    for (size_t at = from; at < text.length;) {
        unsigned char byte = (unsigned char)text.data[at];
        size_t bytes = 1;
        bool member;
        if (byte < 128) {
            member = s->ascii_member[byte];
        } else {
            uint32_t rune;
            bytes = px_rune_decode(text.data + at, &rune);
            member = s->is_member(rune);
        }
        if (member) {
            *out = (px_match){at, at + bytes};
            return true;
        }
        at += bytes;
    }
    return false;
}

static px_status split_piece(
    const step *s, px_matcher *matcher, const px_pieces *pieces, px_piece piece, px_piece_list *out)
{
    cutter c = {.behaviour = s->behaviour, .piece = piece, .out = out};
    px_slice text = {pieces->text.data + piece.start, piece.length};
    size_t at = 0;
    if (s->pattern) px_matcher_start(matcher, s->pattern, text);
    for (;;) {
        bool found;
        px_match match;
        if (s->pattern)
            PX_TRY(px_matcher_next(matcher, &found, &match));
        else
            found = next_member(s, text, at, &match);
        if (!found) break;
        if (match.start > at) PX_TRY(cut(&c, (px_match){at, match.start}, s->invert));
        PX_TRY(cut(&c, match, !s->invert));
        at = match.end;
    }
    if (at < text.length) PX_TRY(cut(&c, (px_match){at, text.length}, s->invert));
    return c.holds ? put(&c, c.held) : px_ok();
}

static px_status fixed_piece(
    const step *s, const px_pieces *pieces, px_piece piece, px_piece_list *out)
{
    const char *text = pieces->text.data + piece.start;
    cutter c = {.behaviour = ISOLATED, .piece = piece, .out = out};
    for (size_t at = 0, end; at < piece.length; at = end) {
        end = at;
        for (size_t n = 0; n < s->fixed_length && end < piece.length; n++)
            end += px_rune_bytes(text[end]);
        PX_TRY(cut(&c, (px_match){at, end}, true));
    }
    return px_ok();
}

/* Cuts where the script changes. Characters of no script go with those before them; as in the
 * reference, they are lost where there are none. */
static px_status script_piece(const px_pieces *pieces, px_piece piece, px_piece_list *out)
{
    const char *text = pieces->text.data + piece.start;
    cutter c = {.behaviour = ISOLATED, .piece = piece, .out = out};
    size_t start = 0;
    uint32_t last = 0;
    for (size_t at = 0, bytes; at < piece.length; at += bytes) {
        uint32_t rune;
        bytes = px_rune_decode(text + at, &rune);
        uint32_t script = px_rune_script(rune);
        if (!script || script == last) continue;
        if (last) PX_TRY(cut(&c, (px_match){start, at}, true));
        start = at;
        last = script;
    }
    return last ? cut(&c, (px_match){start, piece.length}, true) : px_ok();
}

/* --- rewriting: appends the new text of one piece to `out` --- */

static void write_metaspace(const step *s, px_slice text, bool first, px_buf *out)
{
    size_t mark_bytes = strlen(s->mark);
    bool starts = (text.length >= mark_bytes && memcmp(text.data, s->mark, mark_bytes) == 0) ||
                  (text.length && text.data[0] == ' ');
    if (!starts && (s->prepend == PREPEND_ALWAYS || (s->prepend == PREPEND_FIRST && first)))
        px_buf_append(out, s->mark, mark_bytes);
    for (size_t at = 0; at < text.length;) {
        const char *space = memchr(text.data + at, ' ', text.length - at);
        size_t end = space ? (size_t)(space - text.data) : text.length;
        px_buf_append(out, text.data + at, end - at);
        if (space) px_buf_append(out, s->mark, mark_bytes);
        at = space ? end + 1 : end;
    }
}

static void write_piece(const step *s, px_slice text, bool first, px_buf *out)
{
    if (s->kind == STEP_METASPACE) {
        write_metaspace(s, text, first, out);
    } else if (s->kind == STEP_BYTES) {
        px_byte_level_write(text.data, text.length, out);
    } else {
        if (text.length && text.data[0] != ' ') px_buf_putc(out, ' ');
        px_buf_append(out, text.data, text.length);
    }
}

static px_status rewrite(const step *s, px_pieces *pieces)
{
    px_buf_reset(&pieces->spare_text);
    for (size_t i = 0; i < pieces->list.count; i++) {
        px_piece *piece = &pieces->list.data[i];
        size_t start = pieces->spare_text.length;
        write_piece(s, (px_slice){pieces->text.data + piece->start, piece->length}, piece->first,
            &pieces->spare_text);
        piece->start = (uint32_t)start;
        piece->length = (uint32_t)(pieces->spare_text.length - start);
    }
    if (pieces->spare_text.overflowed)
        return px_fail(PX_RESOURCE_EXHAUSTED, "pre-tokenizing the text takes too much memory");
    px_buf swap = pieces->text;
    pieces->text = pieces->spare_text;
    pieces->spare_text = swap;
    return px_ok();
}

static px_status cut_piece(
    const step *s, px_matcher *matcher, const px_pieces *pieces, px_piece piece, px_piece_list *out)
{
    if (s->kind == STEP_FIXED) return fixed_piece(s, pieces, piece, out);
    if (s->kind == STEP_SCRIPTS) return script_piece(pieces, piece, out);
    return split_piece(s, matcher, pieces, piece, out);
}

static px_status run_step(const step *s, px_matcher *matcher, px_pieces *pieces)
{
    bool cuts = s->kind == STEP_SPLIT || s->kind == STEP_FIXED || s->kind == STEP_SCRIPTS;
    if (!cuts) return rewrite(s, pieces);
    pieces->spare_list.count = 0;
    for (size_t i = 0; i < pieces->list.count; i++)
        PX_TRY(cut_piece(s, matcher, pieces, pieces->list.data[i], &pieces->spare_list));
    px_piece_list swap = pieces->list;
    pieces->list = pieces->spare_list;
    pieces->spare_list = swap;
    return px_ok();
}

px_status px_pretokenizer_run(
    const px_pretokenizer *pretokenizer, px_matcher *matcher, bool first, px_pieces *pieces)
{
    pieces->list.count = 0;
    PX_TRY(emit(&pieces->list,
        (px_piece){.start = 0, .length = (uint32_t)pieces->text.length, .first = first}));
    for (int i = 0; pretokenizer && i < pretokenizer->count; i++)
        PX_TRY(run_step(&pretokenizer->steps[i], matcher, pieces));
    return px_ok();
}
