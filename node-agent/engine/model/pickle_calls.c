/* pickle_calls.c - what torch.save's pickles call; see pickle_calls.h. */
#include "engine/model/pickle_calls.h"

#include <string.h>

typedef enum call {
    CALL_DICT,
    CALL_TUPLE,          /* torch.Size(tuple) */
    CALL_LIST,           /* set(list) */
    CALL_NOTHING,        /* torch.device(...) */
    CALL_TENSOR,         /* (storage, offset, shape, stride, ...) */
    CALL_TENSOR_OF_TYPE, /* (storage, offset, shape, stride, requires_grad, hooks, dtype, ...) */
    CALL_PARAMETER,      /* (tensor, ...) */
    CALL_STORAGE,        /* a type of storage: not called, part of a persistent id */
    CALL_DTYPE,          /* a number format: not called */
} call;

static const struct known_name {
    const char *module, *name;
    call call;
    px_dtype dtype; /* of STORAGE and DTYPE */
} known_names[] = {
    {"collections", "OrderedDict", CALL_DICT, PX_U8},
    {"torch", "Size", CALL_TUPLE, PX_U8},
    {"builtins", "set", CALL_LIST, PX_U8},
    {"__builtin__", "set", CALL_LIST, PX_U8},
    {"torch", "device", CALL_NOTHING, PX_U8},
    {"torch.serialization", "_get_layout", CALL_NOTHING, PX_U8},
    {"torch._utils", "_rebuild_tensor", CALL_TENSOR, PX_U8},
    {"torch._utils", "_rebuild_tensor_v2", CALL_TENSOR, PX_U8},
    {"torch._utils", "_rebuild_tensor_v3", CALL_TENSOR_OF_TYPE, PX_U8},
    {"torch._utils", "_rebuild_parameter", CALL_PARAMETER, PX_U8},
    {"torch._utils", "_rebuild_parameter_with_state", CALL_PARAMETER, PX_U8},
    {"torch", "DoubleStorage", CALL_STORAGE, PX_F64},
    {"torch", "FloatStorage", CALL_STORAGE, PX_F32},
    {"torch", "HalfStorage", CALL_STORAGE, PX_F16},
    {"torch", "BFloat16Storage", CALL_STORAGE, PX_BF16},
    {"torch", "LongStorage", CALL_STORAGE, PX_I64},
    {"torch", "IntStorage", CALL_STORAGE, PX_I32},
    {"torch", "ShortStorage", CALL_STORAGE, PX_I16},
    {"torch", "CharStorage", CALL_STORAGE, PX_I8},
    {"torch", "ByteStorage", CALL_STORAGE, PX_U8},
    {"torch", "BoolStorage", CALL_STORAGE, PX_U8},
    {"torch", "UntypedStorage", CALL_STORAGE, PX_U8},
    {"torch.storage", "UntypedStorage", CALL_STORAGE, PX_U8},
    {"torch", "float64", CALL_DTYPE, PX_F64},
    {"torch", "float32", CALL_DTYPE, PX_F32},
    {"torch", "float16", CALL_DTYPE, PX_F16},
    {"torch", "bfloat16", CALL_DTYPE, PX_BF16},
    {"torch", "float8_e4m3fn", CALL_DTYPE, PX_F8_E4M3},
    {"torch", "float8_e5m2", CALL_DTYPE, PX_F8_E5M2},
    {"torch", "float8_e8m0fnu", CALL_DTYPE, PX_F8_E8M0},
    {"torch", "int64", CALL_DTYPE, PX_I64},
    {"torch", "int32", CALL_DTYPE, PX_I32},
    {"torch", "int16", CALL_DTYPE, PX_I16},
    {"torch", "int8", CALL_DTYPE, PX_I8},
    {"torch", "uint8", CALL_DTYPE, PX_U8},
    {"torch", "bool", CALL_DTYPE, PX_U8},
};
enum { KNOWN_NAMES = sizeof known_names / sizeof *known_names };

static bool is_text(px_slice slice, const char *text)
{
    return slice.length == strlen(text) && memcmp(slice.data, text, slice.length) == 0;
}

px_status px_pickle_name(px_slice module, px_slice name, uint32_t *out)
{
    for (uint32_t i = 0; i < KNOWN_NAMES; i++) {
        if (!is_text(module, known_names[i].module) || !is_text(name, known_names[i].name))
            continue;
        *out = i;
        return px_ok();
    }
    int module_shown = module.length < 60 ? (int)module.length : 60;
    int name_shown = name.length < 60 ? (int)name.length : 60;
    return px_fail(PX_UNIMPLEMENTED,
        "the pickle names %.*s.%.*s, which is not part of a state dict and is not run; save "
        "model.state_dict() alone",
        module_shown, module.data, name_shown, name.data);
}

/* --- arguments --- */

static const px_pickle_value *argument(const px_pickle_value *arguments, uint32_t index)
{
    static const px_pickle_value none = {.kind = PX_PICKLE_NONE};
    return index < arguments->count ? arguments->items[index] : &none;
}

static px_status not_a_tensor(const char *what)
{
    return px_fail(PX_INVALID_ARGUMENT, "the pickle rebuilds a tensor with %s", what);
}

/* A tuple of sizes or strides. */
static px_status take_sizes(const px_pickle_value *tuple, uint64_t *out)
{
    for (uint32_t i = 0; i < tuple->count; i++) {
        const px_pickle_value *size = tuple->items[i];
        if (size->kind != PX_PICKLE_INT || size->number < 0)
            return not_a_tensor("a size or stride that is no number");
        out[i] = (uint64_t)size->number;
    }
    return px_ok();
}

static bool is_list(const px_pickle_value *value)
{
    return value->kind == PX_PICKLE_TUPLE || value->kind == PX_PICKLE_LIST;
}

static px_status make_tensor(
    const px_pickle_value *arguments, bool has_type, px_arena *arena, px_pickle_value *out)
{
    const px_pickle_value *storage = argument(arguments, 0), *offset = argument(arguments, 1),
                          *shape = argument(arguments, 2), *stride = argument(arguments, 3),
                          *type = argument(arguments, 6);
    if (storage->kind != PX_PICKLE_STORAGE) return not_a_tensor("no storage");
    if (offset->kind != PX_PICKLE_INT || offset->number < 0)
        return not_a_tensor("an impossible offset");
    if (!is_list(shape) || !is_list(stride) || shape->count != stride->count)
        return not_a_tensor("sizes and strides that do not match");
    if (shape->count > PX_TENSOR_DIMS_MAX)
        return px_fail(PX_UNIMPLEMENTED, "a tensor of %u dimensions is not supported; at most %d",
            shape->count, PX_TENSOR_DIMS_MAX);
    px_pickle_tensor *tensor = px_arena_alloc(arena, sizeof *tensor);
    if (!tensor) return px_fail(PX_RESOURCE_EXHAUSTED, "the pickle takes too much memory");
    tensor->storage = storage->storage;
    tensor->dtype = storage->storage.dtype;
    tensor->offset = (uint64_t)offset->number;
    tensor->dims = shape->count;
    if (has_type) {
        if (type->kind != PX_PICKLE_NAME || known_names[type->name].call != CALL_DTYPE)
            return not_a_tensor("no number format");
        tensor->dtype = known_names[type->name].dtype;
    }
    PX_TRY(take_sizes(shape, tensor->shape));
    PX_TRY(take_sizes(stride, tensor->stride));
    *out = (px_pickle_value){.kind = PX_PICKLE_TENSOR, .tensor = tensor};
    return px_ok();
}

/* OrderedDict([(key, value), ...]) */
static px_status make_dict(const px_pickle_value *pairs, px_arena *arena, px_pickle_value *out)
{
    *out = (px_pickle_value){.kind = PX_PICKLE_DICT};
    if (pairs->kind == PX_PICKLE_NONE) return px_ok();
    if (!is_list(pairs))
        return px_fail(PX_INVALID_ARGUMENT, "the pickle's OrderedDict has no pairs");
    out->items = px_arena_alloc(arena, (size_t)pairs->count * 2 * sizeof *out->items);
    if (!out->items) return px_fail(PX_RESOURCE_EXHAUSTED, "the pickle takes too much memory");
    out->capacity = pairs->count * 2;
    for (uint32_t i = 0; i < pairs->count; i++) {
        const px_pickle_value *pair = pairs->items[i];
        if (!is_list(pair) || pair->count != 2)
            return px_fail(PX_INVALID_ARGUMENT, "the pickle's OrderedDict has no pairs");
        out->items[out->count++] = pair->items[0];
        out->items[out->count++] = pair->items[1];
    }
    return px_ok();
}

px_status px_pickle_call(
    uint32_t name, const px_pickle_value *arguments, px_arena *arena, px_pickle_value *out)
{
    const px_pickle_value *first = argument(arguments, 0);
    switch (known_names[name].call) {
    case CALL_DICT: return make_dict(first, arena, out);
    case CALL_TENSOR: return make_tensor(arguments, false, arena, out);
    case CALL_TENSOR_OF_TYPE: return make_tensor(arguments, true, arena, out);
    case CALL_NOTHING: *out = (px_pickle_value){.kind = PX_PICKLE_NONE}; return px_ok();
    case CALL_PARAMETER:
        if (first->kind != PX_PICKLE_TENSOR) return not_a_tensor("no tensor for a parameter");
        *out = *first;
        return px_ok();
    case CALL_TUPLE:
    case CALL_LIST:
        if (!is_list(first)) break;
        *out = *first;
        out->kind = known_names[name].call == CALL_TUPLE ? PX_PICKLE_TUPLE : PX_PICKLE_LIST;
        out->capacity = out->count; /* its own items from the first that is added */
        return px_ok();
    default: break;
    }
    return px_fail(PX_INVALID_ARGUMENT, "the pickle calls %s.%s, which is not how that is used",
        known_names[name].module, known_names[name].name);
}

px_status px_pickle_persistent(const px_pickle_value *id, px_pickle_value *out)
{
    const px_pickle_value *none = argument(id, id->count);
    const px_pickle_value *tag = id->kind == PX_PICKLE_TUPLE ? argument(id, 0) : none;
    const px_pickle_value *type = id->kind == PX_PICKLE_TUPLE ? argument(id, 1) : none;
    const px_pickle_value *key = id->kind == PX_PICKLE_TUPLE ? argument(id, 2) : none;
    const px_pickle_value *elements = id->kind == PX_PICKLE_TUPLE ? argument(id, 4) : none;
    if (tag->kind != PX_PICKLE_TEXT || !is_text(tag->text, "storage") ||
        type->kind != PX_PICKLE_NAME || known_names[type->name].call != CALL_STORAGE ||
        key->kind != PX_PICKLE_TEXT || elements->kind != PX_PICKLE_INT || elements->number < 0)
        return px_fail(PX_INVALID_ARGUMENT, "the pickle refers to something that is no storage");
    *out = (px_pickle_value){.kind = PX_PICKLE_STORAGE,
        .storage = {.key = key->text,
            .dtype = known_names[type->name].dtype,
            .elements = (uint64_t)elements->number}};
    return px_ok();
}
