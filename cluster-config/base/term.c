/* term.c - progress, sizes and durations for people; see term.h. */
#include "base/term.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"

#define SILENT_NS     (1 * PX_SEC)  /* work that ends sooner shows nothing */
#define REDRAW_NS     (100 * PX_MS) /* on a terminal */
#define LINE_EVERY_NS (5 * PX_SEC)  /* elsewhere: a log should not fill with bars */
#define BAR_COLUMNS   24
#define CLEAR_LINE    "\r\033[K"

struct px_progress {
    FILE *to;
    char *label;
    bool on_terminal, shown;
    int64_t started_ns, next_ns;
};

px_progress *px_progress_create(FILE *to, const char *label)
{
    px_progress *progress = px_alloc(sizeof *progress);
    progress->to = to;
    progress->label = px_strdup(label);
    progress->on_terminal = isatty(fileno(to));
    progress->started_ns = px_now_ns();
    progress->next_ns = progress->started_ns + SILENT_NS;
    return progress;
}

static void draw_bar(FILE *to, double fraction)
{
    int filled = (int)(fraction * BAR_COLUMNS + 0.5);
    fputc('[', to);
    for (int i = 0; i < BAR_COLUMNS; i++) fputc(i < filled ? '#' : '.', to);
    fputs("] ", to);
}

void px_progress_update(px_progress *progress, double fraction, const char *note)
{
    int64_t now_ns = px_now_ns();
    if (now_ns < progress->next_ns) return;
    if (!(fraction > 0)) fraction = 0; /* also what is not a number */
    if (fraction > 1) fraction = 1;
    progress->next_ns = now_ns + (progress->on_terminal ? REDRAW_NS : LINE_EVERY_NS);
    progress->shown = true;
    if (progress->on_terminal) fputs(CLEAR_LINE, progress->to);
    fprintf(progress->to, "%s ", progress->label);
    if (progress->on_terminal) draw_bar(progress->to, fraction);
    fprintf(progress->to, "%3d%%%s%s", (int)(fraction * 100), note ? "  " : "", note ? note : "");
    if (!progress->on_terminal) fputc('\n', progress->to);
    fflush(progress->to);
}

void px_progress_done(px_progress *progress, const char *note)
{
    if (!progress) return;
    if (progress->shown) {
        char took[32];
        px_format_duration(px_now_ns() - progress->started_ns, took);
        fprintf(progress->to, "%s%s: %s (%s)\n", progress->on_terminal ? CLEAR_LINE : "",
            progress->label, note ? note : "done", took);
        fflush(progress->to);
    }
    free(progress->label);
    free(progress);
}

const char *px_format_bytes(uint64_t bytes, char out[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    size_t unit = 0;
    /* 1023.95 would print as 1024.0 of the smaller unit. */
    while (value >= 1023.95 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1024;
        unit++;
    }
    snprintf(out, 32, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return out;
}

const char *px_format_duration(int64_t ns, char out[32])
{
    if (ns < 0) ns = 0;
    int64_t seconds = ns / PX_SEC;
    if (ns < 1000)
        snprintf(out, 32, "%d ns", (int)ns);
    else if (ns < PX_MS)
        snprintf(out, 32, "%d us", (int)(ns / 1000));
    else if (ns < PX_SEC)
        snprintf(out, 32, "%d ms", (int)(ns / PX_MS));
    else if (seconds < 60)
        snprintf(out, 32, "%d.%d s", (int)seconds, (int)(ns % PX_SEC / (100 * PX_MS)));
    else if (seconds < 3600)
        snprintf(out, 32, "%dm %ds", (int)(seconds / 60), (int)(seconds % 60));
    else if (seconds < 86400)
        snprintf(out, 32, "%dh %dm", (int)(seconds / 3600), (int)(seconds % 3600 / 60));
    else
        snprintf(out, 32, "%dd %dh", (int)(seconds / 86400), (int)(seconds % 86400 / 3600));
    return out;
}
