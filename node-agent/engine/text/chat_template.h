/* chat_template.h - renders a model's own Jinja chat template.
 *
 * A real interpreter (jinja_*.h) in the environment that transformers gives templates: trim_blocks,
 * lstrip_blocks, loop controls, raise_exception, strftime_now, tojson without HTML escapes.
 * Bounds: steps, depth and output size; a hostile template ends with a sentence that names the
 * line. Threads: immutable after create; render runs anywhere.
 */
#ifndef PX_TEXT_CHAT_TEMPLATE_H
#define PX_TEXT_CHAT_TEMPLATE_H

#include <jansson.h>

#include "base/memory.h"

typedef struct px_chat_template px_chat_template;

/* INVALID_ARGUMENT with line and cause when the template does not parse. */
px_status px_chat_template_create(
    const char *source, size_t length, px_chat_template **out) PX_MUST_USE;
void px_chat_template_free(px_chat_template *tmpl);

typedef struct px_chat_input {
    const json_t *messages;       /* array */
    const json_t *tools;          /* array or NULL (None) */
    const json_t *special_tokens; /* object: bos_token, eos_token, ... or NULL */
    const json_t *kwargs;         /* object of more variables, or NULL */
    bool add_generation_prompt;
    const char *now; /* "YYYY-MM-DDTHH:MM:SS" for strftime_now; NULL: the wall clock */
} px_chat_input;

/* Appends to `out`. INVALID_ARGUMENT: raise_exception's message or an error with line and cause. */
px_status px_chat_template_render(
    const px_chat_template *tmpl, const px_chat_input *input, px_buf *out) PX_MUST_USE;

#endif
