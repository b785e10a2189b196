/* cmd_embed.c - `control-plane embed` and `score`: vectors of texts, and what documents are worth
 * to a query.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "control/cli/client.h"
#include "control/cli/commands.h"
#include "control/cli/message_json.h"
#include "phalanx/v1/inference.pb-c.h"

enum { INPUTS_MAX = 128, LABELS_MAX = 256, SHOWN_VALUES = 6 };

// clang-format off
#define MODEL_SPECS                                                                                \
    {.name = "model", .kind = PX_ARG_STR, .value = "NAME", .no_env = true,                         \
        .help = "which model; not needed while only one is served"},                               \
    {.name = "adapter", .kind = PX_ARG_STR, .value = "NAME", .no_env = true,                       \
        .help = "the LoRA adapter that answers, of those the model has loaded"},                   \
    {.name = "tenant", .kind = PX_ARG_STR, .value = "NAME", .no_env = true,                        \
        .help = "whom the request is counted for"},                                                \
    {.name = "timeout-s", .kind = PX_ARG_INT, .value = "N", .default_value = "0", .min = 0,        \
        .max = 86400, .help = "give up after this long; 0: never"}
// clang-format on

static ProtobufCBinaryData bytes_of(const char *text)
{
    return (ProtobufCBinaryData){.len = strlen(text), .data = (uint8_t *)(uintptr_t)text};
}

/* An option that names something, as messages have it: empty without it. */
static char *name_in(const px_args *args, const char *option)
{
    const char *name = px_args_str(args, option);
    return (char *)(uintptr_t)(name ? name : "");
}

static px_status ask(px_client *client, const px_args *args, px_client_request request)
{
    request.timeout_ns = px_args_int(args, "timeout-s") * PX_SEC;
    request.tenant = px_args_str(args, "tenant");
    request.arg = (void *)args;
    return px_client_call(client, &request);
}

/* --- embed -------------------------------------------------------------------------------- */

const px_arg_spec px_cmd_embed_specs[] = {PX_CLIENT_SPECS, MODEL_SPECS,
    {.name = "pooling",
        .kind = PX_ARG_STR,
        .value = "KIND",
        .no_env = true,
        .help = "last, cls or mean; by default as the model says"},
    {.name = "normalize",
        .kind = PX_ARG_STR,
        .value = "yes|no",
        .no_env = true,
        .help = "to length 1; by default as the model says"},
    {.name = "dimensions",
        .kind = PX_ARG_INT,
        .value = "N",
        .default_value = "0",
        .min = 0,
        .max = 1e6,
        .no_env = true,
        .help = "the first N, of models made for that; 0: all"},
    {0}};

static const px_command_doc embed_doc = {
    .usage = "control-plane embed TEXT... [options]",
    .summary = "Makes a vector of each text, as the model pools its hidden states.",
    .examples = "  control-plane embed 'a cat' 'a dog' --json\n",
    .positional_max = INPUTS_MAX,
};

static px_status read_pooling(const px_args *args, Phalanx__V1__EmbedRequest *request)
{
    static const char *const names[] = {"last", "cls", "mean"};
    const char *pooling = px_args_str(args, "pooling"), *length = px_args_str(args, "normalize");
    for (int i = 0; pooling && i < 3; i++)
        if (strcmp(pooling, names[i]) == 0)
            request->pooling = (Phalanx__V1__Pooling)(PHALANX__V1__POOLING__POOLING_LAST + i);
    if (pooling && !request->pooling) return px_args_fail("--pooling is last, cls or mean");
    if (!length) return px_ok();
    request->normalize__case = PHALANX__V1__EMBED_REQUEST__NORMALIZE__NORMALIZE;
    request->normalize = strcmp(length, "yes") == 0;
    if (!request->normalize && strcmp(length, "no") != 0)
        return px_args_fail("--normalize is yes or no");
    return px_ok();
}

static void on_embeddings(void *arg, const ProtobufCMessage *message)
{
    const Phalanx__V1__EmbedResponse *response = (const Phalanx__V1__EmbedResponse *)message;
    if (px_args_flag(arg, "json")) {
        px_message_print_json(message);
        return;
    }
    for (size_t i = 0; i < response->n_embeddings; i++) {
        const Phalanx__V1__Embedding *vector = response->embeddings[i];
        printf("%zu: %u tokens, %zu dimensions: [", i, vector->prompt_tokens, vector->n_values);
        for (size_t k = 0; k < vector->n_values && k < SHOWN_VALUES; k++)
            printf("%s%.5f", k ? ", " : "", (double)vector->values[k]);
        puts(vector->n_values > SHOWN_VALUES ? ", ...]" : "]");
    }
}

static px_status embed(px_client *client, const px_args *args)
{
    int count = px_args_positional_count(args);
    Phalanx__V1__Input inputs[INPUTS_MAX], *pointers[INPUTS_MAX];
    Phalanx__V1__EmbedRequest request = PHALANX__V1__EMBED_REQUEST__INIT;
    if (!count) return px_args_fail("give at least one TEXT");
    for (int i = 0; i < count; i++) {
        phalanx__v1__input__init(&inputs[i]);
        inputs[i].kind_case = PHALANX__V1__INPUT__KIND_TEXT;
        inputs[i].text = bytes_of(px_args_positional(args, i));
        pointers[i] = &inputs[i];
    }
    request.model = name_in(args, "model");
    request.adapter = name_in(args, "adapter");
    request.inputs = pointers;
    request.n_inputs = (size_t)count;
    request.dimensions = (uint32_t)px_args_int(args, "dimensions");
    PX_TRY(read_pooling(args, &request));
    return ask(client, args,
        (px_client_request){.path = "/phalanx.v1.Inference/Embed",
            .message = &request.base,
            .response = &phalanx__v1__embed_response__descriptor,
            .on_message = on_embeddings});
}

int px_cmd_embed(int argc, char **argv)
{
    return px_client_main(&(px_client_command){px_cmd_embed_specs, &embed_doc, embed}, argc, argv);
}

/* --- score -------------------------------------------------------------------------------- */

const px_arg_spec px_cmd_score_specs[] = {PX_CLIENT_SPECS, MODEL_SPECS,
    {.name = "query",
        .kind = PX_ARG_STR,
        .value = "TEXT",
        .no_env = true,
        .help = "what the documents should answer"},
    {.name = "template",
        .kind = PX_ARG_STR,
        .value = "TEXT",
        .no_env = true,
        .help = "how a text is made of {query} and {document}; none: both are embedded"},
    {.name = "label",
        .kind = PX_ARG_STR,
        .value = "TEXT",
        .repeatable = true,
        .no_env = true,
        .help = "a single token that may follow the text; the first one's probability counts"},
    {0}};

static const px_command_doc score_doc = {
    .usage = "control-plane score DOCUMENT... --query TEXT [options]",
    .summary = "Tells how well documents answer a query: by a reranker's head, by labels that "
               "follow a text, or by the cosine between embeddings.",
    .examples =
        "  control-plane score 'Paris is in France.' 'Cats purr.' --query 'Where is Paris?'\n"
        "  control-plane score 'Cats purr.' --query 'Do cats purr?' --label ' yes' \\\n"
        "      --label ' no' --template '{document} {query} Answer:'\n",
    .positional_max = INPUTS_MAX - 1,
};

static void on_scores(void *arg, const ProtobufCMessage *message)
{
    const Phalanx__V1__ScoreResponse *response = (const Phalanx__V1__ScoreResponse *)message;
    if (px_args_flag(arg, "json")) {
        px_message_print_json(message);
        return;
    }
    for (size_t i = 0; i < response->n_scores; i++)
        printf("%.6f  %s\n", response->scores[i]->score, px_args_positional(arg, (int)i));
}

typedef struct label { /* on its way to a token */
    uint32_t id;
    size_t count;
} label;

static void on_label(void *arg, const ProtobufCMessage *message)
{
    const Phalanx__V1__TokenizeResponse *response = (const Phalanx__V1__TokenizeResponse *)message;
    label *to = arg;
    to->count = response->n_ids;
    if (to->count) to->id = response->ids[0];
}

static px_status find_label(
    px_client *client, const px_args *args, const char *text, uint32_t *out_id)
{
    label found = {0};
    Phalanx__V1__TokenizeRequest request = PHALANX__V1__TOKENIZE_REQUEST__INIT;
    request.model = name_in(args, "model");
    request.text = bytes_of(text);
    PX_TRY(px_client_call(client, &(px_client_request){.path = "/phalanx.v1.Inference/Tokenize",
                                      .message = &request.base,
                                      .response = &phalanx__v1__tokenize_response__descriptor,
                                      .on_message = on_label,
                                      .arg = &found}));
    if (found.count != 1)
        return px_fail(
            PX_INVALID_ARGUMENT, "the label '%s' is %zu tokens: it must be one", text, found.count);
    *out_id = found.id;
    return px_ok();
}

static px_status score(px_client *client, const px_args *args)
{
    int count = px_args_positional_count(args), labels = px_args_str_count(args, "label");
    const char *query = px_args_str(args, "query"), *template = px_args_str(args, "template");
    ProtobufCBinaryData documents[INPUTS_MAX];
    uint32_t label_ids[LABELS_MAX];
    Phalanx__V1__ScoreRequest request = PHALANX__V1__SCORE_REQUEST__INIT;
    if (!count) return px_args_fail("give at least one DOCUMENT");
    if (labels > LABELS_MAX) return px_args_fail("--label may be given %d times", LABELS_MAX);
    for (int i = 0; i < count; i++) documents[i] = bytes_of(px_args_positional(args, i));
    for (int i = 0; i < labels; i++)
        PX_TRY(find_label(client, args, px_args_str_at(args, "label", i), &label_ids[i]));
    request.model = name_in(args, "model");
    request.adapter = name_in(args, "adapter");
    request.query = bytes_of(query ? query : "");
    request.template_ = bytes_of(template ? template : "");
    request.documents = documents;
    request.n_documents = (size_t)count;
    request.label_token_ids = label_ids;
    request.n_label_token_ids = (size_t)labels;
    return ask(client, args,
        (px_client_request){.path = "/phalanx.v1.Inference/Score",
            .message = &request.base,
            .response = &phalanx__v1__score_response__descriptor,
            .on_message = on_scores});
}

int px_cmd_score(int argc, char **argv)
{
    return px_client_main(&(px_client_command){px_cmd_score_specs, &score_doc, score}, argc, argv);
}
