/* test_memory.c - arenas and buffers keep their bounds. */
#include "base/memory.h"
#include "base/ring.h"
#include "test.h"

PX_TEST(arena_stops_at_its_limit_and_starts_anew)
{
    px_arena arena;
    px_arena_init(&arena, 1000);
    PX_CHECK(px_arena_alloc(&arena, 900) != NULL);
    PX_CHECK(px_arena_alloc(&arena, 200) == NULL);
    PX_CHECK(px_arena_alloc(&arena, SIZE_MAX) == NULL);
    px_arena_reset(&arena);
    unsigned char *bytes = px_arena_alloc(&arena, 900);
    PX_CHECK(bytes && bytes[0] == 0 && bytes[899] == 0);
    px_arena_done(&arena);
}

PX_TEST(buf_refuses_what_does_not_fit)
{
    px_buf buf;
    px_buf_init(&buf, 8);
    px_buf_puts(&buf, "12345");
    px_buf_printf(&buf, "%d", 6789);
    PX_CHECK(buf.overflowed);
    PX_CHECK_STR(px_buf_text(&buf), "12345");
    px_buf_reset(&buf);
    px_buf_printf(&buf, "%d", 6789);
    PX_CHECK_STR(px_buf_text(&buf), "6789");
    px_buf_done(&buf);
}

PX_TEST(ring_keeps_order_and_bound)
{
    px_ring ring;
    px_ring_init(&ring, sizeof(int), 4);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 4; i++) PX_CHECK(px_ring_push(&ring, &i));
        int extra = 9, item = 0;
        PX_CHECK(!px_ring_push(&ring, &extra));
        for (int i = 0; i < 4; i++) PX_CHECK(px_ring_pop(&ring, &item) && item == i);
        PX_CHECK(!px_ring_pop(&ring, &item));
    }
    px_ring_done(&ring);
}

PX_TEST(status_is_cut_at_a_character)
{
    char text[400];
    px_status s;
    size_t room = sizeof s.text - 1; /* the last byte of it would be half a character */
    memset(text, 'a', sizeof text);
    memcpy(text + room - 1, "\xc3\xa9", 3);
    s = px_fail(PX_NOT_FOUND, "%s", text);
    PX_CHECK(strlen(s.text) == room - 1);
    s = px_prefix(px_fail(PX_DATA_LOSS, "torn"), "file '%s'", "x");
    PX_CHECK_STR(s.text, "file 'x': torn");
    PX_CHECK(s.code == PX_DATA_LOSS);
}

PX_TEST_MAIN()
