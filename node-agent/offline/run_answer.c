/* run_answer.c - see run_answer.h. */
#include "offline/run_answer.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"

enum { OUTPUT_BYTES_MAX = 256 << 20, LINE_BYTES_MAX = 16 << 10 };

void px_run_answer_begin(px_run_answer *answer, bool as_json, uint32_t count)
{
    *answer = (px_run_answer){.as_json = as_json,
        .count = count,
        .choices = px_alloc_array(count, sizeof *answer->choices)};
    px_buf_init(&answer->prompt, OUTPUT_BYTES_MAX);
    for (uint32_t i = 0; i < count; i++) {
        px_buf_init(&answer->choices[i].ids, OUTPUT_BYTES_MAX);
        px_buf_init(&answer->choices[i].text, OUTPUT_BYTES_MAX);
    }
}

void px_run_answer_done(px_run_answer *answer)
{
    for (uint32_t i = 0; i < answer->count; i++) {
        px_buf_done(&answer->choices[i].ids);
        px_buf_done(&answer->choices[i].text);
    }
    free(answer->choices);
    px_buf_done(&answer->prompt);
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
    px_buf_printf(&answer->prompt, "%s{\"id\":%u", answer->prompt.length ? "," : "", event->token);
    if (event->has_logprobs) put_logprobs(&answer->prompt, &event->logprobs);
    px_buf_putc(&answer->prompt, '}');
}

static void print_token_json(const px_run_answer *answer, const px_event *event)
{
    px_buf line;
    px_buf_init(&line, LINE_BYTES_MAX);
    px_buf_putc(&line, '{');
    if (event->has_token) px_buf_printf(&line, "\"id\":%u,", event->token);
    px_buf_puts(&line, "\"text\":");
    px_json_quote(&line, event->text, event->text_length);
    if (answer->count > 1) px_buf_printf(&line, ",\"index\":%u", event->index);
    if (event->has_logprobs) put_logprobs(&line, &event->logprobs);
    px_buf_puts(&line, "}\n");
    print_line(&line);
    px_buf_done(&line);
}

static void take_token(px_run_answer *answer, const px_event *event)
{
    px_run_choice *choice = &answer->choices[event->index];
    if (event->has_token)
        px_buf_printf(&choice->ids, "%s%u", choice->ids.length ? "," : "", event->token);
    px_buf_append(&choice->text, event->text, event->text_length);
    if (answer->as_json) {
        print_token_json(answer, event);
    } else if (answer->count == 1 && event->text_length) {
        fwrite(event->text, 1, event->text_length, stdout);
        fflush(stdout);
    }
}

static void take_end(px_run_answer *answer, const px_event *event)
{
    px_run_choice *choice = &answer->choices[event->index];
    choice->finish = event->finish;
    choice->output_tokens = event->output_tokens;
    choice->logprob_sum = event->logprob_sum;
    if (answer->as_json) return;
    printf("--- answer %u: %u tokens (%s)\n", event->index, event->output_tokens,
        px_finish_name(event->finish));
    fwrite(choice->text.data, 1, choice->text.length, stdout);
    putchar('\n');
    fflush(stdout);
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
    if (!answer->as_json && answer->count == 1 && answer->choices[0].text.length) putchar('\n');
    fflush(stdout);
}

/* --- the summary -------------------------------------------------------------------------- */

static double rate(const px_event *done)
{
    int64_t ns = done->total_ns - done->ttft_ns;
    if (done->output_tokens < 2 || ns <= 0) return 0;
    return (done->output_tokens - 1) * 1e9 / (double)ns;
}

static void put_choice(px_buf *line, const px_run_choice *choice)
{
    px_buf_printf(line, "\"ids\":[%s],\"text\":", px_buf_text(&choice->ids));
    px_json_quote(line, px_buf_text(&choice->text), choice->text.length);
    px_buf_printf(line, ",\"finish_reason\":\"%s\"", px_finish_name(choice->finish));
}

static void put_choices(px_buf *line, const px_run_answer *answer)
{
    px_buf_puts(line, "\"choices\":[");
    for (uint32_t i = 0; i < answer->count; i++) {
        const px_run_choice *choice = &answer->choices[i];
        px_buf_printf(line, "%s{\"index\":%u,", i ? "," : "", i);
        put_choice(line, choice);
        px_buf_printf(line, ",\"output_tokens\":%u,\"cumulative_logprob\":%.6f}",
            choice->output_tokens, choice->logprob_sum);
    }
    px_buf_putc(line, ']');
}

static void print_summary_json(
    const px_run_answer *answer, const px_event *done, const px_engine_stats *stats)
{
    px_buf line;
    px_buf_init(&line, OUTPUT_BYTES_MAX);
    px_buf_putc(&line, '{');
    if (answer->count == 1)
        put_choice(&line, &answer->choices[0]);
    else
        put_choices(&line, answer);
    if (answer->prompt.length)
        px_buf_printf(&line, ",\"prompt_logprobs\":[%s]", px_buf_text(&answer->prompt));
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
    if (answer->count == 1) answer->choices[0].finish = done->finish;
    if (answer->as_json) {
        print_summary_json(answer, done, stats);
        return;
    }
    fprintf(stderr, "%u prompt tokens, %u answered (%s); first after %.0f ms, then %.1f tokens/s\n",
        done->prompt_tokens, done->output_tokens, px_finish_name(done->finish),
        (double)done->ttft_ns / 1e6, rate(done));
}
