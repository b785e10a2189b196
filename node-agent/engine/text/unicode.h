/* unicode.h - characters of text that is already known to be valid UTF-8, and their classes.
 *
 * The classes are those of the Hugging Face tokenizers library (Rust's char methods), so that
 * pre-tokenizers and normalizers cut where that library cuts.
 * Source:  Unicode Character Database through utf8proc, and what that lacks from unicode_tables.h.
 * Threads: pure functions.
 */
#ifndef PX_TEXT_UNICODE_H
#define PX_TEXT_UNICODE_H

#include "base/memory.h"
#include "base/utf8.h"

/* Decodes the character at `text`, which must start a valid one; returns its bytes. */
static inline size_t px_rune_decode(const char *text, uint32_t *out_rune)
{
    const unsigned char *b = (const unsigned char *)text;
    if (b[0] < 0x80) {
        *out_rune = b[0];
        return 1;
    }
    if (b[0] < 0xe0) {
        *out_rune = (b[0] & 0x1fu) << 6 | (b[1] & 0x3fu);
        return 2;
    }
    if (b[0] < 0xf0) {
        *out_rune = (b[0] & 0x0fu) << 12 | (b[1] & 0x3fu) << 6 | (b[2] & 0x3fu);
        return 3;
    }
    *out_rune = (b[0] & 0x07u) << 18 | (b[1] & 0x3fu) << 12 | (b[2] & 0x3fu) << 6 | (b[3] & 0x3fu);
    return 4;
}

/* Bytes of the character that starts with this byte of valid text. */
static inline size_t px_rune_bytes(char first)
{
    unsigned char b = (unsigned char)first;
    return b < 0x80 ? 1 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
}

/* 0 to 15; -1: not a hexadecimal digit. */
static inline int px_hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20; /* lower case */
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t px_rune_encode(uint32_t rune, char out[4]);
void px_rune_append(px_buf *buf, uint32_t rune);
/* Characters in valid text. */
size_t px_rune_count(const char *text, size_t length);

/* Appends text with each maximal invalid part as U+FFFD. */
void px_utf8_repair(const char *text, size_t length, px_buf *out);
/* Bytes at the end of text that begin a character which later bytes could complete (0 to 3). */
size_t px_utf8_open_tail(const char *text, size_t length);

bool px_rune_is_space(uint32_t rune);       /* White_Space */
bool px_rune_is_blank(uint32_t rune);       /* Python's str.isspace(): also 0x1c to 0x1f */
bool px_rune_is_numeric(uint32_t rune);     /* Nd, Nl, No */
bool px_rune_is_punctuation(uint32_t rune); /* ASCII punctuation and symbols, P* */
bool px_rune_is_mark(uint32_t rune);        /* Mn, Mc, Me */
bool px_rune_is_nonspacing(uint32_t rune);  /* Mn */
bool px_rune_is_control(uint32_t rune);     /* Cc, Cf, Co */
bool px_rune_is_unassigned(uint32_t rune);  /* Cn, Cs */
bool px_rune_is_printable(uint32_t rune);   /* Python's str.isprintable() */
bool px_rune_is_letter(uint32_t rune);      /* L* */
bool px_rune_is_cased(uint32_t rune);       /* Lu, Ll, Lt */
bool px_rune_is_word(uint32_t rune); /* Rust's \w: letters, marks, digits, "_", enclosed letters */

/* A character of the same kind (bytes, category, case, script) that Unicode 14 has: most are it
 * themselves. */
uint32_t px_rune_like(uint32_t rune);
/* Valid text with each character replaced by px_rune_like() of it, into *out, which is as long;
 * false: the text has no newer ones, and *out is untouched. */
bool px_utf8_like(px_slice text, px_buf *out);
/* The version of Unicode that brought a mark, a punctuation or format character, or one that normal
 * forms change; 8 for those up to then and for all others. */
uint32_t px_rune_age(uint32_t rune);
/* A number for each script of Unicode 9; 0 for the blank and for characters that had none. */
uint32_t px_rune_script(uint32_t rune);

typedef enum px_norm_form { PX_NFC, PX_NFD, PX_NFKC, PX_NFKD } px_norm_form;

/* Appends the normal form of valid text, by the rules of Unicode 9, as the reference has them:
 * newer characters neither change nor combine. Linear but for sorting runs of combining marks,
 * O(n log n). RESOURCE_EXHAUSTED when memory runs out. */
px_status px_unicode_normalize(
    const char *text, size_t length, px_norm_form form, px_buf *out) PX_MUST_USE;
/* Appends lower case, character by character (no context: final sigma is not special). */
void px_unicode_lower(const char *text, size_t length, px_buf *out);
/* Appends the lower case of the character at text[at] as Python writes it, for which a capital
 * sigma at the end of a word is another letter. */
void px_unicode_lower_at(px_slice text, size_t at, px_buf *out);
void px_unicode_upper(const char *text, size_t length, px_buf *out);
/* Each character in title case. */
void px_unicode_title(const char *text, size_t length, px_buf *out);
/* Full case folding. */
void px_unicode_fold(const char *text, size_t length, px_buf *out);

#endif
