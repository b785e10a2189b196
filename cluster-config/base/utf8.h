/* utf8.h - the one decoder of UTF-8 (RFC 3629: no surrogates, no overlong forms, up to U+10FFFF).
 *
 * Threads: pure functions.
 */
#ifndef PX_BASE_UTF8_H
#define PX_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

#define PX_UTF8_INVALID UINT32_MAX

/* Decodes the first character of text[0..length), length > 0; returns its bytes. For bytes that
 * start no valid character *out_rune is PX_UTF8_INVALID and the return value is what one U+FFFD
 * should stand for (the "maximal subpart" of the Unicode standard, section 3.9). */
size_t px_utf8_next(const char *text, size_t length, uint32_t *out_rune);

/* Length of the longest prefix of text[0..length) that is whole, valid UTF-8. */
size_t px_utf8_valid_prefix(const char *text, size_t length);

/* Terminal columns of valid or invalid text: combining marks take none, East Asian wide
 * characters and emoji two (Unicode annex 11), invalid bytes one. */
size_t px_utf8_columns(const char *text, size_t length);

#endif
