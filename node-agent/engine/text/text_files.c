/* text_files.c - see text_files.h. */
#include "engine/text/text_files.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"

enum {
    CONFIG_BYTES_MAX = 64 << 20,
    TEMPLATE_BYTES_MAX = 1 << 20,
    PATH_BYTES_MAX = 4096,
};

static void join(const char *folder, const char *name, char out[PATH_BYTES_MAX])
{
    snprintf(out, PATH_BYTES_MAX, "%s/%s", folder, name);
}

/* NULL in *out when there is no such file. */
static px_status load_json(const char *folder, const char *name, json_t **out)
{
    char path[PATH_BYTES_MAX];
    join(folder, name, path);
    *out = NULL;
    return px_fs_is_file(path) ? px_json_load(path, CONFIG_BYTES_MAX, out) : px_ok();
}

/* A text, or an object with it as "content"; what is there already stays. */
static void add_token(json_t *special_tokens, const char *name, const json_t *value)
{
    json_t *text = json_is_object(value) ? json_object_get(value, "content") : (json_t *)value;
    if (json_is_string(text) && !json_object_get(special_tokens, name))
        json_object_set(special_tokens, name, text);
}

static bool is_token_name(const char *name)
{
    size_t length = strlen(name);
    return length >= 6 && strcmp(name + length - 6, "_token") == 0;
}

/* Tokens that only some models have (an image's, say) stand beside the others, or in an object. */
static void add_tokens(const json_t *config, json_t *special_tokens)
{
    static const char *const objects[] = {"extra_special_tokens", "model_specific_special_tokens"};
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)config, name, value)
    {
        if (is_token_name(name)) add_token(special_tokens, name, value);
    }
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++)
        json_object_foreach(json_object_get(config, objects[i]), name, value)
            add_token(special_tokens, name, value);
}

void px_text_special_tokens(const json_t *config, const json_t *map, json_t *special_tokens)
{
    if (!json_object_get(config, "added_tokens_decoder")) add_tokens(map, special_tokens);
    add_tokens(config, special_tokens);
}

static px_status take_template(json_t *source, json_t **out)
{
    if (!json_is_string(source))
        return px_fail(PX_INVALID_ARGUMENT, "chat_template must be a text");
    *out = json_incref(source);
    return px_ok();
}

/* One text, or a list of {"name", "template"} with one called "default". */
static px_status read_templates(json_t *templates, px_text_files *files)
{
    if (!templates || json_is_null(templates)) return px_ok();
    if (!json_is_array(templates)) return take_template(templates, &files->chat);
    json_t *plain = json_object_get(json_array_get(templates, 0), "template"), *tools = NULL, *each;
    size_t i;
    json_array_foreach(templates, i, each)
    {
        const char *name = json_string_value(json_object_get(each, "name"));
        if (name && strcmp(name, "default") == 0) plain = json_object_get(each, "template");
        if (name && strcmp(name, "tool_use") == 0) tools = json_object_get(each, "template");
    }
    if (plain) PX_TRY(take_template(plain, &files->chat));
    return tools && !files->chat_tools ? take_template(tools, &files->chat_tools) : px_ok();
}

static px_status read_template_file(const char *folder, const char *name, json_t **out)
{
    char path[PATH_BYTES_MAX];
    join(folder, name, path);
    if (*out || !px_fs_is_file(path)) return px_ok();
    px_buf source;
    px_buf_init(&source, TEMPLATE_BYTES_MAX);
    px_status status = px_fs_read(path, &source);
    if (px_is_ok(status)) *out = json_stringn(px_buf_text(&source), source.length);
    if (px_is_ok(status) && !*out) status = px_fail(PX_INVALID_ARGUMENT, "%s is not UTF-8", path);
    px_buf_done(&source);
    return status;
}

/* Newer repositories keep templates in files, older ones in tokenizer_config.json. */
static px_status find_templates(const char *folder, px_text_files *files)
{
    PX_TRY(read_template_file(folder, "chat_template.jinja", &files->chat));
    PX_TRY(
        read_template_file(folder, "additional_chat_templates/tool_use.jinja", &files->chat_tools));
    if (files->chat) return px_ok();
    json_t *file;
    PX_TRY(load_json(folder, "chat_template.json", &file));
    px_status status = read_templates(json_object_get(file, "chat_template"), files);
    json_decref(file);
    PX_TRY(status);
    if (files->chat) return px_ok();
    return read_templates(json_object_get(files->config, "chat_template"), files);
}

static px_status open_all(const char *folder, px_text_files *files)
{
    char path[PATH_BYTES_MAX];
    join(folder, "tokenizer.json", path);
    PX_TRY(px_map_open(path, &files->tokenizer));
    PX_TRY(load_json(folder, "tokenizer_config.json", &files->config));
    PX_TRY(load_json(folder, "special_tokens_map.json", &files->special_map));
    return find_templates(folder, files);
}

px_status px_text_files_open(const char *folder, px_text_files *out)
{
    *out = (px_text_files){0};
    px_status status = open_all(folder, out);
    if (!px_is_ok(status)) px_text_files_close(out);
    return status;
}

void px_text_files_close(px_text_files *files)
{
    px_map_close(&files->tokenizer);
    json_decref(files->config);
    json_decref(files->special_map);
    json_decref(files->chat);
    json_decref(files->chat_tools);
    *files = (px_text_files){0};
}
