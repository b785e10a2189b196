/* jinja_parse.c - statements of a template, and the boundary of the parser.
 *
 * Source: Jinja 3.1, parser.py; ext.py for loop controls; transformers' generation block.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/jinja_parser.h"
#include "engine/text/unicode.h"

enum { SOURCE_BYTES_MAX = 4 << 20 };
/* A node takes about 300 bytes, a token makes about one. */
static const size_t TREE_BYTES_MAX = 512u << 20;

/* --- shared with expressions --- */

void *px_jparse_fail(px_jparser *p, const char *format, ...)
{
    if (!px_is_ok(p->status)) return NULL;
    char why[200];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    p->status = px_fail(PX_INVALID_ARGUMENT, PX_JERROR "%s", p->at->line, why);
    return NULL;
}

void *px_jparse_expected(px_jparser *p, const char *what)
{
    static const char *const kinds[] = {"text", "'{{'", "'}}'", "'{%'", "'%}'", "name", "string",
        "number", "number", "", "the end of the template"};
    if (p->at->text.length)
        return px_jparse_fail(p, "expected %s, got '%.*s'", what,
            p->at->text.length > 40 ? 40 : (int)p->at->text.length, p->at->text.data);
    return px_jparse_fail(p, "expected %s, got %s", what, kinds[p->at->kind]);
}

void *px_jparse_alloc(px_jparser *p, size_t bytes)
{
    void *memory = px_arena_alloc(&p->tree->arena, bytes);
    return memory ? memory : px_jparse_fail(p, "the template is too large");
}

px_jnode *px_jparse_node(px_jparser *p, px_jnode_kind kind)
{
    px_jnode *node = px_jparse_alloc(p, sizeof *node);
    if (!node) return NULL;
    node->kind = kind;
    node->line = p->at->line;
    return node;
}

bool px_jparse_add(px_jparser *p, px_jnodes *list, px_jnode *node)
{
    if (!node) return false;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 4;
        px_jnode **grown = px_jparse_alloc(p, capacity * sizeof *grown);
        if (!grown) return false;
        if (list->count) memcpy(grown, list->data, list->count * sizeof *grown);
        list->data = grown;
        list->capacity = capacity;
    }
    list->data[list->count++] = node;
    return true;
}

bool px_jparse_number_name(px_jparser *p, px_slice text, uint32_t *out)
{
    *out = px_vocab_find(&p->names, text.data, text.length);
    if (*out != PX_NO_TOKEN) return true;
    *out = p->names.size;
    px_status status = px_vocab_add(&p->names, text, *out);
    if (px_is_ok(status)) status = px_vocab_seal(&p->names);
    if (!px_is_ok(status)) px_jparse_fail(p, "the template has too many names");
    return px_is_ok(status);
}

bool px_jparse_enter(px_jparser *p)
{
    if (p->depth >= PX_JPARSE_DEPTH_MAX) {
        px_jparse_fail(p, "nested deeper than %d levels", PX_JPARSE_DEPTH_MAX);
        return false;
    }
    p->depth++;
    return true;
}

bool px_jparse_is(const px_jparser *p, px_jtoken_kind kind, const char *text)
{
    return p->at->kind == kind && p->at->text.length == strlen(text) &&
           memcmp(p->at->text.data, text, p->at->text.length) == 0;
}

bool px_jparse_take_op(px_jparser *p, const char *op)
{
    bool here = px_jparse_is_op(p, op);
    if (here) p->at++;
    return here;
}

bool px_jparse_take_word(px_jparser *p, const char *word)
{
    bool here = px_jparse_is_word(p, word);
    if (here) p->at++;
    return here;
}

static bool expect(px_jparser *p, bool here, const char *what)
{
    char quoted[32];
    snprintf(quoted, sizeof quoted, "'%s'", what);
    if (!here) px_jparse_expected(p, quoted);
    return here;
}

bool px_jparse_expect_op(px_jparser *p, const char *op)
{
    return expect(p, px_jparse_take_op(p, op), op);
}

static bool expect_word(px_jparser *p, const char *word)
{
    return expect(p, px_jparse_take_word(p, word), word);
}

/* --- bodies --- */

static bool expect_kind(px_jparser *p, px_jtoken_kind kind, const char *what)
{
    if (p->at->kind != kind) {
        px_jparse_expected(p, what);
        return false;
    }
    p->at++;
    return true;
}

static bool end_tag(px_jparser *p)
{
    return expect_kind(p, PX_T_BLOCK_END, "'%}'");
}

static px_jnode *parse_statement(px_jparser *p);

/* At "{%" followed by one of the words that end a body. */
static bool at_end_word(const px_jparser *p, const char *const *ends)
{
    if (p->at->kind != PX_T_BLOCK_BEGIN || p->at[1].kind != PX_T_NAME) return false;
    for (; *ends; ends++)
        if (p->at[1].text.length == strlen(*ends) &&
            memcmp(p->at[1].text.data, *ends, p->at[1].text.length) == 0)
            return true;
    return false;
}

static px_jnode *parse_text(px_jparser *p)
{
    px_jnode *node = px_jparse_node(p, PX_N_TEXT);
    if (node) node->text = p->at->text;
    p->at++;
    return node;
}

static px_jnode *parse_print(px_jparser *p)
{
    px_jnode *node = px_jparse_node(p, PX_N_PRINT);
    if (p->escaping)
        return px_jparse_fail(p, "'autoescape' is refused around '{{' unless it is false");
    p->at++;
    if (!node || !(node->a = px_jparse_tuple(p, true, NULL))) return NULL;
    return expect_kind(p, PX_T_PRINT_END, "'}}'") ? node : NULL;
}

static bool parse_nodes(px_jparser *p, const char *const *ends, px_jnodes *out)
{
    static const char *const none[] = {NULL};
    for (;;) {
        px_jnode *node;
        if (at_end_word(p, ends ? ends : none)) {
            p->at++;
            return true;
        }
        switch (p->at->kind) {
        case PX_T_TEXT: node = parse_text(p); break;
        case PX_T_PRINT_BEGIN: node = parse_print(p); break;
        case PX_T_BLOCK_BEGIN: node = parse_statement(p); break;
        case PX_T_END:
            if (ends)
                px_jparse_fail(p, "'%s' is missing: the block of line %d is not closed",
                    p->open.end, p->open.line);
            return !ends;
        default: px_jparse_expected(p, "text or a tag"); return false;
        }
        if (!px_jparse_add(p, out, node)) return false;
    }
}

/* Up to "{% WORD", which is passed; WORD is where p->at stands then. `ends`: the words, the one
 * that closes the block last; NULL: to the end of the template. */
static bool parse_body(px_jparser *p, const char *const *ends, px_jnodes *out)
{
    if (!ends) return parse_nodes(p, NULL, out);
    const char *const *last = ends;
    while (last[1]) last++;
    const char *outer_end = p->open.end;
    int outer_line = p->open.line;
    p->open.end = *last;
    p->open.line = p->tag_line;
    bool ok = parse_nodes(p, ends, out);
    p->open.end = outer_end;
    p->open.line = outer_line;
    return ok;
}

/* "%} body {% END %}" */
static bool parse_block_body(px_jparser *p, const char *end, px_jnodes *out)
{
    const char *const ends[] = {end, NULL};
    return end_tag(p) && parse_body(p, ends, out) && expect_word(p, end) && end_tag(p);
}

/* --- statements: each begins after its word --- */

static bool parse_if_rest(px_jparser *p, px_jnode *node)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    if (!(node->a = px_jparse_tuple(p, false, NULL)) || !end_tag(p) ||
        !parse_body(p, ends, &node->body))
        return false;
    if (px_jparse_take_word(p, "elif")) {
        px_jnode *other = px_jparse_node(p, PX_N_IF);
        if (!other || !px_jparse_enter(p)) return false;
        bool ok = parse_if_rest(p, other);
        p->depth--;
        return ok && px_jparse_add(p, &node->other, other);
    }
    if (px_jparse_take_word(p, "else")) return parse_block_body(p, "endif", &node->other);
    return expect_word(p, "endif") && end_tag(p);
}

static px_jnode *parse_if(px_jparser *p)
{
    px_jnode *node = px_jparse_node(p, PX_N_IF);
    return node && parse_if_rest(p, node) ? node : NULL;
}

static px_jnode *parse_for(px_jparser *p)
{
    static const char *const ends[] = {"else", "endfor", NULL};
    px_jnode *node = px_jparse_node(p, PX_N_FOR);
    if (!node || !(node->a = px_jparse_target(p, false)) || !expect_word(p, "in") ||
        !(node->b = px_jparse_tuple(p, false, "recursive")))
        return NULL;
    if (px_jparse_take_word(p, "if") && !(node->c = px_jparse_expression(p, true))) return NULL;
    node->flag = px_jparse_take_word(p, "recursive");
    if (!end_tag(p)) return NULL;
    p->loops++;
    bool ok = parse_body(p, ends, &node->body);
    p->loops--;
    if (!ok) return NULL;
    if (px_jparse_take_word(p, "else"))
        return parse_block_body(p, "endfor", &node->other) ? node : NULL;
    return expect_word(p, "endfor") && end_tag(p) ? node : NULL;
}

static px_jnode *parse_set(px_jparser *p)
{
    px_jnode *node = px_jparse_node(p, PX_N_SET);
    if (!node || !(node->a = px_jparse_target(p, true))) return NULL;
    if (px_jparse_take_op(p, "=")) {
        node->b = px_jparse_tuple(p, true, NULL);
        return node->b && end_tag(p) ? node : NULL;
    }
    node->kind = PX_N_SET_BLOCK;
    if (px_jparse_take_op(p, "|") && !(node->b = px_jparse_filters(p, NULL, true))) return NULL;
    return parse_block_body(p, "endset", &node->body) ? node : NULL;
}

/* "(a, b=1)": names, and defaults of the last ones. */
static bool parse_parameters(px_jparser *p, px_jnode *macro)
{
    enum { PARAMETERS_MAX = 128 };
    if (!px_jparse_expect_op(p, "(")) return false;
    macro->params = px_jparse_alloc(p, PARAMETERS_MAX * sizeof *macro->params);
    macro->param_texts = px_jparse_alloc(p, PARAMETERS_MAX * sizeof *macro->param_texts);
    if (!macro->params || !macro->param_texts) return false;
    while (!px_jparse_take_op(p, ")")) {
        if (macro->param_count && !px_jparse_expect_op(p, ",")) return false;
        if (p->at->kind != PX_T_NAME || macro->param_count == PARAMETERS_MAX) {
            px_jparse_expected(p, "a parameter's name");
            return false;
        }
        size_t index = macro->param_count++;
        macro->param_texts[index] = p->at->text;
        if (!px_jparse_number_name(p, p->at->text, &macro->params[index])) return false;
        p->at++;
        if (px_jparse_take_op(p, "=")) {
            if (!px_jparse_add(p, &macro->items, px_jparse_expression(p, true))) return false;
        } else if (macro->items.count) {
            px_jparse_fail(p, "a parameter without a default follows one with a default");
            return false;
        }
    }
    return true;
}

/* A macro's body is a place of its own for break, continue, varargs and the like. */
static bool parse_macro_body(px_jparser *p, px_jnode *macro, const char *end)
{
    px_jnode *outer = p->macro;
    int loops = p->loops;
    p->macro = macro;
    p->loops = 0;
    bool ok = parse_block_body(p, end, &macro->body);
    p->macro = outer;
    p->loops = loops;
    return ok;
}

static px_jnode *parse_macro(px_jparser *p)
{
    px_jnode *node = px_jparse_node(p, PX_N_MACRO);
    if (!node) return NULL;
    if (p->at->kind != PX_T_NAME) return px_jparse_expected(p, "the macro's name");
    node->text = p->at->text;
    if (!px_jparse_number_name(p, node->text, &node->name)) return NULL;
    p->at++;
    return parse_parameters(p, node) && parse_macro_body(p, node, "endmacro") ? node : NULL;
}

static px_jnode *parse_call_block(px_jparser *p)
{
    px_jnode *node = px_jparse_node(p, PX_N_CALL_BLOCK);
    if (!node) return NULL;
    node->text = (px_slice){"caller", 6};
    if (px_jparse_is_op(p, "(") && !parse_parameters(p, node)) return NULL;
    node->a = px_jparse_expression(p, true);
    if (!node->a) return NULL;
    if (node->a->kind != PX_N_CALL) return px_jparse_fail(p, "a call block needs a call");
    return parse_macro_body(p, node, "endcall") ? node : NULL;
}

static px_jnode *parse_filter_block(px_jparser *p)
{
    px_jnode *node = px_jparse_node(p, PX_N_FILTER_BLOCK);
    if (!node || !(node->b = px_jparse_filters(p, NULL, true))) return NULL;
    return parse_block_body(p, "endfilter", &node->body) ? node : NULL;
}

static px_jnode *parse_with(px_jparser *p)
{
    px_jnode *node = px_jparse_node(p, PX_N_WITH);
    while (node && p->at->kind != PX_T_BLOCK_END) {
        if (node->items.count && !px_jparse_expect_op(p, ",")) return NULL;
        if (!px_jparse_add(p, &node->items, px_jparse_target(p, false)) ||
            !px_jparse_expect_op(p, "=") ||
            !px_jparse_add(p, &node->other, px_jparse_expression(p, true)))
            return NULL;
    }
    return node && parse_block_body(p, "endwith", &node->body) ? node : NULL;
}

static px_jnode *parse_scope(px_jparser *p, const char *end)
{
    px_jnode *node = px_jparse_node(p, PX_N_SCOPE);
    return node && parse_block_body(p, end, &node->body) ? node : NULL;
}

/* {% block name scoped required %} ... {% endblock name %}: without inheritance, just its body. */
static px_jnode *parse_named_block(px_jparser *p)
{
    static const char *const ends[] = {"endblock", NULL};
    px_jnode *node = px_jparse_node(p, PX_N_SCOPE);
    if (!node || !expect_kind(p, PX_T_NAME, "the block's name")) return NULL;
    while (px_jparse_take_word(p, "scoped") || px_jparse_take_word(p, "required")) {
    }
    if (!end_tag(p) || !parse_body(p, ends, &node->body) || !expect_word(p, "endblock"))
        return NULL;
    if (p->at->kind == PX_T_NAME) p->at++;
    return end_tag(p) ? node : NULL;
}

/* {% autoescape false %} is what every template is under. A prompt is not HTML, so nothing is
 * printed under another; text alone is never escaped. */
static px_jnode *parse_autoescape(px_jparser *p)
{
    px_jnode *node = px_jparse_node(p, PX_N_SCOPE);
    bool outer = p->escaping;
    p->escaping = !px_jparse_take_word(p, "false") && !px_jparse_take_word(p, "False");
    if (!node || (p->escaping && !px_jparse_expression(p, true))) return NULL;
    if (!parse_block_body(p, "endautoescape", &node->body)) return NULL;
    p->escaping = outer;
    return node;
}

static px_jnode *parse_jump(px_jparser *p, px_jnode_kind kind)
{
    px_jnode *node = px_jparse_node(p, kind);
    if (p->loops == 0) return px_jparse_fail(p, "'break' or 'continue' outside of a loop");
    return node && end_tag(p) ? node : NULL;
}

static px_jnode *unknown_tag(px_jparser *p)
{
    px_slice word = p->at->text;
    int length = word.length > 40 ? 40 : (int)word.length;
    bool ends = word.length > 3 && memcmp(word.data, "end", 3) == 0;
    if (ends && p->open.end)
        return px_jparse_fail(p,
            "'%.*s' stands where '%s' is missing: the block of line %d is not "
            "closed",
            length, word.data, p->open.end, p->open.line);
    if (ends) return px_jparse_fail(p, "'%.*s' without a block that it ends", length, word.data);
    return px_jparse_fail(p, "unknown tag '%.*s'", length, word.data);
}

static px_jnode *parse_word(px_jparser *p)
{
    if (px_jparse_take_word(p, "if")) return parse_if(p);
    if (px_jparse_take_word(p, "for")) return parse_for(p);
    if (px_jparse_take_word(p, "set")) return parse_set(p);
    if (px_jparse_take_word(p, "macro")) return parse_macro(p);
    if (px_jparse_take_word(p, "call")) return parse_call_block(p);
    if (px_jparse_take_word(p, "filter")) return parse_filter_block(p);
    if (px_jparse_take_word(p, "with")) return parse_with(p);
    if (px_jparse_take_word(p, "generation")) return parse_scope(p, "endgeneration");
    if (px_jparse_take_word(p, "block")) return parse_named_block(p);
    if (px_jparse_take_word(p, "autoescape")) return parse_autoescape(p);
    if (px_jparse_take_word(p, "break")) return parse_jump(p, PX_N_BREAK);
    if (px_jparse_take_word(p, "continue")) return parse_jump(p, PX_N_CONTINUE);
    if (px_jparse_is_word(p, "include") || px_jparse_is_word(p, "import") ||
        px_jparse_is_word(p, "from") || px_jparse_is_word(p, "extends"))
        return px_jparse_fail(p, "'%.*s' is refused: a chat template is one file",
            (int)p->at->text.length, p->at->text.data);
    return unknown_tag(p);
}

static px_jnode *parse_statement(px_jparser *p)
{
    p->tag_line = p->at->line;
    p->at++;
    if (p->at->kind != PX_T_NAME) return px_jparse_expected(p, "the name of a tag");
    if (!px_jparse_enter(p)) return NULL;
    px_jnode *node = parse_word(p);
    p->depth--;
    return node;
}

/* --- boundary --- */

/* \r\n and \r are \n; invalid UTF-8 is U+FFFD. */
static px_status normalise(px_slice source, px_arena *arena, px_slice *out)
{
    px_buf text;
    px_buf_init(&text, 4 * (size_t)SOURCE_BYTES_MAX);
    px_utf8_repair(source.data, source.length, &text);
    size_t length = 0;
    for (size_t i = 0; i < text.length; i++) {
        if (text.data[i] == '\r') {
            if (i + 1 < text.length && text.data[i + 1] == '\n') continue;
            text.data[i] = '\n';
        }
        text.data[length++] = text.data[i];
    }
    char *copy = px_arena_copy(arena, px_buf_text(&text), length);
    px_buf_done(&text);
    if (!copy) return px_fail(PX_RESOURCE_EXHAUSTED, "no memory for the template");
    *out = (px_slice){copy, length};
    return px_ok();
}

static px_status parse_tree(px_jparser *p, px_slice source)
{
    px_jtoken *tokens;
    size_t count;
    PX_TRY(normalise(source, &p->tree->arena, &source));
    PX_TRY(px_jinja_lex(&p->tree->arena, source, &tokens, &count));
    p->at = tokens;
    parse_body(p, NULL, &p->tree->body);
    PX_TRY(p->status);
    px_jtree *tree = p->tree;
    tree->name_count = p->names.size;
    tree->names = px_arena_alloc(&tree->arena, (p->names.size + 1) * sizeof *tree->names);
    for (uint32_t i = 0; tree->names && i < p->names.size; i++) {
        px_slice name = px_vocab_text(&p->names, i);
        tree->names[i] =
            (px_slice){px_arena_copy(&tree->arena, name.data, name.length), name.length};
        if (!tree->names[i].data) tree->names = NULL;
    }
    return tree->names ? px_ok() : px_fail(PX_RESOURCE_EXHAUSTED, "no memory for the template");
}

px_status px_jinja_parse(px_slice source, px_jtree *out)
{
    if (source.length > SOURCE_BYTES_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "the template has %zu bytes; at most %d are allowed",
            source.length, SOURCE_BYTES_MAX);
    *out = (px_jtree){0};
    px_arena_init(&out->arena, TREE_BYTES_MAX);
    px_jparser parser = {.tree = out, .status = px_ok()};
    px_status status = px_vocab_init(&parser.names);
    if (px_is_ok(status)) status = parse_tree(&parser, source);
    px_vocab_done(&parser.names);
    if (!px_is_ok(status)) px_jtree_done(out);
    return status;
}

void px_jtree_done(px_jtree *tree)
{
    px_arena_done(&tree->arena);
    *tree = (px_jtree){0};
}
