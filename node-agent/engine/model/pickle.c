/* pickle.c - the stack machine; see pickle.h. What names mean is in pickle_calls.c. */
#include "engine/model/pickle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/pickle_calls.h"

enum { PROTOCOL_MAX = 5, LINE_BYTES_MAX = 1024 };

/* Names as in Python's pickletools. */
typedef enum opcode {
    OP_MARK = '(',
    OP_STOP = '.',
    OP_POP = '0',
    OP_POP_MARK = '1',
    OP_DUP = '2',
    OP_FLOAT = 'F',
    OP_INT = 'I',
    OP_BININT = 'J',
    OP_BININT1 = 'K',
    OP_LONG = 'L',
    OP_BININT2 = 'M',
    OP_NONE = 'N',
    OP_BINPERSID = 'Q',
    OP_REDUCE = 'R',
    OP_BINSTRING = 'T',
    OP_SHORT_BINSTRING = 'U',
    OP_UNICODE = 'V',
    OP_BINUNICODE = 'X',
    OP_APPEND = 'a',
    OP_BUILD = 'b',
    OP_GLOBAL = 'c',
    OP_DICT = 'd',
    OP_APPENDS = 'e',
    OP_GET = 'g',
    OP_BINGET = 'h',
    OP_LONG_BINGET = 'j',
    OP_LIST = 'l',
    OP_PUT = 'p',
    OP_BINPUT = 'q',
    OP_LONG_BINPUT = 'r',
    OP_SETITEM = 's',
    OP_TUPLE = 't',
    OP_SETITEMS = 'u',
    OP_EMPTY_DICT = '}',
    OP_EMPTY_LIST = ']',
    OP_EMPTY_TUPLE = ')',
    OP_BINFLOAT = 'G',
    OP_BINBYTES = 'B',
    OP_SHORT_BINBYTES = 'C',
    OP_PROTO = 0x80,
    OP_NEWOBJ = 0x81,
    OP_TUPLE1 = 0x85,
    OP_TUPLE2 = 0x86,
    OP_TUPLE3 = 0x87,
    OP_NEWTRUE = 0x88,
    OP_NEWFALSE = 0x89,
    OP_LONG1 = 0x8a,
    OP_LONG4 = 0x8b,
    OP_SHORT_BINUNICODE = 0x8c,
    OP_BINUNICODE8 = 0x8d,
    OP_BINBYTES8 = 0x8e,
    OP_EMPTY_SET = 0x8f,
    OP_ADDITEMS = 0x90,
    OP_FROZENSET = 0x91,
    OP_STACK_GLOBAL = 0x93,
    OP_MEMOIZE = 0x94,
    OP_FRAME = 0x95,
} opcode;

typedef struct value_list {
    px_pickle_value **items;
    size_t count, capacity;
} value_list;

typedef struct machine {
    const uint8_t *at, *end;
    size_t bytes; /* of the whole pickle: bounds what it may make */
    px_arena *arena;
    value_list stack, memo; /* a NULL on the stack is a mark */
} machine;

static px_status cut_short(void)
{
    return px_fail(PX_DATA_LOSS, "the pickle ends in the middle");
}

static px_status too_large(void)
{
    return px_fail(PX_RESOURCE_EXHAUSTED, "the pickle takes too much memory");
}

static px_status empty_stack(void)
{
    return px_fail(PX_INVALID_ARGUMENT, "the pickle takes more from its stack than there is");
}

/* --- reading --- */

static px_status take(machine *m, uint64_t count, const uint8_t **out)
{
    if (count > (uint64_t)(m->end - m->at)) return cut_short();
    *out = m->at;
    m->at += count;
    return px_ok();
}

static px_status take_number(machine *m, int bytes, uint64_t *out)
{
    const uint8_t *at = NULL;
    PX_TRY(take(m, (uint64_t)bytes, &at));
    *out = 0;
    for (int i = bytes; i-- > 0;) *out = *out << 8 | at[i];
    return px_ok();
}

static px_status take_line(machine *m, px_slice *out)
{
    const uint8_t *newline = memchr(m->at, '\n', (size_t)(m->end - m->at));
    if (!newline) return cut_short();
    *out = (px_slice){.data = (const char *)m->at, .length = (size_t)(newline - m->at)};
    m->at = newline + 1;
    return px_ok();
}

/* --- values --- */

static void list_push(value_list *list, px_pickle_value *value)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 256;
        px_pickle_value **items = px_alloc_array(capacity, sizeof *items);
        if (list->count) memcpy(items, list->items, list->count * sizeof *items);
        free(list->items);
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = value;
}

static px_status push(machine *m, px_pickle_value value)
{
    px_pickle_value *kept = px_arena_alloc(m->arena, sizeof *kept);
    if (!kept) return too_large();
    *kept = value;
    list_push(&m->stack, kept);
    return px_ok();
}

static px_status pop(machine *m, px_pickle_value **out)
{
    if (!m->stack.count || !m->stack.items[m->stack.count - 1]) return empty_stack();
    *out = m->stack.items[--m->stack.count];
    return px_ok();
}

static px_status top(machine *m, px_pickle_value **out)
{
    if (!m->stack.count || !m->stack.items[m->stack.count - 1]) return empty_stack();
    *out = m->stack.items[m->stack.count - 1];
    return px_ok();
}

/* What lies above the last mark, which goes; the items stay readable until the next push. */
static px_status pop_mark(machine *m, px_pickle_value ***out, size_t *out_count)
{
    size_t first = m->stack.count;
    while (first && m->stack.items[first - 1]) first--;
    if (!first) return px_fail(PX_INVALID_ARGUMENT, "the pickle lacks a mark on its stack");
    *out = m->stack.items + first;
    *out_count = m->stack.count - first;
    m->stack.count = first - 1;
    return px_ok();
}

/* Adds items to a list or dict of ours. */
static px_status extend(
    machine *m, px_pickle_value *to, px_pickle_value *const *items, size_t count)
{
    if (count > UINT32_MAX / 4 || to->count > UINT32_MAX / 4) return too_large();
    if (to->count + count > to->capacity) {
        size_t capacity = (to->count + count) * 2;
        px_pickle_value **grown = px_arena_alloc(m->arena, capacity * sizeof *grown);
        if (!grown) return too_large();
        if (to->count) memcpy(grown, to->items, to->count * sizeof *grown);
        to->items = grown;
        to->capacity = (uint32_t)capacity;
    }
    if (count) memcpy(to->items + to->count, items, count * sizeof *items);
    to->count += (uint32_t)count;
    return px_ok();
}

static px_status push_list(
    machine *m, px_pickle_kind kind, px_pickle_value *const *items, size_t count)
{
    px_pickle_value list = {.kind = kind};
    PX_TRY(extend(m, &list, items, count));
    return push(m, list);
}

static px_status push_marked(machine *m, px_pickle_kind kind)
{
    px_pickle_value **items;
    size_t count;
    PX_TRY(pop_mark(m, &items, &count));
    if (kind == PX_PICKLE_DICT && count % 2)
        return px_fail(PX_INVALID_ARGUMENT, "the pickle's dict has a key without a value");
    return push_list(m, kind, items, count);
}

/* The top `count` values as a tuple. */
static px_status push_tuple(machine *m, size_t count)
{
    if (m->stack.count < count) return empty_stack();
    px_pickle_value **items = m->stack.items + m->stack.count - count;
    for (size_t i = 0; i < count; i++)
        if (!items[i]) return empty_stack();
    m->stack.count -= count;
    return push_list(m, PX_PICKLE_TUPLE, items, count);
}

/* Items for the container below them. */
static px_status add_items(
    machine *m, px_pickle_kind kind, px_pickle_value *const *items, size_t count)
{
    px_pickle_value *to = NULL;
    PX_TRY(top(m, &to));
    if (to->kind != kind || (kind == PX_PICKLE_DICT && count % 2))
        return px_fail(PX_INVALID_ARGUMENT, "the pickle adds to something that is no %s",
            kind == PX_PICKLE_DICT ? "dict" : "list");
    return extend(m, to, items, count);
}

static px_status add_marked(machine *m, px_pickle_kind kind)
{
    px_pickle_value **items;
    size_t count;
    PX_TRY(pop_mark(m, &items, &count));
    return add_items(m, kind, items, count);
}

static px_status add_top(machine *m, px_pickle_kind kind, size_t count)
{
    px_pickle_value *items[2];
    for (size_t i = count; i-- > 0;) PX_TRY(pop(m, &items[i]));
    return add_items(m, kind, items, count);
}

/* --- the memo --- */

static px_status memo_put(machine *m, uint64_t index)
{
    px_pickle_value *value = NULL;
    PX_TRY(top(m, &value));
    if (index > m->bytes) /* each is made by an opcode */
        return px_fail(
            PX_INVALID_ARGUMENT, "the pickle's memo has no place %llu", (unsigned long long)index);
    while (m->memo.count <= index) list_push(&m->memo, NULL);
    m->memo.items[index] = value;
    return px_ok();
}

static px_status memo_get(machine *m, uint64_t index)
{
    if (index >= m->memo.count || !m->memo.items[index])
        return px_fail(PX_INVALID_ARGUMENT, "the pickle's memo holds nothing at %llu",
            (unsigned long long)index);
    list_push(&m->stack, m->memo.items[index]);
    return px_ok();
}

/* --- numbers and texts --- */

static px_status push_int(machine *m, int64_t number)
{
    return push(m, (px_pickle_value){.kind = PX_PICKLE_INT, .number = number});
}

static px_status push_bool(machine *m, bool truth)
{
    return push(m, (px_pickle_value){.kind = PX_PICKLE_BOOL, .truth = truth});
}

/* A little-endian number of any length; only what fits 64 bits says anything about a tensor. */
static px_status push_long(machine *m, uint64_t bytes)
{
    const uint8_t *at = NULL;
    PX_TRY(take(m, bytes, &at));
    uint64_t value = bytes && at[bytes - 1] & 0x80 ? UINT64_MAX : 0;
    if (bytes > 8)
        return px_fail(PX_UNIMPLEMENTED, "the pickle holds a number of more than 64 bits");
    for (uint64_t i = bytes; i-- > 0;) value = value << 8 | at[i];
    return push_int(m, (int64_t)value);
}

static px_status push_text(machine *m, uint64_t length)
{
    const uint8_t *at = NULL;
    PX_TRY(take(m, length, &at));
    px_slice text = {.data = (const char *)at, .length = (size_t)length};
    return push(m, (px_pickle_value){.kind = PX_PICKLE_TEXT, .text = text});
}

static px_status push_counted_text(machine *m, int length_bytes)
{
    uint64_t length = 0;
    PX_TRY(take_number(m, length_bytes, &length));
    return push_text(m, length);
}

static px_status line_number(px_slice line, char *copy, int64_t *out)
{
    if (line.length >= LINE_BYTES_MAX || !line.length)
        return px_fail(PX_INVALID_ARGUMENT, "the pickle holds a number that is none");
    memcpy(copy, line.data, line.length);
    copy[line.length] = '\0';
    if (copy[line.length - 1] == 'L') copy[line.length - 1] = '\0';
    char *end;
    errno = 0;
    *out = strtoll(copy, &end, 10);
    if (errno || end == copy || *end)
        return px_fail(PX_INVALID_ARGUMENT, "the pickle holds a number that is none");
    return px_ok();
}

/* Protocol 0's numbers, in decimal; I01 and I00 are True and False. */
static px_status push_decimal(machine *m, opcode op)
{
    char copy[LINE_BYTES_MAX];
    px_slice line = {.length = 0};
    int64_t number;
    PX_TRY(take_line(m, &line));
    if (op == OP_INT && line.length == 2 && line.data[0] == '0')
        return push_bool(m, line.data[1] == '1');
    PX_TRY(line_number(line, copy, &number));
    return push_int(m, number);
}

static px_status push_real(machine *m, opcode op)
{
    px_pickle_value value = {.kind = PX_PICKLE_FLOAT};
    px_slice line = {.length = 0};
    char copy[64] = "";
    const uint8_t *at = NULL;
    if (op == OP_FLOAT) {
        PX_TRY(take_line(m, &line));
        memcpy(copy, line.data, line.length < sizeof copy - 1 ? line.length : sizeof copy - 1);
        value.real = strtod(copy, NULL);
        return push(m, value);
    }
    PX_TRY(take(m, 8, &at)); /* big-endian, alone among all numbers */
    uint64_t bits = 0;
    for (int i = 0; i < 8; i++) bits = bits << 8 | at[i];
    memcpy(&value.real, &bits, sizeof bits);
    return push(m, value);
}

/* --- names and calls --- */

static px_status push_name(machine *m, px_slice module, px_slice name)
{
    px_pickle_value value = {.kind = PX_PICKLE_NAME};
    PX_TRY(px_pickle_name(module, name, &value.name));
    return push(m, value);
}

static px_status push_global(machine *m)
{
    px_slice module, name;
    PX_TRY(take_line(m, &module));
    PX_TRY(take_line(m, &name));
    return push_name(m, module, name);
}

static px_status push_stack_global(machine *m)
{
    px_pickle_value *module, *name;
    PX_TRY(pop(m, &name));
    PX_TRY(pop(m, &module));
    if (module->kind != PX_PICKLE_TEXT || name->kind != PX_PICKLE_TEXT)
        return px_fail(PX_INVALID_ARGUMENT, "the pickle names something that is no text");
    return push_name(m, module->text, name->text);
}

static px_status reduce(machine *m)
{
    px_pickle_value *arguments, *callable, made;
    PX_TRY(pop(m, &arguments));
    PX_TRY(pop(m, &callable));
    if (callable->kind != PX_PICKLE_NAME || arguments->kind != PX_PICKLE_TUPLE)
        return px_fail(PX_INVALID_ARGUMENT, "the pickle calls something that cannot be called");
    PX_TRY(px_pickle_call(callable->name, arguments, m->arena, &made));
    return push(m, made);
}

static px_status persistent(machine *m)
{
    px_pickle_value *id, storage;
    PX_TRY(pop(m, &id));
    PX_TRY(px_pickle_persistent(id, &storage));
    return push(m, storage);
}

/* The state of an object: an OrderedDict's attributes (_metadata), which say nothing of weights. */
static px_status build(machine *m)
{
    px_pickle_value *state, *object = NULL;
    PX_TRY(pop(m, &state));
    PX_TRY(top(m, &object));
    if (object->kind == PX_PICKLE_DICT || object->kind == PX_PICKLE_TENSOR) return px_ok();
    return px_fail(PX_UNIMPLEMENTED, "the pickle sets the state of an object that is no dict");
}

/* --- the machine --- */

static px_status proto(machine *m)
{
    uint64_t version;
    PX_TRY(take_number(m, 1, &version));
    if (version <= PROTOCOL_MAX) return px_ok();
    return px_fail(PX_UNIMPLEMENTED, "pickle protocol %llu is not known; up to %d are",
        (unsigned long long)version, PROTOCOL_MAX);
}

/* An opcode followed by a number, as BININT is. */
static px_status step_with_number(machine *m, opcode op)
{
    static const uint8_t widths[256] = {[OP_BININT] = 4,
        [OP_BININT1] = 1,
        [OP_BININT2] = 2,
        [OP_BINGET] = 1,
        [OP_LONG_BINGET] = 4,
        [OP_BINPUT] = 1,
        [OP_LONG_BINPUT] = 4,
        [OP_LONG1] = 1,
        [OP_LONG4] = 4,
        [OP_FRAME] = 8};
    uint64_t number;
    PX_TRY(take_number(m, widths[op], &number));
    switch (op) {
    case OP_BININT: return push_int(m, (int32_t)(uint32_t)number);
    case OP_BININT1:
    case OP_BININT2: return push_int(m, (int64_t)number);
    case OP_BINGET:
    case OP_LONG_BINGET: return memo_get(m, number);
    case OP_BINPUT:
    case OP_LONG_BINPUT: return memo_put(m, number);
    case OP_LONG1:
    case OP_LONG4: return push_long(m, number);
    default: return px_ok(); /* FRAME: how much to read at once */
    }
}

/* An opcode followed by a line of text, as protocol 0 has them. */
static px_status step_with_line(machine *m, opcode op)
{
    char copy[LINE_BYTES_MAX];
    px_slice line = {.length = 0};
    int64_t index;
    if (op == OP_INT || op == OP_LONG) return push_decimal(m, op);
    PX_TRY(take_line(m, &line));
    if (op == OP_UNICODE) return push(m, (px_pickle_value){.kind = PX_PICKLE_TEXT, .text = line});
    PX_TRY(line_number(line, copy, &index));
    if (index < 0) return px_fail(PX_INVALID_ARGUMENT, "the pickle's memo has no negative places");
    return op == OP_GET ? memo_get(m, (uint64_t)index) : memo_put(m, (uint64_t)index);
}

static px_status step_on_stack(machine *m, opcode op)
{
    px_pickle_value *value = NULL, **items;
    size_t count;
    switch (op) {
    case OP_MARK: list_push(&m->stack, NULL); return px_ok();
    case OP_POP_MARK: return pop_mark(m, &items, &count);
    case OP_POP:
        if (!m->stack.count) return empty_stack();
        m->stack.count--; /* a mark too */
        return px_ok();
    case OP_DUP:
        PX_TRY(top(m, &value));
        list_push(&m->stack, value);
        return px_ok();
    case OP_MEMOIZE: return memo_put(m, m->memo.count);
    case OP_APPEND: return add_top(m, PX_PICKLE_LIST, 1);
    case OP_APPENDS:
    case OP_ADDITEMS: return add_marked(m, PX_PICKLE_LIST);
    case OP_SETITEM: return add_top(m, PX_PICKLE_DICT, 2);
    case OP_SETITEMS: return add_marked(m, PX_PICKLE_DICT);
    case OP_REDUCE:
    case OP_NEWOBJ: return reduce(m);
    case OP_BUILD: return build(m);
    case OP_BINPERSID: return persistent(m);
    case OP_GLOBAL: return push_global(m);
    case OP_STACK_GLOBAL: return push_stack_global(m);
    default:
        return px_fail(PX_UNIMPLEMENTED,
            "the pickle uses opcode 0x%02x, which no state dict needs; it is not run",
            (unsigned)op);
    }
}

static px_status step(machine *m, opcode op)
{
    switch (op) {
    case OP_PROTO: return proto(m);
    case OP_NONE: return push(m, (px_pickle_value){.kind = PX_PICKLE_NONE});
    case OP_NEWTRUE: return push_bool(m, true);
    case OP_NEWFALSE: return push_bool(m, false);
    case OP_FLOAT:
    case OP_BINFLOAT: return push_real(m, op);
    case OP_BINUNICODE:
    case OP_BINSTRING:
    case OP_BINBYTES: return push_counted_text(m, 4);
    case OP_SHORT_BINUNICODE:
    case OP_SHORT_BINSTRING:
    case OP_SHORT_BINBYTES: return push_counted_text(m, 1);
    case OP_BINUNICODE8:
    case OP_BINBYTES8: return push_counted_text(m, 8);
    case OP_EMPTY_LIST:
    case OP_EMPTY_SET: return push_list(m, PX_PICKLE_LIST, NULL, 0);
    case OP_EMPTY_TUPLE: return push_list(m, PX_PICKLE_TUPLE, NULL, 0);
    case OP_EMPTY_DICT: return push_list(m, PX_PICKLE_DICT, NULL, 0);
    case OP_LIST:
    case OP_FROZENSET: return push_marked(m, PX_PICKLE_LIST);
    case OP_TUPLE: return push_marked(m, PX_PICKLE_TUPLE);
    case OP_DICT: return push_marked(m, PX_PICKLE_DICT);
    case OP_TUPLE1:
    case OP_TUPLE2:
    case OP_TUPLE3: return push_tuple(m, 1 + (size_t)(op - OP_TUPLE1));
    case OP_BININT:
    case OP_BININT1:
    case OP_BININT2:
    case OP_BINGET:
    case OP_LONG_BINGET:
    case OP_BINPUT:
    case OP_LONG_BINPUT:
    case OP_LONG1:
    case OP_LONG4:
    case OP_FRAME: return step_with_number(m, op);
    case OP_INT:
    case OP_LONG:
    case OP_UNICODE:
    case OP_GET:
    case OP_PUT: return step_with_line(m, op);
    default: return step_on_stack(m, op);
    }
}

static px_status run(machine *m, px_pickle_value **out)
{
    for (;;) {
        uint64_t op;
        PX_TRY(take_number(m, 1, &op));
        if (op == OP_STOP) return pop(m, out);
        PX_TRY(step(m, (opcode)op));
    }
}

px_status px_pickle_read(px_slice pickle, px_arena *arena, px_pickle_value **out)
{
    machine m = {.at = (const uint8_t *)pickle.data,
        .end = (const uint8_t *)pickle.data + pickle.length,
        .bytes = pickle.length,
        .arena = arena};
    px_status status = run(&m, out);
    free(m.stack.items);
    free(m.memo.items);
    return status;
}
