#include "engine/forms.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/ring.h"
#include "engine/doorbell.h"
#include "engine/text/token_bytes.h"

enum { FORMS_MAX = 32 };

struct px_form {
    px_grammar *grammar;
    px_grammar_kind kind;
    char *text;
    size_t length;
    unsigned users;
    uint64_t used; /* when it was asked for last, in requests */
    px_form *next;
};

struct px_forms {
    px_forms_options options;
    px_ring submitted, ready; /* px_seq * */
    px_doorbell bell;
    atomic_bool is_closing;
    bool has_thread;
    pthread_t thread;

    px_vocabulary vocabulary; /* made by the thread, before anything is ready */
    px_status vocabulary_status;
    bool has_vocabulary;

    pthread_mutex_t lock; /* of the list and the counts in it */
    px_form *list;
    unsigned count;
    uint64_t requests;
};

/* -------------------------------------------------------------------------------- the list */

static void form_free(px_form *form)
{
    px_grammar_free(form->grammar);
    free(form->text);
    free(form);
}

static px_form *find(px_forms *forms, const px_seq *seq)
{
    for (px_form *form = forms->list; form; form = form->next)
        if (form->kind == seq->form_kind && form->length == seq->form_text.length &&
            memcmp(form->text, seq->form_text.data, form->length) == 0)
            return form;
    return NULL;
}

/* The unused one that was asked for longest ago, if there are more than are kept. */
static void drop_oldest(px_forms *forms)
{
    px_form **oldest = NULL;
    for (px_form **at = &forms->list; *at; at = &(*at)->next)
        if (!(*at)->users && (!oldest || (*at)->used < (*oldest)->used)) oldest = at;
    if (forms->count <= FORMS_MAX || !oldest) return;
    px_form *gone = *oldest;
    *oldest = gone->next;
    forms->count--;
    form_free(gone);
}

static px_form *use(px_forms *forms, px_form *form)
{
    if (!form) return NULL;
    form->users++;
    form->used = ++forms->requests;
    return form;
}

void px_forms_release(px_forms *forms, px_form *form)
{
    if (!form) return;
    pthread_mutex_lock(&forms->lock);
    form->users--;
    pthread_mutex_unlock(&forms->lock);
}

/* ------------------------------------------------------------------- the compiling thread */

static void bytes_of(void *arg, uint32_t id, px_buf *out)
{
    px_token_bytes_of(arg, id, out);
}

static px_status need_vocabulary(px_forms *forms)
{
    if (forms->has_vocabulary) return forms->vocabulary_status;
    px_token_bytes *bytes = px_token_bytes_create(forms->options.tokenizer);
    uint32_t size = px_tokenizer_size(forms->options.tokenizer);
    forms->vocabulary_status = px_vocabulary_make(size, bytes_of, bytes, &forms->vocabulary);
    px_token_bytes_free(bytes);
    forms->has_vocabulary = true;
    return forms->vocabulary_status;
}

static px_status compile(px_forms *forms, const px_seq *seq, px_form **out)
{
    px_grammar *grammar;
    PX_TRY(need_vocabulary(forms));
    PX_TRY(px_grammar_compile(&forms->vocabulary, seq->form_kind, seq->form_text, &grammar));
    px_form *form = px_alloc(sizeof *form);
    *form = (px_form){.grammar = grammar,
        .kind = seq->form_kind,
        .text = px_alloc(seq->form_text.length + 1),
        .length = seq->form_text.length};
    memcpy(form->text, seq->form_text.data, form->length);
    *out = form;
    return px_ok();
}

/* With all choices behind `seq`; its own use is counted. */
static void share(px_forms *forms, px_form *form, px_seq *seq)
{
    seq->form = form;
    if (!form || !seq->next_choice) return;
    pthread_mutex_lock(&forms->lock);
    for (px_seq *other = seq->next_choice; other; other = other->next_choice)
        other->form = use(forms, form);
    pthread_mutex_unlock(&forms->lock);
}

static void serve(px_forms *forms, px_seq *seq)
{
    pthread_mutex_lock(&forms->lock);
    px_form *form = use(forms, find(forms, seq));
    pthread_mutex_unlock(&forms->lock);
    if (!form) { /* only this thread adds: nobody else can have it meanwhile */
        seq->status = compile(forms, seq, &form);
        if (px_is_ok(seq->status)) {
            pthread_mutex_lock(&forms->lock);
            form->next = forms->list;
            forms->list = use(forms, form);
            forms->count++;
            drop_oldest(forms);
            pthread_mutex_unlock(&forms->lock);
        }
    }
    share(forms, form, seq);
    bool pushed = px_ring_push(&forms->ready, &seq);
    PX_ASSERT(pushed);
    forms->options.on_ready(forms->options.arg);
}

static void *run(void *arg)
{
    px_forms *forms = arg;
    while (!atomic_load_explicit(&forms->is_closing, memory_order_acquire)) {
        uint32_t seen = px_doorbell_look(&forms->bell);
        px_seq *seq;
        if (px_ring_pop(&forms->submitted, &seq))
            serve(forms, seq);
        else
            px_doorbell_wait(&forms->bell, seen, PX_SEC);
    }
    return NULL;
}

/* --------------------------------------------------------------------------------- outside */

px_status px_forms_create(const px_forms_options *options, px_forms **out)
{
    px_forms *forms = px_alloc(sizeof *forms);
    forms->options = *options;
    px_ring_init(&forms->submitted, sizeof(px_seq *), options->waiting_max);
    px_ring_init(&forms->ready, sizeof(px_seq *), options->waiting_max);
    pthread_mutex_init(&forms->lock, NULL);
    int error = pthread_create(&forms->thread, NULL, run, forms);
    forms->has_thread = error == 0;
    if (!error) {
        *out = forms;
        return px_ok();
    }
    px_forms_free(forms);
    return px_fail(PX_RESOURCE_EXHAUSTED, "the grammars' thread: %s", strerror(error));
}

void px_forms_free(px_forms *forms)
{
    if (!forms) return;
    atomic_store_explicit(&forms->is_closing, true, memory_order_release);
    px_doorbell_ring(&forms->bell);
    if (forms->has_thread) pthread_join(forms->thread, NULL);
    while (forms->list) {
        px_form *next = forms->list->next;
        form_free(forms->list);
        forms->list = next;
    }
    px_vocabulary_done(&forms->vocabulary);
    px_ring_done(&forms->submitted);
    px_ring_done(&forms->ready);
    pthread_mutex_destroy(&forms->lock);
    free(forms);
}

void px_forms_submit(px_forms *forms, px_seq *seq)
{
    bool pushed = px_ring_push(&forms->submitted, &seq);
    PX_ASSERT(pushed);
    px_doorbell_ring(&forms->bell);
}

bool px_forms_take(px_forms *forms, px_seq **out)
{
    return px_ring_pop(&forms->ready, out);
}

px_grammar *px_form_grammar(px_form *form)
{
    return form->grammar;
}

const px_vocabulary *px_forms_vocabulary(const px_forms *forms)
{
    return &forms->vocabulary;
}
