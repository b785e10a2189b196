/* What a grammar lets through: every kind of source, byte by byte and by whole tokens. */
#include "engine/grammar/grammar.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "test.h"

/* --------------------------------------------------------------- vocabularies for the tests */

/* Ids 0 to 255 are the bytes, then some longer tokens, then one that adds nothing. */
static const char *const longer[] = {"{\"", "\":", "\": ", "\", \"", "\"}", "true", "false", "null",
    "ab", "abc", "name", "12", "123", ", ", "é", "[[", "]]", "hello", " \"", "\\u00", "日本"};
enum { LONGER = sizeof longer / sizeof *longer, SIZE = 256 + LONGER + 1, NOTHING = SIZE - 1 };

static void bytes_of(void *arg, uint32_t id, px_buf *out)
{
    if (id < 256)
        px_buf_putc(out, (char)id);
    else if (id < NOTHING)
        px_buf_puts(out, longer[id - 256]);
}

static const px_vocabulary *vocabulary(void)
{
    static px_vocabulary made;
    if (!made.size) PX_CHECK_OK(px_vocabulary_make(SIZE, bytes_of, NULL, &made));
    return &made;
}

static px_status compile(px_grammar_kind kind, const char *text, px_grammar **out)
{
    return px_grammar_compile(vocabulary(), kind, (px_slice){text, strlen(text)}, out);
}

static px_grammar *grammar_of(px_grammar_kind kind, const char *text)
{
    px_grammar *grammar = NULL;
    px_status status = compile(kind, text, &grammar);
    if (!px_is_ok(status)) printf("  %s: %s\n", text, status.text);
    PX_CHECK(px_is_ok(status));
    return grammar;
}

/* Byte by byte; each byte must also stand in the mask before it. */
static bool matches(px_grammar *grammar, const char *text)
{
    px_guide guide;
    px_guide_begin(grammar, &guide);
    bool good = true;
    for (const unsigned char *c = (const unsigned char *)text; *c && good; c++) {
        const uint32_t *mask = px_guide_mask(&guide);
        bool in_mask = mask && (mask[*c / 32] >> *c % 32 & 1);
        good = px_guide_accept(&guide, *c);
        PX_CHECK(good == in_mask);
    }
    good = good && px_guide_may_end(&guide);
    px_guide_end(&guide);
    return good;
}

typedef struct sample {
    px_grammar_kind kind;
    const char *text;
    const char *good[8], *bad[8];
} sample;

static void check_samples(const sample *samples, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        px_grammar *grammar = grammar_of(samples[i].kind, samples[i].text);
        if (!grammar) continue;
        for (int k = 0; k < 8 && samples[i].good[k]; k++) {
            bool is_good = matches(grammar, samples[i].good[k]);
            if (!is_good) printf("  %s should match %s\n", samples[i].text, samples[i].good[k]);
            PX_CHECK(is_good);
        }
        for (int k = 0; k < 8 && samples[i].bad[k]; k++) {
            bool is_bad = !matches(grammar, samples[i].bad[k]);
            if (!is_bad) printf("  %s should not match %s\n", samples[i].text, samples[i].bad[k]);
            PX_CHECK(is_bad);
        }
        px_grammar_free(grammar);
    }
}
#define CHECK_SAMPLES(list) check_samples(list, sizeof(list) / sizeof *(list))

static void check_refused(px_grammar_kind kind, const char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        px_grammar *grammar = NULL;
        px_status status = compile(kind, texts[i], &grammar);
        if (px_is_ok(status)) printf("  %s should be refused\n", texts[i]);
        PX_CHECK(!px_is_ok(status) && status.text[0]);
        PX_CHECK(!strchr(status.text, '\n'));
        if (px_is_ok(status)) px_grammar_free(grammar);
    }
}
#define CHECK_REFUSED(kind, list) check_refused(kind, list, sizeof(list) / sizeof *(list))

/* --------------------------------------------------------------------- regular expressions */

PX_TEST(regular_expressions)
{
    static const sample samples[] = {
        {PX_GRAMMAR_REGEX, "abc", {"abc"}, {"", "ab", "abcd", "xabc"}},
        {PX_GRAMMAR_REGEX, "^a|b$", {"a", "b"}, {"ab", ""}},
        {PX_GRAMMAR_REGEX, "(ab)*c?", {"", "ab", "abab", "c", "ababc"}, {"a", "cc", "abb"}},
        {PX_GRAMMAR_REGEX, "a{2,3}b{2}c{1,}", {"aabbc", "aaabbccc"}, {"abbc", "aabc", "aabb"}},
        {PX_GRAMMAR_REGEX, "[a-cx-]+", {"a-x", "b"}, {"d", "", "y"}},
        {PX_GRAMMAR_REGEX, "[^a-c]", {"d", "é", "日", "\xf0\x9f\x99\x82"}, {"a", "dd", "\xff"}},
        {PX_GRAMMAR_REGEX, "\\d+\\.\\d\\w\\s\\S", {"12.3_ x"}, {"12.3- x", "12.3_xx"}},
        {PX_GRAMMAR_REGEX, "\\D\\W", {"a ", "é-"}, {"1 ", "aa"}},
        {PX_GRAMMAR_REGEX, ".", {"a", "é", "\t"}, {"\n", "\r", ""}},
        {PX_GRAMMAR_REGEX, "\\x41\\u00e9\\u{1F642}\\n", {"Aé\xf0\x9f\x99\x82\n"}, {"Ae"}},
        {PX_GRAMMAR_REGEX, "(?:a|b)(?<n>c)", {"ac", "bc"}, {"c", "ab"}},
        {PX_GRAMMAR_REGEX, "a*?b+?", {"b", "aab"}, {"a"}},
        {PX_GRAMMAR_REGEX, "(a*)*", {"", "aaaa"}, {"b"}},
        {PX_GRAMMAR_REGEX, "[\\d\\-\\]]+", {"1-]"}, {"a"}},
        {PX_GRAMMAR_REGEX, "", {""}, {"a"}},
        {PX_GRAMMAR_REGEX, "a|b[]|c", {"a", "c"}, {"b", ""}},
        {PX_GRAMMAR_REGEX, "é+", {"é", "éé"}, {"e", "\xc3"}},
        {PX_GRAMMAR_REGEX, "[\\u0080-\\uffff]", {"é", "日", "\xef\xbf\xbd"}, {"a", "\xed\xa0\x80"}},
    };
    CHECK_SAMPLES(samples);
    static const char *const bad[] = {"(", ")", "[a", "*a", "a{3,2}", "a{x}", "\\", "(?=a)", "\\1",
        "\\bx", "\\p{L}", "[b-a]", "a^b", "\\u12", "a{100001}", "((((a{1000}){1000}){1000}){1000})",
        "\xff", "(?a)", "[]", "a[]b"};
    CHECK_REFUSED(PX_GRAMMAR_REGEX, bad);
}

/* ------------------------------------------------------------------------------------ GBNF */

PX_TEST(grammars_in_gbnf)
{
    static const sample samples[] = {
        {PX_GRAMMAR_GBNF, "root ::= \"yes\" | \"no\"", {"yes", "no"}, {"", "ye", "yesno"}},
        {PX_GRAMMAR_GBNF,
            "# a list\nroot ::= item (\",\" item)*\nitem ::= [a-z]+ | nested\n"
            "nested ::= \"(\" root \")\"\n",
            {"a", "a,b", "(a,(b)),c"}, {"", "a,", "(a", "()", "a)"}},
        {PX_GRAMMAR_GBNF, "root ::= \"a\" |\n  \"b\"\nother ::= \"c\"\n", {"a", "b"}, {"c"}},
        {PX_GRAMMAR_GBNF, "root ::= (\n \"a\"\n \"b\" # both\n)+\n", {"ab", "abab"}, {"a"}},
        {PX_GRAMMAR_GBNF, "other ::= \"x\"\nroot ::= other{2,3} [^\\n]? .?", {"xx", "xxxab"},
            {"x"}},
        {PX_GRAMMAR_GBNF, "root ::= \"\\\"\\x41\\u00e9\\n\"", {"\"Aé\n"}, {"A"}},
        {PX_GRAMMAR_GBNF, "root ::= \"\" | \"a\" root", {"", "aaaa"}, {"b"}},
        {PX_GRAMMAR_GBNF, "root ::= list\nlist ::= \"a\" list | \"b\"", {"b", "aaaab"}, {"a"}},
    };
    CHECK_SAMPLES(samples);
    static const char *const bad[] = {"", "root", "root ::= (", "root ::= \"a", "root ::= [a",
        "root ::= missing", "other ::= \"a\"", "root ::= \"a\"\nroot ::= \"b\"", "root ::= )",
        "root ::= root \"a\" | \"b\"", "root ::= e root | \"a\"\ne ::= \"\"", "root ::= \"\\q\"",
        "root ::= a\na ::= b \"x\"\nb ::= a | \"y\"", "root ::= *", "root ::= \"(\" root \")\""};
    CHECK_REFUSED(PX_GRAMMAR_GBNF, bad);
}

/* ---------------------------------------------------------------------------- JSON schemas */

PX_TEST(schemas_of_scalars)
{
    static const sample samples[] = {
        {PX_GRAMMAR_JSON_SCHEMA, "{\"type\":\"string\"}",
            {"\"\"", "\"a b\"", "\"\\n\\u00e9\\\"\"", "\"日\""},
            {"a", "\"a", "\"\n\"", "\"\\q\"", "\"\\ud800\"", "1"}},
        {PX_GRAMMAR_JSON_SCHEMA, "{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}",
            {"\"ab\"", "\"日本語\"", "\"\\n\\n\""}, {"\"a\"", "\"abcd\""}},
        {PX_GRAMMAR_JSON_SCHEMA, "{\"type\":\"string\",\"pattern\":\"^a[\\\"\\\\\\\\b]c$\"}",
            {"\"abc\"", "\"a\\\"c\"", "\"a\\\\c\""}, {"\"ac\"", "\"a\"c\"", "\"xabc\""}},
        {PX_GRAMMAR_JSON_SCHEMA, "{\"pattern\":\"b+\"}", {"\"b\"", "\"abbc\""}, {"\"a\"", "b"}},
        {PX_GRAMMAR_JSON_SCHEMA, "{\"type\":\"integer\"}", {"0", "-7", "123"},
            {"01", "1.5", "-", "+1", "1e3"}},
        {PX_GRAMMAR_JSON_SCHEMA, "{\"type\":\"integer\",\"minimum\":-5,\"maximum\":120}",
            {"-5", "-1", "0", "9", "99", "100", "120"}, {"-6", "121", "200", "-0", "1000", "007"}},
        {PX_GRAMMAR_JSON_SCHEMA, "{\"type\":\"integer\",\"exclusiveMinimum\":9}",
            {"10", "99", "12345"}, {"9", "0", "-10"}},
        {PX_GRAMMAR_JSON_SCHEMA, "{\"type\":\"integer\",\"maximum\":-3.5}", {"-4", "-10", "-123"},
            {"-3", "0", "4"}},
        {PX_GRAMMAR_JSON_SCHEMA, "{\"type\":\"number\"}", {"0", "-1.5", "2e10", "1.25E-3"},
            {"1.", ".5", "--1", "1e"}},
        {PX_GRAMMAR_JSON_SCHEMA, "{\"type\":\"number\",\"minimum\":0,\"maximum\":1}",
            {"0", "0.5", "1", "1.0", "0.0"}, {"1.1", "-0.1", "2", "1e1", "1.01"}},
        {PX_GRAMMAR_JSON_SCHEMA,
            "{\"type\":\"number\",\"exclusiveMinimum\":0.1,\"exclusiveMaximum\":0.25}",
            {"0.11", "0.2", "0.24999", "0.101"}, {"0.1", "0.25", "0.10", "0.3", "0", "0.250"}},
        {PX_GRAMMAR_JSON_SCHEMA, "{\"type\":\"number\",\"minimum\":-2.5,\"maximum\":12.75}",
            {"-2.5", "-0.1", "0", "9.99", "12.75", "12.7", "11"}, {"-2.51", "12.76", "13", "-3"}},
        {PX_GRAMMAR_JSON_SCHEMA, "{\"type\":[\"boolean\",\"null\"]}", {"true", "false", "null"},
            {"True", "tru", "0"}},
        {PX_GRAMMAR_JSON_SCHEMA, "{\"enum\":[\"a\",1,null,[1,\"b\"],{\"k\":2.5}]}",
            {"\"a\"", "1", "null", "[1, \"b\"]", "{\"k\": 2.5}"}, {"a", "2", "[1,\"b\"]"}},
        {PX_GRAMMAR_JSON_SCHEMA, "{\"const\":\"x\\\"y\"}", {"\"x\\\"y\""}, {"\"xy\""}},
        {PX_GRAMMAR_JSON_SCHEMA, "{\"type\":\"string\",\"format\":\"date-time\"}",
            {"\"2026-11-22T15:00:00Z\"", "\"2026-01-31T00:00:00.5+01:00\""},
            {"\"2026-13-01T00:00:00Z\"", "\"2026-11-22\""}},
        {PX_GRAMMAR_JSON_SCHEMA, "{\"type\":\"string\",\"format\":\"uuid\"}",
            {"\"123e4567-e89b-12d3-a456-426614174000\""}, {"\"123e4567\""}},
        {PX_GRAMMAR_JSON_SCHEMA, "{\"type\":\"string\",\"format\":\"ipv4\"}", {"\"10.0.255.1\""},
            {"\"10.0.256.1\"", "\"10.0.0\""}},
        {PX_GRAMMAR_JSON_SCHEMA, "{\"type\":\"string\",\"format\":\"duration\"}",
            {"\"P1D\"", "\"PT5M\"", "\"P1Y2M3D\""}, {"\"P\"", "\"PT\"", "\"5M\""}},
    };
    CHECK_SAMPLES(samples);
}

#define PERSON                                                                                     \
    "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"age\":{\"type\":"       \
    "\"integer\"},\"tag\":{\"type\":\"boolean\"}},\"required\":[\"age\"]"

PX_TEST(schemas_of_objects_and_arrays)
{
    static const sample samples[] = {
        {PX_GRAMMAR_JSON_SCHEMA, PERSON "}",
            {"{\"age\": 3}", "{\"name\": \"a\", \"age\": 3}", "{\"age\": 3, \"tag\": true}",
                "{\"name\": \"a\", \"age\": 3, \"tag\": false}"},
            {"{}", "{\"name\": \"a\"}", "{\"age\": 3, \"x\": 1}", "{\"age\":3}", "{\"age\": 3,}",
                "{, \"age\": 3}", "{\"tag\": true, \"age\": 3}"}},
        {PX_GRAMMAR_JSON_SCHEMA, PERSON ",\"additionalProperties\":{\"type\":\"null\"}}",
            {"{\"age\": 3, \"x\": null}", "{\"age\": 3, \"ag\": null, \"ages\": null}",
                "{\"name\": \"a\", \"age\": 3, \"\": null}"},
            {"{\"x\": null}", "{\"age\": 3, \"x\": 1}", "{\"age\": 3, \"name\": null}",
                "{\"age\": 3, \"n\\u0061me\": null}"}},
        {PX_GRAMMAR_JSON_SCHEMA, "{\"type\":\"object\"}", {"{}", "{\"a\": [1, {\"b\": null}]}"},
            {"[]", "{1: 2}", "{\"a\" : 1}"}},
        {PX_GRAMMAR_JSON_SCHEMA,
            "{\"type\":\"object\",\"patternProperties\":{\"^x\":{\"type\":\"integer\"}}}",
            {"{}", "{\"x1\": 2}"}, {"{\"y\": 2}", "{\"x\": \"a\"}"}},
        {PX_GRAMMAR_JSON_SCHEMA,
            "{\"type\":\"object\",\"propertyNames\":{\"pattern\":\"^[a-z]$\"},"
            "\"additionalProperties\":{\"type\":\"integer\"},\"minProperties\":1,\"maxProperties\":"
            "2}",
            {"{\"a\": 1}", "{\"a\": 1, \"b\": 2}"},
            {"{}", "{\"A\": 1}", "{\"a\": 1, \"b\": 2, \"c\": 3}"}},
        {PX_GRAMMAR_JSON_SCHEMA,
            "{\"type\":\"object\",\"properties\":{\"a\":{}},\"additionalProperties\":false}",
            {"{}", "{\"a\": [1]}"}, {"{\"b\": 1}"}},
        {PX_GRAMMAR_JSON_SCHEMA,
            "{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":3}",
            {"[1]", "[1, 2]", "[1, 2, 3]"}, {"[]", "[1, 2, 3, 4]", "[1,2]", "[1, ]", "[\"a\"]"}},
        {PX_GRAMMAR_JSON_SCHEMA, "{\"type\":\"array\"}", {"[]", "[1, \"a\", [], {}]"}, {"{}"}},
        {PX_GRAMMAR_JSON_SCHEMA, "{\"type\":\"array\",\"items\":false}", {"[]"}, {"[1]"}},
        {PX_GRAMMAR_JSON_SCHEMA,
            "{\"prefixItems\":[{\"type\":\"integer\"},{\"type\":\"string\"}],\"items\":false,"
            "\"minItems\":1,\"type\":\"array\"}",
            {"[1]", "[1, \"a\"]"}, {"[]", "[\"a\"]", "[1, \"a\", 2]"}},
        {PX_GRAMMAR_JSON_SCHEMA,
            "{\"type\":\"array\",\"items\":[{\"type\":\"integer\"}],\"additionalItems\":{\"type\":"
            "\"null\"}}",
            {"[]", "[1]", "[1, null, null]"}, {"[null]", "[1, 2]"}},
        {PX_GRAMMAR_JSON_SCHEMA, "true", {"1", "\"a\"", "{\"a\": [null]}"}, {"", "a"}},
    };
    CHECK_SAMPLES(samples);
}

PX_TEST(schemas_put_together)
{
    static const sample samples[] = {
        {PX_GRAMMAR_JSON_SCHEMA,
            "{\"$ref\":\"#/$defs/node\",\"$defs\":{\"node\":{\"type\":\"object\",\"properties\":{"
            "\"v\":{\"type\":\"integer\"},\"next\":{\"anyOf\":[{\"$ref\":\"#/$defs/node\"},"
            "{\"type\":\"null\"}]}},\"required\":[\"v\",\"next\"]}}}",
            {"{\"v\": 1, \"next\": null}", "{\"v\": 1, \"next\": {\"v\": 2, \"next\": null}}"},
            {"{\"v\": 1}", "{\"v\": 1, \"next\": {}}"}},
        {PX_GRAMMAR_JSON_SCHEMA, "{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}}",
            {"[]", "[[], [[]]]"}, {"[1]"}},
        {PX_GRAMMAR_JSON_SCHEMA,
            "{\"type\":\"integer\",\"oneOf\":[{\"minimum\":1,\"maximum\":3},{\"minimum\":7,"
            "\"maximum\":7}]}",
            {"1", "3", "7"}, {"0", "4", "8", "\"a\""}},
        {PX_GRAMMAR_JSON_SCHEMA,
            "{\"allOf\":[{\"$ref\":\"#/$defs/base\"},{\"properties\":{\"b\":{\"type\":\"null\"}},"
            "\"required\":[\"b\"]}],\"$defs\":{\"base\":{\"type\":\"object\",\"properties\":{\"a\":"
            "{\"type\":\"integer\"}},\"required\":[\"a\"]}}}",
            {"{\"a\": 1, \"b\": null}"}, {"{\"a\": 1}", "{\"b\": null}"}},
        {PX_GRAMMAR_JSON_SCHEMA,
            "{\"allOf\":[{\"type\":[\"integer\",\"string\"]},{\"type\":\"integer\",\"minimum\":3},"
            "{\"minimum\":5}]}",
            {"5", "12"}, {"4", "\"a\""}},
        {PX_GRAMMAR_JSON_SCHEMA,
            "{\"$ref\":\"#/definitions/p~1q\",\"maximum\":5,\"definitions\":{\"p/q\":{\"type\":"
            "\"integer\",\"minimum\":2}}}",
            {"2", "5"}, {"1", "6"}},
    };
    CHECK_SAMPLES(samples);
    static const char *const bad[] = {"", "[", "1", "{\"type\":\"frog\"}", "{\"not\":{}}",
        "{\"$ref\":\"#/nowhere\"}", "{\"$ref\":\"other.json\"}", "{\"enum\":[]}", "{\"enum\":1}",
        "{\"type\":\"array\",\"uniqueItems\":true}", "{\"type\":\"integer\",\"multipleOf\":3}",
        "{\"minimum\":5,\"maximum\":4}", "{\"minLength\":-1}", "{\"maxItems\":1,\"minItems\":2}",
        "{\"pattern\":\"(\"}", "{\"if\":{}}", "{\"type\":\"object\",\"required\":[\"x\"]}",
        "{\"anyOf\":[]}", "{\"type\":[]}", "{\"properties\":{\"a\":3}}",
        "{\"minLength\":1000000,\"type\":\"string\"}"};
    CHECK_REFUSED(PX_GRAMMAR_JSON_SCHEMA, bad);
    px_grammar *grammar;
    px_status status = compile(PX_GRAMMAR_JSON_SCHEMA,
        "{\"properties\":{\"a\":{\"items\":{\"type\":\"frog\"},\"type\":\"array\"}}}", &grammar);
    PX_CHECK(strstr(status.text, "#/properties/a/items") && strstr(status.text, "frog"));
}

PX_TEST(any_object_and_choices)
{
    static const sample samples[] = {
        {PX_GRAMMAR_JSON_OBJECT, "", {"{}", "{\"a\":1}", "{ \"a\" : [ 1 ,\n2 ] }"},
            {"[]", "{\"a\"}", "1", "{} "}},
        {PX_GRAMMAR_CHOICE, "[\"red\",\"green\",\"gr\"]", {"red", "green", "gr"},
            {"", "blue", "re"}},
    };
    CHECK_SAMPLES(samples);
    static const char *const bad[] = {"", "[]", "{}", "[1]", "[\"\"]", "[\"a\",2]"};
    CHECK_REFUSED(PX_GRAMMAR_CHOICE, bad);
}

/* An object whose `count` properties p0, p1, ... may all be left out. */
static void write_schema(px_buf *out, int count)
{
    px_buf_reset(out);
    px_buf_puts(out, "{\"type\":\"object\",\"properties\":{");
    for (int i = 0; i < count; i++)
        px_buf_printf(out, "%s\"p%d\":{\"type\":\"null\"}", i ? "," : "", i);
    px_buf_puts(out, "}}");
}

/* More rules than there is room for at first, and more texts than could be followed one by one. */
PX_TEST(large_schemas_and_choices)
{
    enum { COUNT = 5000 };
    px_buf schema, choice, listed;
    px_buf_init(&schema, 1 << 20);
    px_buf_init(&choice, 1 << 20);
    px_buf_init(&listed, 1 << 20);
    write_schema(&schema, 400);
    px_buf_puts(&choice, "[\"\\u00e9\"");
    for (int i = 0; i < COUNT; i++)
        px_buf_printf(&choice, ",\"text %d\",\"text %d\"", i, i * 7919 % COUNT);
    px_buf_puts(&choice, "]");
    px_buf_printf(&listed, "{\"enum\":%s}", px_buf_text(&choice));
    const sample samples[] = {
        {PX_GRAMMAR_JSON_SCHEMA, px_buf_text(&schema),
            {"{}", "{\"p399\": null}", "{\"p1\": null, \"p12\": null, \"p398\": null}"},
            {"{\"p400\": null}", "{\"p12\": null, \"p1\": null}", "{\"p1\": null, }"}},
        {PX_GRAMMAR_CHOICE, px_buf_text(&choice), {"text 0", "text 12", "text 4999", "é"},
            {"", "text ", "text 5000", "text 12x", "text 007"}},
        {PX_GRAMMAR_JSON_SCHEMA, px_buf_text(&listed), {"\"text 0\"", "\"text 4999\"", "\"é\""},
            {"\"\"", "text 1", "\"text 5000\""}},
    };
    CHECK_SAMPLES(samples);
    write_schema(&schema, COUNT);
    px_grammar *grammar = NULL;
    PX_CHECK(strstr(compile(PX_GRAMMAR_JSON_SCHEMA, px_buf_text(&schema), &grammar).text, "ways"));
    PX_CHECK(strstr(compile(PX_GRAMMAR_REGEX, "(.?){8000}", &grammar).text, "too many ways"));
    px_buf_done(&schema);
    px_buf_done(&choice);
    px_buf_done(&listed);
}

/* Texts of a choice share a tree: beside what repeats, within others, ending within each other. */
PX_TEST(texts_share_their_beginnings)
{
    static const sample samples[] = {
        {PX_GRAMMAR_REGEX, "(ab|abc|a*|b[c]|bd|ab)x", {"abx", "abcx", "x", "aaax", "bcx", "bdx"},
            {"ax ", "abcab", "bx", "abbx"}},
        {PX_GRAMMAR_REGEX, "(a|ab|abc)*", {"", "aabc", "ababa"}, {"b", "ac", "abcc"}},
        {PX_GRAMMAR_REGEX, "(|a|aa)b", {"b", "ab", "aab"}, {"a", "aaab"}},
        {PX_GRAMMAR_GBNF, "root ::= (\"é\" | \"è\" | \"\")+ [.]", {".", "é.", "èéé."}, {"e."}},
    };
    CHECK_SAMPLES(samples);
}

/* -------------------------------------------------------------------------- tokens, forcing */

PX_TEST(a_mask_allows_what_accept_takes)
{
    px_grammar *grammar = grammar_of(PX_GRAMMAR_JSON_SCHEMA, PERSON "}");
    px_guide guide;
    px_guide_begin(grammar, &guide);
    uint64_t random = 12345;
    for (int step = 0; step < 400 && !px_guide_must_end(&guide); step++) {
        const uint32_t *shown = px_guide_mask(&guide);
        uint32_t mask[(SIZE + 31) / 32], chosen = UINT32_MAX, seen = 0;
        memcpy(mask, shown, sizeof mask);
        for (uint32_t id = 0; id < SIZE; id++) {
            px_guide fork;
            px_guide_fork(&guide, &fork);
            bool taken = px_guide_accept(&fork, id);
            PX_CHECK(taken == (mask[id / 32] >> id % 32 & 1));
            px_guide_end(&fork);
            random = random * 6364136223846793005u + 1442695040888963407u;
            if (taken && random >> 33 <= (UINT32_MAX / 2) / ++seen) chosen = id;
        }
        PX_CHECK(seen > 0 && !(mask[NOTHING / 32] >> NOTHING % 32 & 1));
        PX_CHECK(px_guide_accept(&guide, chosen));
    }
    px_guide_end(&guide);
    px_grammar_free(grammar);
}

PX_TEST(what_must_come_is_known)
{
    px_grammar *grammar = grammar_of(PX_GRAMMAR_JSON_SCHEMA,
        "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"on\":{\"type\":"
        "\"boolean\"}},\"required\":[\"name\",\"on\"]}");
    px_guide guide;
    char text[64];
    bool ends;
    px_guide_begin(grammar, &guide);
    size_t length = px_guide_forced(&guide, text, sizeof text, &ends);
    PX_CHECK(length == 10 && !memcmp(text, "{\"name\": \"", 10));
    PX_CHECK(px_guide_forced(&guide, text, 3, &ends) == 3);
    for (const char *c = "{\"name\": \"x"; *c; c++) PX_CHECK(px_guide_accept(&guide, (uint8_t)*c));
    PX_CHECK(px_guide_forced(&guide, text, sizeof text, &ends) == 0);
    PX_CHECK(px_guide_accept(&guide, '"'));
    length = px_guide_forced(&guide, text, sizeof text, &ends);
    PX_CHECK(length == 8 && !memcmp(text, ", \"on\": ", 8) && !ends);
    for (const char *c = ", \"on\": t"; *c; c++) PX_CHECK(px_guide_accept(&guide, (uint8_t)*c));
    length = px_guide_forced(&guide, text, sizeof text, &ends);
    PX_CHECK(length == 4 && !memcmp(text, "rue}", 4) && ends);
    for (const char *c = "rue}"; *c; c++) PX_CHECK(px_guide_accept(&guide, (uint8_t)*c));
    PX_CHECK(px_guide_may_end(&guide) && px_guide_must_end(&guide));
    PX_CHECK(!px_guide_accept(&guide, ' '));
    px_guide_end(&guide);
    px_grammar_free(grammar);
}

PX_TEST(the_longest_token_of_a_text)
{
    static const struct {
        const char *text;
        uint32_t id;
    } cases[] = {{"abcd", 256 + 9}, {"abx", 256 + 8}, {"ax", 'a'}, {"\": \"", 256 + 2},
        {"[[[", 256 + 15}, {"\xc3\xa9", 256 + 14}, {"\xc3", 0xc3}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        px_slice text = {cases[i].text, strlen(cases[i].text)};
        PX_CHECK(px_vocabulary_longest(vocabulary(), text) == cases[i].id);
    }
    PX_CHECK(px_vocabulary_longest(vocabulary(), (px_slice){"", 0}) == UINT32_MAX);
}

PX_TEST(many_texts_and_tidies_keep_their_places)
{
    /* Every digit is a state of its own for the length bound, so this fills the automaton. */
    px_grammar *grammar =
        grammar_of(PX_GRAMMAR_REGEX, "([a-z]{0,200}-){0,9}[a-z]{5}|([a-y]{0,300}z){1,9}");
    enum { TEXTS = 20 };
    px_guide guides[TEXTS];
    size_t lengths[TEXTS] = {0};
    for (int i = 0; i < TEXTS; i++) px_guide_begin(grammar, &guides[i]);
    for (int step = 0; step < 3000; step++) {
        int i = step * 7 % TEXTS;
        PX_CHECK(px_guide_mask(&guides[i]) != NULL);
        bool taken = px_guide_accept(&guides[i], lengths[i] % 150 == 149 ? '-' : 'a' + step % 25);
        lengths[i] += taken;
        PX_CHECK(taken);
    }
    for (int i = 0; i < TEXTS; i++) {
        PX_CHECK(!px_guide_accept(&guides[i], '!'));
        px_guide_end(&guides[i]);
    }
    px_grammar_free(grammar);
}

PX_TEST(endless_nesting_ends)
{
    px_grammar *grammar = grammar_of(PX_GRAMMAR_JSON_SCHEMA, "true");
    px_guide guide;
    px_guide_begin(grammar, &guide);
    int depth = 0;
    while (depth < 10000 && px_guide_accept(&guide, '[')) depth++;
    PX_CHECK(depth >= 64 && depth < 10000);
    for (int i = 0; i < depth; i++) PX_CHECK(px_guide_accept(&guide, ']'));
    PX_CHECK(px_guide_must_end(&guide));
    px_guide_end(&guide);
    px_grammar_free(grammar);
}

/* Random walks under the mask: whatever comes out is JSON. */
PX_TEST(random_answers_are_json)
{
    static const char *const schemas[] = {PERSON "}", PERSON ",\"additionalProperties\":true}",
        "{\"type\":\"array\",\"items\":{\"type\":\"number\"},\"maxItems\":4}",
        "{\"properties\":{\"s\":{\"type\":\"string\",\"maxLength\":9},\"n\":{\"minimum\":-3,"
        "\"maximum\":17.5,\"type\":\"number\"}},\"required\":[\"s\",\"n\"]}"};
    uint64_t random = 1;
    for (size_t s = 0; s < sizeof schemas / sizeof *schemas; s++) {
        px_grammar *grammar = grammar_of(PX_GRAMMAR_JSON_SCHEMA, schemas[s]);
        for (int walk = 0; walk < 60; walk++) {
            px_guide guide;
            px_buf text;
            px_buf_init(&text, 1 << 20);
            px_guide_begin(grammar, &guide);
            while (!px_guide_must_end(&guide)) {
                const uint32_t *mask = px_guide_mask(&guide);
                uint32_t chosen = UINT32_MAX, seen = 0;
                for (uint32_t id = 0; id < SIZE; id++) {
                    random = random * 6364136223846793005u + 1442695040888963407u;
                    /* Long walks are led home: what closes is taken first. */
                    if (!(mask[id / 32] >> id % 32 & 1)) continue;
                    bool closes = id == '}' || id == ']';
                    if (text.length > 60 && id == '"') chosen = id, seen = 1 << 30;
                    if (text.length > 60 && closes && seen < 1 << 30) chosen = id, seen = 1 << 29;
                    if (random >> 33 <= (UINT32_MAX / 2) / ++seen) chosen = id;
                }
                PX_CHECK(chosen != UINT32_MAX && px_guide_accept(&guide, chosen));
                px_slice bytes = px_vocabulary_bytes(vocabulary(), chosen);
                px_buf_append(&text, bytes.data, bytes.length);
                if (text.length > 100000) break;
            }
            json_t *value = NULL;
            px_status status = px_json_parse(px_buf_text(&text), text.length, "walk", &value);
            bool fine = px_is_ok(status) || strstr(status.text, "duplicate");
            if (!fine) printf("  %s: %.300s\n", status.text, px_buf_text(&text));
            PX_CHECK(fine);
            json_decref(value);
            px_guide_end(&guide);
            px_buf_done(&text);
        }
        px_grammar_free(grammar);
    }
}

PX_TEST_MAIN()
