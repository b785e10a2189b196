#include "engine/grammar/expr.h"

#include <stdlib.h>
#include <string.h>

enum { CODE_POINT_MAX = 0x10ffff, SURROGATE_FIRST = 0xd800, SURROGATE_LAST = 0xdfff };

void px_expr_source_init(px_expr_source *source, size_t bytes_max)
{
    *source = (px_expr_source){0};
    px_arena_init(&source->arena, bytes_max);
}

void px_expr_source_done(px_expr_source *source)
{
    px_arena_done(&source->arena);
    free(source->rules);
    *source = (px_expr_source){0};
}

uint32_t px_expr_declare(px_expr_source *source, const char *name, size_t length)
{
    if (source->rule_count == source->rule_room) {
        source->rule_room = source->rule_room ? source->rule_room * 2 : 16;
        source->rules = realloc(source->rules, source->rule_room * sizeof *source->rules);
        PX_ASSERT(source->rules);
    }
    const char *copy = px_arena_copy(&source->arena, name, length);
    source->rules[source->rule_count] = (px_expr_rule){.name = copy ? copy : ""};
    return source->rule_count++;
}

static px_expr *make(px_expr_source *source, px_expr_kind kind, size_t count)
{
    px_expr *expr = px_arena_alloc(&source->arena, sizeof *expr);
    if (!expr) return NULL;
    expr->kind = kind;
    expr->count = (uint32_t)count;
    return expr;
}

const px_expr *px_expr_bytes(px_expr_source *source, const char *bytes, size_t length)
{
    px_expr *expr = make(source, PX_EXPR_BYTES, length);
    if (expr) expr->bytes = px_arena_copy(&source->arena, bytes, length);
    return expr && expr->bytes ? expr : NULL;
}

const px_expr *px_expr_text(px_expr_source *source, const char *text)
{
    return px_expr_bytes(source, text, strlen(text));
}

/* ------------------------------------------------------------------------------- classes */

static int by_low(const void *a, const void *b)
{
    uint32_t x = ((const px_expr_range *)a)->low, y = ((const px_expr_range *)b)->low;
    return (x > y) - (x < y);
}

/* In order, overlapping and touching ones made one; returns how many are left. */
static size_t merge(px_expr_range *ranges, size_t count)
{
    size_t kept = 0;
    qsort(ranges, count, sizeof *ranges, by_low);
    for (size_t i = 0; i < count; i++) {
        if (ranges[i].low > ranges[i].high) continue;
        if (kept && ranges[i].low <= ranges[kept - 1].high + 1) {
            if (ranges[i].high > ranges[kept - 1].high) ranges[kept - 1].high = ranges[i].high;
        } else {
            ranges[kept++] = ranges[i];
        }
    }
    return kept;
}

/* The code points between merged ranges; `out` has room for count + 1. */
static size_t complement(const px_expr_range *ranges, size_t count, px_expr_range *out)
{
    size_t kept = 0;
    uint32_t next = 0;
    for (size_t i = 0; i < count; i++) {
        if (ranges[i].low > next) out[kept++] = (px_expr_range){next, ranges[i].low - 1};
        next = ranges[i].high + 1;
    }
    if (next <= CODE_POINT_MAX) out[kept++] = (px_expr_range){next, CODE_POINT_MAX};
    return kept;
}

/* Surrogates have no UTF-8: a range over them becomes two. `out` has room for count + 1. */
static size_t without_surrogates(const px_expr_range *ranges, size_t count, px_expr_range *out)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        px_expr_range r = ranges[i];
        if (r.low < SURROGATE_FIRST) {
            uint32_t high = r.high < SURROGATE_FIRST ? r.high : SURROGATE_FIRST - 1;
            out[kept++] = (px_expr_range){r.low, high};
        }
        if (r.high > SURROGATE_LAST) {
            uint32_t low = r.low > SURROGATE_LAST ? r.low : SURROGATE_LAST + 1;
            out[kept++] = (px_expr_range){low, r.high};
        }
    }
    return kept;
}

const px_expr *px_expr_class(
    px_expr_source *source, const px_expr_range *ranges, size_t count, bool negated)
{
    px_expr_range *work = px_alloc_array(2 * count + 3, sizeof *work), *turned = work + count;
    if (count) memcpy(work, ranges, count * sizeof *work);
    for (size_t i = 0; i < count; i++)
        if (work[i].high > CODE_POINT_MAX) work[i].high = CODE_POINT_MAX;
    size_t kept = merge(work, count);
    const px_expr_range *from = work;
    if (negated) {
        kept = complement(work, kept, turned);
        from = turned;
    }
    px_expr *expr = make(source, PX_EXPR_CLASS, 0);
    px_expr_range *out = px_arena_alloc(&source->arena, (kept + 1) * sizeof *out);
    if (expr && out) {
        expr->count = (uint32_t)without_surrogates(from, kept, out);
        expr->ranges = out;
    }
    free(work);
    return out ? expr : NULL;
}

/* ------------------------------------------------------------------------- compositions */

static const px_expr *compose(
    px_expr_source *source, px_expr_kind kind, const px_expr *const *parts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!parts[i]) return NULL;
    if (count == 1) return parts[0];
    px_expr *expr = make(source, kind, count);
    const px_expr **children = px_arena_alloc(&source->arena, (count + 1) * sizeof *children);
    if (!expr || !children) return NULL;
    if (count) memcpy(children, parts, count * sizeof *children);
    expr->children = children;
    return expr;
}

const px_expr *px_expr_sequence(px_expr_source *source, const px_expr *const *parts, size_t count)
{
    return compose(source, PX_EXPR_SEQUENCE, parts, count);
}

const px_expr *px_expr_choice(px_expr_source *source, const px_expr *const *parts, size_t count)
{
    return compose(source, PX_EXPR_CHOICE, parts, count);
}

const px_expr *px_expr_repeat(
    px_expr_source *source, const px_expr *child, uint32_t min, uint32_t max)
{
    px_expr *expr = child ? make(source, PX_EXPR_REPEAT, 1) : NULL;
    if (!expr) return NULL;
    expr->repeat.child = child;
    expr->repeat.min = min;
    expr->repeat.max = max;
    return expr;
}

const px_expr *px_expr_rule_of(px_expr_source *source, uint32_t rule)
{
    px_expr *expr = make(source, PX_EXPR_RULE, 0);
    if (expr) expr->rule = rule;
    return expr;
}

void px_expr_list_add(px_expr_list *list, const px_expr *item)
{
    if (list->count == list->room) {
        list->room = list->room ? list->room * 2 : 8;
        list->items = realloc(list->items, list->room * sizeof *list->items);
        PX_ASSERT(list->items);
    }
    list->items[list->count++] = item;
}

void px_expr_list_done(px_expr_list *list)
{
    free(list->items);
    *list = (px_expr_list){0};
}

const px_expr *px_expr_list_sequence(px_expr_list *list, px_expr_source *source, bool failed)
{
    const px_expr *made = failed        ? NULL
                          : list->count ? px_expr_sequence(source, list->items, list->count)
                                        : px_expr_text(source, "");
    px_expr_list_done(list);
    return made;
}
