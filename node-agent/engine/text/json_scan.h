/* json_scan.h - reads large JSON in place, value by value, without building a tree.
 *
 * For the vocabulary and the merges of tokenizer.json, which are megabytes of short strings. The
 * scanner checks the syntax of what it walks over; the first error sticks and names its place.
 * Strings come out unescaped: borrowed from the text where nothing was escaped, else from `work`.
 * Source:  RFC 8259. A lone surrogate escape becomes U+FFFD.
 */
#ifndef PX_TEXT_JSON_SCAN_H
#define PX_TEXT_JSON_SCAN_H

#include "base/memory.h"

typedef struct px_json_scan {
    const char *start, *at, *end;
    const char *error; /* NULL: none so far */
    px_buf work;       /* the last unescaped string */
} px_json_scan;

void px_json_scan_init(px_json_scan *scan, px_slice text);
void px_json_scan_done(px_json_scan *scan);
/* The first error as a status: "WHAT: line 3: ..."; OK if there was none. */
px_status px_json_scan_status(const px_json_scan *scan, const char *what) PX_MUST_USE;

/* Enters the object or array at this place ('{' or '['); false sets the error. */
bool px_json_scan_enter(px_json_scan *scan, char bracket);
/* Goes to the next member of the entered object (and reads its key) or array; false at its end,
 * which it passes, or after an error. `*first` starts as true. */
bool px_json_scan_key(px_json_scan *scan, bool *first, px_slice *out_key);
bool px_json_scan_item(px_json_scan *scan, bool *first);

char px_json_scan_peek(px_json_scan *scan); /* first byte of the next value; 0 at the end */
bool px_json_scan_string(px_json_scan *scan, px_slice *out);
/* As a string, but it may be no UTF-8: for who looks it up among texts that were checked. */
bool px_json_scan_bytes(px_json_scan *scan, px_slice *out);
/* Whether a string is borrowed from the text, and not from `work`. */
static inline bool px_json_scan_is_lasting(const px_json_scan *scan, px_slice text)
{
    return text.data >= scan->start && text.data < scan->end;
}
bool px_json_scan_number(px_json_scan *scan, double *out);
/* Passes a value of any kind and gives its text. */
bool px_json_scan_skip(px_json_scan *scan, px_slice *out_raw);
/* Only white space is left. */
bool px_json_scan_end(px_json_scan *scan);

#endif
