/* grammar.h - answers that keep to a form: which tokens may come next.
 *
 *   grammar = compile(vocabulary, "json_schema", text)     any thread, off the step path
 *   guide = begin(grammar)                               one for each sequence
 *   mask(guide) -> pick a token -> accept(guide)       the engine's thread, once a token
 *
 * The text is matched byte by byte, so a token may end in the middle of a character or of a rule.
 * Masks are remembered by what the grammar has come to, so most steps find theirs made.
 * Owns:    a grammar its automaton and masks, all sized in compile; nothing allocates afterwards.
 *          The vocabulary is borrowed.
 * Threads: a grammar and its guides are for one thread at a time.
 */
#ifndef PX_GRAMMAR_GRAMMAR_H
#define PX_GRAMMAR_GRAMMAR_H

#include "engine/grammar/automaton.h"
#include "engine/grammar/kind.h"
#include "engine/grammar/vocabulary.h"

typedef struct px_grammar px_grammar;

/* INVALID_ARGUMENT says what is wrong with the text and where; RESOURCE_EXHAUSTED: too large;
 * UNIMPLEMENTED: a schema asks for what cannot be kept. */
px_status px_grammar_compile(const px_vocabulary *vocabulary, px_grammar_kind kind, px_slice text,
    px_grammar **out) PX_MUST_USE;
void px_grammar_free(px_grammar *grammar); /* its guides have ended; NULL is fine */

typedef struct px_guide {
    px_grammar *grammar; /* NULL: not begun */
    px_automaton_pin at;
} px_guide;

void px_guide_begin(px_grammar *grammar, px_guide *out);
/* The same place in the same text, for another continuation. */
void px_guide_fork(const px_guide *guide, px_guide *out);
void px_guide_end(px_guide *guide); /* once; not begun is fine */

/* Bit i % 32 of word i / 32: token i may come next; (size + 31) / 32 words, valid until the next
 * call on any guide of the grammar. NULL: the grammar branches too much to be followed. */
const uint32_t *px_guide_mask(px_guide *guide);
/* Words of a mask over the first `vocabulary` tokens: a model may know more than its tokenizer
 * does, or fewer. */
uint32_t px_guide_mask_words(const px_guide *guide, uint32_t vocabulary);
/* False, and nothing changes: this token may not come next. */
bool px_guide_accept(px_guide *guide, uint32_t token);
/* The text may end here: an end-of-text token is allowed. */
bool px_guide_may_end(const px_guide *guide);
/* And it must: nothing else may come. */
bool px_guide_must_end(const px_guide *guide);
/* The bytes that must come next, whatever the model says, up to `room` of them; *out_ends: and
 * nothing may follow them. */
size_t px_guide_forced(px_guide *guide, char *out, size_t room, bool *out_ends);

#endif
