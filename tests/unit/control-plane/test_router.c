/* test_router.c - requests through the router to an engine, cancelled, failed, and over a lost
 * stream.
 */
#include "routed_engine.h"

typedef struct asked { /* one request of ours, and what came back */
    uint64_t id;
    char text[256];
    bool ended, got;
    px_status status;
    size_t tokens;
    bool cancel_on_part;
} asked;

static void on_part(void *arg, const Phalanx__V1__GenerateResponse *part)
{
    asked *a = arg;
    snprintf(a->text + strlen(a->text), sizeof a->text - strlen(a->text), "%.*s",
        (int)part->text.len, part->text.data);
    a->got = true;
    if (a->cancel_on_part) px_router_cancel(router, a->id);
}

static void on_tokens(void *arg, const Phalanx__V1__TokenizeResponse *tokens)
{
    asked *a = arg;
    a->tokens = tokens->n_ids;
}

static void on_end(void *arg, px_status status)
{
    asked *a = arg;
    PX_CHECK(!a->ended);
    a->ended = true;
    a->status = status;
}

static px_status ask(asked *a, const char *prompt)
{
    Phalanx__V1__GenerateRequest request = PHALANX__V1__GENERATE_REQUEST__INIT;
    request.prompt_case = PHALANX__V1__GENERATE_REQUEST__PROMPT_TEXT;
    request.text = (ProtobufCBinaryData){strlen(prompt), (uint8_t *)prompt};
    px_route_request route = {.generate = &request,
        .deadline_ns = px_now_ns() + 5 * PX_SEC,
        .on_part = on_part,
        .on_tokens = on_tokens,
        .on_end = on_end,
        .arg = a};
    return px_router_submit(router, "m", &route, &a->id);
}

PX_TEST(connects_with_the_secret)
{
    open_router();
    asked a = {0};
    PX_CHECK(ask(&a, "early").code == PX_UNAVAILABLE);
    attach("wrong");
    PX_CHECK(run_until(&down) && !up);
    PX_CHECK(strstr(down_why.text, "not of this group"));
    attach("s3cret");
    PX_CHECK(run_until(&up));
    px_router_load load;
    PX_CHECK(px_router_load_of(router, "m", &load) && load.said.kv_blocks == 100);
    PX_CHECK(!px_router_load_of(router, "other", &load));
}

PX_TEST(parts_come_back_in_order_and_end_once)
{
    PX_REQUIRE(up);
    engine_saw[0] = '\0';
    asked a = {0}, b = {0};
    PX_CHECK_OK(ask(&a, "one"));
    PX_CHECK_OK(ask(&b, "two"));
    PX_CHECK(engine_sees("submit:one submit:two "));
    PX_CHECK(engine_timeout_us > 4000000 && engine_timeout_us <= 5000000);
    PX_CHECK(px_router_stats_of(router).running == 2);
    engine_part(b.id, "B1", false);
    engine_part(a.id, "A1", false);
    engine_part(a.id, "A2", true);
    engine_part(a.id, "late", false); /* behind its end: nobody hears it */
    PX_CHECK(run_until(&a.ended));
    PX_CHECK_OK(a.status);
    PX_CHECK_STR(a.text, "A1A2");
    PX_CHECK(!b.ended);
    engine_fail(b.id, PX_RESOURCE_EXHAUSTED, "no KV block is left");
    PX_CHECK(run_until(&b.ended));
    PX_CHECK_STR(b.text, "B1");
    PX_CHECK(b.status.code == PX_RESOURCE_EXHAUSTED);
    PX_CHECK_STR(b.status.text, "no KV block is left");
    px_router_stats stats = px_router_stats_of(router);
    PX_CHECK(
        stats.running == 0 && stats.total == 2 && stats.failed == 1 && stats.output_tokens == 3);
}

PX_TEST(cancel_reaches_the_engine_and_nothing_comes_back)
{
    PX_REQUIRE(up);
    engine_saw[0] = '\0';
    asked a = {0}, b = {.cancel_on_part = true};
    PX_CHECK_OK(ask(&a, "x"));
    PX_CHECK_OK(ask(&b, "y"));
    PX_CHECK(engine_sees("submit:x submit:y "));
    px_router_cancel(router, a.id);
    PX_CHECK(engine_sees("cancel ") && newest() == a.id);
    px_router_cancel(router, a.id); /* again: fine */
    engine_part(a.id, "late", true);
    engine_part(b.id, "B", true); /* cancelled from within its own part */
    PX_CHECK(engine_sees("cancel cancel ") && newest() == b.id);
    run_for(20 * PX_MS);
    PX_CHECK(!a.ended && !b.ended && !a.got);
    PX_CHECK(px_router_stats_of(router).running == 0);
}

PX_TEST(tokenize_goes_the_same_way)
{
    PX_REQUIRE(up);
    engine_saw[0] = '\0';
    Phalanx__V1__TokenizeRequest request = PHALANX__V1__TOKENIZE_REQUEST__INIT;
    request.text = (ProtobufCBinaryData){5, (uint8_t *)"hello"};
    asked a = {0};
    PX_CHECK_OK(px_router_submit(router, "m",
        &(px_route_request){.tokenize = &request,
            .deadline_ns = INT64_MAX,
            .on_part = on_part,
            .on_tokens = on_tokens,
            .on_end = on_end,
            .arg = &a},
        &a.id));
    PX_CHECK(engine_sees("tokenize:hello "));
    engine_tokens(a.id);
    PX_CHECK(run_until(&a.ended));
    PX_CHECK(px_is_ok(a.status) && a.tokens == 3);
}

PX_TEST(a_lost_stream_ends_its_requests_and_is_dialled_again)
{
    PX_REQUIRE(up);
    asked a = {0};
    engine_saw[0] = '\0';
    PX_CHECK_OK(ask(&a, "x"));
    PX_CHECK(engine_sees("submit:x"));
    up = down = false;
    px_rpc_call_finish(engine_stream, px_fail(PX_UNAVAILABLE, "rank 1 is gone"));
    PX_CHECK(run_until(&down));
    PX_CHECK(a.ended && a.status.code == PX_UNAVAILABLE);
    PX_CHECK(strstr(a.status.text, "rank 1 is gone"));
    PX_CHECK(run_until(&up));
    asked b = {0};
    PX_CHECK_OK(ask(&b, "again"));
    PX_CHECK(engine_sees("submit:again"));
    engine_part(a.id, "old", true); /* an id of before means nothing */
    engine_part(b.id, "new", true);
    PX_CHECK(run_until(&b.ended));
    PX_CHECK_STR(b.text, "new");
}

PX_TEST(the_end)
{
    close_router();
}

PX_TEST_MAIN()
