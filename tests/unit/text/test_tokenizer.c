/* Tokenizers: what callers rely on beyond the golden ids (those are compared in tests/golden). */
#include <pthread.h>

#include "base/utf8.h"
#include "sample.h"

static px_ids encode(
    const px_tokenizer *tokenizer, const char *text, size_t length, px_encode_options options)
{
    px_ids ids = {0};
    PX_CHECK_OK(px_tokenizer_encode(tokenizer, text, length, &options, &ids));
    return ids;
}

static void check_decodes_to(const px_tokenizer *tokenizer, const px_ids *ids, const char *want)
{
    px_buf text;
    px_buf_init(&text, 64 << 20);
    PX_CHECK_OK(px_tokenizer_decode(tokenizer, ids->data, ids->count, false, &text));
    PX_CHECK_STR(px_buf_text(&text), want);
    px_buf_done(&text);
}

PX_TEST(invalid_utf8_is_replaced_part_by_part)
{
    static const char bad[] = "a\xff\xe2\x82z\xc0\x80";
    static const char good[] = "a\xef\xbf\xbd\xef\xbf\xbdz\xef\xbf\xbd\xef\xbf\xbd";
    px_tokenizer *tokenizer = sample_tokenizer("gpt2");
    PX_REQUIRE(tokenizer);
    px_ids ids = encode(tokenizer, bad, sizeof bad - 1, (px_encode_options){0});
    check_decodes_to(tokenizer, &ids, good);
    free(ids.data);
    px_tokenizer_free(tokenizer);
}

PX_TEST(special_tokens_in_text_are_text_unless_asked_for)
{
    px_tokenizer *tokenizer = sample_tokenizer("llama3");
    PX_REQUIRE(tokenizer);
    px_ids as_text = encode(tokenizer, "</s>", 4, (px_encode_options){0});
    px_ids as_token = encode(tokenizer, "</s>", 4, (px_encode_options){.parse_special = true});
    PX_CHECK(as_token.count == 1 && as_token.data[0] == px_tokenizer_id(tokenizer, "</s>", 4));
    PX_CHECK(px_tokenizer_is_special(tokenizer, as_token.data[0]));
    PX_CHECK(as_text.count > 1);
    check_decodes_to(tokenizer, &as_text, "</s>");
    free(as_text.data);
    free(as_token.data);
    px_tokenizer_free(tokenizer);
}

PX_TEST(encode_appends_and_adds_what_the_post_processor_says)
{
    px_tokenizer *tokenizer = sample_tokenizer("bert");
    PX_REQUIRE(tokenizer);
    px_ids ids = encode(tokenizer, "", 0, (px_encode_options){.add_special = true});
    PX_CHECK(ids.count == 2 && ids.data[0] == 1 && ids.data[1] == 2);
    px_encode_options options = {0};
    PX_CHECK_OK(px_tokenizer_encode(tokenizer, "a", 1, &options, &ids));
    PX_CHECK(ids.count == 3 && ids.data[0] == 1);
    free(ids.data);
    px_tokenizer_free(tokenizer);
}

PX_TEST(too_many_ids_are_refused_and_nothing_is_appended)
{
    px_tokenizer *tokenizer = sample_tokenizer("gpt2");
    PX_REQUIRE(tokenizer);
    px_ids ids = encode(tokenizer, "one two three", 13, (px_encode_options){0});
    size_t count = ids.count;
    px_encode_options tight = {.ids_max = count - 1}, exact = {.ids_max = count};
    px_status status = px_tokenizer_encode(tokenizer, "one two three", 13, &tight, &ids);
    PX_CHECK(status.code == PX_RESOURCE_EXHAUSTED && ids.count == count);
    PX_CHECK_OK(px_tokenizer_encode(tokenizer, "one two three", 13, &exact, &ids));
    PX_CHECK(ids.count == 2 * count);
    free(ids.data);
    px_tokenizer_free(tokenizer);
}

/* Streams random ids one by one: every part is whole characters, and all parts are decode(). */
static void check_streaming(const px_tokenizer *tokenizer, bool skip_special, uint32_t seed)
{
    px_detok *detok = px_detok_create(tokenizer, skip_special);
    px_buf streamed, whole;
    px_buf_init(&streamed, 1 << 20);
    px_buf_init(&whole, 1 << 20);
    uint32_t ids[64], size = px_tokenizer_size(tokenizer);
    for (int round = 0; round < 50; round++) {
        px_buf_reset(&streamed);
        px_buf_reset(&whole);
        px_detok_reset(detok);
        for (size_t i = 0; i < 64; i++) {
            seed = seed * 1664525u + 1013904223u;
            ids[i] = (seed >> 8) % size;
            size_t before = streamed.length;
            PX_CHECK_OK(px_detok_push(detok, ids[i], &streamed));
            size_t length = streamed.length - before;
            PX_CHECK(px_utf8_valid_prefix(px_buf_text(&streamed) + before, length) == length);
        }
        px_detok_finish(detok, &streamed);
        PX_CHECK_OK(px_tokenizer_decode(tokenizer, ids, 64, skip_special, &whole));
        PX_CHECK_STR(px_buf_text(&streamed), px_buf_text(&whole));
    }
    px_buf_done(&streamed);
    px_buf_done(&whole);
    px_detok_free(detok);
}

PX_TEST(streams_whole_characters_that_add_up_to_decode)
{
    for (int i = 0; i < SAMPLE_COUNT; i++) {
        px_tokenizer *tokenizer = sample_tokenizer(sample_names[i]);
        PX_REQUIRE(tokenizer);
        check_streaming(tokenizer, false, 1);
        check_streaming(tokenizer, true, 2);
        px_tokenizer_free(tokenizer);
    }
}

PX_TEST(a_character_of_several_tokens_comes_out_with_its_last)
{
    px_tokenizer *tokenizer = sample_tokenizer("smollm");
    PX_REQUIRE(tokenizer);
    static const char text[] = "\xf0\x9f\xa6\x80"; /* a crab: not in the small vocabulary */
    px_ids ids = encode(tokenizer, text, 4, (px_encode_options){0});
    PX_REQUIRE(ids.count > 1);
    px_detok *detok = px_detok_create(tokenizer, false);
    px_buf out;
    px_buf_init(&out, 64);
    for (size_t i = 0; i + 1 < ids.count; i++) {
        PX_CHECK_OK(px_detok_push(detok, ids.data[i], &out));
        PX_CHECK(out.length == 0);
    }
    px_buf half;
    px_buf_init(&half, 64);
    PX_CHECK_OK(px_detok_push(detok, ids.data[ids.count - 1], &out));
    PX_CHECK_STR(px_buf_text(&out), text);
    px_detok_reset(detok);
    PX_CHECK_OK(px_detok_push(detok, ids.data[0], &half));
    px_detok_finish(detok, &half);
    PX_CHECK_STR(px_buf_text(&half), "\xef\xbf\xbd");
    px_buf_done(&half);
    px_buf_done(&out);
    px_detok_free(detok);
    free(ids.data);
    px_tokenizer_free(tokenizer);
}

PX_TEST(an_id_outside_the_vocabulary_is_refused)
{
    px_tokenizer *tokenizer = sample_tokenizer("gpt2");
    PX_REQUIRE(tokenizer);
    uint32_t id = px_tokenizer_size(tokenizer);
    px_buf text;
    px_buf_init(&text, 64);
    PX_CHECK(px_tokenizer_decode(tokenizer, &id, 1, false, &text).code == PX_INVALID_ARGUMENT);
    PX_CHECK(px_tokenizer_token(tokenizer, id).data == NULL);
    PX_CHECK(!px_tokenizer_is_special(tokenizer, id));
    px_buf_done(&text);
    px_tokenizer_free(tokenizer);
}

/* A long run must come out as its parts do: the heap and the short loop agree. With quadratic
 * work a megabyte would run into the test's time limit. */
PX_TEST(a_megabyte_of_one_letter_is_no_harder_than_text)
{
    enum { BYTES = 1 << 20 };
    char *text = malloc(BYTES);
    static const char letters[] = "a \n1'\t";
    for (int name = 0; name < SAMPLE_COUNT; name++) {
        px_tokenizer *tokenizer = sample_tokenizer(sample_names[name]);
        PX_REQUIRE(tokenizer);
        for (size_t l = 0; l < sizeof letters - 1; l++) {
            memset(text, letters[l], BYTES);
            text[BYTES - 1] = 'x';
            px_ids ids = encode(tokenizer, text, BYTES, (px_encode_options){0});
            PX_CHECK(ids.count > 0 && ids.count <= BYTES + 2); /* and a prefix */
            free(ids.data);
        }
        px_tokenizer_free(tokenizer);
    }
    free(text);
}

/* Alternating combining marks of two classes: sorting them must not be quadratic. */
PX_TEST(normalising_a_long_run_of_marks_ends)
{
    enum { PAIRS = 200000 };
    px_tokenizer *tokenizer = sample_tokenizer("qwen");
    PX_REQUIRE(tokenizer);
    char *text = malloc(4 * PAIRS);
    for (int i = 0; i < PAIRS; i++) memcpy(text + 4 * i, "\xcc\x81\xcc\xa3", 4);
    px_ids ids = encode(tokenizer, text, 4 * PAIRS, (px_encode_options){0});
    px_buf out;
    px_buf_init(&out, 16 * PAIRS);
    PX_CHECK_OK(px_tokenizer_decode(tokenizer, ids.data, ids.count, false, &out));
    PX_REQUIRE(out.length == 4 * PAIRS);
    PX_CHECK(memcmp(out.data, "\xcc\xa3\xcc\xa3", 4) == 0); /* below comes before above */
    PX_CHECK(memcmp(out.data + out.length - 4, "\xcc\x81\xcc\x81", 4) == 0);
    px_buf_done(&out);
    free(ids.data);
    free(text);
    px_tokenizer_free(tokenizer);
}

static void *encode_many(void *tokenizer)
{
    size_t bad = 0;
    for (int i = 0; i < 2000; i++) {
        char text[32];
        int length = snprintf(text, sizeof text, "word%d and %d", i % 50, i % 7);
        px_ids ids = {0};
        px_encode_options options = {0};
        px_buf out;
        px_buf_init(&out, 64);
        if (!px_is_ok(px_tokenizer_encode(tokenizer, text, (size_t)length, &options, &ids)) ||
            !px_is_ok(px_tokenizer_decode(tokenizer, ids.data, ids.count, false, &out)) ||
            strcmp(px_buf_text(&out), text) != 0)
            bad++;
        px_buf_done(&out);
        free(ids.data);
    }
    return (void *)bad;
}

PX_TEST(threads_share_a_tokenizer)
{
    px_tokenizer *tokenizer = sample_tokenizer("gpt2");
    PX_REQUIRE(tokenizer);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        PX_CHECK(pthread_create(&threads[i], NULL, encode_many, tokenizer) == 0);
    for (int i = 0; i < 4; i++) {
        void *bad;
        PX_CHECK(pthread_join(threads[i], &bad) == 0 && !bad);
    }
    px_tokenizer_free(tokenizer);
}

/* --- hostile files --- */

/* At each byte of the small ones, at some of the large ones. */
PX_TEST(a_truncated_file_fails_with_a_sentence)
{
    static const struct {
        const char *name;
        size_t shares; /* a step is 1 / this of the place; 0: one byte */
    } files[] = {{"tokenizers/bert/tokenizer.json", 0}, {"tokenizers/t5/tokenizer.json", 0},
        {"tokenizers/gpt2/tokenizer.json", 200}, {"tokenizers/llama2/tokenizer.json", 40}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        px_buf json;
        sample_read(files[i].name, &json);
        PX_REQUIRE(json.length > 1000);
        while (json.length && strchr(" \n", json.data[json.length - 1])) json.length--;
        for (size_t length = 0; length < json.length;
             length += 1 + (files[i].shares ? length / files[i].shares : 0)) {
            px_tokenizer *tokenizer = NULL;
            px_status status = px_tokenizer_from_json(json.data, length, &tokenizer);
            PX_CHECK(!px_is_ok(status) && strlen(status.text) > 10 && !tokenizer);
        }
        px_buf_done(&json);
    }
}

static void check_refused(const char *json, const char *part_of_the_sentence)
{
    px_tokenizer *tokenizer = NULL;
    px_status status = px_tokenizer_from_json(json, strlen(json), &tokenizer);
    PX_CHECK(!px_is_ok(status));
    PX_CHECK(strstr(status.text, part_of_the_sentence));
    if (!strstr(status.text, part_of_the_sentence)) printf("  %s\n", status.text);
    if (px_is_ok(status)) px_tokenizer_free(tokenizer);
}

PX_TEST(a_wrong_file_names_what_is_wrong)
{
    check_refused("[]", "expected an object");
    check_refused("{}", "no 'model'");
    check_refused("{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}}}", "no 'merges'");
    check_refused("{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [\"a b\"]}}",
        "'a' and 'b'");
    check_refused(
        "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [5]}}", "merge");
    check_refused(
        "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 4000000000}, \"merges\": []}}",
        "impossible id");
    check_refused("{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": -1}, \"merges\": []}}",
        "impossible id");
    check_refused("{\"model\": {\"type\": \"Magic\", \"vocab\": {\"a\": 0}}}", "'Magic'");
    check_refused("{\"pre_tokenizer\": {\"type\": \"Odd\"}, \"model\": {\"type\": \"WordLevel\", "
                  "\"vocab\": {\"a\": 0}}}",
        "'Odd'");
    check_refused("{\"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"Regex\": \"(\"}, "
                  "\"content\": \"\"},"
                  " \"model\": {\"type\": \"WordLevel\", \"vocab\": {\"a\": 0}}}",
        "pattern");
}

/* --- files that are as good as usual ones --- */

#define VOCAB                                                                                      \
    "\"vocab\": {\"a\": 0, \"b\": 1, \"##b\": 2, \"ab\": 3, \"\\u00e9\": 4, \"##\\u00e9\": 5, "    \
    "\"ab\\u00e9\": 6, \"b\\\"\": 7, \"##\\\"\": 8}"
#define MERGES "\"merges\": [[\"a\", \"##b\"], [\"\\u0061b\", \"##\\u00e9\"], [\"b\", \"##\\\"\"]]"
#define PREFIX "\"type\": \"BPE\", \"continuing_subword_prefix\": \"##\""

PX_TEST(members_may_stand_in_any_order)
{
    static const char *const files[] = {"{\"model\": {" PREFIX ", " VOCAB ", " MERGES "}}",
        "{\"model\": {" MERGES ", " VOCAB ", " PREFIX "}}",
        "{\"model\": {" VOCAB ", " MERGES ", " PREFIX "}, \"added_tokens\": []}"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        px_tokenizer *tokenizer = NULL;
        PX_CHECK_OK(px_tokenizer_from_json(files[i], strlen(files[i]), &tokenizer));
        PX_REQUIRE(tokenizer);
        px_ids whole = encode(tokenizer, "ab\xc3\xa9", 4, (px_encode_options){0});
        PX_CHECK(whole.count == 1 && whole.data[0] == 6);
        px_ids quote = encode(tokenizer, "b\"", 2, (px_encode_options){0});
        PX_CHECK(quote.count == 1 && quote.data[0] == 7);
        free(whole.data);
        free(quote.data);
        px_tokenizer_free(tokenizer);
    }
}

/* Long prompts are cut before "▁", but not where what stands before it vanishes. */
PX_TEST(what_stands_around_a_vanishing_character_joins)
{
    static const char json[] =
        "{\"model\": {\"type\": \"BPE\", \"continuing_subword_prefix\": null, \"vocab\": "
        "{\"\\u2581\": 0, "
        "\"\\u2581\\u2581\": 1, \"a\": 2}, \"merges\": [\"\\u2581 \\u2581\"]}}";
    px_tokenizer *tokenizer = NULL;
    PX_CHECK_OK(px_tokenizer_from_json(json, strlen(json), &tokenizer));
    PX_REQUIRE(tokenizer);
    px_ids ids = encode(tokenizer, "a\xe2\x96\x81?\xe2\x96\x81", 8, (px_encode_options){0});
    PX_CHECK(ids.count == 2 && ids.data[0] == 2 && ids.data[1] == 1);
    free(ids.data);
    px_tokenizer_free(tokenizer);
}

PX_TEST(tokens_and_settings_may_hold_nul)
{
    static const char json[] = "{\"added_tokens\": [{\"content\": \"<\\u0000>\", \"special\": "
                               "true}], \"normalizer\": {\"type\": "
                               "\"Replace\", \"pattern\": {\"String\": \"x\"}, \"content\": "
                               "\"\\u0000\"}, \"model\": {\"type\": \"BPE\", "
                               "\"continuing_subword_prefix\": null, \"vocab\": {\"\\u0000\": 0, "
                               "\"a\": 1, \"\\u0000a\": 2}, "
                               "\"merges\": [[\"\\u0000\", \"a\"]]}}";
    px_tokenizer *tokenizer = NULL;
    PX_CHECK_OK(px_tokenizer_from_json(json, strlen(json), &tokenizer));
    PX_REQUIRE(tokenizer);
    px_ids ids = encode(tokenizer, "\0axa<\0>\0", 8, (px_encode_options){.parse_special = true});
    static const uint32_t want[] = {2, 2, 3, 0};
    PX_CHECK(ids.count == 4 && memcmp(ids.data, want, sizeof want) == 0);
    px_buf text;
    px_buf_init(&text, 64);
    PX_CHECK_OK(px_tokenizer_decode(tokenizer, ids.data, ids.count, false, &text));
    PX_CHECK(text.length == 11 && memcmp(text.data, "\0a \0a <\0> \0", 11) == 0);
    px_buf_done(&text);
    free(ids.data);
    px_tokenizer_free(tokenizer);
}

PX_TEST(of_two_tokens_with_one_text_the_later_is_found)
{
    static const char json[] = "{\"model\": {\"type\": \"BPE\", \"continuing_subword_prefix\": "
                               "null, \"vocab\": {\"a\": 0, "
                               "\"b\": 1, \"ab\": 2, \"ab\": 5, \"abcdefghi\": 3, \"abcdefghj\": "
                               "4}, \"merges\": [\"a b\"]}}";
    px_tokenizer *tokenizer = NULL;
    PX_CHECK_OK(px_tokenizer_from_json(json, strlen(json), &tokenizer));
    PX_REQUIRE(tokenizer);
    px_ids ids = encode(tokenizer, "ab", 2, (px_encode_options){0});
    PX_CHECK(ids.count == 1 && ids.data[0] == 5);
    PX_CHECK(px_tokenizer_id(tokenizer, "abcdefghi", 9) == 3);
    PX_CHECK(px_tokenizer_id(tokenizer, "abcdefghj", 9) == 4);
    PX_CHECK(px_tokenizer_id(tokenizer, "abcdefgh", 8) == -1);
    free(ids.data);
    px_tokenizer_free(tokenizer);
}

/* Lengths around those at which the table of the vocabulary keeps them elsewhere. */
PX_TEST(tokens_of_any_length_are_found)
{
    enum { LENGTH_MAX = 1030 };
    px_buf json;
    px_buf_init(&json, 4 << 20);
    px_buf_puts(
        &json, "{\"model\": {\"type\": \"WordLevel\", \"unk_token\": \"x\", \"vocab\": {\"x\": 0");
    for (int length = 1; length <= LENGTH_MAX; length++)
        px_buf_printf(&json, ", \"%0*d\": %d", length, 7, length);
    px_buf_puts(&json, "}}}");
    px_tokenizer *tokenizer = NULL;
    PX_CHECK_OK(px_tokenizer_from_json(px_buf_text(&json), json.length, &tokenizer));
    PX_REQUIRE(tokenizer);
    char text[LENGTH_MAX + 2];
    for (int length = 1; length <= LENGTH_MAX; length++) {
        snprintf(text, sizeof text, "%0*d", length, 7);
        PX_CHECK(px_tokenizer_id(tokenizer, text, (size_t)length) == length);
        text[length - 1] = '8';
        PX_CHECK(px_tokenizer_id(tokenizer, text, (size_t)length) == -1);
    }
    px_buf_done(&json);
    px_tokenizer_free(tokenizer);
}

PX_TEST_MAIN()
