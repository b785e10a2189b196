/* choices.h - the answers to one request, as programs that ask for them print them.
 *
 * As JSON a single answer stands in the object itself, several in its `choices`. As text several
 * are printed one by one, when they end.
 * Owns:    all of its text, each piece up to the bound given at the beginning.
 * Threads: one at a time.
 */
#ifndef PX_BASE_CHOICES_H
#define PX_BASE_CHOICES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/memory.h"

typedef struct px_choice {
    px_buf ids;         /* token ids with commas */
    px_buf text;        /* all of it */
    const char *finish; /* why it ended, a constant; NULL: it has not */
    uint32_t output_tokens;
    double logprob_sum;
} px_choice;

typedef struct px_choices {
    uint32_t count; /* at least 1 */
    px_choice *list;
    px_buf prompt; /* what the prompt's tokens were worth, as JSON items */
} px_choices;

void px_choices_init(px_choices *choices, uint32_t count, size_t bytes_max);
void px_choices_done(px_choices *choices); /* zeroed ones too */

void px_choice_add_id(px_choice *choice, uint32_t id);
bool px_choices_have_text(const px_choices *choices); /* something was said */
/* One of several has ended: to stdout, under a line of its own. */
void px_choices_print_ended(const px_choices *choices, uint32_t index);
/* The members of a JSON object, without its braces. */
void px_choices_put_json(px_buf *line, const px_choices *choices);

#endif
