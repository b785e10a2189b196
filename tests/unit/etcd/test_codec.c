/* etcd's JSON on canned bytes, as etcd 3.4.23 wrote them, and bytes that it would never write. */
#include "etcd/base64.h"
#include "etcd/codec.h"
#include "etcd/keys.h"
#include "test.h"

static px_slice slice(const char *text)
{
    return (px_slice){text, strlen(text)};
}

PX_TEST(base64_round_trips_every_length)
{
    unsigned char bytes[40];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)(i * 37 + 200);
    for (size_t length = 0; length <= sizeof bytes; length++) {
        px_buf text;
        px_buf_init(&text, 100);
        px_base64_encode(&text, bytes, length);
        px_arena arena;
        px_arena_init(&arena, 4096);
        size_t got;
        char *decoded = px_base64_decode(&arena, (px_slice){px_buf_text(&text), text.length}, &got);
        PX_REQUIRE(decoded);
        PX_CHECK(got == length && memcmp(decoded, bytes, length) == 0 && decoded[length] == '\0');
        px_arena_done(&arena);
        px_buf_done(&text);
    }
}

PX_TEST(base64_known_vectors_and_refusals)
{
    px_buf text;
    px_buf_init(&text, 100);
    px_base64_encode(&text, "foobar", 6);
    px_base64_encode(&text, "fooba", 5);
    PX_CHECK_STR(px_buf_text(&text), "Zm9vYmFyZm9vYmE="); /* RFC 4648, section 10 */
    px_buf_done(&text);

    px_arena arena;
    px_arena_init(&arena, 4096);
    size_t length;
    static const char *const bad[] = {"Zm9", "Zm9!", "Zm=v", "====", "Zm 9"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        PX_CHECK(!px_base64_decode(&arena, slice(bad[i]), &length));
    px_arena_done(&arena);
}

PX_TEST(encodes_what_etcd_expects)
{
    px_buf out;
    px_buf_init(&out, 4096);
    px_etcd_encode_range(&out, &(px_etcd_op){.kind = PX_ETCD_RANGE, .key = "a/", .prefix = true});
    PX_CHECK_STR(px_buf_text(&out), "{\"key\":\"YS8=\",\"range_end\":\"YTA=\"}");
    px_buf_reset(&out);
    px_etcd_encode_txn(&out, &(px_etcd_compare){"k", 7}, 1,
        &(px_etcd_op){.kind = PX_ETCD_PUT, .key = "k", .value = slice("v"), .lease = 9}, 1);
    PX_CHECK_STR(px_buf_text(&out),
        "{\"compare\":[{\"key\":\"aw==\",\"target\":\"CREATE\",\"result\":\"EQUAL\","
        "\"create_revision\":\"7\"}],"
        "\"success\":[{\"request_put\":{\"key\":\"aw==\",\"value\":\"dg==\",\"lease\":\"9\"}}]}");
    px_buf_reset(&out);
    px_etcd_encode_watch(&out, "k", 12);
    PX_CHECK_STR(px_buf_text(&out), "{\"create_request\":{\"key\":\"aw==\",\"range_end\":\"bA==\","
                                    "\"start_revision\":\"12\",\"progress_notify\":true}}");
    px_buf_done(&out);
}

PX_TEST(decodes_a_range)
{
    px_etcd_result result;
    PX_CHECK_OK(px_etcd_decode(200,
        slice("{\"header\":{\"cluster_id\":\"1\",\"revision\":\"42\",\"raft_term\":\"2\"},"
              "\"kvs\":[{\"key\":\"YQ==\",\"create_revision\":\"3\",\"mod_revision\":\"5\","
              "\"version\":\"2\",\"value\":\"eHk=\",\"lease\":\"7587862094927130631\"},"
              "{\"key\":\"Yg==\",\"create_revision\":\"4\",\"mod_revision\":\"4\"}],\"count\":"
              "\"2\"}"),
        &result));
    PX_REQUIRE(result.count == 2);
    PX_CHECK(result.revision == 42);
    PX_CHECK_STR(result.kvs[0].key, "a");
    PX_CHECK_STR(result.kvs[0].value.data, "xy");
    PX_CHECK(result.kvs[0].create_revision == 3 && result.kvs[0].mod_revision == 5);
    PX_CHECK(result.kvs[0].lease == 7587862094927130631);
    PX_CHECK(result.kvs[1].value.length == 0);
    px_etcd_result_done(&result);
}

PX_TEST(leaves_out_keys_that_cannot_be_ours)
{
    px_etcd_result result;
    /* "a\0b" and "c" */
    PX_CHECK_OK(
        px_etcd_decode(200, slice("{\"kvs\":[{\"key\":\"YQBi\"},{\"key\":\"Yw==\"}]}"), &result));
    PX_REQUIRE(result.count == 1);
    PX_CHECK_STR(result.kvs[0].key, "c");
    px_etcd_result_done(&result);
}

PX_TEST(decodes_transactions_and_leases)
{
    px_etcd_result result;
    PX_CHECK_OK(px_etcd_decode(200,
        slice(
            "{\"header\":{\"revision\":\"9\"},\"succeeded\":true,\"responses\":[{\"response_put\":"
            "{\"header\":{\"revision\":\"9\"}}},{\"response_range\":{\"kvs\":[{\"key\":\"YQ==\"}]}}"
            "]}"),
        &result));
    PX_CHECK(result.succeeded && result.count == 1 && result.revision == 9);
    px_etcd_result_done(&result);
    PX_CHECK_OK(px_etcd_decode(200, slice("{\"header\":{\"revision\":\"9\"}}"), &result));
    PX_CHECK(!result.succeeded);
    px_etcd_result_done(&result);
    PX_CHECK_OK(
        px_etcd_decode(200, slice("{\"result\":{\"ID\":\"77\",\"TTL\":\"5\"}}\n"), &result));
    PX_CHECK(result.lease == 77 && result.ttl_s == 5);
    px_etcd_result_done(&result);
}

PX_TEST(errors_keep_etcds_code_and_words)
{
    px_etcd_result result;
    px_status status = px_etcd_decode(400,
        slice("{\"error\":\"etcdserver: requested lease not found\",\"message\":\"etcdserver: "
              "requested lease not found\",\"code\":5}"),
        &result);
    PX_CHECK(status.code == PX_NOT_FOUND);
    PX_CHECK_STR(status.text, "etcd: etcdserver: requested lease not found");
    PX_CHECK(px_etcd_decode(503, slice("no json"), &result).code == PX_UNAVAILABLE);
    PX_CHECK(px_etcd_decode(500, slice(""), &result).code == PX_INTERNAL);
    PX_CHECK(
        px_etcd_decode(400, slice("{\"error\":\"x\",\"code\":99}"), &result).code == PX_INTERNAL);
}

PX_TEST(nonsense_is_refused)
{
    static const char *const bad[] = {"", "null", "[]", "{\"kvs\":[{\"key\":5}]}",
        "{\"kvs\":[{\"key\":\"*\"}]}", "{\"kvs\":[{\"key\":\"YQ==\",\"value\":\"a\"}]}",
        "{\"kvs\":", "\xff\xfe"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        px_etcd_result result;
        px_status status = px_etcd_decode(200, slice(bad[i]), &result);
        /* An empty answer of another shape is an answer without fields, never a crash. */
        PX_CHECK(status.code == PX_INTERNAL || result.count == 0);
        px_etcd_result_done(&result);
    }
}

PX_TEST(decodes_watch_messages)
{
    px_etcd_watch_message message;
    PX_CHECK_OK(px_etcd_decode_watch(
        slice("{\"result\":{\"header\":{\"revision\":\"8\"},\"events\":[{\"kv\":{\"key\":\"YQ==\","
              "\"mod_revision\":\"7\",\"value\":\"eA==\"}},{\"type\":\"DELETE\",\"kv\":{\"key\":"
              "\"Yg==\",\"mod_revision\":\"8\"}}]}}"),
        &message));
    PX_REQUIRE(message.count == 2);
    PX_CHECK(!message.changes[0].deleted && message.changes[1].deleted);
    PX_CHECK_STR(message.changes[1].kv.key, "b");
    px_etcd_watch_message_done(&message);

    PX_CHECK_OK(px_etcd_decode_watch(
        slice("{\"result\":{\"header\":{\"revision\":\"30\"},\"canceled\":true,"
              "\"compact_revision\":\"25\"}}"),
        &message));
    PX_CHECK(message.cancelled && message.compact_revision == 25 && message.count == 0);
    px_etcd_watch_message_done(&message);

    px_status status = px_etcd_decode_watch(slice("{\"error\":{\"grpc_code\":14,\"http_code\":503,"
                                                  "\"message\":\"etcdserver: no leader\"}}"),
        &message);
    PX_CHECK(status.code == PX_UNAVAILABLE);
}

PX_TEST(event_keys_sort_as_their_numbers)
{
    PX_CHECK(strcmp(px_key_event(9).text, px_key_event(10).text) < 0);
    PX_CHECK_STR(px_key_of(PX_KEY_NODES, "a1").text, "/phalanx/v1/nodes/a1");
}

PX_TEST_MAIN()
