/* first_touch.h - fresh memory that several workers fill side by side, cleared once.
 *
 * The kernel clears a huge page when it is first written to. Two workers that come to the same page
 * at the same time both clear one, and one of the two is thrown away: with weights smaller than a
 * page that is nearly every page. So a worker asks for the pages it is about to write: those that
 * nobody has taken it takes and touches; while another is at one, it touches those that come next.
 * Threads: any number at once.
 */
#ifndef PX_MODEL_FIRST_TOUCH_H
#define PX_MODEL_FIRST_TOUCH_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

typedef struct px_first_touch {
    uintptr_t begin, end;   /* of the memory, which the caller owns */
    _Atomic uint8_t *pages; /* one for each huge page that it lies in */
} px_first_touch;

/* `memory` is fresh: what has been written to costs more, but keeps its bytes. */
void px_first_touch_init(px_first_touch *touch, void *memory, size_t bytes);
void px_first_touch_done(px_first_touch *touch);
/* Returns when the pages of [at, at + bytes), which is inside the memory, have all been touched. */
void px_first_touch_range(px_first_touch *touch, const void *at, size_t bytes);

#endif
