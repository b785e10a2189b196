/* prompts.h - what a benchmark asks: random token ids, or lines of a file.
 *
 * Random ids need no tokenizer, have an exact length, and never hit a prefix cache by accident. The
 * hash names the set: the same seed and options, or the same file, give the same one everywhere.
 */
#ifndef PX_CONTROL_PROMPTS_H
#define PX_CONTROL_PROMPTS_H

#include "base/json.h"

typedef struct px_prompt { /* one of the three; the others are empty */
    const uint32_t *ids;
    uint32_t id_count;
    const char *text;
    const json_t *messages; /* a conversation, as OpenAI writes it */
    uint32_t max_tokens;    /* of the answer; 0: as the options say */
} px_prompt;

typedef struct px_prompts {
    px_prompt *items;
    uint32_t count;
    uint64_t hash;
    uint32_t *ids; /* of all items */
    json_t *lines; /* array: the file's lines, which items borrow from */
} px_prompts;

typedef struct px_prompts_random {
    uint32_t count;
    uint32_t tokens; /* of a prompt, > 0 */
    uint32_t shared; /* of these, how many at the front are the same in all prompts */
    uint32_t vocabulary_min, vocabulary_max; /* ids are drawn from [min, max) */
    uint64_t seed;
} px_prompts_random;

/* RESOURCE_EXHAUSTED: more than 2^28 ids. */
px_status px_prompts_make(const px_prompts_random *options, px_prompts *out) PX_MUST_USE;
/* Lines {"prompt": TEXT} or {"messages": [{"role": .., "content": TEXT}, ..]}, either with
 * "max_tokens" if it likes. INVALID_ARGUMENT names the line. */
px_status px_prompts_read(const char *path, px_prompts *out) PX_MUST_USE;
void px_prompts_done(px_prompts *prompts);

#endif
