#include "control/bench/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/term.h"

typedef struct figure {
    const char *title, *key;
    const px_distribution *of;
} figure;

enum { FIGURES = 4 };
static void figures_of(const px_measures *m, figure out[FIGURES])
{
    out[0] = (figure){"time to first token", "ttft_ms", &m->ttft_ms};
    out[1] = (figure){"time per output token", "tpot_ms", &m->tpot_ms};
    out[2] = (figure){"between streamed parts", "itl_ms", &m->itl_ms};
    out[3] = (figure){"whole request", "e2e_ms", &m->e2e_ms};
}

static void print_distributions(const px_measures *m)
{
    static const char *const headers[] = {"MILLISECONDS", ">MEAN", ">P50", ">P90", ">P99", ">MAX"};
    figure figures[FIGURES];
    figures_of(m, figures);
    px_table *table = px_table_create(headers, 6);
    for (int i = 0; i < FIGURES; i++) {
        const px_distribution *d = figures[i].of;
        double values[] = {d->mean, d->p50, d->p90, d->p99, d->max};
        char text[5][24];
        const char *cells[6] = {figures[i].title};
        for (int k = 0; k < 5; k++) {
            snprintf(text[k], sizeof text[k], d->count ? "%.2f" : "-", values[k]);
            cells[k + 1] = text[k];
        }
        px_table_row(table, cells);
    }
    px_table_print(table, stdout);
    px_table_free(table);
}

void px_report_print(const px_report *report)
{
    const px_measures *m = &report->result->measures;
    const px_goals *goals = &report->options->goals;
    printf("requests         %u completed, %u failed in %.2f s%s\n", m->completed, m->failed,
        m->duration_s, report->result->interrupted ? " (interrupted)" : "");
    printf("tokens           %" PRIu64 " of prompts, %" PRIu64 " answered\n", m->prompt_tokens,
        m->output_tokens);
    printf("throughput       %.2f requests/s, %.1f output tokens/s, %.1f tokens/s in all\n",
        m->requests_per_s, m->output_tokens_per_s, m->total_tokens_per_s);
    if (goals->ttft_ms || goals->tpot_ms || goals->e2e_ms)
        printf("goodput          %.2f requests/s met every goal\n", m->goodput_per_s);
    printf("load             seed %" PRIu64 ", prompts %016" PRIx64 "\n\n", report->options->seed,
        report->prompts->hash);
    print_distributions(m);
    if (!px_is_ok(report->result->first_failure))
        printf("\nthe first failure: %s: %s\n", px_code_name(report->result->first_failure.code),
            report->result->first_failure.text);
}

static void put_text(px_buf *line, const char *key, const char *text)
{
    px_buf_printf(line, ",\"%s\":", key);
    px_json_quote(line, text, strlen(text));
}

void px_report_print_json(const px_report *report)
{
    const px_measures *m = &report->result->measures;
    const px_bench_options *o = report->options;
    px_buf line;
    px_buf_init(&line, 1 << 16);
    px_buf_printf(&line, "{\"completed\":%u,\"failed\":%u,\"interrupted\":%s,\"duration_s\":%.6f",
        m->completed, m->failed, report->result->interrupted ? "true" : "false", m->duration_s);
    px_buf_printf(&line, ",\"prompt_tokens\":%" PRIu64 ",\"output_tokens\":%" PRIu64,
        m->prompt_tokens, m->output_tokens);
    px_buf_printf(&line,
        ",\"requests_per_s\":%.4f,\"output_tokens_per_s\":%.3f,\"total_tokens_per_s\":%.3f,"
        "\"goodput_per_s\":%.4f",
        m->requests_per_s, m->output_tokens_per_s, m->total_tokens_per_s, m->goodput_per_s);
    figure figures[FIGURES];
    figures_of(m, figures);
    for (int i = 0; i < FIGURES; i++) {
        const px_distribution *d = figures[i].of;
        px_buf_printf(&line,
            ",\"%s\":{\"count\":%zu,\"mean\":%.4f,\"p50\":%.4f,\"p90\":%.4f,\"p99\":%.4f,"
            "\"max\":%.4f}",
            figures[i].key, d->count, d->mean, d->p50, d->p90, d->p99, d->max);
    }
    put_text(&line, "server", report->server);
    put_text(&line, "model", o->model);
    px_buf_printf(&line,
        ",\"rate\":%g,\"burstiness\":%g,\"concurrency\":%u,\"skip_first\":%u,\"seed\":%" PRIu64
        ",\"prompts_hash\":\"%016" PRIx64 "\"",
        o->rate, o->burstiness, o->concurrency, o->skip_first, o->seed, report->prompts->hash);
    put_text(&line, "first_failure", report->result->first_failure.text);
    px_buf_putc(&line, '}');
    puts(px_buf_text(&line));
    fflush(stdout);
    px_buf_done(&line);
}
