/* gguf_meta.h - builds the metadata of a GGUF, key by key, for tests of what reads it. */
#ifndef PX_TEST_GGUF_META_H
#define PX_TEST_GGUF_META_H

#include "engine/model/gguf.h"
#include "unit/model/model_bytes.h"

/* Metadata in the making: keys are counted, `arch` stands before those that begin with a dot. */
typedef struct meta {
    bytes keys;
    uint64_t count;
    const char *arch;
} meta;

static inline void meta_key(meta *m, const char *key, uint32_t type)
{
    char full[128];
    snprintf(full, sizeof full, "%s%s", *key == '.' ? m->arch : "", key);
    put_text(&m->keys, full);
    put_u32(&m->keys, type);
    m->count++;
}
static inline void meta_number(
    meta *m, const char *key, uint32_t type, const void *value, size_t size)
{
    meta_key(m, key, type);
    put(&m->keys, value, size);
}
static inline void meta_u32(meta *m, const char *key, uint32_t value)
{
    meta_number(m, key, PX_GGUF_U32, &value, sizeof value);
}
static inline void meta_f32(meta *m, const char *key, float value)
{
    meta_number(m, key, PX_GGUF_F32, &value, sizeof value);
}
static inline void meta_boolean(meta *m, const char *key, bool value)
{
    meta_number(m, key, PX_GGUF_BOOL, &value, 1);
}
static inline void meta_text(meta *m, const char *key, const char *value)
{
    meta_key(m, key, PX_GGUF_STRING);
    put_text(&m->keys, value);
}
static inline void meta_i32s(meta *m, const char *key, const int32_t *values, uint64_t count)
{
    meta_key(m, key, PX_GGUF_ARRAY);
    put_u32(&m->keys, PX_GGUF_I32);
    put_u64(&m->keys, count);
    put(&m->keys, values, count * sizeof *values);
}
static inline void meta_texts(meta *m, const char *key, const char *const *values, uint64_t count)
{
    meta_key(m, key, PX_GGUF_ARRAY);
    put_u32(&m->keys, PX_GGUF_STRING);
    put_u64(&m->keys, count);
    for (uint64_t i = 0; i < count; i++) put_text(&m->keys, values[i]);
}

#endif
