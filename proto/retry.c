/* retry.c - see retry.h. The two protobuf messages are written by hand: three levels, six fields.
 */
#include "proto/retry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DETAILS_BYTES_MAX = 512, VARINT = 0, BYTES = 2 /* wire types */ };

static void put_varint(px_buf *out, uint64_t value)
{
    for (; value >= 0x80; value >>= 7) px_buf_putc(out, (char)(value | 0x80));
    px_buf_putc(out, (char)value);
}

static void put_number(px_buf *out, unsigned field, uint64_t value)
{
    put_varint(out, field << 3 | VARINT);
    put_varint(out, value);
}

static void put_bytes(px_buf *out, unsigned field, const char *bytes, size_t length)
{
    put_varint(out, field << 3 | BYTES);
    put_varint(out, length);
    px_buf_append(out, bytes, length);
}

/* Status {code = 1, message = 2, details = 3: Any {type_url = 1, value = 2: RetryInfo {retry_delay
 * = 1: Duration {seconds = 1, nanos = 2}}}} */
static void put_details(px_buf *out, const px_status *status)
{
    static const char type[] = "type.googleapis.com/google.rpc.RetryInfo";
    px_buf inner[3];
    for (int i = 0; i < 3; i++) px_buf_init(&inner[i], DETAILS_BYTES_MAX);
    put_number(&inner[0], 1, status->retry_ms / 1000);
    put_number(&inner[0], 2, status->retry_ms % 1000 * UINT64_C(1000000));
    put_bytes(&inner[1], 1, px_buf_text(&inner[0]), inner[0].length);
    put_bytes(&inner[2], 1, type, sizeof type - 1);
    put_bytes(&inner[2], 2, px_buf_text(&inner[1]), inner[1].length);
    put_number(out, 1, (uint64_t)status->code);
    put_bytes(out, 2, status->text, strlen(status->text));
    put_bytes(out, 3, px_buf_text(&inner[2]), inner[2].length);
    for (int i = 0; i < 3; i++) px_buf_done(&inner[i]);
}

void px_rpc_retry_init(px_rpc_retry *retry, const px_status *status)
{
    *retry = (px_rpc_retry){.count = 0};
    if (!status->retry_ms) return;
    char number[16];
    snprintf(number, sizeof number, "%u", status->retry_ms);
    px_buf details;
    px_buf_init(&details, DETAILS_BYTES_MAX);
    put_details(&details, status);
    retry->trailers[0] =
        (grpc_metadata){.key = grpc_slice_from_static_string("grpc-retry-pushback-ms"),
            .value = grpc_slice_from_copied_string(number)};
    retry->trailers[1] =
        (grpc_metadata){.key = grpc_slice_from_static_string("grpc-status-details-bin"),
            .value = grpc_slice_from_copied_buffer(px_buf_text(&details), details.length)};
    retry->count = PX_RPC_RETRY_TRAILERS;
    px_buf_done(&details);
}

void px_rpc_retry_done(px_rpc_retry *retry)
{
    for (size_t i = 0; i < retry->count; i++) grpc_slice_unref(retry->trailers[i].value);
    retry->count = 0;
}

uint32_t px_rpc_retry_read(const grpc_metadata_array *trailers)
{
    for (size_t i = 0; i < trailers->count; i++) {
        const grpc_metadata *pair = &trailers->metadata[i];
        if (grpc_slice_str_cmp(pair->key, "grpc-retry-pushback-ms") != 0) continue;
        char number[16];
        size_t length = GRPC_SLICE_LENGTH(pair->value);
        if (length >= sizeof number) return 0;
        memcpy(number, GRPC_SLICE_START_PTR(pair->value), length);
        number[length] = '\0';
        long long ms = strtoll(number, NULL, 10);
        return ms > 0 && ms <= INT32_MAX ? (uint32_t)ms : 0;
    }
    return 0;
}
