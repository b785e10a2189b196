/* fuzz_jinja.c - any bytes as a chat template, rendered over a small conversation. */
#include "engine/text/chat_template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    px_chat_template *tmpl;
    if (!px_is_ok(px_chat_template_create((const char *)data, size, &tmpl))) return 0;
    json_t *messages = json_pack("[{s:s, s:s}, {s:s, s:[{s:s, s:f}]}]", "role", "user", "content",
        "h\xc3\xa9llo <b>", "role", "assistant", "tool_calls", "name", "f", "x", 1.5);
    json_t *kwargs =
        json_pack("{s:i, s:s, s:{s:n}, s:[i, i]}", "a", 5, "s", "Hello World", "d", "k", "l", 3, 1);
    px_chat_input input = {.messages = messages, .kwargs = kwargs, .now = "2025-03-14T15:09:26"};
    px_buf out;
    px_buf_init(&out, 1 << 20);
    px_ignore(px_chat_template_render(tmpl, &input, &out));
    px_buf_done(&out);
    json_decref(messages);
    json_decref(kwargs);
    px_chat_template_free(tmpl);
    return 0;
}
