/* fuzz_tokenize.c - any bytes as text for small tokenizers of each model: encoded, decoded,
 * streamed.
 *
 * The first byte chooses the tokenizer; streamed parts must add up to the decoded whole.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ADDED                                                                                      \
    "\"added_tokens\": [{\"id\": 90, \"content\": \"<s>\", \"special\": true, \"rstrip\": true},"  \
    "{\"id\": 91, \"content\": \"ab c\", \"lstrip\": true, \"normalized\": true},"                 \
    "{\"id\": 92, \"content\": \"w\", \"single_word\": true}],"

static const char *const descriptions[] = {
    /* byte-level, with the longest patterns in use */
    "{" ADDED "\"normalizer\": {\"type\": \"NFC\"}, \"pre_tokenizer\": {\"type\": \"Sequence\", "
    "\"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": "
    "\"(?i:'s|'t)|[^\\\\r\\\\n\\\\p{L}"
    "\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| "
    "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!"
    "\\\\S)|\\\\s+\"}, \"behavior\": \"Isolated\"}, {\"type\": \"ByteLevel\", \"use_regex\": "
    "false}]}, "
    "\"decoder\": {\"type\": \"ByteLevel\"}, \"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, "
    "\"b\": 1, "
    "\"ab\": 2, \"Ġ\": 3, \"Ã\": 4, \"©\": 5, \"Ã©\": 6, \"abab\": 7, \"ĠĠ\": 8}, \"merges\": [\"a "
    "b\", \"Ã ©\", "
    "\"ab ab\", \"Ġ Ġ\"]}}",
    /* SentencePiece with byte fallback */
    "{" ADDED
    "\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFKC\"}, {\"type\": "
    "\"Prepend\", \"prepend\": \"▁\"}, {\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, "
    "\"content\": "
    "\"▁\"}]}, \"decoder\": {\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\", "
    "\"pattern\": "
    "{\"String\": \"▁\"}, \"content\": \" \"}, {\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}, "
    "{\"type\": "
    "\"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 1}]}, \"model\": {\"type\": \"BPE\", "
    "\"unk_token\": "
    "\"?\", \"fuse_unk\": true, \"byte_fallback\": true, \"vocab\": {\"?\": 0, \"▁\": 1, \"a\": 2, "
    "\"▁a\": 3, "
    "\"<0xC3>\": 4, \"<0xA9>\": 5, \"▁▁\": 6}, \"merges\": [[\"▁\", \"a\"], [\"▁\", \"▁\"]]}}",
    /* unigram and metaspace */
    "{" ADDED "\"normalizer\": {\"type\": \"Nmt\"}, \"pre_tokenizer\": {\"type\": \"Metaspace\", "
    "\"replacement\": \"▁\", \"prepend_scheme\": \"first\"}, \"decoder\": {\"type\": "
    "\"Metaspace\", "
    "\"replacement\": \"▁\"}, \"model\": {\"type\": \"Unigram\", \"unk_id\": 0, \"vocab\": "
    "[[\"?\", 0], "
    "[\"▁\", -1.5], [\"a\", -2], [\"▁a\", -2.5], [\"aa\", -3], [\"é\", -4]]}}",
    /* WordPiece as BERT has it */
    "{" ADDED "\"normalizer\": {\"type\": \"BertNormalizer\"}, \"pre_tokenizer\": {\"type\": "
    "\"BertPreTokenizer\"}, \"decoder\": {\"type\": \"WordPiece\", \"prefix\": \"##\"}, \"model\": "
    "{\"type\": "
    "\"WordPiece\", \"unk_token\": \"?\", \"vocab\": {\"?\": 0, \"a\": 1, \"##a\": 2, \"##b\": 3, "
    "\".\": 4}}}"};
enum { COUNT = sizeof descriptions / sizeof *descriptions };

static void stream(const px_tokenizer *tokenizer, const px_ids *ids, px_buf *out)
{
    px_detok *detok = px_detok_create(tokenizer, false);
    for (size_t i = 0; i < ids->count; i++) px_ignore(px_detok_push(detok, ids->data[i], out));
    px_detok_finish(detok, out);
    px_detok_free(detok);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static px_tokenizer *tokenizers[COUNT];
    if (size == 0) return 0;
    size_t which = data[0] % COUNT;
    if (!tokenizers[which]) {
        px_status status = px_tokenizer_from_json(
            descriptions[which], strlen(descriptions[which]), &tokenizers[which]);
        PX_ASSERT(px_is_ok(status));
    }
    px_ids ids = {0};
    px_buf whole, streamed;
    px_buf_init(&whole, 1 << 24);
    px_buf_init(&streamed, 1 << 24);
    px_encode_options options = {.parse_special = size % 2};
    if (px_is_ok(px_tokenizer_encode(
            tokenizers[which], (const char *)data + 1, size - 1, &options, &ids)) &&
        px_is_ok(px_tokenizer_decode(tokenizers[which], ids.data, ids.count, false, &whole))) {
        stream(tokenizers[which], &ids, &streamed);
        PX_ASSERT(whole.length == streamed.length &&
                  memcmp(px_buf_text(&whole), px_buf_text(&streamed), whole.length) == 0);
    }
    px_buf_done(&streamed);
    px_buf_done(&whole);
    free(ids.data);
    return 0;
}
