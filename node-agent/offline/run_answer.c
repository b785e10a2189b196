/* run_answer.c - see run_answer.h. */
#include "offline/run_answer.h"

#include <stdio.h>

#include "base/json.h"

enum { OUTPUT_BYTES_MAX = 256 << 20, LINE_BYTES_MAX = 16 << 10 };

void px_run_answer_begin(px_run_answer *answer, bool as_json, uint32_t count)
{
    answer->as_json = as_json;
    px_choices_init(&answer->choices, count, OUTPUT_BYTES_MAX);
}

void px_run_answer_done(px_run_answer *answer)
{
    px_choices_done(&answer->choices);
}

/* --- as it comes -------------------------------------------------------------------------- */

static void print_line(const px_buf *line)
{
    fwrite(line->data, 1, line->length, stdout);
    fflush(stdout);
}

static void put_logprobs(px_buf *out, const px_logprobs *logprobs)
{
    px_buf_printf(out, ",\"logprob\":%.6f,\"rank\":%u,\"top_logprobs\":[",
        (double)logprobs->picked.logprob, logprobs->rank);
    for (uint32_t i = 0; i < logprobs->top_count; i++)
        px_buf_printf(out, "%s{\"id\":%u,\"logprob\":%.6f}", i ? "," : "", logprobs->top[i].token,
            (double)logprobs->top[i].logprob);
    px_buf_putc(out, ']');
}

static void take_prompt_token(px_run_answer *answer, const px_event *event)
{
    px_buf *prompt = &answer->choices.prompt;
    px_buf_printf(prompt, "%s{\"id\":%u", prompt->length ? "," : "", event->token);
    if (event->has_logprobs) put_logprobs(prompt, &event->logprobs);
    px_buf_putc(prompt, '}');
}

static void print_token_json(const px_run_answer *answer, const px_event *event)
{
    px_buf line;
    px_buf_init(&line, LINE_BYTES_MAX);
    px_buf_putc(&line, '{');
    if (event->has_token) px_buf_printf(&line, "\"id\":%u,", event->token);
    px_buf_puts(&line, "\"text\":");
    px_json_quote(&line, event->text, event->text_length);
    if (answer->choices.count > 1) px_buf_printf(&line, ",\"index\":%u", event->index);
    if (event->has_logprobs) put_logprobs(&line, &event->logprobs);
    px_buf_puts(&line, "}\n");
    print_line(&line);
    px_buf_done(&line);
}

static void take_token(px_run_answer *answer, const px_event *event)
{
    px_choice *choice = &answer->choices.list[event->index];
    if (event->has_token) px_choice_add_id(choice, event->token);
    px_buf_append(&choice->text, event->text, event->text_length);
    if (answer->as_json) {
        print_token_json(answer, event);
    } else if (answer->choices.count == 1 && event->text_length) {
        fwrite(event->text, 1, event->text_length, stdout);
        fflush(stdout);
    }
}

static void take_end(px_run_answer *answer, const px_event *event)
{
    px_choice *choice = &answer->choices.list[event->index];
    choice->finish = px_finish_name(event->finish);
    choice->output_tokens = event->output_tokens;
    choice->logprob_sum = event->logprob_sum;
    if (!answer->as_json) px_choices_print_ended(&answer->choices, event->index);
}

void px_run_answer_take(px_run_answer *answer, const px_event *event)
{
    switch (event->kind) {
    case PX_EVENT_PROMPT: take_prompt_token(answer, event); break;
    case PX_EVENT_TOKEN: take_token(answer, event); break;
    case PX_EVENT_ANSWERED: take_end(answer, event); break;
    default: break; /* adapters were loaded before */
    }
}

void px_run_answer_break(const px_run_answer *answer)
{
    if (!answer->as_json && answer->choices.count == 1 && px_choices_have_text(&answer->choices))
        putchar('\n');
    fflush(stdout);
}

/* --- the summary -------------------------------------------------------------------------- */

static double rate(const px_event *done)
{
    int64_t ns = done->total_ns - done->ttft_ns;
    if (done->output_tokens < 2 || ns <= 0) return 0;
    return (done->output_tokens - 1) * 1e9 / (double)ns;
}

static void print_summary_json(
    const px_run_answer *answer, const px_event *done, const px_engine_stats *stats)
{
    px_buf line;
    px_buf_init(&line, OUTPUT_BYTES_MAX);
    px_buf_putc(&line, '{');
    px_choices_put_json(&line, &answer->choices);
    px_buf_printf(&line,
        ",\"prompt_tokens\":%u,\"output_tokens\":%u,\"ttft_ms\":%.3f,\"tokens_per_s\":%.2f,"
        "\"proposed\":%llu,\"accepted\":%llu}\n",
        done->prompt_tokens, done->output_tokens, (double)done->ttft_ns / 1e6, rate(done),
        (unsigned long long)stats->proposed, (unsigned long long)stats->accepted);
    print_line(&line);
    px_buf_done(&line);
}

void px_run_answer_end(px_run_answer *answer, const px_event *done, const px_engine_stats *stats)
{
    if (answer->choices.count == 1) answer->choices.list[0].finish = px_finish_name(done->finish);
    if (answer->as_json) {
        print_summary_json(answer, done, stats);
        return;
    }
    fprintf(stderr, "%u prompt tokens, %u answered (%s); first after %.0f ms, then %.1f tokens/s\n",
        done->prompt_tokens, done->output_tokens, px_finish_name(done->finish),
        (double)done->ttft_ns / 1e6, rate(done));
}
