/* Patterns: what differs between Oniguruma, for which they are written, and PCRE2. */
#include "engine/text/pattern.h"
#include "test.h"

/* All matches as "[one][two]", or the error's sentence. */
static const char *matches(const char *regex, const char *text, char out[512])
{
    px_pattern *pattern;
    px_matcher *matcher;
    out[0] = '\0';
    px_status status = px_pattern_create((px_slice){regex, strlen(regex)}, &pattern);
    if (!px_is_ok(status)) {
        snprintf(out, 512, "%s", status.text);
        return out;
    }
    PX_CHECK_OK(px_matcher_create(&matcher));
    px_matcher_start(matcher, pattern, (px_slice){text, strlen(text)});
    size_t length = 0;
    for (bool found = true; found;) {
        px_match match;
        PX_CHECK_OK(px_matcher_next(matcher, &found, &match));
        if (!found) break;
        length += (size_t)snprintf(out + length, 512 - length, "[%.*s]",
            (int)(match.end - match.start), text + match.start);
    }
    px_matcher_free(matcher);
    px_pattern_free(pattern);
    return out;
}

#define CHECK_MATCHES(regex, text, want) PX_CHECK_STR(matches(regex, text, out), want)

PX_TEST(space_is_white_space_of_unicode)
{
    char out[512];
    CHECK_MATCHES(
        "\\s", "a\xc2\xa0\xe2\x80\x83\xe1\xa0\x8e\xe2\x80\x8b\x1cz", "[\xc2\xa0][\xe2\x80\x83]");
    CHECK_MATCHES("[^\\S\\n]+", " \t\n b", "[ \t][ ]");
    CHECK_MATCHES("\\S+", "ab \xc3\xa9", "[ab][\xc3\xa9]");
}

PX_TEST(h_is_a_hexadecimal_digit)
{
    char out[512];
    CHECK_MATCHES("\\h+", "xff 0G", "[ff][0]");
    CHECK_MATCHES("[\\H]", "a-", "[-]");
}

PX_TEST(words_are_those_of_oniguruma)
{
    char out[512];
    CHECK_MATCHES("\\w+",
        "a\xcc\x81"
        "b_\xc2\xbd\xe2\x91\xa0 x",
        "[a\xcc\x81"
        "b_\xc2\xbd][x]"); /* ½ yes, ① no */
    CHECK_MATCHES("\\b\\w",
        "a\xcc\x81"
        "b c",
        "[a][c]");
    CHECK_MATCHES("[\\W\\d]+", "ab1-2c", "[1-2]");
}

PX_TEST(lines_end_where_ruby_ends_them)
{
    char out[512];
    CHECK_MATCHES("^\\w+$", "ab\ncd", "[ab][cd]");
    CHECK_MATCHES("a.", "a\nab", "[ab]");
    CHECK_MATCHES("(?m:a.)", "a\nab", "[a\n][ab]");
    CHECK_MATCHES("\\s+$", "a  b  \n c \n", "[  ][ \n]");
}

PX_TEST(a_plus_after_an_interval_repeats_it)
{
    char out[512];
    CHECK_MATCHES("\\d{2}+", "12345", "[1234]");
    CHECK_MATCHES("(?:ab){1,2}+x", "abababx", "[abababx]");
    CHECK_MATCHES("\\p{L}++", "abc", "[abc]");
    CHECK_MATCHES("a{,2}", "aaa", "[aa][a]");
    CHECK_MATCHES("x{", "x{", "[x{]");
}

PX_TEST(classes_nest_and_intersect)
{
    char out[512];
    CHECK_MATCHES("[\\p{L}&&[^a-c]]+", "abxyc", "[xy]");
    CHECK_MATCHES("[[a-c][0-9]]+", "ab1z", "[ab1]");
    CHECK_MATCHES("[^\\p{L}&&[^x]]+", "ax1b", "[x1]"); /* not: a letter other than x */
    CHECK_MATCHES("[[:alpha:]]+|[[:^alpha:]]", "ab1", "[ab][1]");
    CHECK_MATCHES("[]a]+", "]a", "[]a]");
}

PX_TEST(a_script_is_the_script_without_its_extensions)
{
    char out[512];
    CHECK_MATCHES(
        "\\p{Han}+", "\xe4\xbd\xa0\xe3\x80\x82", "[\xe4\xbd\xa0]"); /* not the full stop */
    CHECK_MATCHES("\\p{Letter}\\P{Letter}", "a1", "[a1]");
}

PX_TEST(an_empty_match_counts_unless_it_follows_a_match)
{
    char out[512];
    CHECK_MATCHES("(?=(\\d{3})+(?!\\d))", "1234567", "[][]");
    CHECK_MATCHES("x*", "xa", "[x][]");
}

PX_TEST(a_broken_pattern_says_where)
{
    char out[512];
    PX_CHECK(strstr(matches("a(b", "", out), "at 3"));
    PX_CHECK(strstr(matches("[ab", "", out), "']'"));
    PX_CHECK(strstr(matches("a\\", "", out), "backslash"));
}

PX_TEST(endless_backtracking_is_refused)
{
    px_pattern *pattern;
    px_matcher *matcher;
    bool found;
    px_match match;
    char text[64];
    memset(text, 'a', sizeof text);
    PX_CHECK_OK(px_pattern_create((px_slice){"(a+)+b|(?:a|a)*c", 16}, &pattern));
    PX_CHECK_OK(px_matcher_create(&matcher));
    px_matcher_start(matcher, pattern, (px_slice){text, sizeof text});
    px_status status = px_matcher_next(matcher, &found, &match);
    PX_CHECK(status.code == PX_RESOURCE_EXHAUSTED);
    px_matcher_free(matcher);
    px_pattern_free(pattern);
}

/* Of Unicode 15 and 16, which the library may be older than. */
PX_TEST(newer_characters_are_of_their_kind)
{
    char out[512];
    CHECK_MATCHES(
        "\\p{S}+", "a\xf0\x9f\xab\xa8\xf0\x9f\xab\xa9z", "[\xf0\x9f\xab\xa8\xf0\x9f\xab\xa9]");
    CHECK_MATCHES("\\p{Lu}", "\xea\x9f\x8b\xea\x9f\x8d", "[\xea\x9f\x8b]"); /* U+A7CB, U+A7CD */
    CHECK_MATCHES("\\p{Han}+", "\xf0\xb1\x8d\x90x\xe4\xb8\xad",
        "[\xf0\xb1\x8d\x90][\xe4\xb8\xad]");          /* U+31350 */
    CHECK_MATCHES("\\p{Cn}", "\xf0\x91\xbc\x84", ""); /* U+11F04, a letter */
    CHECK_MATCHES("[\\p{Nd}&&[^0-9]]", "1\xf0\x91\xbd\x90", "[\xf0\x91\xbd\x90]"); /* U+11F50 */
}

PX_TEST_MAIN()
