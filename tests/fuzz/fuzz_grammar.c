/* Grammars from strangers: the first byte says which kind, the rest is the text. What compiles is
 * walked a little, and what it forces must be what it takes. */
#include <stdlib.h>

#include "engine/grammar/grammar.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void bytes_of(void *arg, uint32_t id, px_buf *out)
{
    px_buf_putc(out, (char)id);
}

static void walk(px_grammar *grammar, const unsigned char *data, size_t size)
{
    px_guide guide;
    px_guide_begin(grammar, &guide);
    for (size_t i = 0; i < size && i < 64; i++) {
        char forced[32];
        bool ends;
        size_t count = px_guide_forced(&guide, forced, sizeof forced, &ends);
        for (size_t k = 0; k < count; k++)
            PX_ASSERT(px_guide_accept(&guide, (unsigned char)forced[k]));
        const uint32_t *mask = px_guide_mask(&guide);
        if (!mask) break;
        bool allowed = mask[data[i] / 32] >> data[i] % 32 & 1;
        PX_ASSERT(px_guide_accept(&guide, data[i]) == allowed);
    }
    px_guide_end(&guide);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static px_vocabulary vocabulary;
    if (!vocabulary.size && !px_is_ok(px_vocabulary_make(256, bytes_of, NULL, &vocabulary)))
        abort();
    if (!size) return 0;
    px_grammar *grammar;
    px_status status =
        px_grammar_compile(&vocabulary, (px_grammar_kind)(data[0] % PX_GRAMMAR_KIND_COUNT),
            (px_slice){(const char *)data + 1, size - 1}, &grammar);
    if (!px_is_ok(status)) {
        PX_ASSERT(status.text[0]);
        return 0;
    }
    walk(grammar, data, size);
    px_grammar_free(grammar);
    return 0;
}
