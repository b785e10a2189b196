/* chat_template.c - see chat_template.h: a conversation into the variables that templates expect.
 *
 * Source: transformers' apply_chat_template(), 5.23: the names, None for what is absent, and
 * reasoning_content, thinking and reasoning as names of one thing.
 */
#include "engine/text/chat_template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/text/jinja_call.h"
#include "engine/text/jinja_json.h"

/* Bounds of one render: a second or two of work. A conversation of ten thousand messages takes some
 * two million steps. */
static const uint64_t STEPS_MAX = 30u * 1000 * 1000;
static const size_t MEMORY_BYTES_MAX = 256u << 20;

struct px_chat_template {
    px_jtree tree;
};

px_status px_chat_template_create(const char *source, size_t length, px_chat_template **out)
{
    px_jtree tree;
    PX_TRY(px_jinja_parse((px_slice){source, length}, &tree));
    px_chat_template *tmpl = px_alloc(sizeof *tmpl);
    tmpl->tree = tree;
    *out = tmpl;
    return px_ok();
}

void px_chat_template_free(px_chat_template *tmpl)
{
    if (!tmpl) return;
    px_jtree_done(&tmpl->tree);
    free(tmpl);
}

/* --- variables --- */

static uint32_t number_of(const px_jtree *tree, const char *name)
{
    for (uint32_t i = 0; i < tree->name_count; i++)
        if (tree->names[i].length == strlen(name) &&
            memcmp(tree->names[i].data, name, tree->names[i].length) == 0)
            return i;
    return UINT32_MAX;
}

/* Variables that the template never names need no value. */
static void set_global(px_jinja *j, const char *name, px_jv value)
{
    uint32_t number = number_of(j->tree, name);
    if (number != UINT32_MAX) j->globals[number] = value;
}

static bool set_json(px_jinja *j, const char *name, const json_t *json)
{
    px_jv value;
    if (number_of(j->tree, name) == UINT32_MAX) return true;
    if (!px_jinja_from_json(j, json, &value)) return false;
    set_global(j, name, value);
    return true;
}

static bool set_object(px_jinja *j, const json_t *object)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) if (!set_json(j, key, value)) return false;
    return true;
}

/* A model's thoughts have had several names; templates read the first two. The first of them that
 * has a value is given under both. Where they stand matters to a template that prints whole
 * messages.
 */
static bool name_thoughts(px_jinja *j, px_jv *message)
{
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    const px_jv *thoughts = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !thoughts; i++) {
        thoughts = px_jdict_get_text(*message, names[i]);
        if (thoughts && thoughts->kind == PX_J_NONE) thoughts = NULL;
    }
    if (!thoughts) return true;
    px_jv named;
    if (!px_jdict_new(j, &named) || !px_jdict_set(j, named, px_jtext("thinking"), *thoughts))
        return false;
    for (size_t i = 0; i < message->dict->count; i++) {
        const px_jentry *entry = &message->dict->entries[i];
        if (!px_jdict_set(j, named, entry->key, entry->value)) return false;
    }
    *message = named;
    return px_jdict_set(j, named, px_jtext("reasoning_content"), *thoughts);
}

static bool set_messages(px_jinja *j, const json_t *json)
{
    px_jv messages;
    if (!px_jinja_from_json(j, json, &messages)) return false;
    for (size_t i = 0; messages.kind == PX_J_LIST && i < messages.list->count; i++) {
        px_jv *message = &messages.list->items[i];
        if (message->kind == PX_J_DICT && !name_thoughts(j, message)) return false;
    }
    set_global(j, "messages", messages);
    return true;
}

static bool set_variables(px_jinja *j, const px_chat_input *input)
{
    const px_jfunction *function;
    for (size_t i = 0; (function = px_jinja_global(i)); i++)
        set_global(j, function->name, (px_jv){.kind = PX_J_FUNCTION, .function = function});
    set_global(j, "documents", px_jnone());
    set_global(j, "add_generation_prompt", px_jbool(input->add_generation_prompt));
    return set_object(j, input->special_tokens) && set_messages(j, input->messages) &&
           set_json(j, "tools", input->tools) && set_object(j, input->kwargs);
}

/* --- time --- */

static px_status read_now(const char *now, struct tm *out)
{
    *out = (struct tm){0};
    if (!now) {
        time_t seconds = (time_t)(px_wall_ns() / PX_SEC);
        localtime_r(&seconds, out);
        return px_ok();
    }
    if (sscanf(now, "%4d-%2d-%2dT%2d:%2d:%2d", &out->tm_year, &out->tm_mon, &out->tm_mday,
            &out->tm_hour, &out->tm_min, &out->tm_sec) != 6)
        return px_fail(PX_INVALID_ARGUMENT, "'now' must be YYYY-MM-DDTHH:MM:SS, not '%.40s'", now);
    out->tm_year -= 1900;
    out->tm_mon -= 1;
    timegm(out); /* fills in the day of the week and of the year */
    return px_ok();
}

/* --- rendering --- */

static bool render(px_jinja *j, const px_chat_input *input)
{
    j->globals = px_jinja_alloc(j, (j->tree->name_count + 1) * sizeof *j->globals);
    return j->globals && set_variables(j, input) && px_jinja_push_scope(j, NULL) &&
           px_jinja_exec(j, &j->tree->body);
}

px_status px_chat_template_render(
    const px_chat_template *tmpl, const px_chat_input *input, px_buf *out)
{
    px_jinja j = {.tree = &tmpl->tree,
        .out = out,
        .status = px_ok(),
        .steps_left = STEPS_MAX,
        .line = 1,
        .name_loop = number_of(&tmpl->tree, "loop"),
        .name_caller = number_of(&tmpl->tree, "caller"),
        .name_varargs = number_of(&tmpl->tree, "varargs"),
        .name_kwargs = number_of(&tmpl->tree, "kwargs")};
    PX_TRY(read_now(input->now, &j.now));
    px_arena_init(&j.arena, MEMORY_BYTES_MAX);
    size_t before = out->length;
    if (render(&j, input) && out->overflowed)
        px_jinja_fail(&j, "the output has more than %zu bytes", out->max);
    px_arena_done(&j.arena);
    if (px_jinja_failed(&j) && out->data) {
        out->length = before;
        out->data[before] = '\0';
    }
    return j.status;
}
