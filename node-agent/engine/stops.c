/* stops.c - see stops.h.
 *
 * Text and stop strings are whole UTF-8, which synchronises itself: a held-back beginning always
 * starts at a character, so no character is ever split.
 */
#include "engine/stops.h"

#include <string.h>

#include "base/utf8.h"
#include "engine/engine.h"

typedef struct matcher {
    const char *text;
    uint16_t length, matched; /* matched: the longest beginning of text that the input ends with */
    uint16_t *fallback;       /* [length]: the longest proper border of text[0..i] */
} matcher;

struct px_stops {
    uint32_t count;
    uint32_t held; /* bytes at the end of `tail`: the longest of all matched beginnings */
    char tail[PX_STOP_BYTES_MAX];
    matcher matchers[PX_STOPS_MAX];
};

static void find_borders(matcher *m)
{
    uint16_t border = 0;
    for (uint16_t i = 1; i < m->length; i++) {
        while (border && m->text[i] != m->text[border]) border = m->fallback[border - 1];
        if (m->text[i] == m->text[border]) border++;
        m->fallback[i] = border;
    }
}

static px_status check(const px_slice *strings, uint32_t count)
{
    if (count > PX_STOPS_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "%u stop strings were given; at most %d are allowed",
            count, PX_STOPS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        if (strings[i].length == 0 || strings[i].length > PX_STOP_BYTES_MAX)
            return px_fail(PX_INVALID_ARGUMENT, "stop string %u has %zu bytes; 1 to %d are allowed",
                i + 1, strings[i].length, PX_STOP_BYTES_MAX);
        if (px_utf8_valid_prefix(strings[i].data, strings[i].length) != strings[i].length)
            return px_fail(PX_INVALID_ARGUMENT, "stop string %u is not valid UTF-8", i + 1);
    }
    return px_ok();
}

px_status px_stops_create(const px_slice *strings, uint32_t count, px_arena *arena, px_stops **out)
{
    PX_TRY(check(strings, count));
    *out = NULL;
    if (!count) return px_ok();
    px_stops *stops = px_arena_alloc(arena, sizeof *stops);
    if (!stops) return px_fail(PX_RESOURCE_EXHAUSTED, "the request's memory limit is reached");
    stops->count = count;
    for (uint32_t i = 0; i < count; i++) {
        matcher *m = &stops->matchers[i];
        m->length = (uint16_t)strings[i].length;
        m->text = px_arena_copy(arena, strings[i].data, strings[i].length);
        m->fallback = px_arena_alloc(arena, m->length * sizeof *m->fallback);
        if (!m->text || !m->fallback)
            return px_fail(PX_RESOURCE_EXHAUSTED, "the request's memory limit is reached");
        find_borders(m);
    }
    *out = stops;
    return px_ok();
}

/* One byte through one automaton: true when the stop string is complete. */
static bool advance(matcher *m, char byte)
{
    while (m->matched && m->text[m->matched] != byte) m->matched = m->fallback[m->matched - 1];
    if (m->text[m->matched] == byte) m->matched++;
    return m->matched == m->length;
}

bool px_stops_push(px_stops *stops, px_slice text, bool may_end, px_buf *out)
{
    for (size_t i = 0; i < text.length; i++) {
        uint32_t longest = 0, complete = 0;
        for (uint32_t j = 0; j < stops->count; j++) {
            matcher *m = &stops->matchers[j];
            if (advance(m, text.data[i])) {
                if (may_end && m->length > complete) complete = m->length;
                m->matched = m->fallback[m->length - 1]; /* whoever does not end here goes on */
            }
            if (m->matched > longest) longest = m->matched;
        }
        if (complete) { /* of the held bytes and this one, the last `complete` are the stop string
                         */
            px_buf_append(out, stops->tail, stops->held + 1 - complete);
            stops->held = 0;
            return true;
        }
        /* What no beginning reaches back to any more is free to go. */
        uint32_t freed = stops->held + 1 - longest;
        if (freed <= stops->held) {
            px_buf_append(out, stops->tail, freed);
            memmove(stops->tail, stops->tail + freed, stops->held - freed);
            stops->held -= freed;
            stops->tail[stops->held++] = text.data[i];
        } else {
            px_buf_append(out, stops->tail, stops->held);
            px_buf_append(out, &text.data[i], 1);
            stops->held = 0;
        }
    }
    return false;
}

void px_stops_finish(px_stops *stops, px_buf *out)
{
    px_buf_append(out, stops->tail, stops->held);
    stops->held = 0;
}
