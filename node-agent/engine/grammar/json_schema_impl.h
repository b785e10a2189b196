/* json_schema_impl.h - what the files that read schemas share. Internal. */
#ifndef PX_GRAMMAR_JSON_SCHEMA_IMPL_H
#define PX_GRAMMAR_JSON_SCHEMA_IMPL_H

#include "engine/grammar/json_text.h"

enum { PX_SCHEMA_REFS_MAX = 1024 };

typedef struct px_schema_ref { /* a schema that $ref leads to, and its rule */
    const json_t *schema;
    uint32_t rule;
} px_schema_ref;

typedef struct px_schema_reader {
    px_expr_source *source;
    px_json_layout layout;
    px_json_any any;
    const json_t *root;
    px_schema_ref refs[PX_SCHEMA_REFS_MAX];
    unsigned ref_count;
    json_t *merged; /* array: schemas made by merging, kept alive until the end */
    unsigned depth;
    char path[512];   /* of the schema being read, as "/properties/age" */
    px_status status; /* the first failure; then everything returns NULL */
} px_schema_reader;

const px_expr *px_schema_fail(px_schema_reader *r, px_code code, const char *format, ...)
    PX_PRINTF(3, 4);
static inline bool px_schema_failed(const px_schema_reader *r)
{
    return !px_is_ok(r->status);
}

/* The value that `schema` (a member of its parent under `where`) describes. */
const px_expr *px_schema_value(px_schema_reader *r, const json_t *schema, const char *where);

/* Of a schema known to be of the type. */
const px_expr *px_schema_object(px_schema_reader *r, const json_t *schema);
const px_expr *px_schema_array(px_schema_reader *r, const json_t *schema);
const px_expr *px_schema_string(px_schema_reader *r, const json_t *schema);

/* A whole number >= 0 under `key`; `otherwise` when there is none. */
uint32_t px_schema_count(
    px_schema_reader *r, const json_t *schema, const char *key, uint32_t otherwise);

/* What a JSON pointer ("#/$defs/Node", RFC 6901, percent-decoded) leads to; NULL: nothing. */
const json_t *px_schema_follow(const px_schema_reader *r, const char *pointer);

/* Both at once, references resolved, as a schema that the reader keeps; NULL: it has failed. */
const json_t *px_schema_merge(px_schema_reader *r, const json_t *a, const json_t *b);
/* Whether more than "$ref" and descriptions stand in it. */
bool px_schema_says_more(const json_t *schema);

/* The regular expression of a format that is kept; NULL: not one. */
const char *px_schema_format(const char *name);

#endif
