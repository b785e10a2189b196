/* event_stream.h - the data of server-sent events, out of bytes that come in any pieces.
 *
 * Format: WHATWG HTML, "Server-sent events"; only `data` is of interest here. Lines end with LF or
 * CR LF; an event ends with an empty line.
 */
#ifndef PX_CONTROL_EVENT_STREAM_H
#define PX_CONTROL_EVENT_STREAM_H

#include "base/memory.h"

typedef struct px_event_stream {
    px_buf line, data;
    void (*on_event)(void *arg, px_slice data); /* borrowed; NUL-terminated */
    void *arg;
} px_event_stream;

/* Lines and events over `bytes_max` end the reading: `data.overflowed` or `line.overflowed`. */
void px_event_stream_init(px_event_stream *stream, size_t bytes_max);
void px_event_stream_feed(px_event_stream *stream, px_slice bytes);
bool px_event_stream_overflowed(const px_event_stream *stream);
void px_event_stream_done(px_event_stream *stream);

#endif
