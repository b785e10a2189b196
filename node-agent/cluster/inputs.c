/* inputs.c - see inputs.h. */
#include "cluster/inputs.h"

#include <stdlib.h>
#include <string.h>

static px_slice slice_of(ProtobufCBinaryData bytes)
{
    return (px_slice){.data = bytes.len ? (const char *)bytes.data : "", .length = bytes.len};
}

static uint32_t count_of(size_t count)
{
    return count < UINT32_MAX ? (uint32_t)count : UINT32_MAX;
}

/* Before memory is taken for them. */
static px_status check_count(size_t count)
{
    if (!count) return px_fail(PX_INVALID_ARGUMENT, "there is no input");
    if (count > PX_CHOICES_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "%zu texts are more than the %d of one request", count,
            PX_CHOICES_MAX);
    return px_ok();
}

px_status px_inputs_embed(
    const Phalanx__V1__EmbedRequest *request, px_inputs *inputs, px_wanted_vectors *out)
{
    static const px_pool pools[] = {PX_POOL_MODEL, PX_POOL_LAST, PX_POOL_FIRST, PX_POOL_MEAN};
    PX_TRY(check_count(request->n_inputs));
    if ((unsigned)request->pooling >= sizeof pools / sizeof *pools)
        return px_fail(PX_INVALID_ARGUMENT, "there is no pooling %d", (int)request->pooling);
    inputs->list = px_alloc_array(request->n_inputs, sizeof *inputs->list);
    for (size_t i = 0; i < request->n_inputs; i++) {
        const Phalanx__V1__Input *input = request->inputs[i];
        if (input->kind_case == PHALANX__V1__INPUT__KIND_TEXT)
            inputs->list[i].text = slice_of(input->text);
        else if (input->kind_case == PHALANX__V1__INPUT__KIND_TOKENS && input->tokens->n_ids)
            inputs->list[i] =
                (px_input){.tokens = input->tokens->ids, .token_count = input->tokens->n_ids};
        else
            return px_fail(PX_INVALID_ARGUMENT, "input %zu is empty: set text or tokens", i);
    }
    *out = (px_wanted_vectors){.inputs = inputs->list,
        .input_count = (uint32_t)request->n_inputs,
        .pool = pools[request->pooling],
        .dimensions = request->dimensions};
    if (request->normalize__case) out->norm = request->normalize ? PX_NORM_ONE : PX_NORM_NONE;
    return px_ok();
}

/* --- scores ------------------------------------------------------------------------------- */

/* The template with both in their places, appended. */
static void put_text(px_buf *out, px_slice template, px_slice query, px_slice document)
{
    static const char query_mark[] = "{query}", document_mark[] = "{document}";
    for (size_t at = 0; at < template.length;) {
        size_t left = template.length - at;
        const char *from = template.data + at;
        if (left >= 7 && memcmp(from, query_mark, 7) == 0) {
            px_buf_append(out, query.data, query.length);
            at += 7;
        } else if (left >= 10 && memcmp(from, document_mark, 10) == 0) {
            px_buf_append(out, document.data, document.length);
            at += 10;
        } else {
            px_buf_putc(out, *from);
            at++;
        }
    }
}

/* One text a document, all in one piece of memory. */
static px_status fill_template(const Phalanx__V1__ScoreRequest *request, px_inputs *inputs)
{
    px_slice template = slice_of(request->template_);
    px_buf text;
    px_buf_init(&text, PX_INPUT_TEXT_BYTES_MAX);
    for (size_t i = 0; i < request->n_documents; i++) {
        size_t begin = text.length;
        put_text(&text, template, slice_of(request->query), slice_of(request->documents[i]));
        inputs->list[i].text.length = text.length - begin;
    }
    inputs->texts = text.data;
    if (text.overflowed)
        return px_fail(PX_INVALID_ARGUMENT,
            "the template makes texts of more than %d MiB of query and documents",
            PX_INPUT_TEXT_BYTES_MAX >> 20);
    const char *at = inputs->texts ? inputs->texts : "";
    for (size_t i = 0; i < request->n_documents; i++) {
        inputs->list[i].text.data = at;
        at += inputs->list[i].text.length;
    }
    return px_ok();
}

px_status px_inputs_score(
    const Phalanx__V1__ScoreRequest *request, px_inputs *inputs, px_wanted_vectors *out)
{
    bool embeds = !request->template_.len;
    size_t count = request->n_documents + embeds; /* the query is the first */
    if (!request->n_documents) return px_fail(PX_INVALID_ARGUMENT, "there is no document");
    PX_TRY(check_count(count));
    if (embeds && request->n_label_token_ids)
        return px_fail(PX_INVALID_ARGUMENT, "labels stand behind a text: give a template for it");
    inputs->list = px_alloc_array(count, sizeof *inputs->list);
    if (!embeds) PX_TRY(fill_template(request, inputs));
    if (embeds) inputs->list[0].text = slice_of(request->query);
    for (size_t i = 0; embeds && i < request->n_documents; i++)
        inputs->list[1 + i].text = slice_of(request->documents[i]);
    *out = (px_wanted_vectors){.inputs = inputs->list,
        .input_count = (uint32_t)count,
        .labels = {request->label_token_ids, count_of(request->n_label_token_ids)},
        .wants_scores = !embeds && !request->n_label_token_ids};
    return px_ok();
}

void px_inputs_done(px_inputs *inputs)
{
    free(inputs->list);
    free(inputs->texts);
}
