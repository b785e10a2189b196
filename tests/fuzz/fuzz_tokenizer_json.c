/* fuzz_tokenizer_json.c - any bytes as a tokenizer.json: read, and if it can be, used. */
#include <stdlib.h>

#include "engine/text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = "Hello  world 123\n<s> \xc3\xa9\xe2\x96\x81\xf0\x9f\x98\x80";
    px_tokenizer *tokenizer;
    if (!px_is_ok(px_tokenizer_from_json((const char *)data, size, &tokenizer))) return 0;
    px_ids ids = {0};
    px_buf decoded;
    px_buf_init(&decoded, 1 << 20);
    px_encode_options options = {.add_special = true, .parse_special = true, .ids_max = 1000};
    if (px_is_ok(px_tokenizer_encode(tokenizer, text, sizeof text - 1, &options, &ids)))
        px_ignore(px_tokenizer_decode(tokenizer, ids.data, ids.count, false, &decoded));
    px_buf_done(&decoded);
    free(ids.data);
    px_tokenizer_free(tokenizer);
    return 0;
}
