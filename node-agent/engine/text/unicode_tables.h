/* unicode_tables.h - what the libraries' tables of Unicode and the reference's do not share.
 *
 * PCRE2 and utf8proc may be older than the reference's newest tables (Unicode 16, in patterns and
 * in Rust's char methods), and are newer than its oldest ones (8, 9). unicode.h has the functions
 * over these tables. Sorted, without overlaps.
 * Source:  the Unicode Character Database; see tests/golden/text/make_unicode_tables.py.
 */
#ifndef PX_TEXT_UNICODE_TABLES_H
#define PX_TEXT_UNICODE_TABLES_H

#include <stddef.h>
#include <stdint.h>

typedef struct px_rune_range {
    uint32_t first, last, value;
} px_rune_range;

/* An older character of the same kind: as many bytes, category, case, script, ... */
extern const px_rune_range px_runes_alike[];
extern const size_t px_runes_alike_count;
/* The lower case of the first one. */
extern const px_rune_range px_runes_lower[];
extern const size_t px_runes_lower_count;
/* The version of Unicode that brought them. Only marks, punctuation, format characters and what
 * normal forms change. */
extern const px_rune_range px_runes_dated[];
extern const size_t px_runes_dated_count;
/* The number of the script, from 1; Japanese is one. */
extern const px_rune_range px_runes_scripts[];
extern const size_t px_runes_scripts_count;

typedef struct px_rune_case {
    uint32_t rune, title[3], upper[3]; /* zeros behind */
} px_rune_case;
/* Where one of the two is several characters. */
extern const px_rune_case px_runes_cased[];
extern const size_t px_runes_cased_count;

#endif
