/* descriptor_set.c - finds files and symbols by walking the wire format of the descriptors.
 *
 * Source: google/protobuf/descriptor.proto; only the few fields that carry names are read. The
 * bytes are the build's own, so malformed ones are a bug.
 */
#include "proto/descriptor_set.h"

#include <string.h>

#include "base/status.h"

extern const unsigned char px_proto_descriptor_set[]; /* a FileDescriptorSet; see CMakeLists.txt */
extern const unsigned long px_proto_descriptor_set_bytes;

/* --- the wire format, as far as it is needed --- */

typedef struct cursor {
    const uint8_t *at, *end;
} cursor;

typedef struct field { /* length-delimited */
    uint64_t number;
    const uint8_t *bytes;
    size_t length;
} field;

static uint64_t read_varint(cursor *c)
{
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        PX_ASSERT(c->at < c->end);
        uint8_t byte = *c->at++;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) break;
    }
    return value;
}

static const uint8_t *skip(cursor *c, size_t bytes)
{
    PX_ASSERT(bytes <= (size_t)(c->end - c->at));
    const uint8_t *start = c->at;
    c->at += bytes;
    return start;
}

/* The next length-delimited field; others are passed over. */
static bool next_field(cursor *c, field *out)
{
    enum { VARINT = 0, FIXED64 = 1, DELIMITED = 2, FIXED32 = 5 };
    while (c->at < c->end) {
        uint64_t key = read_varint(c);
        switch (key & 7) {
        case VARINT: (void)read_varint(c); break;
        case FIXED64: (void)skip(c, 8); break;
        case FIXED32: (void)skip(c, 4); break;
        default:
            PX_ASSERT((key & 7) == DELIMITED);
            out->number = key >> 3;
            out->length = (size_t)read_varint(c);
            out->bytes = skip(c, out->length);
            return true;
        }
    }
    return false;
}

static cursor inside(const uint8_t *bytes, size_t length)
{
    return (cursor){.at = bytes, .end = bytes + length};
}

static field find_field(const uint8_t *bytes, size_t length, uint64_t number)
{
    cursor c = inside(bytes, length);
    field f;
    while (next_field(&c, &f))
        if (f.number == number) return f;
    return (field){.bytes = bytes};
}

/* --- files --- */

enum { SET_FILE = 1, FILE_NAME = 1, FILE_PACKAGE = 2, FILE_DEPENDENCY = 3 };

static cursor all_files(void)
{
    return inside(px_proto_descriptor_set, px_proto_descriptor_set_bytes);
}

static bool next_file(cursor *c, px_proto_file *out)
{
    field f;
    if (!next_field(c, &f)) return false;
    PX_ASSERT(f.number == SET_FILE);
    *out = (px_proto_file){.bytes = f.bytes, .length = f.length};
    return true;
}

static bool find_named(const uint8_t *name, size_t length, px_proto_file *out)
{
    cursor c = all_files();
    while (next_file(&c, out)) {
        field f = find_field(out->bytes, out->length, FILE_NAME);
        if (f.length == length && memcmp(f.bytes, name, length) == 0) return true;
    }
    return false;
}

bool px_proto_find_file(const char *name, px_proto_file *out)
{
    return find_named((const uint8_t *)name, strlen(name), out);
}

size_t px_proto_with_imports(px_proto_file file, px_proto_file out[PX_PROTO_FILES_MAX])
{
    size_t count = 0;
    out[count++] = file;
    for (size_t i = 0; i < count; i++) { /* breadth first; grows while it is walked */
        cursor c = inside(out[i].bytes, out[i].length);
        field f;
        while (next_field(&c, &f)) {
            px_proto_file import;
            if (f.number != FILE_DEPENDENCY) continue;
            PX_ASSERT(find_named(f.bytes, f.length, &import)); /* --include_imports saw to it */
            size_t j = 0;
            while (j < count && out[j].bytes != import.bytes) j++;
            if (j < count) continue;
            PX_ASSERT(count < PX_PROTO_FILES_MAX);
            out[count++] = import;
        }
    }
    return count;
}

/* --- symbols --- */

typedef enum kind { KIND_FILE, KIND_MESSAGE, KIND_ENUM, KIND_SERVICE, KIND_LEAF } kind;

/* Which field of a declaration holds declarations of which kind. */
static const struct {
    kind parent;
    uint64_t number;
    kind child;
} nesting[] = {
    {KIND_FILE, 4, KIND_MESSAGE},
    {KIND_FILE, 5, KIND_ENUM},
    {KIND_FILE, 6, KIND_SERVICE},
    {KIND_FILE, 7, KIND_LEAF}, /* extensions */
    {KIND_MESSAGE, 2, KIND_LEAF},
    {KIND_MESSAGE, 3, KIND_MESSAGE},
    {KIND_MESSAGE, 4, KIND_ENUM},
    {KIND_MESSAGE, 6, KIND_LEAF}, /* extensions */
    {KIND_MESSAGE, 8, KIND_LEAF}, /* oneofs */
    {KIND_ENUM, 2, KIND_LEAF},
    {KIND_SERVICE, 2, KIND_LEAF},
};

/* What is left of `symbol` after "name."; "" if nothing is; NULL if it does not start so. */
static const char *strip(const char *symbol, field name)
{
    if (strncmp(symbol, (const char *)name.bytes, name.length) != 0) return NULL;
    const char *rest = symbol + name.length;
    if (*rest == '\0') return rest;
    return rest[0] == '.' && rest[1] != '\0' ? rest + 1 : NULL;
}

static bool declares(kind parent, field body, const char *symbol);

static bool child_declares(kind child, field body, const char *symbol)
{
    const char *rest = strip(symbol, find_field(body.bytes, body.length, 1));
    if (rest && (*rest == '\0' || declares(child, body, rest))) return true;
    /* Values of an enum are named beside it, as in C. */
    return child == KIND_ENUM && declares(child, body, symbol);
}

static bool declares(kind parent, field body, const char *symbol)
{
    cursor c = inside(body.bytes, body.length);
    field f;
    while (next_field(&c, &f))
        for (size_t i = 0; i < sizeof nesting / sizeof nesting[0]; i++)
            if (nesting[i].parent == parent && nesting[i].number == f.number &&
                child_declares(nesting[i].child, f, symbol))
                return true;
    return false;
}

bool px_proto_find_symbol(const char *symbol, px_proto_file *out)
{
    cursor c = all_files();
    while (next_file(&c, out)) {
        field body = {.bytes = out->bytes, .length = out->length};
        field package = find_field(out->bytes, out->length, FILE_PACKAGE);
        const char *rest = package.length ? strip(symbol, package) : symbol;
        if (rest && *rest && declares(KIND_FILE, body, rest)) return true;
    }
    return false;
}
