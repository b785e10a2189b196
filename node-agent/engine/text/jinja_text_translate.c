/* jinja_text_translate.c - str's methods that look characters or names up in a mapping: maketrans,
 * translate, format_map.
 *
 * Source: Python 3's str.
 */
#include <string.h>

#include "engine/text/jinja_call.h"
#include "engine/text/unicode.h"

#define METHOD(id) static bool id(px_jinja *j, const px_jcall *c, px_jv *out)

/* --- tables --- */

static bool is_one_character(px_jv value)
{
    return value.kind == PX_J_STR && value.text.length > 0 &&
           px_rune_bytes(value.text.data[0]) == value.text.length;
}

static px_jv ordinal(const char *character)
{
    uint32_t rune;
    px_rune_decode(character, &rune);
    return px_jint(rune);
}

/* {"a": x} or {97: x} as a table. */
static bool table_of_dict(px_jinja *j, px_jv given, px_jv table)
{
    if (given.kind != PX_J_DICT)
        return px_jinja_fail(j, "if you give only one argument to maketrans it must be a dict");
    for (size_t i = 0; i < given.dict->count; i++) {
        px_jv key = given.dict->entries[i].key;
        if (key.kind == PX_J_STR && !is_one_character(key))
            return px_jinja_fail(j, "string keys in translate table must be of length 1");
        if (key.kind == PX_J_STR)
            key = ordinal(key.text.data);
        else if (key.kind != PX_J_INT && key.kind != PX_J_BOOL)
            return px_jinja_fail(j, "keys in translate table must be strings or integers");
        if (!px_jdict_set(j, table, key, given.dict->entries[i].value)) return false;
    }
    return true;
}

static bool pair_up(px_jinja *j, px_slice from, px_slice to, px_jv table)
{
    if (px_rune_count(from.data, from.length) != px_rune_count(to.data, to.length))
        return px_jinja_fail(j, "the first two maketrans arguments must have equal length");
    for (size_t at = 0, of_to = 0; at < from.length; at += px_rune_bytes(from.data[at])) {
        if (!px_jdict_set(j, table, ordinal(from.data + at), ordinal(to.data + of_to)))
            return false;
        of_to += px_rune_bytes(to.data[of_to]);
    }
    return true;
}

METHOD(text_maketrans)
{
    px_slice from, to, gone;
    if (!px_jdict_new(j, out)) return false;
    if (!px_jgiven(c->a[1])) return table_of_dict(j, c->a[0], *out);
    if (!px_jarg_need_text(j, c->a[0], &from) || !px_jarg_need_text(j, c->a[1], &to) ||
        !px_jarg_text(j, c->a[2], "", &gone) || !pair_up(j, from, to, *out))
        return false;
    for (size_t at = 0; at < gone.length; at += px_rune_bytes(gone.data[at]))
        if (!px_jdict_set(j, *out, ordinal(gone.data + at), px_jnone())) return false;
    return true;
}

/* What table[rune] is; MISSING: the character stays. */
static px_jv look_up(px_jv table, uint32_t rune)
{
    static const px_jv stays = {.kind = PX_J_MISSING};
    if (table.kind == PX_J_DICT) {
        const px_jv *found = px_jdict_get(table, px_jint(rune));
        return found ? *found : stays;
    }
    return rune < table.list->count ? table.list->items[rune] : stays;
}

static bool put_translated(px_jinja *j, px_jv to, px_slice character, px_buf *buf)
{
    if (to.kind == PX_J_MISSING)
        px_buf_append(buf, character.data, character.length);
    else if (to.kind == PX_J_STR)
        px_buf_append(buf, to.text.data, to.text.length);
    else if (to.kind == PX_J_INT || to.kind == PX_J_BOOL) {
        int64_t rune = px_jwhole(to);
        if (rune < 0 || rune > 0x10ffff)
            return px_jinja_fail(j, "character mapping must be in range(0x110000)");
        px_rune_append(buf, rune >= 0xd800 && rune < 0xe000 ? 0xfffd : (uint32_t)rune);
    } else if (to.kind != PX_J_NONE)
        return px_jinja_fail(j, "character mapping must return integer, None or str");
    return true;
}

METHOD(text_translate)
{
    px_jv table = c->a[0];
    px_slice text = c->self.text;
    bool is_table = table.kind == PX_J_DICT || table.kind == PX_J_LIST || table.kind == PX_J_TUPLE;
    if (!is_table || px_jis_view(table))
        return px_jinja_fail(j, "'%s' object is not subscriptable", px_jtype_name(table));
    px_buf buf;
    px_jbuf_init(j, &buf);
    bool ok = true;
    for (size_t at = 0, bytes; ok && at < text.length; at += bytes) {
        uint32_t rune;
        bytes = px_rune_decode(text.data + at, &rune);
        ok = put_translated(j, look_up(table, rune), (px_slice){text.data + at, bytes}, &buf);
    }
    if (ok) return px_jtake(j, &buf, out);
    px_buf_done(&buf);
    return false;
}

/* --- names --- */

METHOD(text_format_map)
{
    px_jv mapping = c->a[0];
    if (mapping.kind != PX_J_DICT)
        return px_jinja_fail(j, "'%s' object cannot be looked up by name", px_jtype_name(mapping));
    px_jargs args = {.named = px_jinja_alloc(j, (mapping.dict->count + 1) * sizeof *args.named)};
    if (!args.named) return false;
    for (size_t i = 0; i < mapping.dict->count; i++) {
        const px_jentry *entry = &mapping.dict->entries[i];
        if (entry->key.kind == PX_J_STR)
            args.named[args.named_count++] = (px_jnamed){entry->key.text, entry->value};
    }
    return px_jinja_format(j, c->self.text, &args, out);
}

static const px_jfunction methods[] = {{"maketrans", text_maketrans, {"x", "y", "z"}, 1, false},
    {"translate", text_translate, {"table"}, 1, false},
    {"format_map", text_format_map, {"mapping"}, 1, false}};

const px_jfunction *px_jinja_translate_method(px_slice name)
{
    return px_jinja_find(methods, sizeof methods / sizeof *methods, name);
}
