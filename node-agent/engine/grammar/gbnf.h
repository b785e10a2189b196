/* gbnf.h - grammars in the notation of llama.cpp (GBNF), and the EBNF that looks like it.
 *
 *   root  ::= "yes" | "no" tail*        # the text is what `root` says
 *   tail  ::= [a-z0-9_] [^\n]{1,3} . ("x" | other)?
 *
 * A rule goes on over lines while an alternative or a parenthesis is open, or until the next
 * `name ::=`. Literals and classes know the escapes \n \t \r \\ \" \[ \] \- \^ \xHH \uHHHH
 * \UHHHHHHHH. Names are letters, digits, '-' and '_'. `.` is any code point.
 * Format: llama.cpp's grammars/README.md.
 */
#ifndef PX_GRAMMAR_GBNF_H
#define PX_GRAMMAR_GBNF_H

#include "engine/grammar/expr.h"

px_status px_gbnf_read(px_slice text, px_expr_source *out) PX_MUST_USE;

#endif
