/* The id map agrees with a plain array through a long random life. */
#include <stdlib.h>

#include "cluster/idmap.h"
#include "test.h"

PX_TEST(agrees_with_a_plain_array)
{
    enum { LIMIT = 64, IDS = 256, ROUNDS = 200000 };
    static int cells[IDS];
    bool present[IDS] = {false};
    unsigned count = 0, full = 0, state = 12345;
    px_idmap map;
    px_idmap_init(&map, LIMIT);
    for (int round = 0; round < ROUNDS; round++) {
        state = state * 1664525u + 1013904223u;
        unsigned id = (state >> 8) % IDS;
        if (state >> 31) {
            bool put = px_idmap_put(&map, id, &cells[id]);
            bool want = !present[id] && count < LIMIT;
            if (put != want) PX_CHECK(put == want);
            full += !present[id] && !want;
            count += put;
            present[id] |= put;
        } else {
            px_idmap_remove(&map, id);
            count -= present[id];
            present[id] = false;
        }
        if (round % 97 == 0)
            for (unsigned i = 0; i < IDS; i++)
                if (px_idmap_get(&map, i) != (present[i] ? &cells[i] : NULL)) PX_CHECK(!"differs");
    }
    PX_CHECK(map.count == count);
    PX_CHECK(full > 0); /* the bound was met */
    px_idmap_done(&map);
}

PX_TEST(ids_may_be_anything)
{
    static const uint64_t ids[] = {0, 1, UINT64_MAX, UINT64_C(1) << 63, UINT32_MAX};
    px_idmap map;
    px_idmap_init(&map, 5);
    for (int i = 0; i < 5; i++) PX_CHECK(px_idmap_put(&map, ids[i], (void *)&ids[i]));
    for (int i = 0; i < 5; i++) PX_CHECK(px_idmap_get(&map, ids[i]) == &ids[i]);
    PX_CHECK(!px_idmap_put(&map, 0, (void *)ids)); /* twice */
    px_idmap_done(&map);
}

PX_TEST_MAIN()
