/* automaton.h - a network made deterministic as it is run: what the text so far allows next, one
 * byte a step.
 *
 * A configuration is the set of all (state, calls to return to) that the bytes read so far may have
 * led to. Configurations, call stacks and steps are found once and remembered, so the usual step is
 * one probe of a table.
 * Memory:  all of it is taken in create; when it runs full, px_automaton_tidy() keeps what pins
 *          hold and forgets the rest. Between two tidies ids stay valid.
 * Bounds:  calls nest DEPTH_MAX deep, deeper ones do not match; a step that needs more than there
 * is room for is reported by px_automaton_overflowed(). Threads: one at a time.
 */
#ifndef PX_GRAMMAR_AUTOMATON_H
#define PX_GRAMMAR_AUTOMATON_H

#include <stdbool.h>

#include "engine/grammar/network.h"

enum { PX_CONFIG_DEAD = 0 }; /* no continuation matches */

typedef struct px_automaton px_automaton;

typedef struct px_byte_set {
    uint64_t bits[4];
} px_byte_set;

typedef struct px_automaton_pin { /* a configuration that must outlive a tidy */
    uint32_t config;
    struct px_automaton_pin *next, **link;
} px_automaton_pin;

/* `net` is borrowed. */
px_status px_automaton_create(const px_net *net, px_automaton **out) PX_MUST_USE;
void px_automaton_free(px_automaton *automaton); /* all pins are gone */

/* Pins the configuration before the first byte. */
void px_automaton_begin(px_automaton *automaton, px_automaton_pin *pin);
/* Pins another's configuration too, for a second continuation of one text. */
void px_automaton_share(px_automaton *automaton, const px_automaton_pin *pin, px_automaton_pin *to);
void px_automaton_end(px_automaton_pin *pin);

uint32_t px_automaton_step(px_automaton *automaton, uint32_t config, uint8_t byte);
/* Whether the text may end here. */
bool px_automaton_accepts(const px_automaton *automaton, uint32_t config);
/* The bytes that may come next. */
px_byte_set px_automaton_next(const px_automaton *automaton, uint32_t config);

/* Before work that makes at most thousands of configurations: makes room if there is little, and
 * sets what may be spent until the next time, beyond which it overflows. Ids other than those in
 * pins are invalid if it returns true. */
bool px_automaton_tidy(px_automaton *automaton);
/* Since create or the last call: a step was taken for dead because there was no room for it. */
bool px_automaton_overflowed(px_automaton *automaton);

#endif
