/* stops.h - finds stop strings in streamed text and holds back what could still become one.
 *
 * What has been given out since the answer may end contains no stop string and does not end with
 * the beginning of one. The outcome depends on the text alone, not on how it is cut into pieces:
 * the answer ends at the first byte that completes any stop string, before the longest one that
 * ends there.
 *
 * Source:  Knuth, Morris, Pratt: "Fast pattern matching in strings" (one automaton a string).
 * Owns:    nothing outside the arena it was made in.
 * Threads: one at a time.
 */
#ifndef PX_ENGINE_STOPS_H
#define PX_ENGINE_STOPS_H

#include "base/memory.h"

typedef struct px_stops px_stops;

/* Copies the strings into `arena`. INVALID_ARGUMENT: too many, empty, too long, or not UTF-8 (the
 * limits are in engine.h). *out is NULL for none. */
px_status px_stops_create(
    const px_slice *strings, uint32_t count, px_arena *arena, px_stops **out) PX_MUST_USE;

/* Appends to `out` what may be given out now. True: a stop string is complete; it and everything
 * behind it are dropped, and nothing more may be pushed. Where the answer may not end yet, stop
 * strings that become complete are text like any other. */
bool px_stops_push(px_stops *stops, px_slice text, bool may_end, px_buf *out);
/* The text ended without a stop string: gives out what was held back. */
void px_stops_finish(px_stops *stops, px_buf *out);

#endif
