/* EngineSubmit in the engine's terms: defaults, limits, sentences. */
#include <string.h>

#include "base/clock.h"
#include "cluster/submission.h"
#include "test.h"

typedef struct fixture {
    Phalanx__V1__EngineSubmit submit;
    Phalanx__V1__GenerateRequest generate;
    Phalanx__V1__ChatRequest chat;
    Phalanx__V1__ChatMessage message, *messages[1];
    Phalanx__V1__Sampling sampling;
    Phalanx__V1__Stopping stopping;
    px_submission out;
} fixture;

static const px_submission_context context = {.now_ns = 1000, .fresh_seed = 77};

static ProtobufCBinaryData bytes(const char *text)
{
    return (ProtobufCBinaryData){.len = strlen(text), .data = (uint8_t *)text};
}

static void begin_generate(fixture *f)
{
    phalanx__v1__engine_submit__init(&f->submit);
    phalanx__v1__generate_request__init(&f->generate);
    phalanx__v1__sampling__init(&f->sampling);
    phalanx__v1__stopping__init(&f->stopping);
    f->submit.work_case = PHALANX__V1__ENGINE_SUBMIT__WORK_GENERATE;
    f->submit.generate = &f->generate;
    f->generate.prompt_case = PHALANX__V1__GENERATE_REQUEST__PROMPT_TEXT;
    f->generate.text = bytes("Gravity is");
}

static void begin_chat(fixture *f)
{
    phalanx__v1__engine_submit__init(&f->submit);
    phalanx__v1__chat_request__init(&f->chat);
    phalanx__v1__chat_message__init(&f->message);
    f->submit.work_case = PHALANX__V1__ENGINE_SUBMIT__WORK_CHAT;
    f->submit.chat = &f->chat;
    f->message.role = (char *)"user";
    f->message.content = bytes("Why?");
    f->messages[0] = &f->message;
    f->chat.messages = f->messages;
    f->chat.n_messages = 1;
}

static void check_refused(fixture *f, const char *part)
{
    px_status status = px_submission_make(&f->submit, &context, &f->out);
    PX_CHECK(status.code == PX_INVALID_ARGUMENT);
    PX_CHECK(strstr(status.text, part) != NULL);
}

PX_TEST(what_is_left_out_has_its_default)
{
    fixture f;
    begin_generate(&f);
    PX_CHECK_OK(px_submission_make(&f.submit, &context, &f.out));
    const px_request *request = &f.out.request;
    PX_CHECK(request->sampling.temperature == 1 && request->sampling.top_p == 1);
    PX_CHECK(request->sampling.top_k == 0 && request->sampling.seed == 77);
    PX_CHECK(request->deadline_ns == 0 && request->max_tokens == 0 && request->stop_count == 0);
    PX_CHECK(request->prompt.length == 10 && !request->messages && !request->tokens);
    px_submission_done(&f.out);
}

PX_TEST(whose_it_is_and_how_urgent_comes_through)
{
    fixture f;
    begin_generate(&f);
    f.submit.tenant = (char *)"blue";
    f.submit.tenant_weight = 2.5;
    f.submit.generate->priority = -3;
    f.submit.generate->cache_salt = bytes("pepper");
    f.submit.generate->adapter = (char *)"sql";
    PX_CHECK_OK(px_submission_make(&f.submit, &context, &f.out));
    const px_request *request = &f.out.request;
    PX_CHECK(request->tenant.length == 4 && memcmp(request->tenant.data, "blue", 4) == 0);
    PX_CHECK(request->tenant_weight == 2.5 && request->priority == -3);
    PX_CHECK(request->cache_salt.length == 6 && memcmp(request->cache_salt.data, "pepper", 6) == 0);
    PX_CHECK(request->adapter.length == 3 && memcmp(request->adapter.data, "sql", 3) == 0);
    px_submission_done(&f.out);
}

PX_TEST(zero_that_was_said_is_not_a_default)
{
    fixture f;
    begin_generate(&f);
    f.generate.sampling = &f.sampling;
    f.sampling.temperature__case = PHALANX__V1__SAMPLING__TEMPERATURE__TEMPERATURE;
    f.sampling.seed__case = PHALANX__V1__SAMPLING__SEED__SEED;
    f.sampling.top_p__case = PHALANX__V1__SAMPLING__TOP_P__TOP_P;
    f.sampling.top_p = 0.5f;
    f.submit.timeout_us = 3;
    PX_CHECK_OK(px_submission_make(&f.submit, &context, &f.out));
    PX_CHECK(f.out.request.sampling.temperature == 0 && f.out.request.sampling.seed == 0);
    PX_CHECK(f.out.request.sampling.top_p == 0.5f);
    PX_CHECK(f.out.request.deadline_ns == 4000);
    px_submission_done(&f.out);
    f.submit.timeout_us = UINT64_MAX; /* must not wrap into the past */
    PX_CHECK_OK(px_submission_make(&f.submit, &context, &f.out));
    PX_CHECK(f.out.request.deadline_ns == 0);
    px_submission_done(&f.out);
}

PX_TEST(what_an_answer_may_say_comes_through)
{
    fixture f;
    begin_generate(&f);
    f.generate.sampling = &f.sampling;
    Phalanx__V1__TokenBias bias = PHALANX__V1__TOKEN_BIAS__INIT, *biases[] = {&bias};
    bias.token = 7, bias.bias = -2;
    f.sampling.logit_bias = biases, f.sampling.n_logit_bias = 1;
    ProtobufCBinaryData texts[] = {{3, (uint8_t *)"yes"}, {2, (uint8_t *)"no"}};
    f.sampling.bad_words = texts, f.sampling.n_bad_words = 2;
    f.sampling.presence_penalty = 0.5f;
    uint32_t resumed[] = {1, 2, 3};
    f.generate.continue_ids = resumed, f.generate.n_continue_ids = 3;
    f.generate.logprobs = true, f.generate.top_logprobs = 4;
    Phalanx__V1__Texts choice = PHALANX__V1__TEXTS__INIT;
    Phalanx__V1__Form form = PHALANX__V1__FORM__INIT;
    choice.texts = texts, choice.n_texts = 2;
    form.kind_case = PHALANX__V1__FORM__KIND_CHOICE, form.choice = &choice;
    f.generate.form = &form;
    PX_CHECK_OK(px_submission_make(&f.submit, &context, &f.out));
    const px_request *request = &f.out.request;
    PX_CHECK(request->bounds.bias_count == 1 && request->bounds.biases[0].token == 7);
    PX_CHECK(request->bounds.bad_word_count == 2 && request->bounds.bad_words[1].length == 2);
    PX_CHECK(request->bounds.presence_penalty == 0.5f && request->resumed.count == 3);
    PX_CHECK(request->wants_logprobs && request->top_logprobs == 4);
    PX_CHECK(request->bounds.has_form && request->bounds.form_kind == PX_GRAMMAR_CHOICE);
    PX_CHECK_STR(request->bounds.form.data, "[\"yes\",\"no\"]");
    px_submission_done(&f.out);
    texts[0] = (ProtobufCBinaryData){1, (uint8_t *)"\xff"};
    PX_CHECK(px_submission_make(&f.submit, &context, &f.out).code == PX_INVALID_ARGUMENT);
    form.kind_case = PHALANX__V1__FORM__KIND_JSON_OBJECT, form.json_object = false;
    PX_CHECK_OK(px_submission_make(&f.submit, &context, &f.out));
    PX_CHECK(!f.out.request.bounds.has_form);
    px_submission_done(&f.out);
}

PX_TEST(a_chat_becomes_json)
{
    fixture f;
    begin_chat(&f);
    f.chat.adapter = (char *)"fr";
    f.chat.tools_json = bytes("[{\"type\":\"function\"}]");
    f.chat.template_kwargs_json = bytes("{\"thinking\":true}");
    PX_CHECK_OK(px_submission_make(&f.submit, &context, &f.out));
    const json_t *first = json_array_get(f.out.request.messages, 0);
    PX_CHECK_STR(json_string_value(json_object_get(first, "role")), "user");
    PX_CHECK_STR(json_string_value(json_object_get(first, "content")), "Why?");
    PX_CHECK(json_array_size(f.out.request.tools) == 1);
    PX_CHECK(f.out.request.adapter.length == 2);
    PX_CHECK(json_is_true(json_object_get(f.out.request.template_kwargs, "thinking")));
    px_submission_done(&f.out);
    f.message.content = (ProtobufCBinaryData){0}; /* an empty message is a message */
    PX_CHECK_OK(px_submission_make(&f.submit, &context, &f.out));
    px_submission_done(&f.out);
}

PX_TEST(bad_requests_get_a_sentence)
{
    fixture f;
    begin_generate(&f);
    f.submit.work_case = PHALANX__V1__ENGINE_SUBMIT__WORK__NOT_SET;
    check_refused(&f, "no work");

    begin_generate(&f);
    f.generate.prompt_case = PHALANX__V1__GENERATE_REQUEST__PROMPT__NOT_SET;
    check_refused(&f, "no prompt");

    begin_generate(&f);
    Phalanx__V1__TokenIds none = PHALANX__V1__TOKEN_IDS__INIT;
    f.generate.prompt_case = PHALANX__V1__GENERATE_REQUEST__PROMPT_TOKENS;
    f.generate.tokens = &none;
    check_refused(&f, "is empty");

    begin_generate(&f);
    ProtobufCBinaryData stops[PX_STOPS_MAX + 1];
    for (int i = 0; i <= PX_STOPS_MAX; i++) stops[i] = bytes("x");
    f.generate.stopping = &f.stopping;
    f.stopping.stop = stops;
    f.stopping.n_stop = PX_STOPS_MAX + 1;
    check_refused(&f, "17 stop strings");
    f.stopping.n_stop = 1;
    stops[0].len = 0;
    check_refused(&f, "0 bytes");
    stops[0].len = PX_STOP_BYTES_MAX + 1;
    check_refused(&f, "257 bytes");

    begin_chat(&f);
    f.chat.n_messages = 0;
    check_refused(&f, "no messages");

    begin_chat(&f);
    f.message.content = bytes("\xff\xfe");
    check_refused(&f, "not valid UTF-8");

    begin_chat(&f);
    f.message.role = (char *)"\xc0";
    check_refused(&f, "not valid UTF-8");

    begin_chat(&f);
    f.chat.tools_json = bytes("{}");
    check_refused(&f, "must be a JSON array");

    begin_chat(&f);
    f.chat.template_kwargs_json = bytes("[1");
    check_refused(&f, "template_kwargs_json");
}

PX_TEST(documents_become_texts_by_the_template)
{
    Phalanx__V1__ScoreRequest score = PHALANX__V1__SCORE_REQUEST__INIT;
    ProtobufCBinaryData documents[2] = {{3, (uint8_t *)"cat"}, {8, (uint8_t *)"{query}!"}};
    uint32_t labels[] = {4, 9};
    score.query = (ProtobufCBinaryData){3, (uint8_t *)"who"};
    score.documents = documents, score.n_documents = 2;
    score.label_token_ids = labels, score.n_label_token_ids = 2;
    score.template_ = (ProtobufCBinaryData){26, (uint8_t *)"{document}<{query}{query}>{"};
    Phalanx__V1__EngineSubmit submit = PHALANX__V1__ENGINE_SUBMIT__INIT;
    submit.work_case = PHALANX__V1__ENGINE_SUBMIT__WORK_SCORE, submit.score = &score;
    px_submission s;
    PX_CHECK_OK(px_submission_make(&submit, &(px_submission_context){0}, &s));
    const px_wanted_vectors *wanted = &s.request.vectors;
    PX_REQUIRE(wanted->input_count == 2 && wanted->labels.count == 2 && !wanted->wants_scores);
    px_slice first = wanted->inputs[0].text, second = wanted->inputs[1].text;
    PX_CHECK(first.length == 11 && memcmp(first.data, "cat<whowho>", 11) == 0);
    PX_CHECK(second.length == 16 && memcmp(second.data, "{query}!<whowho>", 16) == 0);
    px_submission_done(&s);

    score.template_.len = 0, score.n_label_token_ids = 0; /* embedded, the query first */
    score.adapter = (char *)"fr";
    PX_CHECK_OK(px_submission_make(&submit, &(px_submission_context){0}, &s));
    PX_CHECK(s.request.adapter.length == 2 && memcmp(s.request.adapter.data, "fr", 2) == 0);
    PX_CHECK(s.request.vectors.input_count == 3 && s.request.vectors.inputs[0].text.length == 3);
    PX_CHECK(s.request.vectors.inputs[2].text.length == 8);
    px_submission_done(&s);

    /* Short words that would make a long text. */
    size_t length = 64 * 1024;
    char *many = calloc(1, length), *query = calloc(1, length);
    for (size_t i = 0; i + 7 <= length; i += 7) memcpy(many + i, "{query}", 7);
    score.template_ = (ProtobufCBinaryData){length, (uint8_t *)many};
    score.query = (ProtobufCBinaryData){length, (uint8_t *)query};
    PX_CHECK(
        px_submission_make(&submit, &(px_submission_context){0}, &s).code == PX_INVALID_ARGUMENT);
    free(many);
    free(query);
}

PX_TEST_MAIN()
