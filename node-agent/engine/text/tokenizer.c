/* tokenizer.c - text to ids and back: the pipeline over the parts that a file described.
 *
 *   encode   repair UTF-8 → cut out added tokens → normalise → cut out normalised added tokens
 *            → pre-tokenize → model → post-process
 *   decode   ids → tokens → decoder (always as a stream)
 */
#include "engine/text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "engine/text/grow.h"
#include "engine/text/tokenizer_impl.h"
#include "engine/text/unicode.h"

enum { IDLE_MAX = 16 };
static const size_t TEXT_BYTES_MAX = 1u << 30; /* a piece's place is 32 bits, and text may grow */
static const size_t WORK_BYTES_MAX = 0xf0000000u;

struct px_encoder {
    px_encoder *next; /* in the idle list */
    px_matcher *matcher;
    px_buf input;         /* repaired */
    px_buf normal, spare; /* one stretch between added tokens, normalised */
    px_pieces pieces;
    px_bpe_work *bpe;
    px_unigram_work *unigram;
};

/* --- life --- */

px_tokenizer *px_tokenizer_alloc(void)
{
    px_tokenizer *tokenizer = px_alloc(sizeof *tokenizer);
    pthread_mutex_init(&tokenizer->idle_lock, NULL);
    return tokenizer;
}

static void encoder_free(px_encoder *encoder)
{
    if (!encoder) return;
    px_matcher_free(encoder->matcher);
    px_buf_done(&encoder->input);
    px_buf_done(&encoder->normal);
    px_buf_done(&encoder->spare);
    px_pieces_done(&encoder->pieces);
    px_bpe_work_free(encoder->bpe);
    px_unigram_work_free(encoder->unigram);
    free(encoder);
}

void px_tokenizer_free(px_tokenizer *tokenizer)
{
    if (!tokenizer) return;
    while (tokenizer->idle) {
        px_encoder *next = tokenizer->idle->next;
        encoder_free(tokenizer->idle);
        tokenizer->idle = next;
    }
    pthread_mutex_destroy(&tokenizer->idle_lock);
    px_decoder_free(tokenizer->decoder);
    px_post_processor_done(&tokenizer->post);
    px_unigram_free(tokenizer->unigram);
    px_bpe_free(tokenizer->bpe);
    px_pretokenizer_free(tokenizer->pretokenizer);
    px_normalizer_free(tokenizer->normalizer);
    px_added_done(&tokenizer->added);
    px_vocab_done(&tokenizer->vocab);
    free(tokenizer->special);
    free(tokenizer);
}

static px_status encoder_create(const px_tokenizer *tokenizer, px_encoder **out)
{
    px_encoder *encoder = px_alloc(sizeof *encoder);
    px_buf_init(&encoder->input, WORK_BYTES_MAX);
    px_buf_init(&encoder->normal, WORK_BYTES_MAX);
    px_buf_init(&encoder->spare, WORK_BYTES_MAX);
    px_pieces_init(&encoder->pieces, WORK_BYTES_MAX);
    px_status status = px_matcher_create(&encoder->matcher);
    if (px_is_ok(status) && tokenizer->bpe) status = px_bpe_work_create(&encoder->bpe);
    if (tokenizer->unigram) encoder->unigram = px_unigram_work_create();
    if (!px_is_ok(status)) {
        encoder_free(encoder);
        return status;
    }
    *out = encoder;
    return px_ok();
}

/* The idle list is the one thing in a tokenizer that changes; its lock makes it thread-safe. */
static px_status encoder_take(const px_tokenizer *tokenizer, px_encoder **out)
{
    px_tokenizer *owner = (px_tokenizer *)tokenizer;
    pthread_mutex_lock(&owner->idle_lock);
    px_encoder *encoder = owner->idle;
    if (encoder) {
        owner->idle = encoder->next;
        owner->idle_count--;
    }
    pthread_mutex_unlock(&owner->idle_lock);
    if (!encoder) return encoder_create(tokenizer, out);
    *out = encoder;
    return px_ok();
}

static void encoder_put_back(const px_tokenizer *tokenizer, px_encoder *encoder)
{
    px_tokenizer *owner = (px_tokenizer *)tokenizer;
    pthread_mutex_lock(&owner->idle_lock);
    bool keep = owner->idle_count < IDLE_MAX;
    if (keep) {
        encoder->next = owner->idle;
        owner->idle = encoder;
        owner->idle_count++;
    }
    pthread_mutex_unlock(&owner->idle_lock);
    if (!keep) encoder_free(encoder);
}

static px_status name_and_add(px_tokenizer *tokenizer, px_slice text, const px_added_token *token)
{
    px_slice known = px_vocab_text(&tokenizer->vocab, token->id);
    bool same = known.data && known.length == text.length &&
                memcmp(known.data, text.data, text.length) == 0;
    if (!same) PX_TRY(px_vocab_name(&tokenizer->vocab, text, token->id));
    return px_added_add(&tokenizer->added, text, token);
}

px_status px_tokenizer_add_token(
    px_tokenizer *tokenizer, px_slice text, const px_added_token *token)
{
    if (!token->normalized || !tokenizer->normalizer) return name_and_add(tokenizer, text, token);
    /* Such a token is its normalised text, when decoding too (as the reference has it). */
    px_encoder *encoder;
    PX_TRY(encoder_take(tokenizer, &encoder));
    px_buf_reset(&encoder->normal);
    px_utf8_repair(text.data, text.length, &encoder->normal);
    bool first = true;
    px_status status = px_normalizer_run(
        tokenizer->normalizer, encoder->matcher, &encoder->normal, &encoder->spare, &first);
    if (px_is_ok(status))
        status = name_and_add(
            tokenizer, (px_slice){px_buf_text(&encoder->normal), encoder->normal.length}, token);
    encoder_put_back(tokenizer, encoder);
    return status;
}

px_status px_tokenizer_seal(px_tokenizer *tokenizer)
{
    uint32_t size = tokenizer->vocab.size;
    if (size == 0) return px_fail(PX_INVALID_ARGUMENT, "the tokenizer has no tokens");
    tokenizer->special = calloc(size, 1);
    if (!tokenizer->special)
        return px_fail(PX_RESOURCE_EXHAUSTED, "no memory for %u tokens", (unsigned)size);
    for (size_t i = 0; i < tokenizer->added.count; i++)
        if (tokenizer->added.tokens[i].special)
            tokenizer->special[tokenizer->added.tokens[i].id] = 1;
    const px_ids *lists[] = {&tokenizer->post.before, &tokenizer->post.after};
    for (int list = 0; list < 2; list++)
        for (size_t i = 0; i < lists[list]->count; i++)
            if (lists[list]->data[i] >= size)
                return px_fail(PX_INVALID_ARGUMENT,
                    "the post-processor adds the id %u, but there are %u tokens",
                    (unsigned)lists[list]->data[i], (unsigned)size);
    return px_ok();
}

/* --- encode --- */

typedef struct encode_job {
    const px_tokenizer *tokenizer;
    px_encoder *encoder;
    const px_encode_options *options;
    px_ids *ids;
    size_t ids_limit; /* of ids->count */
} encode_job;

static px_status check_limit(const encode_job *job)
{
    if (job->ids->count <= job->ids_limit) return px_ok();
    return px_fail(
        PX_RESOURCE_EXHAUSTED, "the text has more than %zu tokens", job->options->ids_max);
}

static px_status push_id(encode_job *job, uint32_t id)
{
    PX_TRY(PX_GROW(job->ids, job->ids->count + 1));
    job->ids->data[job->ids->count++] = id;
    return check_limit(job);
}

static px_status push_ids(encode_job *job, const px_ids *ids)
{
    for (size_t i = 0; i < ids->count; i++) PX_TRY(push_id(job, ids->data[i]));
    return px_ok();
}

static px_status encode_piece(encode_job *job, px_slice piece)
{
    const px_tokenizer *t = job->tokenizer;
    switch (t->model) {
    case PX_MODEL_BPE: return px_bpe_encode(t->bpe, job->encoder->bpe, piece, job->ids);
    case PX_MODEL_UNIGRAM:
        return px_unigram_encode(t->unigram, job->encoder->unigram, piece, job->ids);
    case PX_MODEL_WORDPIECE: return px_wordpiece_encode(&t->wordpiece, piece, job->ids);
    case PX_MODEL_WORDLEVEL: return px_wordlevel_encode(&t->wordpiece, piece, job->ids);
    }
    return px_ok();
}

static px_status out_of_memory(void)
{
    return px_fail(PX_RESOURCE_EXHAUSTED, "tokenizing the text takes too much memory");
}

/* Normalised text without added tokens. */
static px_status encode_plain(encode_job *job, px_slice text, bool first)
{
    px_pieces *pieces = &job->encoder->pieces;
    px_buf_reset(&pieces->text);
    px_buf_append(&pieces->text, text.data, text.length);
    PX_TRY(px_pretokenizer_run(job->tokenizer->pretokenizer, job->encoder->matcher, first, pieces));
    /* The model may read a few bytes past a piece. */
    static const char slack[PX_BPE_SLACK];
    px_buf_append(&pieces->text, slack, sizeof slack);
    if (pieces->text.overflowed) return out_of_memory();
    for (size_t i = 0; i < pieces->list.count; i++) {
        px_piece piece = pieces->list.data[i];
        PX_TRY(encode_piece(job, (px_slice){pieces->text.data + piece.start, piece.length}));
        PX_TRY(check_limit(job));
    }
    return px_ok();
}

typedef px_status (*stretch_fn)(encode_job *job, px_slice text, bool first);

/* Pushes the added tokens of `text` that `trie` knows and calls `between` for the text between. */
static px_status cut_added(
    encode_job *job, const px_trie *trie, px_slice text, bool first, stretch_fn between)
{
    size_t at = 0;
    px_added_scan scan = {0};
    px_added_match match;
    while (px_added_next(
        &job->tokenizer->added, trie, text, job->options->parse_special, &scan, &match)) {
        if (match.start > at)
            PX_TRY(between(job, (px_slice){text.data + at, match.start - at}, first && at == 0));
        PX_TRY(push_id(job, match.token->id));
        at = match.end;
    }
    if (at == text.length) return px_ok();
    return between(job, (px_slice){text.data + at, text.length - at}, first && at == 0);
}

static px_status encode_stretch(encode_job *job, px_slice text, bool first)
{
    px_encoder *encoder = job->encoder;
    if (!job->tokenizer->normalizer)
        return cut_added(job, &job->tokenizer->added.normalized, text, first, encode_plain);
    px_buf_reset(&encoder->normal);
    px_buf_append(&encoder->normal, text.data, text.length);
    PX_TRY(px_normalizer_run(
        job->tokenizer->normalizer, encoder->matcher, &encoder->normal, &encoder->spare, &first));
    if (encoder->normal.overflowed) return out_of_memory();
    return cut_added(job, &job->tokenizer->added.normalized,
        (px_slice){px_buf_text(&encoder->normal), encoder->normal.length}, first, encode_plain);
}

static px_status encode(encode_job *job, px_slice text)
{
    px_buf *input = &job->encoder->input;
    px_buf_reset(input);
    px_utf8_repair(text.data, text.length, input);
    if (input->overflowed) return out_of_memory();
    const px_post_processor *post = &job->tokenizer->post;
    if (job->options->add_special) PX_TRY(push_ids(job, &post->before));
    PX_TRY(cut_added(job, &job->tokenizer->added.raw, (px_slice){px_buf_text(input), input->length},
        true, encode_stretch));
    if (job->options->add_special) PX_TRY(push_ids(job, &post->after));
    return px_ok();
}

px_status px_tokenizer_encode(const px_tokenizer *tokenizer, const char *text, size_t length,
    const px_encode_options *options, px_ids *ids)
{
    if (length > TEXT_BYTES_MAX)
        return px_fail(PX_RESOURCE_EXHAUSTED, "the text has %zu bytes; at most %zu are allowed",
            length, TEXT_BYTES_MAX);
    encode_job job = {.tokenizer = tokenizer, .options = options, .ids = ids};
    size_t before = ids->count;
    job.ids_limit = options->ids_max ? before + options->ids_max : SIZE_MAX;
    PX_TRY(encoder_take(tokenizer, &job.encoder));
    px_status status = encode(&job, (px_slice){text, length});
    encoder_put_back(tokenizer, job.encoder);
    if (!px_is_ok(status)) ids->count = before;
    return status;
}

/* --- vocabulary --- */

uint32_t px_tokenizer_size(const px_tokenizer *tokenizer)
{
    return tokenizer->vocab.size;
}

int64_t px_tokenizer_id(const px_tokenizer *tokenizer, const char *token, size_t length)
{
    const px_trie *tries[] = {&tokenizer->added.raw, &tokenizer->added.normalized};
    for (int t = 0; t < 2; t++) {
        uint32_t node = 0;
        for (size_t i = 0; i < length && (node || i == 0); i++)
            node = px_trie_step(tries[t], node, (unsigned char)token[i]);
        if (node && tries[t]->values[node] != PX_TRIE_NONE)
            return tokenizer->added.tokens[tries[t]->values[node]].id;
    }
    uint32_t id = px_vocab_find(&tokenizer->vocab, token, length);
    return id == PX_NO_TOKEN ? -1 : (int64_t)id;
}

px_slice px_tokenizer_token(const px_tokenizer *tokenizer, uint32_t id)
{
    return px_vocab_text(&tokenizer->vocab, id);
}

bool px_tokenizer_is_special(const px_tokenizer *tokenizer, uint32_t id)
{
    return id < tokenizer->vocab.size && tokenizer->special[id];
}

/* --- decode --- */

struct px_detok {
    const px_tokenizer *tokenizer;
    px_decoder_state *state;
    bool skip_special;
};

static px_status detok_create(const px_tokenizer *tokenizer, bool skip_special, px_detok **out)
{
    px_decoder_state *state;
    PX_TRY(px_decoder_state_create(tokenizer->decoder, &state));
    px_detok *detok = px_alloc(sizeof *detok);
    *detok = (px_detok){.tokenizer = tokenizer, .state = state, .skip_special = skip_special};
    *out = detok;
    return px_ok();
}

px_detok *px_detok_create(const px_tokenizer *tokenizer, bool skip_special)
{
    px_detok *detok = NULL;
    px_status status = detok_create(tokenizer, skip_special, &detok);
    PX_ASSERT(px_is_ok(status)); /* it only fails without memory for a few hundred bytes */
    return detok;
}

void px_detok_free(px_detok *detok)
{
    if (!detok) return;
    px_decoder_state_free(detok->state);
    free(detok);
}

void px_detok_reset(px_detok *detok)
{
    px_decoder_state_reset(detok->state);
}

px_status px_detok_push(px_detok *detok, uint32_t id, px_buf *text)
{
    const px_tokenizer *tokenizer = detok->tokenizer;
    if (id >= tokenizer->vocab.size)
        return px_fail(PX_INVALID_ARGUMENT, "the id %u is not in the vocabulary of %u tokens",
            (unsigned)id, (unsigned)tokenizer->vocab.size);
    px_slice token = px_vocab_text(&tokenizer->vocab, id);
    if (!token.data || (detok->skip_special && tokenizer->special[id])) return px_ok();
    return px_decoder_push(detok->state, token, text);
}

void px_detok_finish(px_detok *detok, px_buf *text)
{
    /* Decoders fail only for want of memory while matching; the text then just ends here. */
    px_ignore(px_decoder_finish(detok->state, text));
}

px_status px_tokenizer_decode(const px_tokenizer *tokenizer, const uint32_t *ids, size_t count,
    bool skip_special, px_buf *text)
{
    px_detok *detok;
    PX_TRY(detok_create(tokenizer, skip_special, &detok));
    px_status status = px_ok();
    for (size_t i = 0; i < count && px_is_ok(status); i++)
        status = px_detok_push(detok, ids[i], text);
    if (px_is_ok(status)) status = px_decoder_finish(detok->state, text);
    px_detok_free(detok);
    if (px_is_ok(status) && text->overflowed)
        return px_fail(PX_RESOURCE_EXHAUSTED, "the text has more than %zu bytes", text->max);
    return status;
}
