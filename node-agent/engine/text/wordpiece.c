/* wordpiece.c - see wordpiece.h. */
#include "engine/text/wordpiece.h"

#include <string.h>

#include "engine/text/grow.h"
#include "engine/text/unicode.h"

enum { PIECE_BYTES_MAX = 1024 };

static px_status push(px_ids *ids, uint32_t id)
{
    PX_TRY(PX_GROW(ids, ids->count + 1));
    ids->data[ids->count++] = id;
    return px_ok();
}

/* The longest token that begins word[start..); *end becomes its end. */
static uint32_t longest(const px_wordpiece *model, px_slice word, size_t start, size_t *end)
{
    char text[PIECE_BYTES_MAX];
    const char *prefix = start == 0 ? model->first_prefix : model->prefix;
    size_t skip = strlen(prefix);
    size_t length = word.length - start;
    if (length > sizeof text - skip) length = sizeof text - skip;
    memcpy(text, prefix, skip);
    memcpy(text + skip, word.data + start, length);
    for (; length > 0; length--) {
        bool whole = start + length == word.length ||
                     ((unsigned char)word.data[start + length] & 0xc0) != 0x80;
        if (!whole) continue;
        uint32_t id = px_vocab_find(model->vocab, text, skip + length);
        if (id == PX_NO_TOKEN) continue;
        *end = start + length;
        return id;
    }
    return PX_NO_TOKEN;
}

static px_status push_unknown(const px_wordpiece *model, px_slice word, px_ids *ids)
{
    if (model->unknown_id == PX_NO_TOKEN) return px_vocab_unknown(word);
    return push(ids, model->unknown_id);
}

px_status px_wordpiece_encode(const px_wordpiece *model, px_slice word, px_ids *ids)
{
    if (px_rune_count(word.data, word.length) > model->word_runes_max)
        return push_unknown(model, word, ids);
    size_t before = ids->count;
    for (size_t start = 0; start < word.length;) {
        uint32_t id = longest(model, word, start, &start);
        if (id == PX_NO_TOKEN) { /* one bad piece makes the whole word unknown */
            ids->count = before;
            return push_unknown(model, word, ids);
        }
        PX_TRY(push(ids, id));
    }
    return px_ok();
}

px_status px_wordlevel_encode(const px_wordpiece *model, px_slice word, px_ids *ids)
{
    uint32_t id = px_vocab_find(model->vocab, word.data, word.length);
    return id == PX_NO_TOKEN ? push_unknown(model, word, ids) : push(ids, id);
}
