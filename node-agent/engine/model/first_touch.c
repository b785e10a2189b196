#include "engine/model/first_touch.h"

#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/memory.h"

enum { PAGE_BYTES = 2 << 20 }; /* with smaller pages this costs nothing and helps nobody */
enum { UNTOUCHED, TAKEN, TOUCHED };
enum { AHEAD = 4 }; /* pages that one who waits touches at most: about what caches hold */

void px_first_touch_init(px_first_touch *touch, void *memory, size_t bytes)
{
    *touch = (px_first_touch){.begin = (uintptr_t)memory, .end = (uintptr_t)memory + bytes};
    size_t count = (touch->end - 1) / PAGE_BYTES - touch->begin / PAGE_BYTES + 1;
    touch->pages = px_alloc_array(count, sizeof *touch->pages);
}

void px_first_touch_done(px_first_touch *touch)
{
    free(touch->pages);
}

/* To the kernel a write, which leaves what is there: a byte that was written too early is a lost
 * race for a page, not a wrong weight. */
static void write_nothing(unsigned char *at)
{
    unsigned char nothing = 0;
    atomic_compare_exchange_strong_explicit((volatile _Atomic unsigned char *)at, &nothing, 0,
        memory_order_relaxed, memory_order_relaxed);
}

/* False: another has it. `page` counts from the first one's. */
static bool take(px_first_touch *touch, size_t page)
{
    uint8_t untouched = UNTOUCHED;
    if (!atomic_compare_exchange_strong_explicit(
            &touch->pages[page], &untouched, TAKEN, memory_order_relaxed, memory_order_relaxed))
        return false;
    uintptr_t at = (touch->begin / PAGE_BYTES + page) * PAGE_BYTES;
    write_nothing((unsigned char *)(at > touch->begin ? at : touch->begin));
    atomic_store_explicit(&touch->pages[page], TOUCHED, memory_order_release);
    return true;
}

static bool is_touched(px_first_touch *touch, size_t page)
{
    return atomic_load_explicit(&touch->pages[page], memory_order_acquire) == TOUCHED;
}

void px_first_touch_range(px_first_touch *touch, const void *at, size_t bytes)
{
    size_t first = touch->begin / PAGE_BYTES, last = (touch->end - 1) / PAGE_BYTES - first;
    size_t begin = (uintptr_t)at / PAGE_BYTES - first;
    size_t end = ((uintptr_t)at + bytes - 1) / PAGE_BYTES - first;
    for (size_t page = begin; page <= end; page++) {
        if (is_touched(touch, page) || take(touch, page)) continue;
        size_t next = page + 1, most = page + AHEAD < last ? page + AHEAD : last;
        while (!is_touched(touch, page)) {
            while (next <= most && !take(touch, next)) next++;
            if (next > most) sched_yield();
        }
    }
}
