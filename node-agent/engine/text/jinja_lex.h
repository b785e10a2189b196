/* jinja_lex.h - a template's source to tokens, with Jinja's rules of white space.
 *
 * As transformers sets them: trim_blocks (a newline after a block tag goes), lstrip_blocks (blanks
 * before a block tag that begins a line go), one newline at the very end goes; "-" and "+" in a tag
 * override.
 * Source: Jinja 3.1, lexer.py.
 */
#ifndef PX_TEXT_JINJA_LEX_H
#define PX_TEXT_JINJA_LEX_H

#include "base/memory.h"

/* How every error of a template begins, when it is parsed and when it is rendered. */
#define PX_JERROR "chat template, line %d: "

typedef enum px_jtoken_kind {
    PX_T_TEXT,
    PX_T_PRINT_BEGIN,
    PX_T_PRINT_END,
    PX_T_BLOCK_BEGIN,
    PX_T_BLOCK_END,
    PX_T_NAME,
    PX_T_STRING, /* text: unescaped */
    PX_T_INTEGER,
    PX_T_REAL,
    PX_T_OPERATOR, /* text: "==", "(", ... */
    PX_T_END,
} px_jtoken_kind;

typedef struct px_jtoken {
    px_jtoken_kind kind;
    int line;
    px_slice text;
} px_jtoken;

/* `source` is valid UTF-8 with \n newlines. Tokens and their texts are in `arena` or borrowed from
 * `source`. The last token is END. */
px_status px_jinja_lex(
    px_arena *arena, px_slice source, px_jtoken **out_tokens, size_t *out_count) PX_MUST_USE;

#endif
