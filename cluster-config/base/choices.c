/* choices.c - see choices.h. */
#include "base/choices.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"

void px_choices_init(px_choices *choices, uint32_t count, size_t bytes_max)
{
    *choices = (px_choices){.count = count, .list = px_alloc_array(count, sizeof *choices->list)};
    px_buf_init(&choices->prompt, bytes_max);
    for (uint32_t i = 0; i < count; i++) {
        px_buf_init(&choices->list[i].ids, bytes_max);
        px_buf_init(&choices->list[i].text, bytes_max);
    }
}

void px_choices_done(px_choices *choices)
{
    for (uint32_t i = 0; i < choices->count; i++) {
        px_buf_done(&choices->list[i].ids);
        px_buf_done(&choices->list[i].text);
    }
    free(choices->list);
    px_buf_done(&choices->prompt);
}

void px_choice_add_id(px_choice *choice, uint32_t id)
{
    px_buf_printf(&choice->ids, "%s%u", choice->ids.length ? "," : "", id);
}

bool px_choices_have_text(const px_choices *choices)
{
    for (uint32_t i = 0; i < choices->count; i++)
        if (choices->list[i].text.length) return true;
    return false;
}

static const char *finish_of(const px_choice *choice)
{
    return choice->finish ? choice->finish : "unknown";
}

void px_choices_print_ended(const px_choices *choices, uint32_t index)
{
    const px_choice *choice = &choices->list[index];
    printf("--- answer %u: %u tokens (%s)\n", index, choice->output_tokens, finish_of(choice));
    fwrite(choice->text.data, 1, choice->text.length, stdout);
    putchar('\n');
    fflush(stdout);
}

static void put_choice(px_buf *line, const px_choice *choice)
{
    px_buf_printf(line, "\"ids\":[%s],\"text\":", px_buf_text(&choice->ids));
    px_json_quote(line, px_buf_text(&choice->text), choice->text.length);
    px_buf_printf(line, ",\"finish_reason\":\"%s\"", finish_of(choice));
}

static void put_several(px_buf *line, const px_choices *choices)
{
    px_buf_puts(line, "\"choices\":[");
    for (uint32_t i = 0; i < choices->count; i++) {
        const px_choice *choice = &choices->list[i];
        px_buf_printf(line, "%s{\"index\":%u,", i ? "," : "", i);
        put_choice(line, choice);
        px_buf_printf(line, ",\"output_tokens\":%u,\"cumulative_logprob\":%.6f}",
            choice->output_tokens, choice->logprob_sum);
    }
    px_buf_putc(line, ']');
}

void px_choices_put_json(px_buf *line, const px_choices *choices)
{
    if (choices->count == 1)
        put_choice(line, &choices->list[0]);
    else
        put_several(line, choices);
    if (choices->prompt.length)
        px_buf_printf(line, ",\"prompt_logprobs\":[%s]", px_buf_text(&choices->prompt));
}
