#include "engine/grammar/automaton.h"

#include <stdlib.h>
#include <string.h>

/* Sizes of one space; powers of two where a table hashes. Pages are used as they fill. */
enum {
    ITEMS = 1 << 18,
    STACKS = 1 << 16,
    CONFIGS = 1 << 14,
    STEPS = 1 << 18,
    CLOSURE = 1 << 12, /* items that one step may lead to */
    WORK = 1 << 20,    /* items looked at between two tidies: some 50 ms */
    DEPTH_MAX = 256
};

typedef struct item {
    uint32_t state, stack;
} item;

typedef struct stack { /* 0: nothing to return to */
    uint32_t state, parent, depth;
} stack;

typedef struct configuration {
    uint32_t first, count; /* of items, in order */
    bool accepts;
    px_byte_set next;
} configuration;

typedef struct step {
    uint32_t key; /* config << 8 | byte, plus 1; 0: free */
    uint32_t to;
} step;

/* All that is forgotten at once. Index 0 of stacks and configs is the empty one. */
typedef struct space {
    item *items;
    stack *stacks;
    configuration *configs;
    uint32_t *stack_table, *config_table; /* [2 * STACKS], [2 * CONFIGS]: index; 0: free */
    step *steps;
    uint32_t item_count, stack_count, config_count, step_count;
} space;

struct px_automaton {
    const px_net *net;
    space spaces[2], *now;
    px_automaton_pin *pins;
    bool overflowed;
    uint32_t work; /* items that may still be looked at until the next tidy */
    /* What one step leads to: a list, and a table to find what is in it already. */
    item *closure;
    uint32_t *closure_table; /* [2 * CLOSURE]: index + 1; 0: free */
    uint32_t closure_count;
    bool closure_accepts;
};

static uint32_t mix(uint32_t a, uint32_t b)
{
    uint64_t h = ((uint64_t)a << 32 | b) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(h >> 32) ^ (uint32_t)h;
}

/* ------------------------------------------------------------------------------- memory */

typedef struct region {
    void **at;
    size_t bytes;
} region;

enum { REGIONS = 6 };
static void regions_of(space *s, region out[REGIONS])
{
    out[0] = (region){(void **)&s->items, ITEMS * sizeof *s->items};
    out[1] = (region){(void **)&s->stacks, STACKS * sizeof *s->stacks};
    out[2] = (region){(void **)&s->configs, CONFIGS * sizeof *s->configs};
    out[3] = (region){(void **)&s->stack_table, 2 * STACKS * sizeof *s->stack_table};
    out[4] = (region){(void **)&s->config_table, 2 * CONFIGS * sizeof *s->config_table};
    out[5] = (region){(void **)&s->steps, STEPS * sizeof *s->steps};
}

static void empty_space(space *s)
{
    memset(s->stack_table, 0, 2 * STACKS * sizeof *s->stack_table);
    memset(s->config_table, 0, 2 * CONFIGS * sizeof *s->config_table);
    memset(s->steps, 0, STEPS * sizeof *s->steps);
    s->item_count = s->step_count = 0;
    s->stack_count = s->config_count = 1;
}

static px_status make_space(space *s)
{
    region regions[REGIONS];
    regions_of(s, regions);
    for (int i = 0; i < REGIONS; i++)
        PX_TRY(px_big_alloc(regions[i].bytes, "a grammar's automaton", regions[i].at));
    s->stack_count = s->config_count = 1; /* the memory is zeroed */
    return px_ok();
}

static void free_space(space *s)
{
    region regions[REGIONS];
    regions_of(s, regions);
    for (int i = 0; i < REGIONS; i++) px_big_free(*regions[i].at, regions[i].bytes);
}

px_status px_automaton_create(const px_net *net, px_automaton **out)
{
    px_automaton *a = px_alloc(sizeof *a);
    a->net = net;
    a->now = &a->spaces[0];
    a->closure = px_alloc_array(CLOSURE, sizeof *a->closure);
    a->closure_table = px_alloc_array(2 * CLOSURE, sizeof *a->closure_table);
    px_status status = make_space(&a->spaces[0]);
    if (px_is_ok(status)) status = make_space(&a->spaces[1]);
    if (px_is_ok(status))
        *out = a;
    else
        px_automaton_free(a);
    return status;
}

void px_automaton_free(px_automaton *automaton)
{
    if (!automaton) return;
    for (int i = 0; i < 2; i++) free_space(&automaton->spaces[i]);
    free(automaton->closure);
    free(automaton->closure_table);
    free(automaton);
}

/* -------------------------------------------------------------------------- call stacks */

/* The stack with one more call on it; UINT32_MAX: no room, or too deep. */
static uint32_t push(space *s, uint32_t parent, uint32_t state)
{
    if (s->stacks[parent].depth == DEPTH_MAX) return UINT32_MAX;
    uint32_t at = mix(parent, state) & (2 * STACKS - 1);
    for (uint32_t i; (i = s->stack_table[at]); at = (at + 1) & (2 * STACKS - 1))
        if (s->stacks[i].state == state && s->stacks[i].parent == parent) return i;
    if (s->stack_count == STACKS) return UINT32_MAX;
    s->stacks[s->stack_count] = (stack){state, parent, s->stacks[parent].depth + 1};
    return s->stack_table[at] = s->stack_count++;
}

/* ----------------------------------------------------------------------------- closures */

static void closure_add(px_automaton *a, item it)
{
    if (!a->work) {
        a->overflowed = true;
        return;
    }
    a->work--;
    uint32_t at = mix(it.state, it.stack) & (2 * CLOSURE - 1);
    for (uint32_t i; (i = a->closure_table[at]); at = (at + 1) & (2 * CLOSURE - 1)) {
        const item *known = &a->closure[i - 1];
        if (known->state == it.state && known->stack == it.stack) return;
    }
    if (a->closure_count == CLOSURE) {
        a->overflowed = true;
        return;
    }
    a->closure[a->closure_count++] = it;
    a->closure_table[at] = a->closure_count;
}

static void call_rule(px_automaton *a, item it, const px_net_edge *edge)
{
    uint32_t to = it.stack;
    if (!edge->is_tail) {
        to = push(a->now, it.stack, edge->to);
        if (to == UINT32_MAX) {
            a->overflowed |= a->now->stack_count == STACKS;
            return;
        }
    }
    closure_add(a, (item){a->net->rules[edge->rule].first, to});
}

/* All that the list leads to without reading a byte joins it. */
static void close_over(px_automaton *a)
{
    const px_net *net = a->net;
    for (uint32_t i = 0; i < a->closure_count; i++) {
        item it = a->closure[i];
        uint32_t first = net->first_edge[it.state], last = net->first_edge[it.state + 1];
        for (uint32_t e = first; e < last; e++) {
            const px_net_edge *edge = &net->edges[e];
            if (edge->kind == PX_NET_EMPTY) closure_add(a, (item){edge->to, it.stack});
            if (edge->kind == PX_NET_CALL) call_rule(a, it, edge);
        }
        if (!net->is_last[it.state]) continue;
        const stack *top = &a->now->stacks[it.stack];
        if (it.stack)
            closure_add(a, (item){top->state, top->parent});
        else
            a->closure_accepts = true;
    }
}

static void closure_begin(px_automaton *a)
{
    a->closure_count = 0;
    a->closure_accepts = false;
    memset(a->closure_table, 0, 2 * CLOSURE * sizeof *a->closure_table);
}

static int by_state(const void *a, const void *b)
{
    const item *x = a, *y = b;
    if (x->state != y->state) return x->state < y->state ? -1 : 1;
    return (x->stack > y->stack) - (x->stack < y->stack);
}

static bool reads(const px_net *net, uint32_t state)
{
    for (uint32_t e = net->first_edge[state]; e < net->first_edge[state + 1]; e++)
        if (net->edges[e].kind == PX_NET_BYTES) return true;
    return false;
}

/* ----------------------------------------------------------------------- configurations */

static px_byte_set next_of(const px_net *net, const item *items, uint32_t count)
{
    px_byte_set set = {{0}};
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t e = net->first_edge[items[i].state]; e < net->first_edge[items[i].state + 1];
             e++) {
            const px_net_edge *edge = &net->edges[e];
            if (edge->kind != PX_NET_BYTES) continue;
            for (unsigned b = edge->low; b <= edge->high; b++)
                set.bits[b >> 6] |= UINT64_C(1) << (b & 63);
        }
    return set;
}

/* The configuration of these items, which are in order; PX_CONFIG_DEAD: nothing, or no room. */
static uint32_t intern(px_automaton *a, const item *items, uint32_t count, bool accepts)
{
    space *s = a->now;
    if (!count && !accepts) return PX_CONFIG_DEAD;
    uint32_t hash = accepts;
    for (uint32_t i = 0; i < count; i++) hash = mix(hash, mix(items[i].state, items[i].stack));
    uint32_t at = hash & (2 * CONFIGS - 1);
    for (uint32_t i; (i = s->config_table[at]); at = (at + 1) & (2 * CONFIGS - 1)) {
        const configuration *c = &s->configs[i];
        if (c->count == count && c->accepts == accepts &&
            memcmp(&s->items[c->first], items, count * sizeof *items) == 0)
            return i;
    }
    if (s->config_count == CONFIGS || s->item_count + count > ITEMS) {
        a->overflowed = true;
        return PX_CONFIG_DEAD;
    }
    memcpy(&s->items[s->item_count], items, count * sizeof *items);
    s->configs[s->config_count] = (configuration){.first = s->item_count,
        .count = count,
        .accepts = accepts,
        .next = next_of(a->net, items, count)};
    s->item_count += count;
    return s->config_table[at] = s->config_count++;
}

/* The configuration of all that the list leads to; PX_CONFIG_DEAD too if that is too much. */
static uint32_t settle(px_automaton *a)
{
    close_over(a);
    if (a->overflowed) return PX_CONFIG_DEAD;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < a->closure_count; i++)
        if (reads(a->net, a->closure[i].state)) a->closure[kept++] = a->closure[i];
    qsort(a->closure, kept, sizeof *a->closure, by_state);
    return intern(a, a->closure, kept, a->closure_accepts);
}

static uint32_t make_step(px_automaton *a, uint32_t from, uint8_t byte)
{
    const configuration *c = &a->now->configs[from];
    if (!(c->next.bits[byte >> 6] >> (byte & 63) & 1)) return PX_CONFIG_DEAD;
    closure_begin(a);
    for (uint32_t i = 0; i < c->count; i++) {
        item it = a->now->items[c->first + i];
        for (uint32_t e = a->net->first_edge[it.state]; e < a->net->first_edge[it.state + 1]; e++) {
            const px_net_edge *edge = &a->net->edges[e];
            if (edge->kind == PX_NET_BYTES && edge->low <= byte && byte <= edge->high)
                closure_add(a, (item){edge->to, it.stack});
        }
    }
    return settle(a);
}

uint32_t px_automaton_step(px_automaton *automaton, uint32_t config, uint8_t byte)
{
    space *s = automaton->now;
    uint32_t key = (config << 8 | byte) + 1;
    uint32_t at = mix(key, 0) & (STEPS - 1);
    for (; s->steps[at].key; at = (at + 1) & (STEPS - 1))
        if (s->steps[at].key == key) return s->steps[at].to;
    uint32_t to = make_step(automaton, config, byte);
    if (automaton->overflowed) return to; /* another time there may be room */
    if (s->step_count < STEPS / 4 * 3) {  /* else it is found anew each time */
        s->steps[at] = (step){key, to};
        s->step_count++;
    }
    return to;
}

bool px_automaton_accepts(const px_automaton *automaton, uint32_t config)
{
    return automaton->now->configs[config].accepts;
}

px_byte_set px_automaton_next(const px_automaton *automaton, uint32_t config)
{
    return automaton->now->configs[config].next;
}

/* --------------------------------------------------------------------------------- pins */

static void pin_to(px_automaton *automaton, px_automaton_pin *pin, uint32_t config)
{
    *pin = (px_automaton_pin){.config = config, .next = automaton->pins, .link = &automaton->pins};
    if (pin->next) pin->next->link = &pin->next;
    automaton->pins = pin;
}

void px_automaton_begin(px_automaton *automaton, px_automaton_pin *pin)
{
    px_automaton_tidy(automaton);
    closure_begin(automaton);
    closure_add(automaton, (item){automaton->net->rules[0].first, 0});
    pin_to(automaton, pin, settle(automaton));
}

void px_automaton_share(px_automaton *automaton, const px_automaton_pin *pin, px_automaton_pin *to)
{
    pin_to(automaton, to, pin->config);
}

void px_automaton_end(px_automaton_pin *pin)
{
    *pin->link = pin->next;
    if (pin->next) pin->next->link = pin->link;
}

static uint32_t move_stack(const space *from, space *to, uint32_t index)
{
    return index ? push(to, move_stack(from, to, from->stacks[index].parent),
                       from->stacks[index].state)
                 : 0;
}

static uint32_t move_config(px_automaton *a, const space *from, uint32_t index)
{
    if (index == PX_CONFIG_DEAD) return index;
    const configuration *c = &from->configs[index];
    for (uint32_t i = 0; i < c->count; i++) {
        const item *it = &from->items[c->first + i];
        a->closure[i] = (item){it->state, move_stack(from, a->now, it->stack)};
    }
    qsort(a->closure, c->count, sizeof *a->closure, by_state);
    return intern(a, a->closure, c->count, c->accepts);
}

bool px_automaton_tidy(px_automaton *automaton)
{
    automaton->work = WORK;
    automaton->overflowed = false;
    space *from = automaton->now;
    if (from->item_count < ITEMS / 2 && from->stack_count < STACKS / 2 &&
        from->config_count < CONFIGS / 2 && from->step_count < STEPS / 2)
        return false;
    automaton->now = from == &automaton->spaces[0] ? &automaton->spaces[1] : &automaton->spaces[0];
    empty_space(automaton->now);
    for (px_automaton_pin *pin = automaton->pins; pin; pin = pin->next)
        pin->config = move_config(automaton, from, pin->config);
    return true;
}

bool px_automaton_overflowed(px_automaton *automaton)
{
    bool was = automaton->overflowed;
    automaton->overflowed = false;
    return was;
}
