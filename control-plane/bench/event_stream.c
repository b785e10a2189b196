#include "control/bench/event_stream.h"

#include <string.h>

void px_event_stream_init(px_event_stream *stream, size_t bytes_max)
{
    px_buf_init(&stream->line, bytes_max);
    px_buf_init(&stream->data, bytes_max);
}

static void end_event(px_event_stream *stream)
{
    if (!stream->data.length) return;
    stream->on_event(stream->arg, (px_slice){px_buf_text(&stream->data), stream->data.length});
    px_buf_reset(&stream->data);
}

static void end_line(px_event_stream *stream)
{
    const char *line = px_buf_text(&stream->line);
    size_t length = stream->line.length;
    if (length && line[length - 1] == '\r') length--;
    if (!length) {
        end_event(stream);
    } else if (length >= 5 && memcmp(line, "data:", 5) == 0) {
        size_t skip = length > 5 && line[5] == ' ' ? 6 : 5;
        if (stream->data.length) px_buf_putc(&stream->data, '\n');
        px_buf_append(&stream->data, line + skip, length - skip);
    }
    px_buf_reset(&stream->line);
}

void px_event_stream_feed(px_event_stream *stream, px_slice bytes)
{
    const char *at = bytes.data, *end = at + bytes.length;
    while (at < end && !px_event_stream_overflowed(stream)) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        px_buf_append(&stream->line, at, (size_t)((stop ? stop : end) - at));
        if (!stop) return;
        end_line(stream);
        at = stop + 1;
    }
}

bool px_event_stream_overflowed(const px_event_stream *stream)
{
    return stream->line.overflowed || stream->data.overflowed;
}

void px_event_stream_done(px_event_stream *stream)
{
    px_buf_done(&stream->line);
    px_buf_done(&stream->data);
}
