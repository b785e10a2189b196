/* base64.h - RFC 4648 base64 with padding: how etcd's JSON gateway carries keys and values. */
#ifndef PX_ETCD_BASE64_H
#define PX_ETCD_BASE64_H

#include "base/memory.h"

void px_base64_encode(px_buf *out, const void *bytes, size_t length);

/* Decodes into `arena` and adds a NUL that *out_length does not count. NULL: not base64, or the
 * arena's limit would be passed. */
char *px_base64_decode(px_arena *arena, px_slice text, size_t *out_length);

#endif
