/* json_lines.h - programs that answer one JSON object a line: tokenize, render.
 */
#ifndef PX_OFFLINE_JSON_LINES_H
#define PX_OFFLINE_JSON_LINES_H

#include <jansson.h>
#include <stdio.h>

#include "base/memory.h"

/* Appends the answer to `request` to `line`, without a newline. */
typedef px_status (*px_json_line_fn)(void *arg, const json_t *request, px_buf *line);

/* Answers every line of `from` on `to`, in order; empty lines are passed over. A failed request
 * is answered with {"error": "..."}. Fails when a line is too long or `to` cannot be written. */
px_status px_json_lines_run(FILE *from, FILE *to, px_json_line_fn answer, void *arg) PX_MUST_USE;

#endif
