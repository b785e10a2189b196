/* gguf.c - the reader: a bounds-checked cursor, the metadata table, the tensor table, split files.
 *
 *   "GGUF" u32 version  u64 tensors  u64 pairs
 *   pairs:    string key, u32 type, value
 *   tensors:  string name, u32 dims, u64 sizes[dims] (innermost first), u32 type, u64 offset
 *   padding to general.alignment, then the data that offsets count from
 *
 * A string is a u64 length and its bytes. All numbers are little-endian, and so are the machines
 * we run on; a file of the other order is refused by its version number.
 */
#include "engine/model/gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "engine/model/gguf_split.h"

enum {
    KEYS_MAX = 1 << 16,
    TENSORS_MAX = 1 << 20,
    PARTS_MAX = 1024,
    NAME_BYTES_MAX = 512,
    ARRAY_DEPTH_MAX = 4,
    DEFAULT_ALIGNMENT = 32,
    NAMES_BYTES_MAX = 256 << 20,
};

typedef struct pair {
    px_slice key;
    px_gguf_type type;
    const unsigned char *value; /* unaligned, as in the file */
    size_t value_bytes;
} pair;

struct px_gguf {
    px_map *maps; /* one for each part */
    uint32_t part_count;
    pair *pairs; /* of the first part, sorted by key */
    uint64_t pair_count;
    px_tensor *tensors;
    uint32_t tensor_count;
    px_arena names;
};

/* --- cursor: reads never pass `end`; after a failed one the file is given up --- */

typedef struct cursor {
    const unsigned char *at, *end;
} cursor;

static uint64_t left(const cursor *c)
{
    return (uint64_t)(c->end - c->at);
}

static px_status take(cursor *c, void *out, size_t bytes)
{
    if (left(c) < bytes) return px_fail(PX_DATA_LOSS, "the file is cut short in its header");
    memcpy(out, c->at, bytes);
    c->at += bytes;
    return px_ok();
}

static px_status take_string(cursor *c, px_slice *out)
{
    uint64_t length = 0;
    PX_TRY(take(c, &length, sizeof length));
    if (length > left(c))
        return px_fail(PX_DATA_LOSS, "a string in the header claims %llu bytes, more than is left",
            (unsigned long long)length);
    *out = (px_slice){.data = (const char *)c->at, .length = (size_t)length};
    c->at += length;
    return px_ok();
}

/* Bytes of a value of a fixed-size type; 0 for strings, arrays and unknown types. */
static size_t scalar_bytes(uint32_t type)
{
    switch (type) {
    case PX_GGUF_U8:
    case PX_GGUF_I8:
    case PX_GGUF_BOOL: return 1;
    case PX_GGUF_U16:
    case PX_GGUF_I16: return 2;
    case PX_GGUF_U32:
    case PX_GGUF_I32:
    case PX_GGUF_F32: return 4;
    case PX_GGUF_U64:
    case PX_GGUF_I64:
    case PX_GGUF_F64: return 8;
    default: return 0;
    }
}

static px_status skip_value(cursor *c, uint32_t type, int depth)
{
    if (type == PX_GGUF_STRING) {
        px_slice ignored;
        return take_string(c, &ignored);
    }
    if (type == PX_GGUF_ARRAY) {
        if (depth == ARRAY_DEPTH_MAX)
            return px_fail(
                PX_INVALID_ARGUMENT, "arrays are nested deeper than %d", ARRAY_DEPTH_MAX);
        uint32_t element = 0;
        uint64_t count = 0;
        PX_TRY(take(c, &element, sizeof element));
        PX_TRY(take(c, &count, sizeof count));
        size_t bytes = scalar_bytes(element);
        /* Every element takes at least `least` bytes, so a lying count ends here. */
        uint64_t least = bytes ? bytes : element == PX_GGUF_ARRAY ? 12 : 8;
        if (count > left(c) / least)
            return px_fail(PX_DATA_LOSS,
                "an array in the header claims %llu elements, more than is left",
                (unsigned long long)count);
        if (bytes) {
            c->at += count * bytes;
            return px_ok();
        }
        for (uint64_t i = 0; i < count; i++) PX_TRY(skip_value(c, element, depth + 1));
        return px_ok();
    }
    size_t bytes = scalar_bytes(type);
    if (!bytes) return px_fail(PX_INVALID_ARGUMENT, "unknown value type %u in the header", type);
    if (left(c) < bytes) return px_fail(PX_DATA_LOSS, "the file is cut short in its header");
    c->at += bytes;
    return px_ok();
}

/* --- metadata --- */

/* How much of a hostile name a sentence shows ("%.*s"). */
static int shown(px_slice name)
{
    return name.length < 80 ? (int)name.length : 80;
}

static int compare_slices(px_slice a, px_slice b)
{
    size_t shorter = a.length < b.length ? a.length : b.length;
    int order = shorter ? memcmp(a.data, b.data, shorter) : 0;
    return order ? order : (a.length > b.length) - (a.length < b.length);
}

static int compare_pairs(const void *a, const void *b)
{
    return compare_slices(((const pair *)a)->key, ((const pair *)b)->key);
}

static px_status read_pairs(cursor *c, uint64_t count, pair **out)
{
    if (count > KEYS_MAX || count > left(c) / 13)
        return px_fail(PX_DATA_LOSS, "the header claims %llu keys, more than it can hold",
            (unsigned long long)count);
    pair *pairs = px_alloc_array(count ? count : 1, sizeof *pairs);
    px_status status = px_ok();
    for (uint64_t i = 0; i < count; i++) {
        uint32_t type = 0;
        PX_TRY_GOTO(take_string(c, &pairs[i].key), failed);
        PX_TRY_GOTO(take(c, &type, sizeof type), failed);
        pairs[i].type = (px_gguf_type)type;
        pairs[i].value = c->at;
        status = skip_value(c, type, 0);
        if (!px_is_ok(status)) {
            status = px_prefix(status, "key '%.*s'", shown(pairs[i].key), pairs[i].key.data);
            goto failed;
        }
        pairs[i].value_bytes = (size_t)(c->at - pairs[i].value);
    }
    qsort(pairs, count, sizeof *pairs, compare_pairs);
    for (uint64_t i = 1; i < count; i++) {
        if (compare_pairs(&pairs[i - 1], &pairs[i]) != 0) continue;
        status = px_fail(
            PX_INVALID_ARGUMENT, "key '%.*s' occurs twice", shown(pairs[i].key), pairs[i].key.data);
        goto failed;
    }
    *out = pairs;
    return px_ok();
failed:
    free(pairs);
    return status;
}

static const pair *find(const px_gguf *file, const char *key)
{
    pair wanted = {.key = {.data = key, .length = strlen(key)}};
    return bsearch(&wanted, file->pairs, file->pair_count, sizeof wanted, compare_pairs);
}

static bool load_int(px_gguf_type type, const unsigned char *from, int64_t *out)
{
#define PX_LOAD(gguf, c_type)                                                                      \
    case gguf: {                                                                                   \
        c_type value;                                                                              \
        memcpy(&value, from, sizeof value);                                                        \
        *out = (int64_t)value;                                                                     \
        return true;                                                                               \
    }
    switch (type) {
        PX_LOAD(PX_GGUF_U8, uint8_t)
        PX_LOAD(PX_GGUF_I8, int8_t)
        PX_LOAD(PX_GGUF_U16, uint16_t)
        PX_LOAD(PX_GGUF_I16, int16_t)
        PX_LOAD(PX_GGUF_U32, uint32_t)
        PX_LOAD(PX_GGUF_I32, int32_t)
        PX_LOAD(PX_GGUF_U64, uint64_t)
        PX_LOAD(PX_GGUF_I64, int64_t)
        PX_LOAD(PX_GGUF_BOOL, uint8_t)
    default: return false;
    }
#undef PX_LOAD
}

static bool load_real(px_gguf_type type, const unsigned char *from, double *out)
{
    if (type == PX_GGUF_F32) {
        float value;
        memcpy(&value, from, sizeof value);
        *out = value;
        return true;
    }
    if (type == PX_GGUF_F64) {
        memcpy(out, from, sizeof *out);
        return true;
    }
    int64_t whole;
    if (!load_int(type, from, &whole)) return false;
    *out = (double)whole;
    return true;
}

bool px_gguf_has(const px_gguf *file, const char *key)
{
    return find(file, key) != NULL;
}

bool px_gguf_int(const px_gguf *file, const char *key, int64_t *out)
{
    const pair *p = find(file, key);
    return p && p->type != PX_GGUF_BOOL && load_int(p->type, p->value, out);
}

bool px_gguf_real(const px_gguf *file, const char *key, double *out)
{
    const pair *p = find(file, key);
    return p && p->type != PX_GGUF_BOOL && load_real(p->type, p->value, out);
}

bool px_gguf_bool(const px_gguf *file, const char *key, bool *out)
{
    const pair *p = find(file, key);
    if (!p || p->type != PX_GGUF_BOOL) return false;
    *out = *p->value != 0;
    return true;
}

bool px_gguf_str(const px_gguf *file, const char *key, px_slice *out)
{
    const pair *p = find(file, key);
    if (!p || p->type != PX_GGUF_STRING) return false;
    uint64_t length;
    memcpy(&length, p->value, sizeof length);
    *out = (px_slice){.data = (const char *)p->value + sizeof length, .length = (size_t)length};
    return true;
}

bool px_gguf_array_get(const px_gguf *file, const char *key, px_gguf_array *out)
{
    const pair *p = find(file, key);
    if (!p || p->type != PX_GGUF_ARRAY) return false;
    uint32_t type;
    memcpy(&type, p->value, sizeof type);
    out->type = (px_gguf_type)type;
    memcpy(&out->count, p->value + sizeof type, sizeof out->count);
    out->data = p->value + sizeof type + sizeof out->count;
    return true;
}

double px_gguf_array_real(const px_gguf_array *array, uint64_t i)
{
    double value = 0;
    PX_ASSERT(i < array->count);
    (void)load_real(array->type, array->data + i * scalar_bytes(array->type), &value);
    return value;
}

int64_t px_gguf_array_int(const px_gguf_array *array, uint64_t i)
{
    int64_t value = 0;
    PX_ASSERT(i < array->count);
    (void)load_int(array->type, array->data + i * scalar_bytes(array->type), &value);
    return value;
}

void px_gguf_array_strings(const px_gguf_array *array, px_slice *out)
{
    PX_ASSERT(array->type == PX_GGUF_STRING);
    const unsigned char *at = array->data;
    for (uint64_t i = 0; i < array->count; i++) {
        uint64_t length;
        memcpy(&length, at, sizeof length);
        out[i] = (px_slice){.data = (const char *)at + sizeof length, .length = (size_t)length};
        at += sizeof length + length;
    }
}

uint64_t px_gguf_pair_count(const px_gguf *file)
{
    return file->pair_count;
}

px_gguf_pair px_gguf_pair_at(const px_gguf *file, uint64_t index)
{
    PX_ASSERT(index < file->pair_count);
    const pair *p = &file->pairs[index];
    return (px_gguf_pair){
        .key = p->key, .type = p->type, .value = {(const char *)p->value, p->value_bytes}};
}

/* --- tensors --- */

/* One entry of the table; tensor->data is left as the offset's checked address later. */
static px_status read_tensor(px_gguf *file, cursor *c, px_tensor *tensor, uint64_t *out_offset)
{
    px_slice name;
    PX_TRY(take_string(c, &name));
    if (!name.length || name.length > NAME_BYTES_MAX || memchr(name.data, 0, name.length))
        return px_fail(PX_INVALID_ARGUMENT, "a tensor's name is empty, too long or holds a NUL");
    char *copy = px_arena_copy(&file->names, name.data, name.length);
    if (!copy) return px_fail(PX_RESOURCE_EXHAUSTED, "the tensor names take too much memory");
    tensor->name = copy;

    uint32_t dims = 0, type = 0;
    PX_TRY(take(c, &dims, sizeof dims));
    if (!dims || dims > PX_TENSOR_DIMS_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "tensor '%s' has %u dimensions", copy, dims);
    tensor->dims = dims;
    uint64_t elements = 1;
    for (uint32_t i = dims; i-- > 0;) {
        uint64_t size = 0;
        PX_TRY(take(c, &size, sizeof size));
        if (!size || size > UINT32_MAX || __builtin_mul_overflow(elements, size, &elements))
            return px_fail(PX_INVALID_ARGUMENT, "tensor '%s' has an impossible size", copy);
        tensor->shape[i] = size;
    }
    PX_TRY(take(c, &type, sizeof type));
    PX_TRY(take(c, out_offset, sizeof *out_offset));

    if (!px_gguf_dtype(type, &tensor->dtype))
        return px_fail(PX_UNIMPLEMENTED,
            "tensor '%s' has GGUF type %u (%s), which is not supported; convert the model to "
            "another quantisation",
            copy, type, px_gguf_type_name(type));
    const px_dtype_traits *traits = px_dtype_of(tensor->dtype);
    if (tensor->shape[dims - 1] % traits->block_elements)
        return px_fail(PX_INVALID_ARGUMENT,
            "tensor '%s': rows of %llu are not whole %s blocks of %u", copy,
            (unsigned long long)tensor->shape[dims - 1], traits->name, traits->block_elements);
    if (__builtin_mul_overflow(
            elements / traits->block_elements, (uint64_t)traits->block_bytes, &tensor->bytes))
        return px_fail(PX_INVALID_ARGUMENT, "tensor '%s' has an impossible size", copy);
    return px_ok();
}

static px_status place_tensor(px_tensor *tensor, uint64_t offset, uint64_t alignment,
    const unsigned char *data, uint64_t bytes)
{
    if (offset % alignment)
        return px_fail(PX_INVALID_ARGUMENT,
            "tensor '%s' lies at offset %llu, not a multiple of %llu", tensor->name,
            (unsigned long long)offset, (unsigned long long)alignment);
    if (offset > bytes || tensor->bytes > bytes - offset)
        return px_fail(PX_DATA_LOSS,
            "tensor '%s' ends beyond the end of the file; the file is cut short", tensor->name);
    tensor->data = data + offset;
    return px_ok();
}

static px_status read_alignment(const px_gguf *file, uint64_t *out)
{
    int64_t alignment = DEFAULT_ALIGNMENT;
    (void)px_gguf_int(file, "general.alignment", &alignment);
    if (alignment < 1 || alignment > (1 << 20) || (alignment & (alignment - 1)))
        return px_fail(PX_INVALID_ARGUMENT, "general.alignment %lld is not a small power of two",
            (long long)alignment);
    *out = (uint64_t)alignment;
    return px_ok();
}

static px_status read_tensors(px_gguf *file, cursor *c, uint64_t count, const px_map *map)
{
    if (count > TENSORS_MAX - file->tensor_count || count > left(c) / 32)
        return px_fail(PX_DATA_LOSS, "the header claims %llu tensors, more than it can hold",
            (unsigned long long)count);
    uint64_t alignment = 0;
    PX_TRY(read_alignment(file, &alignment));

    px_tensor *grown = px_alloc_array(file->tensor_count + count + 1, sizeof *grown);
    if (file->tensor_count) memcpy(grown, file->tensors, file->tensor_count * sizeof *grown);
    free(file->tensors);
    file->tensors = grown;

    px_tensor *fresh = file->tensors + file->tensor_count;
    uint64_t *offsets = px_alloc_array(count + 1, sizeof *offsets);
    px_status status = px_ok();
    for (uint64_t i = 0; i < count; i++)
        PX_TRY_GOTO(read_tensor(file, c, &fresh[i], &offsets[i]), out);

    uint64_t header = (uint64_t)(c->at - map->data);
    uint64_t start = (header + alignment - 1) / alignment * alignment;
    uint64_t bytes = start < map->bytes ? map->bytes - start : 0;
    for (uint64_t i = 0; i < count; i++)
        PX_TRY_GOTO(place_tensor(&fresh[i], offsets[i], alignment, map->data + start, bytes), out);
    file->tensor_count += (uint32_t)count;
out:
    free(offsets);
    return status;
}

uint32_t px_gguf_tensor_count(const px_gguf *file)
{
    return file->tensor_count;
}

const px_tensor *px_gguf_tensor_at(const px_gguf *file, uint32_t index)
{
    PX_ASSERT(index < file->tensor_count);
    return &file->tensors[index];
}

/* --- files --- */

/* Maps and reads one file. The pairs of the last part read stay in `file`. */
static px_status read_part(px_gguf *file, const char *path)
{
    px_map *map = &file->maps[file->part_count];
    PX_TRY(px_map_open(path, map));
    file->part_count++;
    char magic[4];
    uint32_t version = 0;
    uint64_t tensors = 0, pairs = 0;
    if (map->bytes < sizeof magic || memcmp(map->data, "GGUF", sizeof magic) != 0)
        return px_fail(PX_INVALID_ARGUMENT, "not a GGUF file (it does not start with \"GGUF\")");
    cursor c = {.at = map->data, .end = map->data + map->bytes};
    PX_TRY(take(&c, magic, sizeof magic));
    PX_TRY(take(&c, &version, sizeof version));
    if (version == 0x02000000 || version == 0x03000000)
        return px_fail(PX_UNIMPLEMENTED, "big-endian GGUF files are not supported");
    if (version != 2 && version != 3)
        return px_fail(PX_UNIMPLEMENTED, "GGUF version %u is not supported (2 and 3 are)", version);
    PX_TRY(take(&c, &tensors, sizeof tensors));
    PX_TRY(take(&c, &pairs, sizeof pairs));

    pair *read = NULL;
    PX_TRY(read_pairs(&c, pairs, &read));
    free(file->pairs);
    file->pairs = read;
    file->pair_count = pairs;
    return read_tensors(file, &c, tensors, map);
}

/* Reads all parts, the first one last, so that its pairs are the ones that stay. */
static px_status read_split(px_gguf *file, const char *path, uint32_t count)
{
    if (count > PARTS_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "split.count %u is more than %d", count, PARTS_MAX);
    px_map_close(&file->maps[0]);
    free(file->maps);
    file->maps = px_alloc_array(count, sizeof *file->maps);
    file->part_count = 0;
    file->tensor_count = 0;
    px_arena_reset(&file->names);
    for (uint32_t i = count; i-- > 0;) {
        char part[4096];
        if (!px_gguf_part_path(path, (px_gguf_part){i + 1, count}, part, sizeof part))
            return px_fail(PX_INVALID_ARGUMENT,
                "a part of a split model must be named NAME-00001-of-%05u.gguf", count);
        PX_TRY(px_prefix(read_part(file, part), "part %u of %u", i + 1, count));
        int64_t number = -1, of = -1;
        (void)px_gguf_int(file, "split.no", &number);
        (void)px_gguf_int(file, "split.count", &of);
        if (number != i || of != count)
            return px_fail(PX_INVALID_ARGUMENT, "part %u of %u says that it is part %lld of %lld",
                i + 1, count, (long long)number + 1, (long long)of);
    }
    int64_t total = -1;
    if (px_gguf_int(file, "split.tensors.count", &total) && total != file->tensor_count)
        return px_fail(PX_DATA_LOSS, "the parts hold %u tensors, not the %lld they should",
            file->tensor_count, (long long)total);
    return px_ok();
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static px_status check_names_differ(const px_gguf *file)
{
    const char **names = px_alloc_array(file->tensor_count + 1, sizeof *names);
    for (uint32_t i = 0; i < file->tensor_count; i++) names[i] = file->tensors[i].name;
    qsort(names, file->tensor_count, sizeof *names, compare_names);
    px_status status = px_ok();
    for (uint32_t i = 1; i < file->tensor_count && px_is_ok(status); i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            status = px_fail(PX_INVALID_ARGUMENT, "tensor '%s' occurs twice", names[i]);
    free(names);
    return status;
}

static px_status open_all(px_gguf *file, const char *path)
{
    PX_TRY(read_part(file, path));
    int64_t count = 1;
    (void)px_gguf_int(file, "split.count", &count);
    if (count < 0 || count > UINT32_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "split.count %lld is impossible", (long long)count);
    if (count > 1) PX_TRY(read_split(file, path, (uint32_t)count));
    return check_names_differ(file);
}

px_status px_gguf_open(const char *path, px_gguf **out)
{
    px_gguf *file = px_alloc(sizeof *file);
    file->maps = px_alloc_array(1, sizeof *file->maps);
    px_arena_init(&file->names, NAMES_BYTES_MAX);
    px_status status = open_all(file, path);
    if (!px_is_ok(status)) {
        px_gguf_close(file);
        return px_prefix(status, "%s", path);
    }
    *out = file;
    return px_ok();
}

void px_gguf_close(px_gguf *file)
{
    if (!file) return;
    for (uint32_t i = 0; i < file->part_count; i++) px_map_close(&file->maps[i]);
    free(file->maps);
    free(file->pairs);
    free(file->tensors);
    px_arena_done(&file->names);
    free(file);
}
