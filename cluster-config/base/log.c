/* log.c - see log.h. */
#include "base/log.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/utf8.h"

/* A line is bounded whatever its fields hold: longer texts are cut, later fields left out. */
enum { LINE_BYTES_MAX = 32 * 1024, TEXT_BYTES_MAX = 1024, FIELDS_BYTES_MAX = LINE_BYTES_MAX / 2 };

static struct {
    const char *program;
    _Atomic int level;
    bool json;
} settings = {.program = "phalanx", .level = PX_INFO};

void px_log_init(const char *program, px_log_level level, px_log_format format)
{
    settings.program = program;
    settings.json = format == PX_LOG_AUTO ? !isatty(STDERR_FILENO) : format == PX_LOG_JSON;
    atomic_store_explicit(&settings.level, (int)level, memory_order_relaxed);
}

static size_t bounded_length(const char *text)
{
    size_t length = strnlen(text, TEXT_BYTES_MAX + 1);
    return length <= TEXT_BYTES_MAX ? length : px_utf8_valid_prefix(text, TEXT_BYTES_MAX);
}

static void put_quoted(px_buf *line, const char *text)
{
    px_json_quote(line, text, bounded_length(text));
}

/* Text format: quotes only where a reader could not tell the value's end. */
static void put_text_value(px_buf *line, const char *text)
{
    size_t length = bounded_length(text);
    bool plain = length > 0 && px_utf8_valid_prefix(text, length) == length;
    for (size_t i = 0; i < length && plain; i++)
        plain = (unsigned char)text[i] > ' ' && text[i] != '"' && text[i] != '=' && text[i] != 0x7F;
    if (plain)
        px_buf_append(line, text, length);
    else
        put_quoted(line, text);
}

static void put_value(px_buf *line, const px_log_field *field)
{
    switch (field->kind) {
    case PX_LOG_STR: {
        const char *text = field->value.text ? field->value.text : "";
        if (settings.json)
            put_quoted(line, text);
        else
            put_text_value(line, text);
        break;
    }
    case PX_LOG_INT: px_buf_printf(line, "%lld", (long long)field->value.integer); break;
    case PX_LOG_UINT: px_buf_printf(line, "%llu", (unsigned long long)field->value.natural); break;
    case PX_LOG_REAL:
        if (isfinite(field->value.real))
            px_buf_printf(line, "%.6g", field->value.real);
        else
            px_buf_puts(line, "null"); /* JSON has no infinity */
        break;
    case PX_LOG_END: break;
    }
}

static void put_fields(px_buf *line, const px_log_field *fields)
{
    for (; fields->kind != PX_LOG_END && line->length < FIELDS_BYTES_MAX; fields++) {
        if (settings.json) {
            px_buf_putc(line, ',');
            put_quoted(line, fields->key);
            px_buf_putc(line, ':');
        } else {
            px_buf_printf(line, " %s=", fields->key);
        }
        put_value(line, fields);
    }
}

/* 2026-02-03T04:05:06.789Z; people at a terminal get the local time of day. */
static void put_time(px_buf *line)
{
    int64_t wall_ns = px_wall_ns();
    time_t seconds = wall_ns / PX_SEC;
    struct tm parts;
    char text[40];
    if (settings.json)
        gmtime_r(&seconds, &parts);
    else
        localtime_r(&seconds, &parts);
    strftime(text, sizeof text, settings.json ? "%Y-%m-%dT%H:%M:%S" : "%H:%M:%S", &parts);
    px_buf_printf(
        line, "%s.%03d%s", text, (int)(wall_ns % PX_SEC / PX_MS), settings.json ? "Z" : "");
}

static void put_head(px_buf *line, px_log_level level, const char *event)
{
    static const char *const names[PX_LOG_LEVEL_COUNT] = {"debug", "info", "warn", "error"};
    if (settings.json) px_buf_puts(line, "{\"time\":\"");
    put_time(line);
    if (settings.json)
        px_buf_printf(line, "\",\"level\":\"%s\",\"program\":\"%s\",\"event\":\"%s\"", names[level],
            settings.program, event);
    else
        px_buf_printf(line, " %-5s %s %s", names[level], settings.program, event);
}

void px_log_fields(px_log_level level, const char *event, const px_log_field *fields)
{
    if ((int)level < atomic_load_explicit(&settings.level, memory_order_relaxed)) return;
    px_buf line;
    px_buf_init(&line, LINE_BYTES_MAX);
    put_head(&line, level, event);
    put_fields(&line, fields);
    px_buf_puts(&line, settings.json ? "}\n" : "\n");
    /* One write keeps lines of threads and processes whole; a full disk must not stop us. */
    ssize_t written = write(STDERR_FILENO, px_buf_text(&line), line.length);
    (void)written;
    px_buf_done(&line);
}
