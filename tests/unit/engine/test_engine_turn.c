/* test_engine_turn.c - rotations that are others for long sequences (longrope): an answer that
 * grows past that length is what a prompt of that length would have been answered with.
 */
#include "test.h"

#include "base/clock.h"
#include "engine/doorbell.h"
#include "engine/engine.h"
#include "tiny_model.h"

enum { TURNS_AT = 24, ANSWER = 36, PROMPTS = 6 };

static char folder[] = "/tmp/px_tiny_XXXXXX";
static px_doorbell bell;

static void on_wake(void *arg)
{
    px_doorbell_ring(&bell);
}

static void write_model(void)
{
    char path[256];
    json_t *config;
    tiny_model_write(folder);
    snprintf(path, sizeof path, "%s/config.json", folder);
    PX_CHECK_OK(px_json_load(path, 1 << 16, &config));
    json_object_set_new(config, "rope_scaling",
        json_pack("{s:s,s:i,s:[ffff],s:[ffff]}", "rope_type", "longrope",
            "original_max_position_embeddings", TURNS_AT, "short_factor", 1.0, 1.1, 1.2, 1.3,
            "long_factor", 2.0, 3.0, 5.0, 9.0));
    char *text = json_dumps(config, 0);
    tiny_save(folder, "config.json", text, strlen(text));
    free(text);
    json_decref(config);
}

static uint64_t submit(px_engine *engine, const uint32_t *tokens, uint32_t count, uint32_t answer)
{
    uint64_t id = 0;
    px_request request = {.tokens = tokens,
        .token_count = count,
        .max_tokens = answer,
        .ignore_eos = true,
        .sampling = {.top_p = 1}};
    PX_CHECK_OK(px_engine_submit(engine, &request, &id));
    return id;
}

/* Takes the events of `count` requests; out [count][ANSWER]. */
static void take_answers(
    px_engine *engine, const uint64_t *ids, uint32_t count, uint32_t out[][ANSWER])
{
    uint32_t taken[PROMPTS] = {0}, done = 0;
    px_event event;
    for (int64_t end_ns = px_now_ns() + 60 * PX_SEC; done < count && px_now_ns() < end_ns;) {
        uint32_t seen = px_doorbell_look(&bell), i = 0;
        if (!px_engine_poll(engine, &event)) {
            px_doorbell_wait(&bell, seen, PX_SEC);
            continue;
        }
        while (ids[i] != event.id) i++;
        if (event.kind == PX_EVENT_DONE) {
            PX_CHECK_OK(event.status);
            done++;
        } else if (event.has_token) {
            out[i][taken[i]++] = event.token;
        }
    }
    PX_CHECK(done == count);
}

/* A prompt's tokens, of which the answer begins before, at and behind the turn. */
static uint32_t prompt_of(uint32_t index, uint32_t tokens[TINY_CONTEXT])
{
    static const uint32_t lengths[PROMPTS] = {1, 9, TURNS_AT - 1, TURNS_AT, TURNS_AT + 1, 14};
    for (uint32_t i = 0; i < lengths[index]; i++)
        tokens[i] = (uint32_t)(px_random_unit(index + 70, i) * TINY_VOCABULARY);
    return lengths[index];
}

static uint32_t answers[PROMPTS][ANSWER]; /* each alone, with nothing shared */

PX_TEST(an_answer_does_not_depend_on_where_its_prompt_ended)
{
    px_engine *engine;
    px_engine_options options = {.model_path = folder,
        .threads = 1,
        .seqs_max = 1,
        .speculate = "off",
        .no_prefix_cache = true,
        .on_wake = on_wake};
    write_model();
    PX_REQUIRE(px_is_ok(px_engine_open(&options, NULL, &engine)));
    for (uint32_t p = 0; p < PROMPTS; p++) {
        uint32_t tokens[TINY_CONTEXT], count = prompt_of(p, tokens), rest[1][ANSWER];
        uint64_t id = submit(engine, tokens, count, ANSWER);
        take_answers(engine, &id, 1, answers + p);
        memcpy(tokens + count, answers[p], sizeof answers[p]);
        for (uint32_t k = 1; k < ANSWER; k += 1 + k / 4) { /* the answer's first k in the prompt */
            id = submit(engine, tokens, count + k, ANSWER - k);
            take_answers(engine, &id, 1, rest);
            PX_CHECK(memcmp(rest[0], answers[p] + k, (ANSWER - k) * sizeof *rest[0]) == 0);
        }
    }
    px_engine_close(engine);
}

PX_TEST(nor_on_company_prefixes_guesses_or_preemption)
{
    static const px_engine_options ways[] = {{.seqs_max = PROMPTS},
        {.seqs_max = PROMPTS, .kv_tokens = 96}, {.seqs_max = 3, .batch_size = 5, .kv_tokens = 80},
        {.seqs_max = PROMPTS, .speculate = "off", .no_prefix_cache = true, .kv_tokens = 128}};
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        px_engine *engine;
        px_engine_options options = ways[w];
        options.model_path = folder, options.threads = 2, options.on_wake = on_wake;
        PX_REQUIRE(px_is_ok(px_engine_open(&options, NULL, &engine)));
        for (int again = 0; again < 2; again++) { /* the second time it is all in the cache */
            uint64_t ids[PROMPTS];
            uint32_t got[PROMPTS][ANSWER], tokens[TINY_CONTEXT];
            for (uint32_t p = 0; p < PROMPTS; p++) {
                uint32_t count = prompt_of(p, tokens);
                ids[p] = submit(engine, tokens, count, ANSWER);
            }
            take_answers(engine, ids, PROMPTS, got);
            PX_CHECK(memcmp(got, answers, sizeof got) == 0);
        }
        px_engine_close(engine);
    }
    tiny_model_remove(folder);
}

PX_TEST_MAIN()
