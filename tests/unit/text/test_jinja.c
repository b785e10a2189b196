/* Templates: bounds and errors (what they render is compared in tests/golden). */
#include "engine/text/chat_template.h"
#include "test.h"

/* The rendering of `source` with {"n": 3, "s": "x"}, or "ERROR: sentence". */
static const char *render(const char *source, char out[4096])
{
    px_chat_template *tmpl;
    px_status status = px_chat_template_create(source, strlen(source), &tmpl);
    if (!px_is_ok(status)) {
        snprintf(out, 4096, "ERROR: %s", status.text);
        return out;
    }
    json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "content", "hi");
    json_t *kwargs = json_pack("{s:i, s:s}", "n", 3, "s", "x");
    px_chat_input input = {.messages = messages, .kwargs = kwargs, .now = "2025-03-14T15:09:26"};
    px_buf text;
    px_buf_init(&text, 1 << 20);
    status = px_chat_template_render(tmpl, &input, &text);
    if (px_is_ok(status))
        snprintf(out, 4096, "%s", px_buf_text(&text));
    else
        snprintf(out, 4096, "ERROR: %s", status.text);
    PX_CHECK(px_is_ok(status) || text.length == 0); /* nothing is left behind by a failure */
    px_buf_done(&text);
    json_decref(messages);
    json_decref(kwargs);
    px_chat_template_free(tmpl);
    return out;
}

#define CHECK_RENDERS(source, want) PX_CHECK_STR(render(source, out), want)
#define CHECK_FAILS(source, part)                                                                  \
    do {                                                                                           \
        const char *got = render(source, out);                                                     \
        PX_CHECK(strncmp(got, "ERROR: ", 7) == 0 && strstr(got, part));                            \
        if (!strstr(got, part)) printf("  got %.200s\n", got);                                     \
    } while (0)

PX_TEST(renders_a_conversation)
{
    char out[4096];
    CHECK_RENDERS("{% for m in messages %}<{{ m.role }}>{{ m['content'] }}{% endfor %}{{ tools }}",
        "<user>hiNone");
    CHECK_RENDERS("{{ strftime_now('%d %b %Y') }}", "14 Mar 2025");
}

PX_TEST(an_error_names_its_line)
{
    char out[4096];
    CHECK_FAILS("a\nb\n{{ 1 // 0 }}", "line 3: integer division or modulo by zero");
    CHECK_FAILS("\n{% if %}", "line 2: expected an expression");
    CHECK_FAILS("{{ a\n\n b }}", "line 3: expected '}}', got 'b'");
    CHECK_FAILS("{% for x in n %}{% endfor %}", "line 1: 'int' object is not iterable");
    CHECK_FAILS("{% macro m(a) %}\n{{ a.b.c }}\n{% endmacro %}\n{{ m({}) }}",
        "line 2: 'dict object' has no attribute 'b'");
    CHECK_FAILS("{{ s|nothing }}", "No filter named 'nothing'");
    CHECK_FAILS("\n{% include 'x' %}", "line 2: 'include' is refused");
    CHECK_FAILS("{{ 'x", "a string is not closed");
    CHECK_FAILS("{# x", "a comment is not closed");
    CHECK_FAILS("{% if n %}x", "chat template, line 1: 'endif' is missing: the block of line 1");
    CHECK_FAILS(
        "\n{% for x in n %}\n{% if x %}{% endif %}\n", "'endfor' is missing: the block of line 2");
    CHECK_FAILS("{% for x in n %}{% else %}", "'endfor' is missing");
    CHECK_FAILS("{% if n %}{% elif x %}{% else %}", "'endif' is missing");
    CHECK_FAILS(
        "{% for x in n %}\n{% endif %}", "line 2: 'endif' stands where 'endfor' is missing");
    CHECK_FAILS("{% endfor %}", "'endfor' without a block that it ends");
}

PX_TEST(raise_exception_gives_its_own_words)
{
    char out[4096];
    CHECK_RENDERS("{{ raise_exception('Only ' ~ n ~ ' turns') }}", "ERROR: Only 3 turns");
}

PX_TEST(the_sandbox_holds)
{
    char out[4096];
    CHECK_FAILS("{{ [1].append(2) }}", "unsafe");
    CHECK_FAILS("{{ {}.update({'a': 1}) }}", "unsafe");
    CHECK_FAILS("{{ ''.__class__.__mro__ }}", "__class__");
    CHECK_FAILS("{{ range(1000000) }}", "Range too big");
    CHECK_FAILS("{% set s.x = 1 %}", "non-namespace");
}

PX_TEST(nothing_runs_without_end)
{
    char out[4096];
    CHECK_FAILS("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "line 1: the template takes");
    CHECK_FAILS("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "deeper than");
    CHECK_FAILS("{{ 'x' * 10000000000 }}", "too many steps");
    CHECK_FAILS("{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s "
                "%}{% endfor %}",
        "line 1");
    CHECK_FAILS(
        "{% for i in range(100000) %}{{ 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxx' }}{% endfor %}", "output");
    CHECK_FAILS("{{ '%99999999999d' % 1 }}", "width");
    CHECK_FAILS("{{ 'a'.center(99999999999) }}", "steps");
}

PX_TEST(deep_nesting_is_refused_when_parsed)
{
    char out[4096], source[4001];
    memset(source, '(', 4000);
    source[4000] = '\0';
    memcpy(source, "{{ ", 3);
    CHECK_FAILS(source, "line 1");
    memset(source, '[', 4000);
    memcpy(source, "{{ ", 3);
    CHECK_FAILS(source, "line 1");
    for (int i = 0; i < 500; i++) memcpy(source + 8 * i, "{%if 1%}", 8);
    CHECK_FAILS(source, "nested deeper");
}

PX_TEST(a_truncated_template_fails_or_renders_but_never_crashes)
{
    static const char source[] =
        "{%- macro m(a, b=[1, {'k': 2}]) -%}{{ a|default('x')|join(', ') }}{%- endmacro %}"
        "{% for x, y in [(1, 2)] if x is odd %}{{ loop.index ~ m(x, b=y) }}{% else %}{# c #}{% "
        "endfor %}"
        "{% set ns = namespace(a='q') %}{% raw %}{{ }}{% endraw %}{{ ns.a[::-1] if n > 2 else "
        "1.5e3 }}";
    for (size_t length = 0; length < sizeof source; length++) {
        px_chat_template *tmpl;
        px_status status = px_chat_template_create(source, length, &tmpl);
        PX_CHECK(px_is_ok(status) || strstr(status.text, "template, line 1: "));
        if (px_is_ok(status)) px_chat_template_free(tmpl);
    }
}

PX_TEST(numbers_and_dict_have_their_attributes)
{
    char out[4096];
    CHECK_RENDERS("{{ n.bit_length() }} {{ (-256).bit_length() }} {{ 0 .bit_length() }}", "2 9 0");
    CHECK_RENDERS("{{ n.real }} {{ n.imag }} {{ n.denominator }} {{ true.numerator }}", "3 0 1 1");
    CHECK_RENDERS("{{ 2.5.real }} {{ 2.5.imag }} {{ 2.0.is_integer() }}", "2.5 0.0 True");
    CHECK_RENDERS("{{ dict.fromkeys('ab', n) }}", "{'a': 3, 'b': 3}");
    CHECK_RENDERS("{{ 12345678901234567890|round }}", "12345678901234567890");
}

PX_TEST(what_no_prompt_needs_is_refused_by_name)
{
    char out[4096];
    CHECK_RENDERS("{% autoescape false %}{{ '<' }}{% endautoescape %}", "<");
    CHECK_RENDERS("{% autoescape true %}<{% endautoescape %}{{ '<' }}", "<<");
    CHECK_FAILS("{% autoescape true %}{{ s }}{% endautoescape %}", "'autoescape' is refused");
    CHECK_FAILS("{{ [1]|random }}", "the filter random has no fixed answer and is refused");
    CHECK_FAILS("{{ s|urlize }}", "the filter urlize makes links of HTML and is refused");
    CHECK_FAILS("{{ s.encode() }}", "encode() is refused");
}

PX_TEST(reasoning_has_several_names)
{
    px_chat_template *tmpl;
    static const char source[] =
        "{% for m in messages %}{{ m.thinking }},{{ m.reasoning_content }};{% endfor %}"
        "{{ messages[4] }}";
    PX_CHECK_OK(px_chat_template_create(source, sizeof source - 1, &tmpl));
    json_t *messages = json_pack("[{s:s},{s:s},{s:s},{s:n,s:s},{s:s,s:s}]", "reasoning_content",
        "r", "thinking", "t", "reasoning", "s", "reasoning_content", "thinking", "u", "role", "x",
        "reasoning", "v");
    px_chat_input input = {.messages = messages};
    px_buf text;
    px_buf_init(&text, 1024);
    PX_CHECK_OK(px_chat_template_render(tmpl, &input, &text));
    PX_CHECK_STR(px_buf_text(&text),
        "r,r;t,t;s,s;u,u;v,v;{'thinking': 'v', 'role': 'x', 'reasoning': 'v', "
        "'reasoning_content': 'v'}");
    px_buf_done(&text);
    json_decref(messages);
    px_chat_template_free(tmpl);
}

PX_TEST_MAIN()
