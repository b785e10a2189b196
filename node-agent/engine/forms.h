/* forms.h - the grammars that answers keep to: compiled on a thread of their own, kept for the next
 * request that asks for the same.
 *
 *   caller's thread --submit--> compiling thread --take--> engine thread ... release: caller's
 *
 * Owns:    the compiled grammars and the vocabulary that they share, which is made when the first
 *          is asked for. Sequences are borrowed until taken.
 * Bounds:  FORMS_MAX grammars beyond those in use; the longest unused goes first.
 */
#ifndef PX_ENGINE_FORMS_H
#define PX_ENGINE_FORMS_H

#include "engine/seq.h"

typedef struct px_forms px_forms;
typedef struct px_form px_form;

typedef struct px_forms_options {
    const px_tokenizer *tokenizer; /* borrowed */
    uint32_t waiting_max;          /* sequences submitted and not taken, at most */
    void (*on_ready)(void *arg);   /* on the compiling thread: one can be taken */
    void *arg;
} px_forms_options;

px_status px_forms_create(const px_forms_options *options, px_forms **out) PX_MUST_USE;
/* Ends the thread; what waits is forgotten. NULL is fine. */
void px_forms_free(px_forms *forms);

/* `seq` has a form. */
void px_forms_submit(px_forms *forms, px_seq *seq);
/* seq->form is set, and that of the choices behind it, or seq->status says why not. False: none is
 * ready. */
bool px_forms_take(px_forms *forms, px_seq **out);
/* One that seq->form was set to. NULL is fine. Any thread. */
void px_forms_release(px_forms *forms, px_form *form);

px_grammar *px_form_grammar(px_form *form);
const px_vocabulary *px_forms_vocabulary(const px_forms *forms); /* once a form was taken */

#endif
