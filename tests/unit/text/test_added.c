/* test_added.c - added tokens and unknown text: what they take, what ids and names they get. */
#include "sample.h"

static px_tokenizer *make(const char *json)
{
    px_tokenizer *tokenizer = NULL;
    PX_CHECK_OK(px_tokenizer_from_json(json, strlen(json), &tokenizer));
    return tokenizer;
}

/* The ids of `text` against a list that ends with -1. */
static void check_ids(const px_tokenizer *tokenizer, const char *text, const int *want)
{
    px_ids ids = {0};
    px_encode_options options = {.parse_special = true};
    PX_CHECK_OK(px_tokenizer_encode(tokenizer, text, strlen(text), &options, &ids));
    size_t count = 0;
    while (want[count] >= 0) count++;
    PX_CHECK(ids.count == count);
    for (size_t i = 0; i < count && i < ids.count; i++) PX_CHECK(ids.data[i] == (uint32_t)want[i]);
    free(ids.data);
}

#define IDS(...) ((const int[]){__VA_ARGS__, -1})

PX_TEST(white_space_that_a_token_took_may_be_a_token_itself)
{
    px_tokenizer *tokenizer =
        make("{\"model\": {\"type\": \"WordLevel\", \"vocab\": {\"a\": 0, \"b\": 1}},"
             " \"added_tokens\": [{\"content\": \"<s>\", \"rstrip\": true, \"special\": true},"
             " {\"content\": \"\\n\", \"special\": true},"
             " {\"content\": \"\\t\", \"lstrip\": true, \"special\": true}]}");
    PX_REQUIRE(tokenizer);
    check_ids(tokenizer, "a<s>  b", IDS(0, 2, 1));
    check_ids(tokenizer, "a<s> \nb", IDS(0, 2, 3, 1)); /* the newline counts again */
    check_ids(tokenizer, "a<s>\tb", IDS(0, 2, 1));     /* nothing is left of the tab */
    check_ids(tokenizer, "a \tb", IDS(0, 4, 1));
    px_tokenizer_free(tokenizer);
}

PX_TEST(ids_go_on_from_the_models_size_whatever_the_file_says)
{
    px_tokenizer *tokenizer =
        make("{\"model\": {\"type\": \"WordLevel\", \"vocab\": {\"a\": 0, \"b\": 1}},"
             " \"added_tokens\": [{\"content\": \"b\", \"id\": 7}, {\"content\": \"\", \"id\": 8},"
             " {\"content\": \"c\", \"id\": 90}, {\"content\": \"d\", \"id\": 91},"
             " {\"content\": \"c\", \"id\": 92, \"rstrip\": true}]}");
    PX_REQUIRE(tokenizer);
    check_ids(tokenizer, "abcd", IDS(0, 1, 2, 3));
    check_ids(tokenizer, "c d", IDS(2, 3)); /* the later of equal entries counts */
    PX_CHECK(px_tokenizer_size(tokenizer) == 4);
    px_tokenizer_free(tokenizer);
}

/* The normalizer changes "b" for the search and for decoding, not for the model. */
PX_TEST(a_renamed_token_stays_known_to_the_model)
{
    px_tokenizer *tokenizer =
        make("{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1}, \"merges\": []},"
             " \"normalizer\": {\"type\": \"Prepend\", \"prepend\": \"a\"},"
             " \"added_tokens\": [{\"content\": \"b\", \"normalized\": true}]}");
    PX_REQUIRE(tokenizer);
    check_ids(tokenizer, "b", IDS(1));
    check_ids(tokenizer, "bb", IDS(1, 1));
    px_buf text;
    px_buf_init(&text, 64);
    PX_CHECK_OK(px_tokenizer_decode(tokenizer, (const uint32_t[]){1}, 1, false, &text));
    PX_CHECK_STR(px_buf_text(&text), "ab");
    px_buf_done(&text);
    px_tokenizer_free(tokenizer);
}

PX_TEST(text_without_any_token_is_refused_by_name)
{
    static const char *const files[] = {
        "{\"model\": {\"type\": \"WordLevel\", \"vocab\": {\"a\": 0}, \"unk_token\": \"u\"}}",
        "{\"model\": {\"type\": \"WordPiece\", \"vocab\": {\"a\": 0}, \"unk_token\": \"u\"}}",
        "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [], \"unk_token\": "
        "\"u\"}}",
        "{\"model\": {\"type\": \"Unigram\", \"vocab\": [[\"a\", -1]], \"unk_id\": null}}",
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        px_tokenizer *tokenizer = make(files[i]);
        PX_REQUIRE(tokenizer);
        check_ids(tokenizer, "a", IDS(0));
        px_ids ids = {0};
        px_encode_options options = {0};
        px_status status = px_tokenizer_encode(tokenizer, "z", 1, &options, &ids);
        PX_CHECK(status.code == PX_INVALID_ARGUMENT && strstr(status.text, "'z'"));
        PX_CHECK(ids.count == 0);
        free(ids.data);
        px_tokenizer_free(tokenizer);
    }
}

/* Unknown characters fuse across the bytes of known ones, which overtake them. */
PX_TEST(fused_unknown_text_waits)
{
    px_tokenizer *tokenizer =
        make("{\"model\": {\"type\": \"BPE\", \"vocab\": {\"u\": 0, \"a\": 1, \"<0x62>\": 2}, "
             "\"merges\": [], \"unk_token\": \"u\", \"fuse_unk\": true, \"byte_fallback\": true}}");
    PX_REQUIRE(tokenizer);
    check_ids(tokenizer, "xya", IDS(0, 1));
    check_ids(tokenizer, "xbya", IDS(2, 0, 1));
    px_tokenizer_free(tokenizer);
}

/* The unknown token written out is unknown text, and what fuses may be a token by chance. */
PX_TEST(a_unigram_models_unknown_run_is_looked_up_whole)
{
    px_tokenizer *tokenizer =
        make("{\"model\": {\"type\": \"Unigram\", \"vocab\": [[\"u\", 0], [\"a\", -1], [\"xy\", "
             "-90]], \"unk_id\": 0}}");
    PX_REQUIRE(tokenizer);
    check_ids(tokenizer, "xya", IDS(2, 1));
    check_ids(tokenizer, "uxa", IDS(0, 1));
    check_ids(tokenizer, "auzxa", IDS(1, 0, 1));
    px_tokenizer_free(tokenizer);
}

/* Each byte of a broken run is a token of its own, as other steps see it. */
PX_TEST(broken_bytes_are_single_tokens)
{
    px_tokenizer *tokenizer =
        make("{\"model\": {\"type\": \"WordLevel\", \"vocab\": {\"<0xC3>\": 0, \"a\": 1}},"
             " \"decoder\": {\"type\": \"Sequence\", \"decoders\": [{\"type\": \"ByteFallback\"},"
             " {\"type\": \"WordPiece\", \"prefix\": \"##\", \"cleanup\": false}]}}");
    PX_REQUIRE(tokenizer);
    px_buf text;
    px_buf_init(&text, 64);
    PX_CHECK_OK(px_tokenizer_decode(tokenizer, (const uint32_t[]){0, 0, 1}, 3, false, &text));
    PX_CHECK_STR(px_buf_text(&text), "\xef\xbf\xbd \xef\xbf\xbd a");
    px_buf_done(&text);
    px_tokenizer_free(tokenizer);
}

PX_TEST_MAIN()
