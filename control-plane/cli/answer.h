/* answer.h - what generate and chat share: sampling options and an answer printed as it streams. */
#ifndef PX_CONTROL_ANSWER_H
#define PX_CONTROL_ANSWER_H

#include "base/choices.h"
#include "control/cli/client.h"
#include "phalanx/v1/inference.pb-c.h"

// clang-format off
#define PX_ANSWER_SPECS                                                                            \
    {.name = "model", .kind = PX_ARG_STR, .value = "NAME", .no_env = true,                         \
        .help = "which model; not needed while only one is served"},                               \
    {.name = "adapter", .kind = PX_ARG_STR, .value = "NAME", .no_env = true,                       \
        .help = "answer with this LoRA adapter of the model"},                                     \
    {.name = "max-tokens", .kind = PX_ARG_INT, .value = "N", .default_value = "512", .min = 0,     \
        .max = 1e9, .help = "longest answer; 0: up to the model's context"},                       \
    {.name = "temperature", .kind = PX_ARG_REAL, .value = "T", .min = 0, .max = 100,               \
        .help = "0: always the likeliest token; by default 1"},                                    \
    {.name = "top-p", .kind = PX_ARG_REAL, .value = "P", .min = 0, .max = 1,                       \
        .help = "sample from the likeliest tokens that make up P"},                                \
    {.name = "top-k", .kind = PX_ARG_INT, .value = "N", .default_value = "0", .min = 0,            \
        .max = 1e9, .help = "sample from the N likeliest tokens; 0: all"},                         \
    {.name = "min-p", .kind = PX_ARG_REAL, .value = "P", .default_value = "0", .min = 0,           \
        .max = 1, .help = "drop tokens less likely than P times the likeliest; 0: off"},           \
    {.name = "typical-p", .kind = PX_ARG_REAL, .value = "P", .default_value = "0", .min = 0,       \
        .max = 1, .help = "sample from the most typical tokens that make up P; 0: off"},           \
    {.name = "repetition-penalty", .kind = PX_ARG_REAL, .value = "R", .default_value = "0",        \
        .min = 0, .max = 100, .help = "above 1: what was said or asked is less likely"},           \
    {.name = "presence-penalty", .kind = PX_ARG_REAL, .value = "P", .default_value = "0",          \
        .min = -100, .max = 100, .help = "what was said is less likely"},                          \
    {.name = "frequency-penalty", .kind = PX_ARG_REAL, .value = "P", .default_value = "0",         \
        .min = -100, .max = 100, .help = "what was said often is less likely"},                    \
    {.name = "seed", .kind = PX_ARG_INT, .value = "N",                                             \
        .help = "the same seed gives the same answer; by default a fresh one"},                    \
    {.name = "stop", .kind = PX_ARG_STR, .value = "TEXT", .repeatable = true, .no_env = true,      \
        .help = "end the answer before this text"},                                                \
    {.name = "min-tokens", .kind = PX_ARG_INT, .value = "N", .default_value = "0", .min = 0,       \
        .max = 1e9, .help = "no end before so many"},                                              \
    {.name = "ignore-eos", .kind = PX_ARG_FLAG, .no_env = true,                                    \
        .help = "go on behind an end-of-text token"},                                              \
    {.name = "priority", .kind = PX_ARG_INT, .value = "N", .default_value = "0", .min = -100,      \
        .max = 100, .help = "among the tenant's requests; lower is sooner"},                       \
    {.name = "tenant", .kind = PX_ARG_STR, .value = "NAME", .no_env = true,                        \
        .help = "whom the request is counted for"},                                                \
    {.name = "json-schema", .kind = PX_ARG_STR, .value = "FILE", .no_env = true,                   \
        .help = "the answer is JSON of this schema"},                                              \
    {.name = "json-object", .kind = PX_ARG_FLAG, .no_env = true,                                   \
        .help = "the answer is a JSON object"},                                                    \
    {.name = "regex", .kind = PX_ARG_STR, .value = "TEXT", .no_env = true,                         \
        .help = "the answer matches this regular expression"},                                     \
    {.name = "grammar", .kind = PX_ARG_STR, .value = "FILE", .no_env = true,                       \
        .help = "the answer keeps to this grammar (GBNF)"},                                        \
    {.name = "choice", .kind = PX_ARG_STR, .value = "TEXT", .repeatable = true, .no_env = true,    \
        .help = "the answer is one of these"},                                                     \
    {.name = "timeout-s", .kind = PX_ARG_INT, .value = "N", .default_value = "0", .min = 0,        \
        .max = 86400, .help = "give up after this long; 0: never"}
// clang-format on

enum { PX_ANSWER_STOPS_MAX = 16, PX_ANSWER_CHOICES_MAX = 64 };

/* The options as messages, which borrow from `args` and from here. */
typedef struct px_answer_options {
    char *model, *adapter; /* "" when not given */
    int64_t timeout_ns;
    int32_t priority;
    const char *tenant; /* NULL: not given */
    Phalanx__V1__Sampling sampling;
    Phalanx__V1__Stopping stopping;
    ProtobufCBinaryData stops[PX_ANSWER_STOPS_MAX];
    Phalanx__V1__Form form; /* kind not set: any */
    px_buf form_text;       /* of a file */
    Phalanx__V1__Texts choice;
    ProtobufCBinaryData choices[PX_ANSWER_CHOICES_MAX];
} px_answer_options;
/* `out` is not moved while its messages are used. */
px_status px_answer_options_fill(const px_args *args, px_answer_options *out) PX_MUST_USE;
void px_answer_options_done(px_answer_options *options); /* also after a failed fill */

enum { PX_ANSWER_COUNT_MAX = 128 };

typedef struct px_answer {
    bool as_json; /* nothing is printed until the end */
    px_choices choices;
    int64_t started_ns, first_ns; /* asked; first token seen here, 0: none */
    uint64_t decode_us;           /* first to last token, at the engine */
    uint32_t prompt_tokens, output_tokens;
    uint32_t cached_tokens; /* of the prompt, what need not be computed */
} px_answer;

/* `count` answers are to come, 1 to PX_ANSWER_COUNT_MAX. */
void px_answer_begin(px_answer *answer, bool as_json, uint32_t count);
/* px_client_request's on_message for GenerateResponse; `arg` is the px_answer. */
void px_answer_on_part(void *arg, const ProtobufCMessage *message);
/* The closing line: figures on stderr, or the whole as one JSON object on stdout. */
void px_answer_end(px_answer *answer);
void px_answer_done(px_answer *answer);

#endif
