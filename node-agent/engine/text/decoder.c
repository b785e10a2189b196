/* decoder.c - see decoder.h.
 *
 * A step takes tokens and hands tokens on. After ByteLevel or Fuse there is only one token, which
 * arrives in parts; steps that need it whole (Replace, ...) then wait for the end, as nothing
 * shorter would be right.
 */
#include "engine/text/decoder.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/text/byte_level.h"
#include "engine/text/normalizer.h"
#include "engine/text/unicode.h"

enum { STEPS_MAX = 16, NESTING_MAX = 16, HELD_BYTES_MAX = 64 << 20 };
/* Reserved in each buffer: longer than any token of text, so that the engine's steps allocate
 * nothing. */
enum { HELD_BYTES = 1024 };

typedef enum step_kind {
    STEP_JOIN,
    STEP_BYTE_LEVEL,
    STEP_BYTE_FALLBACK,
    STEP_METASPACE,
    STEP_FUSE,
    STEP_REPLACE,
    STEP_STRIP,
    STEP_WORDPIECE,
    STEP_BPE,
    STEP_CTC,
} step_kind;

typedef struct step {
    step_kind kind;
    bool parts;          /* its input is one token in parts */
    px_pattern *pattern; /* REPLACE */
    char *text;          /* REPLACE: content; STRIP, METASPACE: character; WORDPIECE: prefix; BPE:
                            suffix; CTC: pad token */
    char *delimiter;     /* CTC */
    size_t start, stop;  /* STRIP: characters at most */
    bool flag;           /* WORDPIECE, CTC: clean up; METASPACE: the first token loses its marks */
} step;

struct px_decoder {
    step steps[STEPS_MAX];
    int count;
};

typedef struct step_state {
    px_buf held;    /* bytes, a token or a whole text that waits */
    px_buf made;    /* the token that this step hands on */
    size_t tokens;  /* seen */
    size_t removed; /* STRIP in parts: characters taken from the start */
    bool started;   /* STRIP in parts: past them */
} step_state;

struct px_decoder_state {
    const px_decoder *decoder;
    px_matcher *matcher;
    px_buf spare; /* for rewriting a buffer; never held across a call to the next step */
    step_state steps[STEPS_MAX];
};

/* --- building --- */

static px_status text_of(
    const json_t *config, const char *key, const char *default_text, char **out)
{
    const char *text = default_text;
    PX_TRY(px_json_get_str(config, key, "decoder", &text));
    *out = px_strdup(text);
    return px_ok();
}

static px_status read_strip(const json_t *config, step *s)
{
    int64_t start = 0, stop = 0;
    PX_TRY(text_of(config, "content", " ", &s->text));
    PX_TRY(px_json_get_int(config, "start", "decoder Strip", &start));
    PX_TRY(px_json_get_int(config, "stop", "decoder Strip", &stop));
    if (start < 0 || stop < 0 || start > 1 << 20 || stop > 1 << 20)
        return px_fail(
            PX_INVALID_ARGUMENT, "decoder Strip: 'start' and 'stop' must be small counts");
    s->start = (size_t)start;
    s->stop = (size_t)stop;
    return px_ok();
}

static px_status read_metaspace(const json_t *config, step *s)
{
    PX_TRY(text_of(config, "replacement", "\xe2\x96\x81", &s->text));
    bool prefix_space = true;
    PX_TRY(px_json_get_bool(config, "add_prefix_space", "decoder Metaspace", &prefix_space));
    const char *scheme = json_string_value(json_object_get(config, "prepend_scheme"));
    s->flag = scheme ? strcmp(scheme, "never") != 0 : prefix_space;
    return px_ok();
}

static px_status read_config(const json_t *config, const char *type, step *s)
{
    if (strcmp(type, "ByteLevel") == 0) {
        s->kind = STEP_BYTE_LEVEL;
    } else if (strcmp(type, "ByteFallback") == 0) {
        s->kind = STEP_BYTE_FALLBACK;
    } else if (strcmp(type, "Fuse") == 0) {
        s->kind = STEP_FUSE;
    } else if (strcmp(type, "Metaspace") == 0) {
        s->kind = STEP_METASPACE;
        return read_metaspace(config, s);
    } else if (strcmp(type, "Replace") == 0) {
        s->kind = STEP_REPLACE;
        PX_TRY(text_of(config, "content", "", &s->text));
        return px_pattern_from_json(
            json_object_get(config, "pattern"), "decoder Replace", &s->pattern);
    } else if (strcmp(type, "Strip") == 0) {
        s->kind = STEP_STRIP;
        return read_strip(config, s);
    } else if (strcmp(type, "WordPiece") == 0) {
        s->kind = STEP_WORDPIECE;
        s->flag = true;
        PX_TRY(px_json_get_bool(config, "cleanup", "decoder WordPiece", &s->flag));
        return text_of(config, "prefix", "##", &s->text);
    } else if (strcmp(type, "BPEDecoder") == 0) {
        s->kind = STEP_BPE;
        return text_of(config, "suffix", "</w>", &s->text);
    } else if (strcmp(type, "CTC") == 0) {
        s->kind = STEP_CTC;
        s->flag = true;
        PX_TRY(px_json_get_bool(config, "cleanup", "decoder CTC", &s->flag));
        PX_TRY(text_of(config, "word_delimiter_token", "|", &s->delimiter));
        return text_of(config, "pad_token", "<pad>", &s->text);
    } else {
        return px_fail(PX_UNIMPLEMENTED, "the decoder '%s' is not known", type);
    }
    return px_ok();
}

static px_status add_config(px_decoder *decoder, const json_t *config, int depth)
{
    const char *type = json_string_value(json_object_get(config, "type"));
    if (!type) return px_fail(PX_INVALID_ARGUMENT, "a decoder has no 'type'");
    if (depth > NESTING_MAX) return px_fail(PX_INVALID_ARGUMENT, "decoders nest too deep");
    if (strcmp(type, "Sequence") == 0) {
        size_t i;
        const json_t *each;
        json_array_foreach(json_object_get(config, "decoders"), i, each)
            PX_TRY(add_config(decoder, each, depth + 1));
        return px_ok();
    }
    if (decoder->count == STEPS_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "the decoder has more than %d steps", STEPS_MAX);
    step *s = &decoder->steps[decoder->count];
    if (decoder->count > 0) {
        const step *before = s - 1;
        s->parts = before->parts || before->kind == STEP_FUSE || before->kind == STEP_BYTE_LEVEL;
    }
    decoder->count++;
    return read_config(config, type, s);
}

px_status px_decoder_create(const json_t *config, px_decoder **out)
{
    px_decoder *decoder = px_alloc(sizeof *decoder);
    if (!config || json_is_null(config)) {
        decoder->steps[decoder->count++].kind = STEP_JOIN;
    } else {
        px_status status = add_config(decoder, config, 0);
        if (!px_is_ok(status)) {
            px_decoder_free(decoder);
            return status;
        }
    }
    *out = decoder;
    return px_ok();
}

void px_decoder_free(px_decoder *decoder)
{
    if (!decoder) return;
    for (int i = 0; i < decoder->count; i++) {
        px_pattern_free(decoder->steps[i].pattern);
        free(decoder->steps[i].text);
        free(decoder->steps[i].delimiter);
    }
    free(decoder);
}

static void reserve(px_buf *buf)
{
    px_buf_init(buf, HELD_BYTES_MAX);
    px_buf_reserve(buf, HELD_BYTES);
}

px_status px_decoder_state_create(const px_decoder *decoder, px_decoder_state **out)
{
    px_decoder_state *state = px_alloc(sizeof *state);
    state->decoder = decoder;
    reserve(&state->spare);
    for (int i = 0; i < decoder->count; i++) {
        reserve(&state->steps[i].held);
        reserve(&state->steps[i].made);
    }
    for (int i = 0; i < decoder->count; i++) {
        if (!decoder->steps[i].pattern || state->matcher) continue;
        px_status status = px_matcher_create(&state->matcher);
        if (!px_is_ok(status)) {
            px_decoder_state_free(state);
            return status;
        }
    }
    *out = state;
    return px_ok();
}

void px_decoder_state_free(px_decoder_state *state)
{
    if (!state) return;
    for (int i = 0; i < STEPS_MAX; i++) {
        px_buf_done(&state->steps[i].held);
        px_buf_done(&state->steps[i].made);
    }
    px_buf_done(&state->spare);
    px_matcher_free(state->matcher);
    free(state);
}

void px_decoder_state_reset(px_decoder_state *state)
{
    for (int i = 0; i < state->decoder->count; i++) {
        step_state *own = &state->steps[i];
        px_buf_reset(&own->held);
        own->tokens = own->removed = 0;
        own->started = false;
    }
}

/* --- running --- */

static px_status push(px_decoder_state *state, int index, px_slice token, px_buf *out);

static px_slice whole(const px_buf *buf)
{
    return (px_slice){px_buf_text(buf), buf->length};
}

static bool starts_with(px_slice text, const char *prefix)
{
    size_t length = strlen(prefix);
    return text.length >= length && memcmp(text.data, prefix, length) == 0;
}

static void append_replaced(px_buf *out, px_slice text, const char *from, const char *to)
{
    size_t length = strlen(from), at = 0;
    while (length && at < text.length) {
        const char *found = memmem(text.data + at, text.length - at, from, length);
        if (!found) break;
        px_buf_append(out, text.data + at, (size_t)(found - text.data) - at);
        px_buf_puts(out, to);
        at = (size_t)(found - text.data) + length;
    }
    px_buf_append(out, text.data + at, text.length - at);
}

static void replace_in(px_decoder_state *state, px_buf *buf, const char *from, const char *to)
{
    if (!memmem(px_buf_text(buf), buf->length, from, strlen(from))) return;
    px_buf_reset(&state->spare);
    append_replaced(&state->spare, whole(buf), from, to);
    px_buf swap = *buf;
    *buf = state->spare;
    state->spare = swap;
}

/* The reference's English rules, in its order. */
static void clean_up(px_decoder_state *state, px_buf *buf)
{
    static const char *const rules[][2] = {{" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","},
        {" ' ", "'"}, {" n't", "n't"}, {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"},
        {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        replace_in(state, buf, rules[i][0], rules[i][1]);
}

/* Hands on what the step made. */
static px_status push_made(px_decoder_state *state, int index, px_buf *out)
{
    return push(state, index + 1, whole(&state->steps[index].made), out);
}

static px_status push_repaired(px_decoder_state *state, int index, size_t length, px_buf *out)
{
    step_state *own = &state->steps[index];
    px_buf_reset(&own->made);
    px_utf8_repair(px_buf_text(&own->held), length, &own->made);
    memmove(own->held.data, own->held.data + length, own->held.length - length);
    own->held.length -= length;
    return push_made(state, index, out);
}

static px_status push_byte_level(px_decoder_state *state, int index, px_slice token, px_buf *out)
{
    px_buf *held = &state->steps[index].held;
    if (!px_byte_level_read(token.data, token.length, held))
        px_buf_append(held, token.data, token.length);
    size_t ready = held->length - px_utf8_open_tail(px_buf_text(held), held->length);
    return ready ? push_repaired(state, index, ready, out) : px_ok();
}

/* The byte that "<0x0A>" stands for, or -1. */
static int byte_of(px_slice token)
{
    if (token.length != 6 || !starts_with(token, "<0x") || token.data[5] != '>') return -1;
    int high = px_hex_digit(token.data[3]), low = px_hex_digit(token.data[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* A run of bytes is one token, and text only as a whole: one bad byte makes each of them a U+FFFD
 * of its own. */
static px_status flush_bytes(px_decoder_state *state, int index, px_buf *out)
{
    px_buf *held = &state->steps[index].held;
    size_t length = held->length;
    if (length == 0) return px_ok();
    held->length = 0;
    if (px_utf8_valid_prefix(held->data, length) == length)
        return push(state, index + 1, (px_slice){held->data, length}, out);
    for (size_t i = 0; i < length; i++)
        PX_TRY(push(state, index + 1, (px_slice){"\xef\xbf\xbd", 3}, out));
    return px_ok();
}

static px_status push_byte_fallback(px_decoder_state *state, int index, px_slice token, px_buf *out)
{
    int byte = byte_of(token);
    if (byte >= 0) {
        px_buf_putc(&state->steps[index].held, (char)byte);
        return px_ok();
    }
    PX_TRY(flush_bytes(state, index, out));
    return push(state, index + 1, token, out);
}

static px_status push_metaspace(px_decoder_state *state, int index, px_slice token, px_buf *out)
{
    const step *s = &state->decoder->steps[index];
    bool is_first = s->parts || state->steps[index].tokens == 0;
    px_buf *made = &state->steps[index].made;
    px_buf_reset(made);
    append_replaced(made, token, s->text, is_first && s->flag ? "" : " ");
    return push_made(state, index, out);
}

static px_status push_replace(px_decoder_state *state, int index, px_slice token, px_buf *out)
{
    const step *s = &state->decoder->steps[index];
    px_buf *made = &state->steps[index].made;
    px_buf_reset(made);
    size_t at = 0;
    px_matcher_start(state->matcher, s->pattern, token);
    for (;;) {
        bool found = false;
        px_match match;
        PX_TRY(px_matcher_next(state->matcher, &found, &match));
        if (!found) break;
        px_buf_append(made, token.data + at, match.start - at);
        px_buf_puts(made, s->text);
        at = match.end;
    }
    px_buf_append(made, token.data + at, token.length - at);
    return push_made(state, index, out);
}

static px_slice strip_start(px_slice text, const char *content, size_t *count, size_t max)
{
    size_t length = strlen(content);
    while (*count < max && length && starts_with(text, content)) {
        text.data += length;
        text.length -= length;
        (*count)++;
    }
    return text;
}

/* Bytes of the characters at the end that may be taken away. */
static size_t strippable_end(px_slice text, const char *content, size_t max)
{
    size_t length = strlen(content), taken = 0;
    for (size_t n = 0; n < max && length && taken + length <= text.length; n++) {
        if (memcmp(text.data + text.length - taken - length, content, length) != 0) break;
        taken += length;
    }
    return taken;
}

/* In parts: what may yet be the end is held until more text follows it. */
static px_status push_strip_part(px_decoder_state *state, int index, px_slice part, px_buf *out)
{
    const step *s = &state->decoder->steps[index];
    step_state *own = &state->steps[index];
    if (!own->started) {
        part = strip_start(part, s->text, &own->removed, s->start);
        own->started = part.length > 0 || own->removed == s->start;
    }
    if (s->stop == 0) return push(state, index + 1, part, out);
    px_buf_append(&own->held, part.data, part.length);
    size_t keep = strippable_end(whole(&own->held), s->text, s->stop);
    px_slice ready = {px_buf_text(&own->held), own->held.length - keep};
    PX_TRY(push(state, index + 1, ready, out));
    memmove(own->held.data, own->held.data + ready.length, keep);
    own->held.length = keep;
    return px_ok();
}

static px_status push_strip(px_decoder_state *state, int index, px_slice token, px_buf *out)
{
    const step *s = &state->decoder->steps[index];
    if (s->parts) return token.length ? push_strip_part(state, index, token, out) : px_ok();
    size_t removed = 0;
    token = strip_start(token, s->text, &removed, s->start);
    token.length -= strippable_end(token, s->text, s->stop);
    return push(state, index + 1, token, out);
}

static px_status push_wordpiece(px_decoder_state *state, int index, px_slice token, px_buf *out)
{
    const step *s = &state->decoder->steps[index];
    px_buf *made = &state->steps[index].made;
    px_buf_reset(made);
    if (state->steps[index].tokens > 0 && !s->parts) {
        if (starts_with(token, s->text)) {
            token.data += strlen(s->text);
            token.length -= strlen(s->text);
        } else {
            px_buf_putc(made, ' ');
        }
    }
    px_buf_append(made, token.data, token.length);
    if (s->flag) clean_up(state, made);
    return push_made(state, index, out);
}

/* The suffix ends a word: a blank, but nothing after the last token, so one token waits. */
static px_status flush_bpe(px_decoder_state *state, int index, const char *to, px_buf *out)
{
    step_state *own = &state->steps[index];
    px_buf_reset(&own->made);
    append_replaced(&own->made, whole(&own->held), state->decoder->steps[index].text, to);
    return push_made(state, index, out);
}

static px_status push_bpe(px_decoder_state *state, int index, px_slice token, px_buf *out)
{
    step_state *own = &state->steps[index];
    if (own->tokens > 0) PX_TRY(flush_bpe(state, index, " ", out));
    px_buf_reset(&own->held);
    px_buf_append(&own->held, token.data, token.length);
    return px_ok();
}

static px_status push_ctc(px_decoder_state *state, int index, px_slice token, px_buf *out)
{
    const step *s = &state->decoder->steps[index];
    step_state *own = &state->steps[index];
    bool same = own->tokens > 0 && own->held.length == token.length &&
                memcmp(px_buf_text(&own->held), token.data, token.length) == 0;
    if (same) return px_ok();
    px_buf_reset(&own->held);
    px_buf_append(&own->held, token.data, token.length);
    px_buf_reset(&own->made);
    append_replaced(&own->made, token, s->text, "");
    if (s->flag) clean_up(state, &own->made);
    if (s->flag) replace_in(state, &own->made, s->delimiter, " ");
    return own->made.length ? push_made(state, index, out) : px_ok();
}

/* Steps that must see the one token whole when it comes in parts. */
static bool waits_for_all(const step *s)
{
    return s->parts &&
           (s->kind == STEP_REPLACE || s->kind == STEP_WORDPIECE || s->kind == STEP_BPE ||
               s->kind == STEP_CTC || s->kind == STEP_BYTE_FALLBACK || s->kind == STEP_BYTE_LEVEL);
}

static px_status run_step(px_decoder_state *state, int index, px_slice token, px_buf *out)
{
    switch (state->decoder->steps[index].kind) {
    case STEP_JOIN:
        if (state->steps[index].tokens > 0) PX_TRY(push(state, index + 1, (px_slice){" ", 1}, out));
        return push(state, index + 1, token, out);
    case STEP_FUSE: return push(state, index + 1, token, out);
    case STEP_BYTE_LEVEL: return push_byte_level(state, index, token, out);
    case STEP_BYTE_FALLBACK: return push_byte_fallback(state, index, token, out);
    case STEP_METASPACE: return push_metaspace(state, index, token, out);
    case STEP_REPLACE: return push_replace(state, index, token, out);
    case STEP_STRIP: return push_strip(state, index, token, out);
    case STEP_WORDPIECE: return push_wordpiece(state, index, token, out);
    case STEP_BPE: return push_bpe(state, index, token, out);
    case STEP_CTC: return push_ctc(state, index, token, out);
    }
    return px_ok();
}

static px_status push(px_decoder_state *state, int index, px_slice token, px_buf *out)
{
    if (index == state->decoder->count) {
        px_buf_append(out, token.data, token.length);
        return px_ok();
    }
    step_state *own = &state->steps[index];
    if (waits_for_all(&state->decoder->steps[index])) {
        px_buf_append(&own->held, token.data, token.length);
        return px_ok();
    }
    PX_TRY(run_step(state, index, token, out));
    own->tokens++;
    return px_ok();
}

static px_status finish_step(px_decoder_state *state, int index, px_buf *out)
{
    const step *s = &state->decoder->steps[index];
    step_state *own = &state->steps[index];
    if (waits_for_all(s)) {
        px_buf text = own->held;
        px_buf_init(&own->held, HELD_BYTES_MAX);
        px_status status = text.length ? run_step(state, index, whole(&text), out) : px_ok();
        px_buf_done(&text);
        own->tokens++;
        PX_TRY(status);
    }
    if (s->kind == STEP_BYTE_FALLBACK) return flush_bytes(state, index, out);
    if (s->kind == STEP_BPE && own->tokens > 0) return flush_bpe(state, index, "", out);
    if (s->kind == STEP_BYTE_LEVEL && own->held.length)
        return push_repaired(state, index, own->held.length, out);
    return px_ok(); /* what Strip still holds is what it strips */
}

px_status px_decoder_push(px_decoder_state *state, px_slice token, px_buf *out)
{
    return push(state, 0, token, out);
}

px_status px_decoder_finish(px_decoder_state *state, px_buf *out)
{
    for (int i = 0; i < state->decoder->count; i++) PX_TRY(finish_step(state, i, out));
    return px_ok();
}
