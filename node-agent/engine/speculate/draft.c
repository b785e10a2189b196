/* draft.c - see draft.h.
 *
 * A round is one step of the draft model. In the first everybody catches up with its newest token;
 * each that follows has one row for each sequence that wants one more guess.
 */
#include "engine/speculate/draft.h"

#include <stdlib.h>

#include "base/clock.h"
#include "engine/pick.h"

enum { CATCH_UP_ROWS = 128 /* of a round: what waits for it meanwhile */ };

typedef struct job { /* a sequence that is guessed for */
    px_seq *seq;
    uint32_t wanted;
    px_guide guide; /* ahead of the sequence's own; not begun where it has no form */
} job;

struct px_draft {
    px_draft_options options;
    px_batch batch;
    uint32_t *ids, *logit_at; /* [rows], [slots] */
    px_kv_row *at;            /* [rows] */
    float *logits;            /* [slots, vocabulary] */
    size_t logits_bytes;
    px_sampler *sampler;
    job *jobs; /* [slots] */
    uint32_t job_count;
    px_price price; /* of a round by its rows */
};

px_status px_draft_create(const px_draft_options *options, px_draft **out)
{
    px_draft *draft = px_alloc(sizeof *draft);
    *draft = (px_draft){.options = *options,
        .ids = px_alloc_array(options->rows, sizeof *draft->ids),
        .at = px_alloc_array(options->rows, sizeof *draft->at),
        .logit_at = px_alloc_array(options->slots, sizeof *draft->logit_at),
        .jobs = px_alloc_array(options->slots, sizeof *draft->jobs),
        .logits_bytes = (size_t)options->slots * options->vocabulary * sizeof(float)};
    void *logits = NULL;
    px_status status = px_sampler_create(options->vocabulary, &draft->sampler);
    if (px_is_ok(status))
        status = px_big_alloc(draft->logits_bytes, "the draft model's logits", &logits);
    draft->logits = logits;
    if (!px_is_ok(status)) {
        px_draft_free(draft);
        return status;
    }
    *out = draft;
    return status;
}

void px_draft_free(px_draft *draft)
{
    if (!draft) return;
    px_big_free(draft->logits, draft->logits_bytes);
    px_sampler_free(draft->sampler);
    free(draft->ids);
    free(draft->at);
    free(draft->logit_at);
    free(draft->jobs);
    free(draft);
}

uint32_t px_draft_room(const px_draft *draft, const px_seq *seq)
{
    uint32_t context = draft->options.context;
    return seq->count < context ? context - seq->count : 0;
}

double px_draft_depth_ns(const px_draft *draft, uint32_t seqs)
{
    return px_price_ns(&draft->price, seqs);
}

double px_draft_catch_up_ns(const px_draft *draft, const px_seq *seq)
{
    uint32_t missing = seq->count - seq->guess->drafted;
    double one_ns = px_price_ns(&draft->price, 1), most_ns = one_ns * missing;
    if (missing <= PX_PRICE_ROWS_MAX) return px_price_ns(&draft->price, missing) - one_ns;
    double full_ns = px_price_ns(&draft->price, PX_PRICE_ROWS_MAX);
    return full_ns > 0 ? full_ns * missing / PX_PRICE_ROWS_MAX : most_ns;
}

/* --- a round ------------------------------------------------------------------------------ */

static void add_row(px_draft *draft, const px_seq *seq, uint32_t position)
{
    uint32_t row = draft->batch.rows++;
    draft->ids[row] = seq->tokens[position];
    draft->at[row] =
        (px_kv_row){.blocks = seq->hold.blocks, .position = position, .prompt = seq->prompt_count};
}

static void want_logits(px_draft *draft)
{
    draft->logit_at[draft->batch.logit_rows++] = draft->batch.rows - 1;
}

static bool run_round(px_draft *draft)
{
    px_batch *batch = &draft->batch;
    int64_t started_ns = px_now_ns();
    batch->ids = draft->ids;
    batch->at = draft->at;
    batch->logit_at = draft->logit_at;
    px_status status = draft->options.forward(draft->options.forward_self, batch, draft->logits);
    px_price_observe(&draft->price, batch->rows, px_now_ns() - started_ns);
    *batch = (px_batch){0};
    return px_is_ok(status);
}

/* False: nothing can follow that the sequence's form allows. */
static bool pick(px_draft *draft, job *j, uint32_t depth, const float *logits)
{
    px_seq *seq = j->seq;
    px_pick pick = {
        .seq = seq, .position = seq->count + depth, .vocabulary = draft->options.vocabulary};
    if (seq->form) {
        if (depth && !px_guide_accept(&j->guide, seq->guess->tokens[depth - 1])) return false;
        pick.mask = px_guide_mask(&j->guide);
        if (!pick.mask) return false;
        pick.mask_words = px_guide_mask_words(&j->guide, pick.vocabulary);
        pick.may_end = px_guide_may_end(&j->guide);
    }
    int64_t token = px_pick_token(&pick, draft->sampler, logits);
    if (token < 0) return false;
    seq->guess->tokens[depth] = seq->tokens[seq->count + depth] = (uint32_t)token;
    seq->guess->count = seq->proposed = depth + 1;
    return !px_seq_is_end(seq, (uint32_t)token);
}

/* --- from the newest token on ------------------------------------------------------------- */

/* Its rows up to its newest token, or as many as there is room for. */
static void catch_up(px_draft *draft, px_seq *seq)
{
    px_guess *guess = seq->guess;
    uint32_t limit = draft->options.rows < CATCH_UP_ROWS ? draft->options.rows : CATCH_UP_ROWS;
    uint32_t wanted = seq->proposed;
    seq->proposed = 0;
    while (guess->drafted < seq->count && draft->batch.rows < limit)
        add_row(draft, seq, guess->drafted++);
    if (guess->drafted < seq->count) return;
    want_logits(draft);
    draft->jobs[draft->job_count++] = (job){.seq = seq, .wanted = wanted};
}

static void begin(px_draft *draft, const px_seq_list *seqs)
{
    draft->batch = (px_batch){0};
    draft->job_count = 0;
    for (px_seq *seq = seqs->first; seq; seq = seq->next)
        if (seq->proposed) catch_up(draft, seq);
    for (uint32_t i = 0; i < draft->job_count; i++) {
        job *j = &draft->jobs[i];
        j->seq->guess->at = j->seq->count;
        if (j->seq->form) px_guide_fork(&j->seq->guide, &j->guide);
    }
}

void px_draft_guess(px_draft *draft, const px_seq_list *seqs)
{
    begin(draft, seqs);
    for (uint32_t depth = 0; draft->batch.rows && run_round(draft); depth++) {
        const float *logits = draft->logits;
        for (uint32_t i = 0; i < draft->job_count; i++) {
            job *j = &draft->jobs[i];
            if (j->wanted <= depth) continue;
            if (!pick(draft, j, depth, logits)) j->wanted = 0;
            logits += draft->options.vocabulary;
            if (j->wanted <= depth + 1) continue;
            j->seq->guess->drafted = j->seq->count + depth + 1;
            add_row(draft, j->seq, j->seq->count + depth);
            want_logits(draft);
        }
    }
    for (uint32_t i = 0; i < draft->job_count; i++) px_guide_end(&draft->jobs[i].guide);
}
