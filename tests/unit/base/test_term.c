/* test_term.c - what people see: tables, sizes, durations, UTF-8; and what they do not see. */
#include "base/clock.h"
#include "base/term.h"
#include "test.h"

static char *captured;
static size_t captured_bytes;

static FILE *capture(void)
{
    return open_memstream(&captured, &captured_bytes);
}

PX_TEST(columns_align_by_what_is_seen)
{
    const char *headers[] = {"NAME", ">SIZE", "NOTE"};
    px_table *table = px_table_create(headers, 3);
    px_table_row(table, (const char *[]){"a", "1", "x"});
    px_table_row(table, (const char *[]){"d\xc3\xa9j\xc3\xa0", "1000", NULL});
    px_table_row(table, (const char *[]){"\xe4\xb8\xad\xe6\x96\x87", "22", "two\nlines"});
    FILE *to = capture();
    px_table_print(table, to);
    fclose(to);
    PX_CHECK_STR(captured, "NAME  SIZE  NOTE\n"
                           "a        1  x\n"
                           "d\xc3\xa9j\xc3\xa0  1000  \n"
                           "\xe4\xb8\xad\xe6\x96\x87    22  two lines\n");
    free(captured);
    px_table_free(table);
    px_table_free(NULL);
}

PX_TEST(tables_grow)
{
    const char *headers[] = {"N"};
    px_table *table = px_table_create(headers, 1);
    for (int i = 0; i < 100; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        px_table_row(table, (const char *[]){text});
    }
    FILE *to = capture();
    px_table_print(table, to);
    fclose(to);
    PX_CHECK(strstr(captured, "\n98\n99\n") != NULL && strncmp(captured, "N\n0\n1\n", 6) == 0);
    free(captured);
    px_table_free(table);
}

PX_TEST(sizes_and_durations_read_well)
{
    char out[32];
    PX_CHECK_STR(px_format_bytes(0, out), "0 B");
    PX_CHECK_STR(px_format_bytes(1023, out), "1023 B");
    PX_CHECK_STR(px_format_bytes(1024, out), "1.0 KiB");
    PX_CHECK_STR(px_format_bytes(100872192, out), "96.2 MiB");
    PX_CHECK_STR(px_format_bytes((1u << 20) - 1, out), "1.0 MiB");
    PX_CHECK_STR(px_format_bytes(UINT64_MAX, out), "16.0 EiB");
    PX_CHECK_STR(px_format_duration(999, out), "999 ns");
    PX_CHECK_STR(px_format_duration(1500, out), "1 us");
    PX_CHECK_STR(px_format_duration(320 * PX_MS, out), "320 ms");
    PX_CHECK_STR(px_format_duration(1400 * PX_MS, out), "1.4 s");
    PX_CHECK_STR(px_format_duration(60 * PX_SEC, out), "1m 0s");
    PX_CHECK_STR(px_format_duration(7380 * PX_SEC, out), "2h 3m");
    PX_CHECK_STR(px_format_duration(90000 * PX_SEC, out), "1d 1h");
    PX_CHECK_STR(px_format_duration(-5, out), "0 ns");
}

PX_TEST(short_work_shows_no_progress)
{
    FILE *file = tmpfile();
    px_progress *progress = px_progress_create(file, "loading");
    for (int i = 0; i < 100; i++) px_progress_update(progress, i / 100.0, "x");
    px_progress_done(progress, NULL);
    PX_CHECK(ftell(file) == 0);
    fclose(file);
}

PX_TEST(long_work_shows_lines_where_there_is_no_terminal)
{
    FILE *file = tmpfile();
    px_progress *progress = px_progress_create(file, "loading");
    px_sleep_ns(1050 * PX_MS);
    for (int i = 0; i < 100; i++) px_progress_update(progress, 0.5, "12 MiB"); /* one line only */
    px_progress_done(progress, "ready");
    char text[256] = "";
    rewind(file);
    PX_CHECK(fread(text, 1, sizeof text - 1, file) > 0);
    PX_CHECK(strncmp(text, "loading  50%  12 MiB\nloading: ready (1.", 39) == 0);
    PX_CHECK(strchr(text, '\033') == NULL);
    fclose(file);
}

/* --- UTF-8 --- */

PX_TEST(only_well_formed_utf8_counts)
{
    static const struct {
        const char *text;
        size_t length, valid;
    } cases[] = {
        {"abc", 3, 3},
        {"\xc3\xa9x", 3, 3},
        {"x\xc3", 2, 1}, /* cut */
        {"\xe2\x82\xac", 3, 3},
        {"\xe2\x82", 2, 0}, /* cut */
        {"\xf0\x9f\x98\x80", 4, 4},
        {"a\xf0\x9f\x98", 4, 1},    /* cut */
        {"\xc0\x80", 2, 0},         /* overlong */
        {"\xe0\x80\x80", 3, 0},     /* overlong */
        {"\xf0\x80\x80\x80", 4, 0}, /* overlong */
        {"\xed\xa0\x80", 3, 0},     /* surrogate */
        {"\xf4\x90\x80\x80", 4, 0}, /* beyond U+10FFFF */
        {"\xf4\x8f\xbf\xbf", 4, 4},
        {"a\x80", 2, 1}, /* stray continuation */
        {"a\0b", 3, 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        PX_CHECK(px_utf8_valid_prefix(cases[i].text, cases[i].length) == cases[i].valid);
}

PX_TEST(every_character_decodes_to_itself)
{
    for (uint32_t rune = 0; rune <= 0x10FFFF; rune += rune < 0x3000 ? 1 : 37) {
        if (rune >= 0xD800 && rune <= 0xDFFF) continue;
        char text[4];
        size_t length;
        if (rune < 0x80) {
            text[0] = (char)rune;
            length = 1;
        } else {
            length = rune < 0x800 ? 2 : rune < 0x10000 ? 3 : 4;
            for (size_t i = length - 1; i > 0; i--)
                text[i] = (char)(0x80 | (rune >> 6 * (length - 1 - i) & 0x3F));
            text[0] = (char)(0xF00 >> length | rune >> 6 * (length - 1));
        }
        uint32_t got;
        if (px_utf8_next(text, length, &got) != length || got != rune) {
            PX_CHECK(got == rune);
            break;
        }
    }
    PX_CHECK(px_utf8_columns("e\xcc\x81", 3) == 1);        /* a combining accent */
    PX_CHECK(px_utf8_columns("\xf0\x9f\x98\x80", 4) == 2); /* an emoji */
    PX_CHECK(px_utf8_columns("\xff\xff", 2) == 2);
}

PX_TEST_MAIN()
