/* message_json.h - any protobuf message as one line of JSON, by its descriptor.
 *
 * Field names as in the .proto; all fields are printed, zeros included, members of a oneof only
 * when set; enums by name; bytes as text (they are UTF-8 here), 64-bit integers as numbers.
 */
#ifndef PX_CONTROL_MESSAGE_JSON_H
#define PX_CONTROL_MESSAGE_JSON_H

#include <protobuf-c/protobuf-c.h>

/* The line goes to stdout, flushed. */
void px_message_print_json(const ProtobufCMessage *message);

#endif
