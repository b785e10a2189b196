/* px_text_open(): where a folder keeps its template and special tokens. */
#include <sys/stat.h>
#include <unistd.h>

#include "engine/text/text.h"
#include "sample.h"

static char folder[64];

static void write_file(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    PX_CHECK_OK(px_fs_write_atomic(path, text, strlen(text), 0600));
}

static void remove_file(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    unlink(path);
}

static void make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/px-text-XXXXXX");
    PX_CHECK(mkdtemp(folder));
    px_buf json;
    sample_read("tokenizers/gpt2/tokenizer.json", &json);
    write_file("tokenizer.json", px_buf_text(&json));
    px_buf_done(&json);
}

static void remove_folder(void)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json",
        "chat_template.jinja", "special_tokens_map.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) remove_file(names[i]);
    rmdir(folder);
}

static void check_render(const char *want, bool with_tools)
{
    px_text text;
    PX_CHECK_OK(px_text_open(folder, NULL, &text));
    json_t *messages = json_array(), *tools = json_pack("[{s:s}]", "name", "f");
    px_chat_input input = {.messages = messages, .tools = with_tools ? tools : NULL};
    px_buf out;
    px_buf_init(&out, 1024);
    px_status status = px_text_render(&text, &input, &out);
    PX_CHECK_STR(px_is_ok(status) ? px_buf_text(&out) : px_code_name(status.code), want);
    px_buf_done(&out);
    json_decref(messages);
    json_decref(tools);
    px_text_close(&text);
}

PX_TEST(finds_the_template_and_the_special_tokens)
{
    make_folder();
    check_render("FAILED_PRECONDITION", false);
    write_file("tokenizer_config.json",
        "{\"bos_token\": {\"content\": \"<s>\"}, \"eos_token\": \"</s>\","
        " \"pad_token\": null, \"chat_template\": \"{{ bos_token }}c{{ eos_token }}\"}");
    check_render("<s>c</s>", false);
    check_render("<s>c</s>", true);
    write_file("tokenizer_config.json",
        "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"T\"},"
        " {\"name\": \"default\", \"template\": \"D{{ eos_token }}\"}]}");
    write_file("special_tokens_map.json", "{\"eos_token\": {\"content\": \"<e>\"}}");
    check_render("D<e>", false);
    check_render("T", true);
    write_file("chat_template.jinja", "from a file\n");
    check_render("from a file", false);
    remove_folder();
}

PX_TEST(special_tokens_come_from_the_file_that_transformers_believes)
{
    make_folder();
    write_file(
        "chat_template.jinja", "{{ bos_token }},{{ eos_token }},{{ image_token }},{{ boi }}");
    write_file("special_tokens_map.json", "{\"bos_token\": \"<m>\", \"eos_token\": \"</m>\"}");
    write_file("tokenizer_config.json",
        "{\"bos_token\": \"<s>\", \"extra_special_tokens\": {\"image_token\": \"<i>\"},"
        " \"model_specific_special_tokens\": {\"boi\": {\"content\": \"<b>\"}}}");
    check_render("<m>,</m>,<i>,<b>", false);
    write_file("tokenizer_config.json", "{\"bos_token\": \"<s>\", \"added_tokens_decoder\": {},"
                                        " \"extra_special_tokens\": [\"<x>\"]}");
    check_render("<s>,,,", false);
    remove_folder();
}

PX_TEST(a_broken_template_or_a_missing_tokenizer_fails_at_once)
{
    px_text text = {0};
    make_folder();
    write_file("chat_template.jinja", "{% if %}");
    px_status status = px_text_open(folder, NULL, &text);
    PX_CHECK(status.code == PX_INVALID_ARGUMENT && strstr(status.text, "line 1"));
    remove_folder();
    status = px_text_open(folder, NULL, &text);
    PX_CHECK(status.code == PX_NOT_FOUND && strstr(status.text, "tokenizer.json"));
    PX_CHECK(!text.tokenizer);
}

PX_TEST_MAIN()
