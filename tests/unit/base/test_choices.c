/* test_choices.c - one answer and several as programs read them. */
#include "base/choices.h"

#include <string.h>

#include "test.h"

static void say(px_choice *choice, const char *text, uint32_t id)
{
    px_buf_append(&choice->text, text, strlen(text));
    px_choice_add_id(choice, id);
    choice->output_tokens++;
}

static void check_json(const px_choices *choices, const char *want)
{
    px_buf line;
    px_buf_init(&line, 1024);
    px_choices_put_json(&line, choices);
    PX_CHECK_STR(px_buf_text(&line), want);
    px_buf_done(&line);
}

PX_TEST(one_answer_stands_in_the_object_itself)
{
    px_choices choices;
    px_choices_init(&choices, 1, 1024);
    PX_CHECK(!px_choices_have_text(&choices));
    say(&choices.list[0], "a\"", 3);
    say(&choices.list[0], "b", 4);
    PX_CHECK(px_choices_have_text(&choices));
    check_json(&choices, "\"ids\":[3,4],\"text\":\"a\\\"b\",\"finish_reason\":\"unknown\"");
    choices.list[0].finish = "stop";
    px_buf_puts(&choices.prompt, "{\"id\":7}");
    check_json(&choices, "\"ids\":[3,4],\"text\":\"a\\\"b\",\"finish_reason\":\"stop\","
                         "\"prompt_logprobs\":[{\"id\":7}]");
    px_choices_done(&choices);
}

PX_TEST(several_answers_say_which_they_are)
{
    px_choices choices;
    px_choices_init(&choices, 2, 1024);
    say(&choices.list[1], "b", 5);
    choices.list[1].finish = "length";
    choices.list[1].logprob_sum = -0.5;
    check_json(&choices,
        "\"choices\":[{\"index\":0,\"ids\":[],\"text\":\"\",\"finish_reason\":\"unknown\","
        "\"output_tokens\":0,\"cumulative_logprob\":0.000000},"
        "{\"index\":1,\"ids\":[5],\"text\":\"b\",\"finish_reason\":\"length\","
        "\"output_tokens\":1,\"cumulative_logprob\":-0.500000}]");
    px_choices_done(&choices);
    px_choices_done(&(px_choices){0});
}

PX_TEST_MAIN()
