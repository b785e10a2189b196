/* test_stops.c - stop strings are found wherever the text is cut, and never leak. */
#include "engine/engine.h"
#include "engine/random.h"
#include "engine/stops.h"
#include "test.h"

static px_slice slice(const char *text)
{
    return (px_slice){text, strlen(text)};
}

typedef struct run {
    px_arena arena;
    px_stops *stops;
    px_buf out;
} run;

static void start(run *r, const char *const *strings, uint32_t count)
{
    px_slice slices[PX_STOPS_MAX];
    for (uint32_t i = 0; i < count; i++) slices[i] = slice(strings[i]);
    px_arena_init(&r->arena, 1 << 20);
    px_buf_init(&r->out, 1 << 16);
    PX_CHECK_OK(px_stops_create(slices, count, &r->arena, &r->stops));
}

static void end(run *r)
{
    px_arena_done(&r->arena);
    px_buf_done(&r->out);
}

static bool push(run *r, const char *text)
{
    return px_stops_push(r->stops, slice(text), true, &r->out);
}

PX_TEST(holds_back_what_could_become_a_stop_string)
{
    run r;
    start(&r, (const char *[]){"</s>", "\n\nUser:"}, 2);
    PX_CHECK(!push(&r, "Hello <"));
    PX_CHECK_STR(px_buf_text(&r.out), "Hello ");
    PX_CHECK(!push(&r, "b>\n"));
    PX_CHECK_STR(px_buf_text(&r.out), "Hello <b>");
    PX_CHECK(!push(&r, "\n"));
    PX_CHECK_STR(px_buf_text(&r.out), "Hello <b>");
    PX_CHECK(!push(&r, "\nUse"));
    PX_CHECK_STR(px_buf_text(&r.out), "Hello <b>\n");
    PX_CHECK(push(&r, "r: and more"));
    PX_CHECK_STR(px_buf_text(&r.out), "Hello <b>\n");
    end(&r);
}

PX_TEST(before_the_answer_may_end_a_stop_string_is_text)
{
    run r;
    start(&r, (const char *[]){"aba", "stop"}, 2);
    PX_CHECK(!px_stops_push(r.stops, slice("stop, aba, ab"), false, &r.out));
    PX_CHECK_STR(px_buf_text(&r.out), "stop, aba, ");
    PX_CHECK(push(&r, "a and more")); /* it began before, and ends now */
    PX_CHECK_STR(px_buf_text(&r.out), "stop, aba, ");
    end(&r);
    start(&r, (const char *[]){"aba"}, 1);
    PX_CHECK(!px_stops_push(r.stops, slice("xaba"), false, &r.out));
    PX_CHECK(push(&r, "ba"));
    PX_CHECK_STR(px_buf_text(&r.out), "xab");
    end(&r);
}

PX_TEST(the_end_gives_out_what_was_held)
{
    run r;
    start(&r, (const char *[]){"abc"}, 1);
    PX_CHECK(!push(&r, "xab"));
    PX_CHECK_STR(px_buf_text(&r.out), "x");
    px_stops_finish(r.stops, &r.out);
    PX_CHECK_STR(px_buf_text(&r.out), "xab");
    end(&r);
}

PX_TEST(characters_are_never_split)
{
    run r;
    start(&r, (const char *[]){"é!", "日本"}, 2);
    PX_CHECK(!push(&r, "caf\xc3\xa9"));
    PX_CHECK_STR(px_buf_text(&r.out), "caf");
    PX_CHECK(!push(&r, "日"));
    PX_CHECK_STR(px_buf_text(&r.out), "café");
    PX_CHECK(push(&r, "本"));
    PX_CHECK_STR(px_buf_text(&r.out), "café");
    end(&r);
}

PX_TEST(bad_stop_strings_are_refused)
{
    px_arena arena;
    px_stops *stops;
    char big[PX_STOP_BYTES_MAX + 2];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    px_arena_init(&arena, 1 << 20);
    px_slice many[PX_STOPS_MAX + 1];
    for (int i = 0; i <= PX_STOPS_MAX; i++) many[i] = slice("a");
    PX_CHECK(px_stops_create(many, PX_STOPS_MAX + 1, &arena, &stops).code == PX_INVALID_ARGUMENT);
    const px_slice bad[] = {slice(""), slice(big), slice("\xff"), slice("\xc3")};
    for (int i = 0; i < 4; i++)
        PX_CHECK(px_stops_create(&bad[i], 1, &arena, &stops).code == PX_INVALID_ARGUMENT);
    PX_CHECK_OK(px_stops_create(NULL, 0, &arena, &stops));
    PX_CHECK(stops == NULL);
    px_arena_done(&arena);
}

/* --- against the definition, on texts where everything overlaps --- */

typedef struct answer {
    size_t given; /* bytes that may be out after this text */
    bool stopped;
} answer;

static bool ends_with(const char *text, size_t length, const char *end, size_t end_length)
{
    return end_length <= length && memcmp(text + length - end_length, end, end_length) == 0;
}

static answer define(const char *text, size_t length, char stops[][8], uint32_t count)
{
    for (size_t end = 1; end <= length; end++) {
        size_t longest = 0;
        for (uint32_t i = 0; i < count; i++)
            if (ends_with(text, end, stops[i], strlen(stops[i])) && strlen(stops[i]) > longest)
                longest = strlen(stops[i]);
        if (longest) return (answer){end - longest, true};
    }
    size_t held = 0;
    for (uint32_t i = 0; i < count; i++)
        for (size_t n = 1; n < strlen(stops[i]); n++)
            if (ends_with(text, length, stops[i], n) && n > held) held = n;
    return (answer){length - held, false};
}

PX_TEST(random_overlapping_texts_follow_the_definition)
{
    int stopped_count = 0;
    for (uint64_t seed = 0; seed < 3000; seed++) {
        uint32_t draw = 0;
        char text[41], stops[4][8];
        const char *strings[4];
        uint32_t count = 1 + (uint32_t)(px_random_unit(seed, draw++) * 4);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t length = 1 + (uint32_t)(px_random_unit(seed, draw++) * 7);
            for (uint32_t j = 0; j < length; j++)
                stops[i][j] = px_random_unit(seed, draw++) < 0.6 ? 'a' : 'b';
            stops[i][length] = '\0';
            strings[i] = stops[i];
        }
        for (int i = 0; i < 40; i++) text[i] = "aabc"[(int)(px_random_unit(seed, draw++) * 4)];
        text[40] = '\0';
        run r;
        start(&r, strings, count);
        bool stopped = false;
        for (size_t at = 0; at < 40 && !stopped;) {
            size_t piece = 1 + (size_t)(px_random_unit(seed, draw++) * 6);
            if (piece > 40 - at) piece = 40 - at;
            stopped = px_stops_push(r.stops, (px_slice){text + at, piece}, true, &r.out);
            at += piece;
            answer want = define(text, at, stops, count);
            PX_CHECK(stopped == want.stopped && r.out.length == want.given);
            PX_CHECK(memcmp(px_buf_text(&r.out), text, r.out.length) == 0);
        }
        stopped_count += stopped;
        end(&r);
    }
    PX_CHECK(stopped_count > 500 && stopped_count < 2999);
}

PX_TEST_MAIN()
