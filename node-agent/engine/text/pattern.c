/* pattern.c - see pattern.h; the translation is in pattern_translate.c. */
#include "engine/text/pattern.h"

#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "engine/text/unicode.h"

enum {
    REGEX_BYTES_MAX = 1 << 16,
    JIT_STACK_MIN = 32 << 10,
    JIT_STACK_MAX = 16 << 20,
};
/* Steps of one match. A sane pattern takes a few per character of one match; a pattern that
 * passes this bound backtracks exponentially. */
static const uint32_t MATCH_LIMIT = 400u * 1000 * 1000;

struct px_pattern {
    pcre2_code *code; /* NULL: a literal */
    bool jit;
    px_buf literal;
};

struct px_matcher {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
    const px_pattern *pattern;
    px_slice text;
    size_t at, last_end; /* of the last match; SIZE_MAX: none yet */
    px_buf older;        /* the text with older characters, if it has newer ones */
};

static px_status compile(const px_buf *regex, px_pattern *pattern)
{
    int code;
    PCRE2_SIZE offset;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context) return px_fail(PX_RESOURCE_EXHAUSTED, "no memory for a pattern");
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pattern->code = pcre2_compile((PCRE2_SPTR)px_buf_text(regex), regex->length,
        PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NO_AUTO_CAPTURE | PCRE2_NEVER_BACKSLASH_C,
        &code, &offset, context);
    pcre2_compile_context_free(context);
    if (!pattern->code) {
        char why[128];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        return px_fail(PX_INVALID_ARGUMENT, "pattern '%.60s' at %zu: %s", px_buf_text(regex),
            (size_t)offset, why);
    }
    /* Without JIT support the interpreter does the same, slower. */
    pattern->jit = pcre2_jit_compile(pattern->code, PCRE2_JIT_COMPLETE) == 0;
    return px_ok();
}

px_status px_pattern_create(px_slice regex, px_pattern **out)
{
    px_buf translated;
    px_buf_init(&translated, REGEX_BYTES_MAX);
    px_pattern *pattern = px_alloc(sizeof *pattern);
    px_buf_init(&pattern->literal, 0);
    px_status status = px_pattern_translate(regex, &translated);
    if (px_is_ok(status)) status = compile(&translated, pattern);
    px_buf_done(&translated);
    if (!px_is_ok(status)) {
        px_pattern_free(pattern);
        return status;
    }
    *out = pattern;
    return px_ok();
}

px_status px_pattern_create_literal(px_slice text, px_pattern **out)
{
    if (text.length > REGEX_BYTES_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "a pattern text has %zu bytes; at most %d are allowed",
            text.length, REGEX_BYTES_MAX);
    px_pattern *pattern = px_alloc(sizeof *pattern);
    px_buf_init(&pattern->literal, REGEX_BYTES_MAX);
    px_buf_append(&pattern->literal, text.data, text.length);
    *out = pattern;
    return px_ok();
}

void px_pattern_free(px_pattern *pattern)
{
    if (!pattern) return;
    pcre2_code_free(pattern->code);
    px_buf_done(&pattern->literal);
    free(pattern);
}

px_status px_matcher_create(px_matcher **out)
{
    px_matcher *matcher = px_alloc(sizeof *matcher);
    matcher->data = pcre2_match_data_create(1, NULL);
    matcher->context = pcre2_match_context_create(NULL);
    matcher->stack = pcre2_jit_stack_create(JIT_STACK_MIN, JIT_STACK_MAX, NULL);
    if (!matcher->data || !matcher->context || !matcher->stack) {
        px_matcher_free(matcher);
        return px_fail(PX_RESOURCE_EXHAUSTED, "no memory for a pattern matcher");
    }
    px_buf_init(&matcher->older, SIZE_MAX / 2);
    pcre2_jit_stack_assign(matcher->context, NULL, matcher->stack);
    pcre2_set_match_limit(matcher->context, MATCH_LIMIT);
    *out = matcher;
    return px_ok();
}

void px_matcher_free(px_matcher *matcher)
{
    if (!matcher) return;
    pcre2_match_data_free(matcher->data);
    pcre2_match_context_free(matcher->context);
    pcre2_jit_stack_free(matcher->stack);
    px_buf_done(&matcher->older);
    free(matcher);
}

void px_matcher_start(px_matcher *matcher, const px_pattern *pattern, px_slice text)
{
    matcher->pattern = pattern;
    matcher->text = text;
    matcher->at = 0;
    matcher->last_end = SIZE_MAX;
    if (pattern->code && px_utf8_like(text, &matcher->older))
        matcher->text.data = px_buf_text(&matcher->older);
}

static bool next_literal(px_matcher *matcher, px_match *out)
{
    const px_buf *literal = &matcher->pattern->literal;
    px_slice text = matcher->text;
    if (literal->length == 0) return false;
    const char *at =
        memmem(text.data + matcher->at, text.length - matcher->at, literal->data, literal->length);
    if (!at) return false;
    out->start = (size_t)(at - text.data);
    out->end = out->start + literal->length;
    matcher->at = out->end;
    return true;
}

static int run(const px_matcher *matcher)
{
    const px_pattern *pattern = matcher->pattern;
    PCRE2_SPTR subject = (PCRE2_SPTR)matcher->text.data;
    int rc = PCRE2_ERROR_JIT_STACKLIMIT;
    if (pattern->jit)
        rc = pcre2_jit_match(pattern->code, subject, matcher->text.length, matcher->at, 0,
            matcher->data, matcher->context);
    /* The interpreter keeps its backtracking points on the heap, so it can go on where the JIT's
     * stack is too small. */
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(pattern->code, subject, matcher->text.length, matcher->at,
            PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, matcher->data, matcher->context);
    return rc;
}

px_status px_matcher_next(px_matcher *matcher, bool *out_found, px_match *out)
{
    px_slice text = matcher->text;
    if (!matcher->pattern->code) {
        *out_found = next_literal(matcher, out);
        return px_ok();
    }
    if (matcher->older.overflowed)
        return px_fail(
            PX_RESOURCE_EXHAUSTED, "no memory to match a text of %zu bytes", text.length);
    *out_found = false;
    while (matcher->at <= text.length) {
        int rc = run(matcher);
        if (rc == PCRE2_ERROR_NOMATCH) return px_ok();
        if (rc < 0)
            return px_fail(PX_RESOURCE_EXHAUSTED,
                "the tokenizer's pattern backtracks too much on this text (PCRE2 error %d)", rc);
        const PCRE2_SIZE *at = pcre2_get_ovector_pointer(matcher->data);
        *out = (px_match){.start = at[0], .end = at[1]};
        matcher->at = out->end;
        if (out->end > out->start || out->end != matcher->last_end) {
            matcher->last_end = out->end;
            *out_found = true;
            return px_ok();
        }
        if (out->end == text.length) return px_ok();
        matcher->at += px_rune_bytes(text.data[out->end]);
    }
    return px_ok();
}
