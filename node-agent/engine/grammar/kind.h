/* kind.h - the notations that a grammar may be written in. */
#ifndef PX_GRAMMAR_KIND_H
#define PX_GRAMMAR_KIND_H

typedef enum px_grammar_kind {
    PX_GRAMMAR_REGEX,       /* see regex.h */
    PX_GRAMMAR_GBNF,        /* see gbnf.h */
    PX_GRAMMAR_JSON_SCHEMA, /* see json_schema.h */
    PX_GRAMMAR_JSON_OBJECT, /* any JSON object; the text is not looked at */
    PX_GRAMMAR_CHOICE,      /* one of a JSON array of strings */
    PX_GRAMMAR_KIND_COUNT
} px_grammar_kind;
const char *px_grammar_kind_name(px_grammar_kind kind); /* "regex", "grammar", "json", ... */

#endif
