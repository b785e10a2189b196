/* bpe_merges.c - see bpe_merges.h. */
#include "engine/text/bpe_merges.h"

#include <stdlib.h>
#include <string.h>

enum { BATCH = 64, SLOTS_MIN = 64, SLOTS_EXPECTED_MAX = 1 << 24, TEXT_BYTES_MAX = 1 << 28 };

struct px_merge_batch {
    px_buf text; /* of each merge: left right, and joined if that is not the same bytes */
    struct {
        uint32_t start, left, right, joined; /* where it begins; bytes of each */
        uint32_t joined_start;
    } merges[BATCH];
    size_t count;
    px_vocab_query queries[3 * BATCH];
};

static px_status no_memory(void)
{
    return px_fail(PX_RESOURCE_EXHAUSTED, "no memory for the tokenizer's merges");
}

static px_merge *find_place(px_merges *m, uint32_t left, uint32_t right)
{
    uint32_t at = px_merge_slot(left, right, m->mask);
    while (m->slots[at].left != PX_NO_TOKEN &&
           (m->slots[at].left != left || m->slots[at].right != right))
        at = (at + 1) & m->mask;
    return &m->slots[at];
}

static px_status resize(px_merges *m, uint32_t count)
{
    px_merge *old = m->slots;
    uint32_t old_count = old ? m->mask + 1 : 0;
    px_merge *grown = malloc(count * sizeof *grown);
    if (!grown) return no_memory();
    memset(grown, 0xff, count * sizeof *grown);
    m->slots = grown;
    m->mask = count - 1;
    for (uint32_t i = 0; i < old_count; i++)
        if (old[i].left != PX_NO_TOKEN) *find_place(m, old[i].left, old[i].right) = old[i];
    free(old);
    return px_ok();
}

px_status px_merges_init(px_merges *merges, size_t expected)
{
    uint32_t slots = SLOTS_MIN;
    while (slots < 2 * expected && slots < SLOTS_EXPECTED_MAX) slots *= 2;
    return resize(merges, slots);
}

static void batch_free(px_merges *merges)
{
    if (!merges->batch) return;
    px_buf_done(&merges->batch->text);
    free(merges->batch);
    merges->batch = NULL;
}

void px_merges_done(px_merges *merges)
{
    batch_free(merges);
    free(merges->slots);
    merges->slots = NULL;
}

static px_status out_of_vocabulary(px_slice left, px_slice right)
{
    return px_fail(PX_INVALID_ARGUMENT,
        "the tokenizer's merge of '%.*s' and '%.*s' uses or makes a token that is not in the "
        "vocabulary",
        left.length > 40 ? 40 : (int)left.length, left.data,
        right.length > 40 ? 40 : (int)right.length, right.data);
}

static void look_up(px_merges *m)
{
    px_merge_batch *b = m->batch;
    const char *text = px_buf_text(&b->text);
    for (size_t i = 0; i < b->count; i++) {
        px_vocab_query *q = &b->queries[3 * i];
        q[0] = (px_vocab_query){.text = text + b->merges[i].start, .length = b->merges[i].left};
        q[1] = (px_vocab_query){.text = q[0].text + q[0].length, .length = b->merges[i].right};
        q[2] = (px_vocab_query){
            .text = text + b->merges[i].joined_start, .length = b->merges[i].joined};
    }
    px_vocab_find_many(m->vocab, b->queries, 3 * b->count);
    for (size_t i = 0; i < b->count; i++) {
        const px_vocab_query *q = &b->queries[3 * i];
        __builtin_prefetch(&m->slots[px_merge_slot(q[0].id, q[1].id, m->mask)], 1);
    }
}

static px_status insert(px_merges *m, const px_vocab_query q[3])
{
    px_merge rule = {.left = q[0].id, .right = q[1].id, .rank = m->count++, .id = q[2].id};
    if (rule.left == PX_NO_TOKEN || rule.right == PX_NO_TOKEN || rule.id == PX_NO_TOKEN)
        return m->skip_unknown ? px_ok()
                               : out_of_vocabulary((px_slice){q[0].text, q[0].length},
                                     (px_slice){q[1].text, q[1].length});
    bool marked = q[1].length >= 3 && memcmp(q[1].text, "\xe2\x96\x81", 3) == 0; /* ▁ */
    if (marked && q[0].length) m->joins_mark[(unsigned char)q[0].text[q[0].length - 1]] = true;
    if (m->count > m->mask / 2) PX_TRY(resize(m, (m->mask + 1) * 2));
    /* As in the reference, the last of equal pairs counts. */
    *find_place(m, rule.left, rule.right) = rule;
    return px_ok();
}

static px_status take_batch(px_merges *m)
{
    px_merge_batch *b = m->batch;
    if (b->text.overflowed) return no_memory();
    look_up(m);
    for (size_t i = 0; i < b->count; i++) PX_TRY(insert(m, &b->queries[3 * i]));
    b->count = 0;
    px_buf_reset(&b->text);
    return px_ok();
}

px_status px_merges_add(px_merges *merges, px_slice left, px_slice right)
{
    if (!merges->batch) {
        merges->batch = malloc(sizeof *merges->batch);
        if (!merges->batch) return no_memory();
        merges->batch->count = 0;
        px_buf_init(&merges->batch->text, TEXT_BYTES_MAX);
    }
    px_merge_batch *b = merges->batch;
    size_t skip = merges->prefix_bytes < right.length ? merges->prefix_bytes : right.length;
    uint32_t start = (uint32_t)b->text.length, joined_start = start;
    px_buf_append(&b->text, left.data, left.length);
    px_buf_append(&b->text, right.data, right.length);
    if (skip) {
        joined_start = (uint32_t)b->text.length;
        px_buf_append(&b->text, left.data, left.length);
        px_buf_append(&b->text, right.data + skip, right.length - skip);
    }
    b->merges[b->count].start = start;
    b->merges[b->count].left = (uint32_t)left.length;
    b->merges[b->count].right = (uint32_t)right.length;
    b->merges[b->count].joined = (uint32_t)(left.length + right.length - skip);
    b->merges[b->count].joined_start = joined_start;
    return ++b->count < BATCH ? px_ok() : take_batch(merges);
}

px_status px_merges_flush(px_merges *merges)
{
    px_status status = merges->batch ? take_batch(merges) : px_ok();
    batch_free(merges);
    return status;
}
