/* pattern.h - the regular expressions of tokenizer.json, which are written for Oniguruma.
 *
 * Compiled with PCRE2 (UTF, Unicode properties, JIT) after translating what differs between the
 * two: \s and \w by Unicode property, \h (a hexadecimal digit there), ^ and $ at every line,
 * {n,m}+, and intersections of character classes. Source:  Oniguruma's doc/RE (Ruby syntax),
 * pcre2pattern(3). Threads: a pattern is immutable; a matcher belongs to one thread.
 */
#ifndef PX_TEXT_PATTERN_H
#define PX_TEXT_PATTERN_H

#include "base/memory.h"

typedef struct px_pattern px_pattern;
typedef struct px_matcher px_matcher; /* work space for matching any pattern */

/* INVALID_ARGUMENT with place and cause when the expression does not compile. */
px_status px_pattern_create(px_slice regex, px_pattern **out) PX_MUST_USE;
/* Matches exactly this text. An empty text matches nothing. */
px_status px_pattern_create_literal(px_slice text, px_pattern **out) PX_MUST_USE;
void px_pattern_free(px_pattern *pattern);

px_status px_matcher_create(px_matcher **out) PX_MUST_USE;
void px_matcher_free(px_matcher *matcher);

typedef struct px_match {
    size_t start, end;
} px_match;

/* Begins to match in `text`, valid UTF-8 that stays as it is while it is matched. Characters that
 * the library's Unicode may not know are matched as older ones of the same kind. */
void px_matcher_start(px_matcher *matcher, const px_pattern *pattern, px_slice text);
/* The next match, from the end of the last one on; *out_found says whether there is one. An empty
 * match right after a match does not count. RESOURCE_EXHAUSTED when the expression backtracks
 * without bound. */
px_status px_matcher_next(px_matcher *matcher, bool *out_found, px_match *out) PX_MUST_USE;

/* The expression in PCRE2's language, appended to `out` (for px_pattern_create and its test). */
px_status px_pattern_translate(px_slice regex, px_buf *out) PX_MUST_USE;

#endif
