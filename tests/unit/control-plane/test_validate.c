/* What the front refuses, and that it names the field. */
#include "control/front/tenants.h"
#include "control/front/validate.h"

#include <math.h>

#include "test.h"

static ProtobufCBinaryData bytes(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)text};
}

static Phalanx__V1__GenerateRequest good_generate(void)
{
    Phalanx__V1__GenerateRequest r = PHALANX__V1__GENERATE_REQUEST__INIT;
    r.prompt_case = PHALANX__V1__GENERATE_REQUEST__PROMPT_TEXT;
    r.text = bytes("h\xc3\xa9llo");
    return r;
}

static bool refuses(px_status status, const char *word)
{
    bool ok = status.code == PX_INVALID_ARGUMENT && strstr(status.text, word);
    if (!ok) printf("got %s: %s\n", px_code_name(status.code), status.text);
    return ok;
}

PX_TEST(prompts)
{
    Phalanx__V1__GenerateRequest r = good_generate();
    PX_CHECK_OK(px_validate_generate(&r));
    r.text = bytes("");
    PX_CHECK(refuses(px_validate_generate(&r), "empty"));
    r.text = bytes("ok \xff");
    PX_CHECK(refuses(px_validate_generate(&r), "'text' is not valid UTF-8 (at byte 3 of 4)"));
    r.text = bytes("half \xc3");
    PX_CHECK(refuses(px_validate_generate(&r), "UTF-8"));
    r.prompt_case = PHALANX__V1__GENERATE_REQUEST__PROMPT__NOT_SET;
    PX_CHECK(refuses(px_validate_generate(&r), "missing"));
    Phalanx__V1__TokenIds ids = PHALANX__V1__TOKEN_IDS__INIT;
    r.prompt_case = PHALANX__V1__GENERATE_REQUEST__PROMPT_TOKENS;
    r.tokens = &ids;
    PX_CHECK(refuses(px_validate_generate(&r), "ids are empty"));
    uint32_t one = 1;
    ids.ids = &one;
    ids.n_ids = 1;
    PX_CHECK_OK(px_validate_generate(&r));
    char id[300];
    memset(id, 'x', sizeof id);
    id[sizeof id - 1] = '\0';
    r.request_id = id;
    PX_CHECK(refuses(px_validate_generate(&r), "'request_id' has 299 bytes"));
}

PX_TEST(several_answers_and_what_is_told_of_them)
{
    Phalanx__V1__GenerateRequest r = good_generate();
    Phalanx__V1__Sampling s = PHALANX__V1__SAMPLING__INIT;
    uint32_t one = 1;
    r.sampling = &s;
    s.n = 3, s.best_of = 128;
    PX_CHECK_OK(px_validate_generate(&r));
    s.best_of = 2;
    PX_CHECK(refuses(px_validate_generate(&r), "'best_of' must be at least 'n'"));
    s.best_of = 129;
    PX_CHECK(refuses(px_validate_generate(&r), "at most 128, not 129"));
    s.best_of = 0, s.n = UINT32_MAX;
    PX_CHECK(refuses(px_validate_generate(&r), "at most 128"));
    s.n = 2, r.continue_ids = &one, r.n_continue_ids = 1;
    PX_CHECK(refuses(px_validate_generate(&r), "'continue_ids' go on with one answer"));
    s.n = 1;
    PX_CHECK_OK(px_validate_generate(&r));
    r.prompt_logprobs__case = PHALANX__V1__GENERATE_REQUEST__PROMPT_LOGPROBS__PROMPT_LOGPROBS;
    PX_CHECK(refuses(px_validate_generate(&r), "not with 'continue_ids'"));
    r.n_continue_ids = 0, r.prompt_logprobs = 20;
    PX_CHECK_OK(px_validate_generate(&r));
    r.prompt_logprobs = 21;
    PX_CHECK(refuses(px_validate_generate(&r), "'prompt_logprobs' is at most 20, not 21"));
    r.prompt_logprobs = 0, r.top_logprobs = 21;
    PX_CHECK(refuses(px_validate_generate(&r), "'top_logprobs' is at most 20"));
    r.top_logprobs = 20;
    PX_CHECK(refuses(px_validate_generate(&r), "set 'logprobs' too"));
    r.logprobs = true;
    PX_CHECK_OK(px_validate_generate(&r));
}

PX_TEST(inputs_and_documents)
{
    Phalanx__V1__EmbedRequest e = PHALANX__V1__EMBED_REQUEST__INIT;
    Phalanx__V1__Input input = PHALANX__V1__INPUT__INIT, *inputs[129];
    for (int i = 0; i < 129; i++) inputs[i] = &input;
    e.inputs = inputs;
    PX_CHECK(refuses(px_validate_embed(&e), "1 to 128 'inputs', not 0"));
    e.n_inputs = 129;
    PX_CHECK(refuses(px_validate_embed(&e), "not 129"));
    e.n_inputs = 2;
    PX_CHECK(refuses(px_validate_embed(&e), "input 0 is empty"));
    input.kind_case = PHALANX__V1__INPUT__KIND_TEXT, input.text = bytes("x\xff");
    PX_CHECK(refuses(px_validate_embed(&e), "input 0: 'text' is not valid UTF-8"));
    input.text = bytes("x");
    PX_CHECK_OK(px_validate_embed(&e));
    e.pooling = (Phalanx__V1__Pooling)77;
    PX_CHECK(refuses(px_validate_embed(&e), "'pooling' 77"));
    e.pooling = PHALANX__V1__POOLING__POOLING_MEAN, e.adapter = (char *)"no/name";
    PX_CHECK(refuses(px_validate_embed(&e), "an adapter's name"));
    e.adapter = (char *)"fr";
    PX_CHECK_OK(px_validate_embed(&e));

    Phalanx__V1__ScoreRequest s = PHALANX__V1__SCORE_REQUEST__INIT;
    ProtobufCBinaryData documents[128];
    uint32_t labels[257] = {0};
    for (int i = 0; i < 128; i++) documents[i] = bytes("d");
    s.documents = documents, s.n_documents = 128;
    PX_CHECK(refuses(px_validate_score(&s), "1 to 127 'documents', not 128"));
    s.n_documents = 2;
    PX_CHECK(refuses(px_validate_score(&s), "'query' is empty"));
    s.query = bytes("q");
    PX_CHECK_OK(px_validate_score(&s));
    s.label_token_ids = labels, s.n_label_token_ids = 1;
    PX_CHECK(refuses(px_validate_score(&s), "stand behind a text"));
    s.template_ = bytes("{query} {documents}");
    PX_CHECK(refuses(px_validate_score(&s), "no place for the {document}"));
    s.template_ = bytes("{query} {document}");
    PX_CHECK_OK(px_validate_score(&s));
    s.n_label_token_ids = 257;
    PX_CHECK(refuses(px_validate_score(&s), "'label_token_ids' are 257"));
    s.n_label_token_ids = 1, s.adapter = (char *)"no/name";
    PX_CHECK(refuses(px_validate_score(&s), "an adapter's name"));
}

PX_TEST(sampling)
{
    Phalanx__V1__GenerateRequest r = good_generate();
    Phalanx__V1__Sampling s = PHALANX__V1__SAMPLING__INIT;
    r.sampling = &s;
    PX_CHECK_OK(px_validate_generate(&r));
    s.temperature__case = PHALANX__V1__SAMPLING__TEMPERATURE__TEMPERATURE;
    static const float bad_temperatures[] = {-0.1f, NAN, INFINITY, 101};
    for (size_t i = 0; i < 4; i++) {
        s.temperature = bad_temperatures[i];
        PX_CHECK(refuses(px_validate_generate(&r), "'temperature'"));
    }
    s.temperature = 0;
    PX_CHECK_OK(px_validate_generate(&r));
    s.top_p__case = PHALANX__V1__SAMPLING__TOP_P__TOP_P;
    static const float bad_top_ps[] = {0, -1, 1.5f, NAN};
    for (size_t i = 0; i < 4; i++) {
        s.top_p = bad_top_ps[i];
        PX_CHECK(refuses(px_validate_generate(&r), "'top_p'"));
    }
    s.top_p = 1;
    PX_CHECK_OK(px_validate_generate(&r));
    s.min_p = 1.1f;
    PX_CHECK(refuses(px_validate_generate(&r), "'min_p'"));
}

PX_TEST(stops)
{
    Phalanx__V1__GenerateRequest r = good_generate();
    Phalanx__V1__Stopping s = PHALANX__V1__STOPPING__INIT;
    ProtobufCBinaryData stops[17];
    for (int i = 0; i < 17; i++) stops[i] = bytes("x");
    r.stopping = &s;
    s.stop = stops;
    s.n_stop = 16;
    PX_CHECK_OK(px_validate_generate(&r));
    s.n_stop = 17;
    PX_CHECK(refuses(px_validate_generate(&r), "17 strings"));
    s.n_stop = 1;
    stops[0] = bytes("");
    PX_CHECK(refuses(px_validate_generate(&r), "not 0"));
    char longest[258] = {0};
    memset(longest, 'x', 257);
    stops[0] = bytes(longest);
    PX_CHECK(refuses(px_validate_generate(&r), "not 257"));
    stops[0] = bytes("\x80");
    PX_CHECK(refuses(px_validate_generate(&r), "'stop' is not valid UTF-8"));
}

PX_TEST(tenants_and_order)
{
    static char long_name[130], long_salt[258];
    memset(long_name, 'a', sizeof long_name - 1);
    memset(long_salt, 'a', sizeof long_salt - 1);
    PX_CHECK_OK(px_validate_tenant(NULL));
    PX_CHECK_OK(px_validate_tenant("blue"));
    PX_CHECK(refuses(px_validate_tenant(long_name), "'phalanx-tenant' has 129 bytes"));
    PX_CHECK(refuses(px_validate_tenant("\xff"), "'phalanx-tenant' is not valid UTF-8"));
    Phalanx__V1__GenerateRequest r = PHALANX__V1__GENERATE_REQUEST__INIT;
    r.prompt_case = PHALANX__V1__GENERATE_REQUEST__PROMPT_TEXT;
    r.text = bytes("hi");
    r.priority = -100;
    PX_CHECK_OK(px_validate_generate(&r));
    r.priority = 101;
    PX_CHECK(refuses(px_validate_generate(&r), "'priority' must be from -100"));
    r.priority = 0;
    r.cache_salt = bytes(long_salt);
    PX_CHECK(refuses(px_validate_generate(&r), "'cache_salt' has 257 bytes"));
}

PX_TEST(tenants_have_weights)
{
    px_tenants *tenants;
    PX_CHECK_OK(px_tenants_parse("blue=3,a=b=0.5", &tenants));
    PX_CHECK(px_tenants_weight(tenants, "blue") == 3 && px_tenants_weight(tenants, "a=b") == 0.5);
    PX_CHECK(px_tenants_weight(tenants, "red") == 1 && px_tenants_weight(tenants, NULL) == 1);
    px_tenants_free(tenants);
    PX_CHECK_OK(px_tenants_parse(NULL, &tenants));
    PX_CHECK(px_tenants_weight(tenants, "blue") == 1);
    px_tenants_free(tenants);
    static const char *const bad[] = {"blue", "=3", "blue=", "blue=0", "blue=x", "blue=3,red=-1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        PX_CHECK(refuses(px_tenants_parse(bad[i], &tenants), "write NAME=WEIGHT"));
}

PX_TEST(chats)
{
    Phalanx__V1__ChatMessage m = PHALANX__V1__CHAT_MESSAGE__INIT, *list[] = {&m};
    Phalanx__V1__ChatRequest r = PHALANX__V1__CHAT_REQUEST__INIT;
    PX_CHECK(refuses(px_validate_chat(&r), "no messages"));
    r.messages = list;
    r.n_messages = 1;
    PX_CHECK(refuses(px_validate_chat(&r), "message 0: 'role'"));
    m.role = "user";
    PX_CHECK_OK(px_validate_chat(&r)); /* an empty content is an empty content */
    m.content = bytes("\xed\xa0\x80"); /* a surrogate */
    PX_CHECK(refuses(px_validate_chat(&r), "message 0: 'content'"));
    m.content = bytes("hi");
    static const char *const bad_tools[] = {"{", "{}", "1", "[1", "[]x", "\xff"};
    for (size_t i = 0; i < sizeof bad_tools / sizeof *bad_tools; i++) {
        r.tools_json = bytes(bad_tools[i]);
        PX_CHECK(refuses(px_validate_chat(&r), "tools_json"));
    }
    r.tools_json = bytes("[{\"type\":\"function\"}]");
    PX_CHECK_OK(px_validate_chat(&r));
    r.template_kwargs_json = bytes("[]");
    PX_CHECK(refuses(px_validate_chat(&r), "'template_kwargs_json' must be a JSON object"));
    r.template_kwargs_json = bytes("{\"a\":1}");
    PX_CHECK_OK(px_validate_chat(&r));
}

PX_TEST(tokenizing)
{
    Phalanx__V1__TokenizeRequest r = PHALANX__V1__TOKENIZE_REQUEST__INIT;
    PX_CHECK_OK(px_validate_tokenize(&r));
    r.text = bytes("\xc0\xaf");
    PX_CHECK(refuses(px_validate_tokenize(&r), "'text'"));
}

PX_TEST_MAIN()
