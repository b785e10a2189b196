#include "engine/grammar/network.h"

#include <stdlib.h>
#include <string.h>

enum { STATES_MAX = 1 << 19, EDGES_MAX = 1 << 21, DEPTH_MAX = 500, SPELT_BYTES_MAX = 16 << 20 };

typedef struct building_edge {
    px_net_edge edge;
    uint32_t from;
} building_edge;

typedef struct builder {
    const px_expr_source *source;
    building_edge *edges;
    size_t count, room;
    uint32_t states;
    bool is_too_large;
} builder;

static uint32_t new_state(builder *b)
{
    if (b->states >= STATES_MAX) b->is_too_large = true;
    return b->is_too_large ? 0 : b->states++;
}

static void add_edge(builder *b, uint32_t from, px_net_edge edge)
{
    if (b->count >= EDGES_MAX) b->is_too_large = true;
    if (b->is_too_large) return;
    if (b->count == b->room) {
        b->room = b->room ? b->room * 2 : 256;
        b->edges = realloc(b->edges, b->room * sizeof *b->edges);
        PX_ASSERT(b->edges);
    }
    b->edges[b->count++] = (building_edge){edge, from};
}

static void add_empty(builder *b, uint32_t from, uint32_t to)
{
    add_edge(b, from, (px_net_edge){.kind = PX_NET_EMPTY, .to = to});
}

static void add_bytes(builder *b, uint32_t from, uint8_t low, uint8_t high, uint32_t to)
{
    add_edge(b, from, (px_net_edge){.kind = PX_NET_BYTES, .low = low, .high = high, .to = to});
}

/* --------------------------------------------------------------------------------- UTF-8 */

static unsigned encode(uint32_t code, uint8_t out[4])
{
    if (code < 0x80) {
        out[0] = (uint8_t)code;
        return 1;
    }
    unsigned length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (unsigned i = length - 1; i > 0; i--, code >>= 6) out[i] = 0x80 | (code & 0x3f);
    out[0] = (uint8_t)((0xf00 >> length) | code);
    return length;
}

/* Byte strings from `low` to `high`, equally long, digit by digit as one counts: the first byte is
 * low's with any rest from low's on, one between with any rest at all, or high's with any rest up
 * to high's. Continuation bytes are digits of base 64. */
static void add_between(builder *b, uint32_t from, const uint8_t *low, const uint8_t *high,
    unsigned length, uint32_t to)
{
    static const uint8_t lowest[4] = {0x80, 0x80, 0x80, 0x80};
    static const uint8_t highest[4] = {0xbf, 0xbf, 0xbf, 0xbf};
    unsigned rest = length - 1;
    bool starts = memcmp(low + 1, lowest, rest) == 0, ends = memcmp(high + 1, highest, rest) == 0;
    if (rest == 0) {
        add_bytes(b, from, low[0], high[0], to);
        return;
    }
    if (low[0] == high[0] && !(starts && ends)) {
        uint32_t next = new_state(b);
        add_bytes(b, from, low[0], low[0], next);
        add_between(b, next, low + 1, high + 1, rest, to);
        return;
    }
    uint8_t first = low[0], last = high[0];
    if (!starts) {
        uint32_t next = new_state(b);
        add_bytes(b, from, first, first, next);
        add_between(b, next, low + 1, highest, rest, to);
        first++;
    }
    if (!ends) {
        uint32_t next = new_state(b);
        add_bytes(b, from, last, last, next);
        add_between(b, next, lowest, high + 1, rest, to);
        last--;
    }
    if (first > last) return;
    uint32_t next = new_state(b);
    add_bytes(b, from, first, last, next);
    add_between(b, next, lowest, highest, rest, to);
}

static void add_range(builder *b, uint32_t from, px_expr_range range, uint32_t to)
{
    static const uint32_t longest[4] = {0x7f, 0x7ff, 0xffff, 0x10ffff}; /* of 1, 2, 3, 4 bytes */
    for (unsigned i = 0; i < 4; i++) {
        uint32_t begin = i ? longest[i - 1] + 1 : 0;
        uint32_t low = range.low > begin ? range.low : begin;
        uint32_t high = range.high < longest[i] ? range.high : longest[i];
        if (low > high) continue;
        uint8_t a[4], z[4];
        encode(low, a);
        encode(high, z);
        add_between(b, from, a, z, i + 1, to);
    }
}

/* --------------------------------------------------------------------------- expressions */

static uint32_t build(builder *b, const px_expr *expr, uint32_t from, unsigned depth);

static uint32_t build_repeat(builder *b, const px_expr *expr, uint32_t from, unsigned depth)
{
    uint32_t at = from, min = expr->repeat.min, max = expr->repeat.max;
    for (uint32_t i = 0; i < min && !b->is_too_large; i++)
        at = build(b, expr->repeat.child, at, depth);
    if (max == PX_EXPR_UNBOUNDED) {
        uint32_t loop = new_state(b), end = new_state(b);
        add_empty(b, at, loop);
        add_empty(b, build(b, expr->repeat.child, loop, depth), loop);
        add_empty(b, loop, end);
        return end;
    }
    uint32_t end = new_state(b);
    add_empty(b, at, end);
    for (uint32_t i = min; i < max && !b->is_too_large; i++) {
        at = build(b, expr->repeat.child, at, depth);
        add_empty(b, at, end);
    }
    return end;
}

typedef struct text { /* that one alternative reads */
    size_t first, length;
    const uint8_t *bytes;
} text;

/* Appends the one text that `expr` reads; false: it reads several, or none. */
static bool spell(const px_expr *expr, unsigned depth, px_buf *out)
{
    uint8_t code[4];
    if (depth > DEPTH_MAX) return false;
    switch (expr->kind) {
    case PX_EXPR_BYTES: px_buf_append(out, expr->bytes, expr->count); return true;
    case PX_EXPR_CLASS:
        if (expr->count != 1 || expr->ranges[0].low != expr->ranges[0].high) return false;
        px_buf_append(out, code, encode(expr->ranges[0].low, code));
        return true;
    case PX_EXPR_SEQUENCE:
        for (uint32_t i = 0; i < expr->count; i++)
            if (!spell(expr->children[i], depth + 1, out)) return false;
        return true;
    default: return false;
    }
}

static int by_bytes(const void *a, const void *b)
{
    const text *x = a, *y = b;
    int order = memcmp(x->bytes, y->bytes, x->length < y->length ? x->length : y->length);
    return order ? order : (x->length > y->length) - (x->length < y->length);
}

static size_t shared_length(const text *a, const text *b)
{
    size_t length = 0;
    while (length < a->length && length < b->length && a->bytes[length] == b->bytes[length])
        length++;
    return length;
}

/* A tree of the texts: what several begin with is read once, so however many there are, a text so
 * far leads to one state. */
static void build_texts(builder *b, text *texts, size_t count, px_net_edge ends, uint32_t from)
{
    size_t longest = 0;
    for (size_t i = 0; i < count; i++)
        longest = texts[i].length > longest ? texts[i].length : longest;
    uint32_t *path = px_alloc_array(longest + 1, sizeof *path); /* of the text before */
    qsort(texts, count, sizeof *texts, by_bytes);
    add_empty(b, from, path[0] = new_state(b));
    for (size_t i = 0; i < count && !b->is_too_large; i++) {
        const text *it = &texts[i];
        size_t at = i ? shared_length(&texts[i - 1], it) : 0;
        if (i && at == it->length) continue; /* the same as the one before */
        for (; at < it->length; at++) {
            path[at + 1] = new_state(b);
            add_bytes(b, path[at], it->bytes[at], it->bytes[at], path[at + 1]);
        }
        add_edge(b, path[it->length], ends);
    }
    free(path);
}

static uint32_t build_choice(builder *b, const px_expr *expr, uint32_t from, unsigned depth)
{
    uint32_t end = new_state(b);
    size_t count = 0;
    text *texts = px_alloc_array(expr->count + 1, sizeof *texts);
    px_buf spelt;
    px_buf_init(&spelt, SPELT_BYTES_MAX);
    for (uint32_t i = 0; i < expr->count; i++) {
        size_t first = spelt.length;
        if (spell(expr->children[i], depth, &spelt)) {
            texts[count++] = (text){.first = first, .length = spelt.length - first};
            continue;
        }
        spelt.length = first;
        /* A beginning of its own: a loop at the front of one must not catch the others. */
        uint32_t begin = new_state(b);
        add_empty(b, from, begin);
        add_empty(b, build(b, expr->children[i], begin, depth), end);
    }
    for (size_t i = 0; i < count; i++)
        texts[i].bytes = (const uint8_t *)px_buf_text(&spelt) + texts[i].first;
    b->is_too_large |= spelt.overflowed;
    px_net_edge ends = {.kind = PX_NET_EMPTY, .to = end};
    if (count && !b->is_too_large) build_texts(b, texts, count, ends, from);
    px_buf_done(&spelt);
    free(texts);
    return end;
}

/* The state after `expr`, read from `from` on. */
static uint32_t build(builder *b, const px_expr *expr, uint32_t from, unsigned depth)
{
    if (depth > DEPTH_MAX) b->is_too_large = true;
    if (b->is_too_large) return from;
    uint32_t at = from, end;
    switch (expr->kind) {
    case PX_EXPR_BYTES:
        for (uint32_t i = 0; i < expr->count; i++, at = end) {
            end = new_state(b);
            add_bytes(b, at, (uint8_t)expr->bytes[i], (uint8_t)expr->bytes[i], end);
        }
        return at;
    case PX_EXPR_CLASS:
        end = new_state(b);
        for (uint32_t i = 0; i < expr->count; i++) add_range(b, from, expr->ranges[i], end);
        return end;
    case PX_EXPR_SEQUENCE:
        for (uint32_t i = 0; i < expr->count; i++) at = build(b, expr->children[i], at, depth + 1);
        return at;
    case PX_EXPR_CHOICE: return build_choice(b, expr, from, depth + 1);
    case PX_EXPR_REPEAT: return build_repeat(b, expr, from, depth + 1);
    case PX_EXPR_RULE:
        end = new_state(b);
        add_edge(b, from, (px_net_edge){.kind = PX_NET_CALL, .rule = expr->rule, .to = end});
        return end;
    }
    return from;
}

/* ------------------------------------------------------------------------------- finish */

static void sort_edges(const builder *b, px_net *net)
{
    net->states = b->states;
    net->edge_count = (uint32_t)b->count;
    net->edges = px_alloc_array(b->count + 1, sizeof *net->edges);
    net->first_edge = px_alloc_array(b->states + 2, sizeof *net->first_edge);
    for (size_t i = 0; i < b->count; i++) net->first_edge[b->edges[i].from + 1]++;
    for (uint32_t s = 0; s < b->states; s++) net->first_edge[s + 1] += net->first_edge[s];
    net->is_last = px_alloc_array(b->states + 1, sizeof *net->is_last);
    for (uint32_t r = 0; r < net->rule_count; r++) net->is_last[net->rules[r].last] = true;
    uint32_t *at = px_alloc_array(b->states + 1, sizeof *at);
    memcpy(at, net->first_edge, b->states * sizeof *at);
    for (size_t i = 0; i < b->count; i++) net->edges[at[b->edges[i].from]++] = b->edges[i].edge;
    free(at);
}

/* What is known of an edge's states depends on these: where it leads, and the rule it runs. */
static unsigned depends_on(const px_net *net, const px_net_edge *edge, uint32_t out[2])
{
    out[0] = edge->to;
    if (edge->kind != PX_NET_CALL) return 1;
    out[1] = net->rules[edge->rule].first;
    return 2;
}

static bool leads_on(const px_net *net, const px_net_edge *edge, const bool *good)
{
    uint32_t states[2];
    return good[edge->to] && (depends_on(net, edge, states) == 1 || good[states[1]]);
}

typedef struct dependents { /* edges by the states they depend on */
    uint32_t *first;        /* [states + 2]: those of state s are [first[s], first[s + 1]) */
    uint32_t *edges, *from; /* which edge, and the state it goes out from */
} dependents;

static dependents find_dependents(const px_net *net)
{
    dependents d = {.first = px_alloc_array(net->states + 2, sizeof *d.first),
        .edges = px_alloc_array(2 * (size_t)net->edge_count + 1, sizeof *d.edges),
        .from = px_alloc_array(2 * (size_t)net->edge_count + 1, sizeof *d.from)};
    uint32_t on[2];
    for (uint32_t e = 0; e < net->edge_count; e++)
        for (unsigned i = depends_on(net, &net->edges[e], on); i-- > 0;) d.first[on[i] + 1]++;
    for (uint32_t s = 0; s < net->states; s++) d.first[s + 1] += d.first[s];
    /* While they are put in place, first[s + 1] is where the next one of state s goes. */
    for (uint32_t s = net->states; s-- > 0;) d.first[s + 1] = d.first[s];
    for (uint32_t s = 0; s < net->states; s++)
        for (uint32_t e = net->first_edge[s]; e < net->first_edge[s + 1]; e++)
            for (unsigned i = depends_on(net, &net->edges[e], on); i-- > 0;) {
                uint32_t at = d.first[on[i] + 1]++;
                d.edges[at] = e;
                d.from[at] = s;
            }
    return d;
}

/* Marks the states from which some text leads to their rule's end, going backwards from the ends:
 * however rules refer to each other, an edge is looked at twice at most. */
static bool *find_productive(const px_net *net)
{
    dependents d = find_dependents(net);
    bool *good = px_alloc_array(net->states + 1, sizeof *good);
    uint32_t *pending = px_alloc_array(net->states + 1, sizeof *pending), count = 0;
    for (uint32_t r = 0; r < net->rule_count; r++) {
        good[net->rules[r].last] = true;
        pending[count++] = net->rules[r].last;
    }
    while (count) {
        uint32_t s = pending[--count];
        for (uint32_t i = d.first[s]; i < d.first[s + 1]; i++) {
            if (good[d.from[i]] || !leads_on(net, &net->edges[d.edges[i]], good)) continue;
            good[d.from[i]] = true;
            pending[count++] = d.from[i];
        }
    }
    free(pending);
    free(d.first);
    free(d.edges);
    free(d.from);
    return good;
}

/* Without the edges that lead to no end: no byte is offered that cannot be gone on from. False:
 * there is no text at all. */
static bool prune(px_net *net)
{
    bool *good = find_productive(net);
    uint32_t kept = 0, begin = 0;
    for (uint32_t s = 0; s < net->states; s++) {
        uint32_t end = net->first_edge[s + 1];
        net->first_edge[s] = kept;
        for (uint32_t e = begin; e < end; e++) {
            const px_net_edge *edge = &net->edges[e];
            if (leads_on(net, edge, good)) net->edges[kept++] = *edge;
        }
        begin = end;
    }
    net->first_edge[net->states] = net->edge_count = kept;
    bool has_text = good[net->rules[0].first];
    free(good);
    return has_text;
}

/* Whether `state` leads, reading nothing and without a choice, to `last`. */
static bool only_ends(const px_net *net, uint32_t state, uint32_t last)
{
    for (unsigned steps = 0; steps < 64; steps++) {
        if (state == last) return true;
        uint32_t first = net->first_edge[state];
        if (net->first_edge[state + 1] - first != 1 || net->edges[first].kind != PX_NET_EMPTY)
            return false;
        state = net->edges[first].to;
    }
    return false;
}

static void mark_tails(px_net *net)
{
    /* A rule's states were made one after the other, from its first to its last. */
    for (uint32_t r = 0; r < net->rule_count; r++)
        for (uint32_t s = net->rules[r].first; s <= net->rules[r].last; s++)
            for (uint32_t e = net->first_edge[s]; e < net->first_edge[s + 1]; e++)
                if (net->edges[e].kind == PX_NET_CALL)
                    net->edges[e].is_tail = only_ends(net, net->edges[e].to, net->rules[r].last);
}

/* ----------------------------------------------------------------------- left recursion */

typedef struct walk { /* through what can be reached without reading a byte */
    const px_net *net;
    bool *can_be_empty; /* [rules] */
    uint32_t *seen;     /* [states]: number of the walk that was here last */
    uint32_t *pending;  /* [states]: a stack */
    uint32_t number;
} walk;

/* Calls `on_call` for every rule that can begin where `rule` begins; whether its end is reached. */
static bool walk_rule(
    walk *w, uint32_t rule, void (*on_call)(void *arg, uint32_t called), void *arg)
{
    uint32_t count = 0;
    w->number++;
    w->pending[count++] = w->net->rules[rule].first;
    w->seen[w->net->rules[rule].first] = w->number;
    while (count) {
        uint32_t s = w->pending[--count];
        for (uint32_t e = w->net->first_edge[s]; e < w->net->first_edge[s + 1]; e++) {
            const px_net_edge *edge = &w->net->edges[e];
            if (edge->kind == PX_NET_CALL && on_call) on_call(arg, edge->rule);
            bool passes = edge->kind == PX_NET_EMPTY ||
                          (edge->kind == PX_NET_CALL && w->can_be_empty[edge->rule]);
            if (!passes || w->seen[edge->to] == w->number) continue;
            w->seen[edge->to] = w->number;
            w->pending[count++] = edge->to;
        }
    }
    return w->seen[w->net->rules[rule].last] == w->number;
}

static void find_empty_rules(walk *w)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t r = 0; r < w->net->rule_count; r++)
            if (!w->can_be_empty[r] && walk_rule(w, r, NULL, NULL))
                w->can_be_empty[r] = changed = true;
    }
}

typedef struct rule_list {
    uint32_t *items;
    size_t count, room;
} rule_list;

static void collect_call(void *arg, uint32_t called)
{
    rule_list *list = arg;
    if (list->count == list->room) {
        list->room = list->room ? list->room * 2 : 64;
        list->items = realloc(list->items, list->room * sizeof *list->items);
        PX_ASSERT(list->items);
    }
    list->items[list->count++] = called;
}

/* Rules that begin nothing unfinished are taken away, those that began them freed, and so on:
 * what is left begins with itself. (Kahn's topological sort.) */
static px_status refuse_left_recursion(const px_expr_source *source, walk *w)
{
    uint32_t rules = w->net->rule_count;
    rule_list *begins = px_alloc_array(rules, sizeof *begins); /* [r]: which rules r begins with */
    uint32_t *left = px_alloc_array(rules, sizeof *left),
             *ready = px_alloc_array(rules, sizeof *ready);
    rule_list *begun_by = px_alloc_array(rules, sizeof *begun_by);
    uint32_t ready_count = 0, done = 0;
    for (uint32_t r = 0; r < rules; r++) {
        walk_rule(w, r, collect_call, &begins[r]);
        left[r] = (uint32_t)begins[r].count;
        for (size_t i = 0; i < begins[r].count; i++) collect_call(&begun_by[begins[r].items[i]], r);
        if (!left[r]) ready[ready_count++] = r;
    }
    while (done < ready_count) {
        const rule_list *list = &begun_by[ready[done++]];
        for (size_t i = 0; i < list->count; i++)
            if (--left[list->items[i]] == 0) ready[ready_count++] = list->items[i];
    }
    px_status status = px_ok();
    for (uint32_t r = 0; r < rules && px_is_ok(status); r++)
        if (left[r])
            status = px_fail(PX_INVALID_ARGUMENT,
                "the rule '%.60s' can begin with itself: write it so that something is read first",
                source->rules[r].name);
    for (uint32_t r = 0; r < rules; r++) {
        free(begins[r].items);
        free(begun_by[r].items);
    }
    free(begins);
    free(begun_by);
    free(left);
    free(ready);
    return status;
}

static px_status check_recursion(const px_expr_source *source, const px_net *net)
{
    walk w = {.net = net,
        .can_be_empty = px_alloc_array(net->rule_count, sizeof *w.can_be_empty),
        .seen = px_alloc_array(net->states + 1, sizeof *w.seen),
        .pending = px_alloc_array(net->states + 1, sizeof *w.pending)};
    find_empty_rules(&w);
    px_status status = refuse_left_recursion(source, &w);
    free(w.can_be_empty);
    free(w.seen);
    free(w.pending);
    return status;
}

px_status px_net_make(const px_expr_source *source, px_net *out)
{
    *out = (px_net){0};
    builder b = {.source = source};
    px_net net = {.rule_count = source->rule_count,
        .rules = px_alloc_array(source->rule_count, sizeof *net.rules)};
    px_status status = px_ok();
    for (uint32_t r = 0; r < source->rule_count && px_is_ok(status); r++) {
        const px_expr *body = source->rules[r].body;
        if (!body) {
            status = px_fail(PX_INVALID_ARGUMENT, "the rule '%.60s' is used but not defined",
                source->rules[r].name);
            break;
        }
        net.rules[r].first = new_state(&b);
        uint32_t end = build(&b, body, net.rules[r].first, 0);
        net.rules[r].last = new_state(&b);
        add_empty(&b, end, net.rules[r].last);
        if (b.is_too_large)
            status = px_fail(PX_RESOURCE_EXHAUSTED,
                "the grammar needs more than %d states: use smaller repetitions", STATES_MAX);
    }
    if (px_is_ok(status)) {
        sort_edges(&b, &net);
        if (!prune(&net)) status = px_fail(PX_INVALID_ARGUMENT, "no text keeps to this grammar");
        mark_tails(&net);
        if (px_is_ok(status)) status = check_recursion(source, &net);
    }
    free(b.edges);
    if (px_is_ok(status))
        *out = net;
    else
        px_net_done(&net);
    return status;
}

void px_net_done(px_net *net)
{
    free(net->edges);
    free(net->first_edge);
    free(net->rules);
    free(net->is_last);
    *net = (px_net){0};
}
