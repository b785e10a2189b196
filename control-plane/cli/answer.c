#include "control/cli/answer.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/term.h"

enum { TEXT_BYTES_MAX = 64 << 20 };

static ProtobufCBinaryData bytes_of(const char *text, size_t length)
{
    return (ProtobufCBinaryData){.len = length, .data = (uint8_t *)(uintptr_t)text};
}

static px_status fill_choice(const px_args *args, int count, px_answer_options *out)
{
    if (count > PX_ANSWER_CHOICES_MAX)
        return px_args_fail("--choice may be given %d times at most", PX_ANSWER_CHOICES_MAX);
    for (int i = 0; i < count; i++) {
        const char *text = px_args_str_at(args, "choice", i);
        out->choices[i] = bytes_of(text, strlen(text));
    }
    phalanx__v1__texts__init(&out->choice);
    out->choice.texts = out->choices;
    out->choice.n_texts = (size_t)count;
    out->form.kind_case = PHALANX__V1__FORM__KIND_CHOICE;
    out->form.choice = &out->choice;
    return px_ok();
}

static px_status fill_form(const px_args *args, px_answer_options *out)
{
    const char *schema = px_args_str(args, "json-schema"), *grammar = px_args_str(args, "grammar");
    const char *regex = px_args_str(args, "regex");
    int choices = px_args_str_count(args, "choice");
    bool object = px_args_flag(args, "json-object");
    phalanx__v1__form__init(&out->form);
    if ((schema != NULL) + (grammar != NULL) + (regex != NULL) + (choices > 0) + object > 1)
        return px_args_fail(
            "--json-schema, --json-object, --regex, --grammar and --choice exclude each other");
    if (choices) return fill_choice(args, choices, out);
    if (schema || grammar) PX_TRY(px_fs_read(schema ? schema : grammar, &out->form_text));
    ProtobufCBinaryData text = bytes_of(px_buf_text(&out->form_text), out->form_text.length);
    if (schema) {
        out->form.kind_case = PHALANX__V1__FORM__KIND_JSON_SCHEMA;
        out->form.json_schema = text;
    } else if (grammar) {
        out->form.kind_case = PHALANX__V1__FORM__KIND_GRAMMAR;
        out->form.grammar = text;
    } else if (regex) {
        out->form.kind_case = PHALANX__V1__FORM__KIND_REGEX;
        out->form.regex = bytes_of(regex, strlen(regex));
    } else if (object) {
        out->form.kind_case = PHALANX__V1__FORM__KIND_JSON_OBJECT;
        out->form.json_object = true;
    }
    return px_ok();
}

void px_answer_options_done(px_answer_options *options)
{
    px_buf_done(&options->form_text);
}

px_status px_answer_options_fill(const px_args *args, px_answer_options *out)
{
    const char *model = px_args_str(args, "model"), *adapter = px_args_str(args, "adapter");
    *out = (px_answer_options){.model = (char *)(model ? model : ""),
        .adapter = (char *)(adapter ? adapter : ""),
        .timeout_ns = px_args_int(args, "timeout-s") * PX_SEC,
        .priority = (int32_t)px_args_int(args, "priority"),
        .tenant = px_args_str(args, "tenant")};
    px_buf_init(&out->form_text, TEXT_BYTES_MAX);
    PX_TRY(fill_form(args, out));
    Phalanx__V1__Sampling *sampling = &out->sampling;
    phalanx__v1__sampling__init(sampling);
    sampling->top_k = (uint32_t)px_args_int(args, "top-k");
    sampling->min_p = (float)px_args_real(args, "min-p");
    sampling->typical_p = (float)px_args_real(args, "typical-p");
    sampling->repetition_penalty = (float)px_args_real(args, "repetition-penalty");
    sampling->presence_penalty = (float)px_args_real(args, "presence-penalty");
    sampling->frequency_penalty = (float)px_args_real(args, "frequency-penalty");
    if (px_args_given(args, "temperature")) {
        sampling->temperature__case = PHALANX__V1__SAMPLING__TEMPERATURE__TEMPERATURE;
        sampling->temperature = (float)px_args_real(args, "temperature");
    }
    if (px_args_given(args, "top-p")) {
        sampling->top_p__case = PHALANX__V1__SAMPLING__TOP_P__TOP_P;
        sampling->top_p = (float)px_args_real(args, "top-p");
    }
    if (px_args_given(args, "seed")) {
        sampling->seed__case = PHALANX__V1__SAMPLING__SEED__SEED;
        sampling->seed = (uint64_t)px_args_int(args, "seed");
    }
    phalanx__v1__stopping__init(&out->stopping);
    out->stopping.max_tokens = (uint32_t)px_args_int(args, "max-tokens");
    out->stopping.min_tokens = (uint32_t)px_args_int(args, "min-tokens");
    out->stopping.ignore_eos = px_args_flag(args, "ignore-eos");
    int stops = px_args_str_count(args, "stop");
    if (stops > PX_ANSWER_STOPS_MAX)
        return px_args_fail("--stop may be given %d times at most", PX_ANSWER_STOPS_MAX);
    for (int i = 0; i < stops; i++) {
        const char *stop = px_args_str_at(args, "stop", i);
        out->stops[i] = (ProtobufCBinaryData){.len = strlen(stop), .data = (uint8_t *)stop};
    }
    out->stopping.stop = out->stops;
    out->stopping.n_stop = (size_t)stops;
    return px_ok();
}

void px_answer_begin(px_answer *answer, bool as_json, uint32_t count)
{
    *answer = (px_answer){.as_json = as_json, .started_ns = px_now_ns()};
    px_choices_init(&answer->choices, count, TEXT_BYTES_MAX);
}

static const char *finish_word(Phalanx__V1__FinishReason reason)
{
    if (reason == PHALANX__V1__FINISH_REASON__FINISH_REASON_LENGTH) return "length";
    return reason == PHALANX__V1__FINISH_REASON__FINISH_REASON_STOP ? "stop" : "unknown";
}

static void put_prompt_token(px_buf *out, const Phalanx__V1__PromptToken *token)
{
    const Phalanx__V1__TokenLogprobs *logprobs = token->logprobs;
    px_buf_printf(out, "%s{\"id\":%u", out->length ? "," : "", token->token);
    if (logprobs) {
        px_buf_printf(out, ",\"logprob\":%.6f,\"rank\":%u,\"top_logprobs\":[",
            (double)logprobs->logprob, logprobs->rank);
        for (size_t i = 0; i < logprobs->n_top; i++)
            px_buf_printf(out, "%s{\"id\":%u,\"logprob\":%.6f}", i ? "," : "",
                logprobs->top[i]->token, (double)logprobs->top[i]->logprob);
        px_buf_putc(out, ']');
    }
    px_buf_putc(out, '}');
}

static void end_choice(px_answer *answer, uint32_t index, const Phalanx__V1__AnswerEnd *end)
{
    px_choice *choice = &answer->choices.list[index];
    choice->finish = finish_word(end->finish_reason);
    choice->output_tokens = end->output_tokens;
    choice->logprob_sum = end->cumulative_logprob;
    if (!answer->as_json) px_choices_print_ended(&answer->choices, index);
}

static void take_done(px_answer *answer, const Phalanx__V1__Done *done)
{
    answer->prompt_tokens = done->prompt_tokens;
    answer->output_tokens = done->output_tokens;
    answer->cached_tokens = done->cached_tokens;
    answer->choices.list[0].finish = finish_word(done->finish_reason);
    answer->decode_us = done->total_us - done->ttft_us;
}

void px_answer_on_part(void *arg, const ProtobufCMessage *message)
{
    px_answer *answer = arg;
    const Phalanx__V1__GenerateResponse *part = (const Phalanx__V1__GenerateResponse *)message;
    if (part->index >= answer->choices.count) return; /* not one that was asked for */
    px_choice *choice = &answer->choices.list[part->index];
    if (part->n_token_ids && !answer->first_ns) answer->first_ns = px_now_ns();
    for (size_t i = 0; i < part->n_prompt; i++)
        put_prompt_token(&answer->choices.prompt, part->prompt[i]);
    for (size_t i = 0; i < part->n_token_ids; i++) px_choice_add_id(choice, part->token_ids[i]);
    px_buf_append(&choice->text, part->text.data, part->text.len);
    if (part->text.len && !answer->as_json && answer->choices.count == 1) {
        fwrite(part->text.data, 1, part->text.len, stdout);
        fflush(stdout);
    }
    if (part->end) end_choice(answer, part->index, part->end);
    if (part->done) take_done(answer, part->done);
}

static void print_json(const px_answer *answer, int64_t first_ns, double rate)
{
    px_buf line;
    px_buf_init(&line, TEXT_BYTES_MAX);
    px_buf_putc(&line, '{');
    px_choices_put_json(&line, &answer->choices);
    px_buf_printf(&line,
        ",\"prompt_tokens\":%u,\"cached_tokens\":%u,\"output_tokens\":%u,\"ttft_ms\":%.1f,"
        "\"tokens_per_s\":%.2f}",
        answer->prompt_tokens, answer->cached_tokens, answer->output_tokens,
        (double)first_ns / PX_MS, rate);
    puts(px_buf_text(&line));
    fflush(stdout);
    px_buf_done(&line);
}

void px_answer_end(px_answer *answer)
{
    int64_t first_ns = answer->first_ns ? answer->first_ns - answer->started_ns : 0;
    /* The engine's own clock: several tokens may arrive here at once. */
    double rate = answer->decode_us && answer->output_tokens > 1
                      ? (answer->output_tokens - 1) * 1e6 / (double)answer->decode_us
                      : 0;
    if (answer->as_json) {
        print_json(answer, first_ns, rate);
        return;
    }
    char first[32];
    const char *finish = answer->choices.list[0].finish;
    fprintf(stderr, "\n[%u prompt tokens, %u answered (%s), %.1f tokens/s, first after %s]\n",
        answer->prompt_tokens, answer->output_tokens, finish, rate,
        px_format_duration(first_ns, first));
}

void px_answer_done(px_answer *answer)
{
    px_choices_done(&answer->choices);
}
