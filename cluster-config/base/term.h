/* term.h - what people see: aligned tables, a progress bar, durations and sizes in words.
 *
 * Nothing here prints colour or redraws unless the stream is a terminal.
 */
#ifndef PX_BASE_TERM_H
#define PX_BASE_TERM_H

#include <stdint.h>
#include <stdio.h>

#include "base/utf8.h" /* px_utf8_valid_prefix, for what is streamed to a person */

/* --- table: cells are copied, columns aligned by display width (UTF-8 aware) --- */
typedef struct px_table px_table;
px_table *px_table_create(
    const char *const *headers, int columns); /* "NAME"; ">NAME" right-aligns */
void px_table_row(px_table *table, const char *const *cells);
void px_table_print(const px_table *table, FILE *to);
void px_table_free(px_table *table);

/* --- progress: one line redrawn on a terminal, a line every few seconds otherwise; silent
 *     for work that ends within a second --- */
typedef struct px_progress px_progress;
px_progress *px_progress_create(FILE *to, const char *label);
void px_progress_update(px_progress *progress, double fraction, const char *note); /* 0..1 */
void px_progress_done(px_progress *progress, const char *note);                    /* frees */

/* Both write into `out` and return it. */
const char *px_format_bytes(uint64_t bytes, char out[32]); /* "96.2 MiB" */
const char *px_format_duration(int64_t ns, char out[32]);  /* "2h 3m", "1.4 s", "320 ms" */

#endif
