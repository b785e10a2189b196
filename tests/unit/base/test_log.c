/* test_log.c - each line is whole, bounded, and parses. */
#include <fcntl.h>
#include <math.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"
#include "test.h"

static char path[] = "/tmp/px_log_XXXXXX";
static int saved_stderr = -1;

static void begin(void)
{
    saved_stderr = dup(2);
    memcpy(path + sizeof path - 7, "XXXXXX", 6);
    int file = mkstemp(path);
    dup2(file, 2);
    close(file);
}

static void end(px_buf *out)
{
    dup2(saved_stderr, 2);
    close(saved_stderr);
    px_buf_init(out, 1 << 20);
    PX_CHECK_OK(px_fs_read(path, out));
    unlink(path);
}

PX_TEST(json_lines_hold_typed_values)
{
    px_buf out;
    begin();
    px_log_init("tester", PX_INFO, PX_LOG_JSON);
    px_log(PX_DEBUG, "not.shown", PX_I("x", 1));
    px_log(PX_WARN, "rank.died", PX_S("model", "a \"b\"\n\xff"), PX_I("code", -9),
        PX_U("steps", INT64_MAX), PX_F("load", 0.25), PX_F("bad", NAN), PX_S("none", NULL));
    end(&out);
    json_t *line = NULL;
    PX_CHECK_OK(px_json_parse(px_buf_text(&out), out.length, "line", &line));
    PX_REQUIRE(line != NULL); /* so it is one line only */
    const char *text = "";
    PX_CHECK_OK(px_json_get_str(line, "event", "line", &text));
    PX_CHECK_STR(text, "rank.died");
    PX_CHECK_OK(px_json_get_str(line, "level", "line", &text));
    PX_CHECK_STR(text, "warn");
    PX_CHECK_OK(px_json_get_str(line, "model", "line", &text));
    PX_CHECK_STR(text, "a \"b\"\n\xef\xbf\xbd");
    PX_CHECK(json_integer_value(json_object_get(line, "code")) == -9);
    PX_CHECK(json_real_value(json_object_get(line, "load")) == 0.25);
    PX_CHECK(json_is_null(json_object_get(line, "bad")));
    PX_CHECK(strstr(px_buf_text(&out), "\"steps\":9223372036854775807") != NULL);
    json_decref(line);
    px_buf_done(&out);
}

PX_TEST(text_lines_quote_only_what_needs_it)
{
    px_buf out;
    begin();
    px_log_init("tester", PX_DEBUG, PX_LOG_TEXT);
    px_log(PX_DEBUG, "a.b", PX_S("plain", "x/y-1"), PX_S("spaced", "x y"), PX_S("empty", ""),
        PX_I("n", 3));
    px_log(PX_ERROR, "bare");
    end(&out);
    PX_CHECK(strstr(px_buf_text(&out),
                 " debug tester a.b plain=x/y-1 spaced=\"x y\" empty=\"\" n=3\n") != NULL);
    PX_CHECK(strstr(px_buf_text(&out), " error tester bare\n") != NULL);
    px_buf_done(&out);
}

PX_TEST(a_line_is_bounded_and_still_json)
{
    static char large[100000];
    memset(large, '\x01', sizeof large - 1);
    px_buf out;
    begin();
    px_log_init("tester", PX_INFO, PX_LOG_JSON);
    px_log(PX_INFO, "large", PX_S("a", large), PX_S("b", large), PX_S("c", large), PX_S("d", large),
        PX_S("e", large));
    end(&out);
    json_t *line = NULL;
    PX_CHECK_OK(px_json_parse(px_buf_text(&out), out.length, "line", &line));
    PX_CHECK(out.length < 32 * 1024 && json_string_length(json_object_get(line, "a")) == 1024);
    json_decref(line);
    px_buf_done(&out);
}

PX_TEST_MAIN()
