/* added.h - added tokens: words that are found in the text before anything else is done to it.
 *
 * The longest match from the left wins. A token may take the white space on its left or right
 * with it, and may demand to stand as a word of its own.
 * Source:  Hugging Face tokenizers' added_vocabulary.rs.
 * Owns:    copies of the texts.
 * Threads: immutable once built.
 */
#ifndef PX_TEXT_ADDED_H
#define PX_TEXT_ADDED_H

#include "engine/text/trie.h"

typedef struct px_added_token {
    uint32_t id;
    bool special, single_word, strip_left, strip_right;
    bool normalized; /* looked for in the normalised text */
} px_added_token;

typedef struct px_added {
    px_added_token *tokens;
    size_t count, capacity;
    px_trie raw, normalized; /* values: index of tokens */
} px_added;

px_status px_added_init(px_added *added) PX_MUST_USE;
void px_added_done(px_added *added);
/* `pattern` is what to look for: the token's text, normalised if token.normalized. */
px_status px_added_add(px_added *added, px_slice pattern, const px_added_token *token) PX_MUST_USE;

typedef struct px_added_match {
    size_t start, end; /* with stripped white space; start may lie before the last match's end */
    const px_added_token *token;
} px_added_match;

typedef struct px_added_scan { /* starts as {0} */
    size_t search; /* where the search goes on: behind the last token, but not behind the white
                    * space it took, which may itself be a token */
    size_t taken;  /* end of the last match, with its white space */
} px_added_scan;

/* The next match in text. `find_special`: false leaves special tokens as text. */
bool px_added_next(const px_added *added, const px_trie *trie, px_slice text, bool find_special,
    px_added_scan *scan, px_added_match *out);

#endif
