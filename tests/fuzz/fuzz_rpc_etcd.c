/* fuzz_rpc_etcd.c - etcd's answers and watch messages, and the records that we keep there: anybody
 * with access to etcd can write them. The first byte chooses the parser. */
#include <stdlib.h>
#include <string.h>

#include "control/cluster/spec.h"
#include "etcd/base64.h"
#include "etcd/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode_base64(px_slice text)
{
    px_arena arena;
    px_arena_init(&arena, 1 << 20);
    size_t length;
    char *bytes = px_base64_decode(&arena, text, &length);
    if (bytes) { /* what decodes encodes to a text of the same length */
        px_buf again;
        px_buf_init(&again, 1 << 20);
        px_base64_encode(&again, bytes, length);
        PX_ASSERT(again.length == text.length && bytes[length] == '\0');
        px_buf_done(&again);
    }
    px_arena_done(&arena);
}

static void decode_spec(px_slice json)
{
    px_spec *spec = px_alloc(sizeof *spec), *again = px_alloc(sizeof *again);
    if (px_is_ok(px_spec_decode(json, spec))) {
        px_buf text;
        px_buf_init(&text, 1 << 20);
        px_spec_encode(&text, spec);
        px_status status = px_spec_decode((px_slice){text.data, text.length}, again);
        PX_ASSERT(px_is_ok(status) && px_spec_equal(spec, again));
        px_buf_done(&text);
    }
    free(spec);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size) return 0;
    px_slice text = {(const char *)data + 1, size - 1};
    px_etcd_result result;
    px_etcd_watch_message message;
    px_group_record record;
    switch (data[0] % 5) {
    case 0:
        px_ignore(px_etcd_decode(data[0] & 128 ? 200 : 503, text, &result));
        px_etcd_result_done(&result);
        break;
    case 1:
        px_ignore(px_etcd_decode_watch(text, &message));
        px_etcd_watch_message_done(&message);
        break;
    case 2: decode_base64(text); break;
    case 3: decode_spec(text); break;
    default: px_ignore(px_group_record_decode(text, &record)); break;
    }
    return 0;
}
