/* grow.h - arrays {data, count, capacity} whose size the input decides.
 *
 * Unlike px_alloc, running out of memory is a status: hostile text must not end the process.
 */
#ifndef PX_TEXT_GROW_H
#define PX_TEXT_GROW_H

#include <stdlib.h>

#include "base/memory.h"

static inline px_status px_grow_bytes(
    void **data, size_t *capacity, size_t need, size_t element_bytes)
{
    size_t want = *capacity ? *capacity : 16;
    while (want < need) want *= 2;
    void *grown = realloc(*data, want * element_bytes);
    if (!grown)
        return px_fail(PX_RESOURCE_EXHAUSTED, "no memory for %zu bytes of text work space",
            want * element_bytes);
    *data = grown;
    *capacity = want;
    return px_ok();
}

/* Room for `need` elements in all; new memory is not cleared. */
#define PX_GROW(list, need)                                                                        \
    ((need) <= (list)->capacity ? px_ok()                                                          \
                                : px_grow_bytes((void **)&(list)->data, &(list)->capacity, (need), \
                                      sizeof *(list)->data))

#endif
