/* test_json.c - strict parsing, typed getters, and quoting that any parser takes back. */
#include "base/json.h"
#include "test.h"

static json_t *parse(const char *text)
{
    json_t *value = NULL;
    PX_CHECK_OK(px_json_parse(text, strlen(text), "test", &value));
    return value;
}

PX_TEST(malformed_text_is_refused_with_its_line)
{
    static const char *const bad[] = {"", "{", "{\"a\":1,}", "{\"a\":1}x", "{\"a\":1,\"a\":2}",
        "\"\xff\"", "\"\\ud800\"", "01", "nul", "1e999", "[1,2"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        json_t *value = NULL;
        px_status s = px_json_parse(bad[i], strlen(bad[i]), "file.json", &value);
        PX_CHECK(s.code == PX_INVALID_ARGUMENT && value == NULL);
        PX_CHECK(strstr(s.text, "file.json is not valid JSON: line ") != NULL);
    }
    static char deep[100000];
    memset(deep, '[', sizeof deep);
    json_t *value = NULL;
    PX_CHECK(px_json_parse(deep, sizeof deep, "x", &value).code == PX_INVALID_ARGUMENT);
}

PX_TEST(getters_take_the_right_type_and_name_the_wrong_one)
{
    json_t *o = parse("{\"i\":9007199254740993,\"w\":2048.0,\"r\":1.5,\"b\":true,\"s\":\"x\","
                      "\"n\":null,\"huge\":1e300}");
    int64_t i = -1;
    double r = -1;
    bool b = false;
    const char *s = "default";
    PX_CHECK_OK(px_json_get_int(o, "i", "f", &i));
    PX_CHECK(i == 9007199254740993);
    PX_CHECK_OK(px_json_get_int(o, "w", "f", &i));
    PX_CHECK(i == 2048);
    PX_CHECK_OK(px_json_get_real(o, "r", "f", &r));
    PX_CHECK(r == 1.5);
    PX_CHECK_OK(px_json_get_bool(o, "b", "f", &b));
    PX_CHECK(b);
    PX_CHECK_OK(px_json_get_str(o, "s", "f", &s));
    PX_CHECK_STR(s, "x");

    i = 7;
    PX_CHECK_OK(px_json_get_int(o, "missing", "f", &i)); /* defaults stay */
    PX_CHECK_OK(px_json_get_int(o, "n", "f", &i));
    PX_CHECK(i == 7);
    px_status wrong = px_json_get_int(o, "r", "config.json", &i);
    PX_CHECK(wrong.code == PX_INVALID_ARGUMENT && i == 7);
    PX_CHECK_STR(wrong.text, "config.json: 'r' must be a whole number");
    PX_CHECK(px_json_get_int(o, "huge", "f", &i).code == PX_INVALID_ARGUMENT);
    PX_CHECK(px_json_get_int(o, "s", "f", &i).code == PX_INVALID_ARGUMENT);
    PX_CHECK(px_json_get_real(o, "b", "f", &r).code == PX_INVALID_ARGUMENT);
    PX_CHECK(px_json_get_bool(o, "i", "f", &b).code == PX_INVALID_ARGUMENT);
    PX_CHECK(px_json_get_str(o, "i", "f", &s).code == PX_INVALID_ARGUMENT);
    json_decref(o);
    json_t *list = parse("[1]");
    PX_CHECK(px_json_get_int(list, "i", "f", &i).code == PX_INVALID_ARGUMENT);
    json_decref(list);
}

PX_TEST(quoting_survives_every_byte)
{
    char bytes[256 + 8];
    for (int i = 0; i < 256; i++) bytes[i] = (char)(i < 128 ? i : 0);
    px_buf buf;
    px_buf_init(&buf, 4096);
    px_json_quote(&buf, bytes + 1, 127);
    json_t *back = parse(px_buf_text(&buf));
    PX_CHECK(
        json_string_length(back) == 127 && memcmp(json_string_value(back), bytes + 1, 127) == 0);
    json_decref(back);

    px_buf_reset(&buf);
    px_json_quote(&buf,
        "a\xff"
        "b\xe2\x82"
        "c\xf0\x9f\x98\x80\n",
        11);
    PX_CHECK_STR(px_buf_text(&buf), "\"a\xef\xbf\xbd"
                                    "b\xef\xbf\xbd"
                                    "c\xf0\x9f\x98\x80\\n\"");
    px_buf_reset(&buf);
    px_json_quote(&buf, "\0\x1f", 2);
    PX_CHECK_STR(px_buf_text(&buf), "\"\\u0000\\u001f\"");
    px_buf_done(&buf);
}

PX_TEST(an_integer_that_is_too_large_is_a_real)
{
    static const char text[] =
        "{\"model_max_length\":1000000000000000019884624838656,\"a\":[1,{\"b\":-7}],\"c\":1.5}";
    json_t *value = NULL;
    PX_CHECK_OK(px_json_parse(text, sizeof text - 1, "test", &value));
    PX_CHECK(json_real_value(json_object_get(value, "model_max_length")) == 1e30);
    const json_t *list = json_object_get(value, "a");
    PX_CHECK(json_integer_value(json_array_get(list, 0)) == 1);
    PX_CHECK(json_integer_value(json_object_get(json_array_get(list, 1), "b")) == -7);
    PX_CHECK(json_real_value(json_object_get(value, "c")) == 1.5);
    json_decref(value);
    PX_CHECK(!px_is_ok(px_json_parse("[1e999]", 7, "test", &value)));
}

PX_TEST(texts_may_hold_nul_where_the_reader_says_so)
{
    static const char text[] = "{\"content\": \"a\\u0000b\"}";
    json_t *value = NULL;
    px_status status = px_json_parse(text, strlen(text), "file.json", &value);
    PX_CHECK(status.code == PX_INVALID_ARGUMENT && !value);
    PX_CHECK_OK(px_json_parse_texts(text, strlen(text), "file.json", &value));
    const json_t *content = json_object_get(value, "content");
    PX_CHECK(
        json_string_length(content) == 3 && memcmp(json_string_value(content), "a\0b", 3) == 0);
    const char *cut = "untouched"; /* who reads without a length is not given half a string */
    status = px_json_get_str(value, "content", "file.json", &cut);
    PX_CHECK(status.code == PX_INVALID_ARGUMENT && strcmp(cut, "untouched") == 0);
    json_decref(value);
}

PX_TEST_MAIN()
