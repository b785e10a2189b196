#include "control/cli/message_json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"

enum { LINE_BYTES_MAX = 64 << 20 };

static size_t element_bytes(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE: return 8;
    case PROTOBUF_C_TYPE_BOOL: return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE: return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES: return sizeof(ProtobufCBinaryData);
    default: return 4;
    }
}

static void put_real(px_buf *out, double value)
{
    if (isfinite(value))
        px_buf_printf(out, "%.9g", value);
    else
        px_buf_puts(out, "null");
}

static void put_enum(px_buf *out, const ProtobufCEnumDescriptor *descriptor, int value)
{
    const ProtobufCEnumValue *known = protobuf_c_enum_descriptor_get_value(descriptor, value);
    if (known)
        px_json_quote(out, known->name, strlen(known->name));
    else
        px_buf_printf(out, "%d", value);
}

static void put_message(px_buf *out, const ProtobufCMessage *message);

static void put_value(px_buf *out, const ProtobufCFieldDescriptor *field, const void *at)
{
    const ProtobufCBinaryData *bytes = at;
    const char *text;
    const ProtobufCMessage *message;
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32: px_buf_printf(out, "%" PRId32, *(const int32_t *)at); break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32: px_buf_printf(out, "%" PRIu32, *(const uint32_t *)at); break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64: px_buf_printf(out, "%" PRId64, *(const int64_t *)at); break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64: px_buf_printf(out, "%" PRIu64, *(const uint64_t *)at); break;
    case PROTOBUF_C_TYPE_FLOAT: put_real(out, (double)*(const float *)at); break;
    case PROTOBUF_C_TYPE_DOUBLE: put_real(out, *(const double *)at); break;
    case PROTOBUF_C_TYPE_BOOL:
        px_buf_puts(out, *(const protobuf_c_boolean *)at ? "true" : "false");
        break;
    case PROTOBUF_C_TYPE_ENUM: put_enum(out, field->descriptor, *(const int *)at); break;
    case PROTOBUF_C_TYPE_STRING:
        text = *(const char *const *)at;
        px_json_quote(out, text ? text : "", text ? strlen(text) : 0);
        break;
    case PROTOBUF_C_TYPE_BYTES: px_json_quote(out, (const char *)bytes->data, bytes->len); break;
    case PROTOBUF_C_TYPE_MESSAGE:
        message = *(const ProtobufCMessage *const *)at;
        if (message)
            put_message(out, message);
        else
            px_buf_puts(out, "null");
        break;
    }
}

static void put_repeated(
    px_buf *out, const ProtobufCFieldDescriptor *field, const char *items, size_t count)
{
    px_buf_putc(out, '[');
    for (size_t i = 0; i < count; i++) {
        if (i) px_buf_putc(out, ',');
        put_value(out, field, items + i * element_bytes(field->type));
    }
    px_buf_putc(out, ']');
}

static bool is_unset_oneof(const ProtobufCFieldDescriptor *field, const char *base)
{
    if (!(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)) return false;
    return *(const uint32_t *)(base + field->quantifier_offset) != field->id;
}

static void put_message(px_buf *out, const ProtobufCMessage *message)
{
    const char *base = (const char *)message;
    bool first = true;
    px_buf_putc(out, '{');
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        if (is_unset_oneof(field, base)) continue;
        px_buf_printf(out, "%s\"%s\":", first ? "" : ",", field->name);
        first = false;
        if (field->label == PROTOBUF_C_LABEL_REPEATED)
            put_repeated(out, field, *(const char *const *)(base + field->offset),
                *(const size_t *)(base + field->quantifier_offset));
        else
            put_value(out, field, base + field->offset);
    }
    px_buf_putc(out, '}');
}

void px_message_print_json(const ProtobufCMessage *message)
{
    px_buf line;
    px_buf_init(&line, LINE_BYTES_MAX);
    put_message(&line, message);
    puts(px_buf_text(&line));
    fflush(stdout);
    px_buf_done(&line);
}
