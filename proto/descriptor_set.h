/* descriptor_set.h - the descriptors of all our .proto files, embedded by the build.
 *
 * Threads: pure functions over constant bytes.
 */
#ifndef PX_PROTO_DESCRIPTOR_SET_H
#define PX_PROTO_DESCRIPTOR_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct px_proto_file { /* a serialised google.protobuf.FileDescriptorProto */
    const uint8_t *bytes;
    size_t length;
} px_proto_file;

enum { PX_PROTO_FILES_MAX = 64 };

/* `name` as it is imported: "phalanx/v1/engine.proto". */
bool px_proto_find_file(const char *name, px_proto_file *out);
/* The file that declares `symbol`: a full name, as "phalanx.v1.Engine.Serve". */
bool px_proto_find_symbol(const char *symbol, px_proto_file *out);
/* `file` and all that it imports, directly or not, each once; returns their count. */
size_t px_proto_with_imports(px_proto_file file, px_proto_file out[PX_PROTO_FILES_MAX]);

#endif
