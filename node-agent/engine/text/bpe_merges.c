/* bpe_merges.c - see bpe_merges.h. */
#include "engine/text/bpe_merges.h"

#include <stdlib.h>
#include <string.h>

#include "engine/text/grow.h"

enum { SLOTS_MIN = 64, TEXT_BYTES_MAX = 1 << 28, AHEAD = 16 };

static px_merge *find_place(px_merges *m, uint32_t left, uint32_t right)
{
    uint32_t at = px_merge_slot(left, right, m->mask);
    while (m->slots[at].rank && (m->slots[at].left != left || m->slots[at].right != right))
        at = (at + 1) & m->mask;
    return &m->slots[at];
}

static size_t slots_bytes(const px_merges *m)
{
    return ((size_t)m->mask + 1) * sizeof *m->slots;
}

void px_merges_done(px_merges *merges)
{
    px_buf_done(&merges->joined);
    free(merges->rules.data);
    merges->rules = (px_merge_list){0};
    if (merges->slots) px_big_free(merges->slots, slots_bytes(merges));
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

/* Whether the text of `id` is left right, and no other id can have that text. */
static bool is_joined(const px_merges *m, uint32_t id, px_slice left, px_slice right)
{
    if (id >= m->vocab->size || m->vocab->has_twins) return false;
    px_vocab_token token = m->vocab->tokens[id];
    if (token.start == UINT32_MAX || token.length != left.length + right.length) return false;
    const char *text = m->vocab->bytes.data + token.start;
    return memcmp(text, left.data, left.length) == 0 &&
           memcmp(text + left.length, right.data, right.length) == 0;
}

/* `right` is without the prefix that the joined text drops. */
static uint32_t joined_id(px_merges *m, px_slice left, px_slice right)
{
    if (is_joined(m, m->next_id, left, right)) return m->next_id;
    if (m->next_id && is_joined(m, m->next_id - 1, left, right)) return m->next_id - 1;
    m->joined.max = TEXT_BYTES_MAX;
    px_buf_reset(&m->joined);
    px_buf_append(&m->joined, left.data, left.length);
    px_buf_append(&m->joined, right.data, right.length);
    if (m->joined.overflowed) return PX_NO_TOKEN;
    return px_vocab_find(m->vocab, px_buf_text(&m->joined), m->joined.length);
}

/* Its rank is counted also if it is passed over. */
static px_status resolve(px_merges *m, const px_merge_pending *pending)
{
    px_slice left = {pending->left.text, pending->left.length};
    px_slice right = {pending->right.text, pending->right.length}, tail = right;
    size_t skip = m->prefix_bytes < right.length ? m->prefix_bytes : right.length;
    if (skip) tail = (px_slice){right.data + skip, right.length - skip};
    px_merge rule = {.left = px_vocab_answer(m->vocab, &pending->left),
        .right = px_vocab_answer(m->vocab, &pending->right),
        .id = joined_id(m, left, tail),
        .rank = ++m->count};
    if (rule.left == PX_NO_TOKEN || rule.right == PX_NO_TOKEN || rule.id == PX_NO_TOKEN)
        return m->skip_unknown ? px_ok() : out_of_vocabulary(left, right);
    m->next_id = rule.id + 1;
    bool marked = right.length >= 3 && memcmp(right.data, "\xe2\x96\x81", 3) == 0; /* ▁ */
    if (marked && left.length) m->joins_mark[(unsigned char)left.data[left.length - 1]] = true;
    PX_TRY(PX_GROW(&m->rules, m->rules.count + 1));
    m->rules.data[m->rules.count++] = rule;
    return px_ok();
}

static px_status take_batch(px_merges *m)
{
    uint32_t count = m->pending_count;
    m->pending_count = 0;
    for (uint32_t i = 0; i < count; i++) PX_TRY(resolve(m, &m->pending[i]));
    return px_ok();
}

px_status px_merges_add(px_merges *merges, px_slice left, px_slice right)
{
    px_merge_pending *pending = &merges->pending[merges->pending_count++];
    pending->left = px_vocab_ask(merges->vocab, left);
    pending->right = px_vocab_ask(merges->vocab, right);
    return merges->pending_count < PX_MERGES_BATCH ? px_ok() : take_batch(merges);
}

/* The table is made once the number of merges is known; each slot is asked for some merges ahead.
 */
px_status px_merges_seal(px_merges *merges)
{
    PX_TRY(take_batch(merges));
    const px_merge_list *list = &merges->rules;
    size_t slots = SLOTS_MIN;
    while (slots < 2 * list->count) slots *= 2;
    void *memory;
    PX_TRY(px_big_alloc(slots * sizeof *merges->slots, "the tokenizer's merges", &memory));
    merges->slots = memory;
    merges->mask = (uint32_t)(slots - 1);
    for (size_t i = 0; i < list->count; i++) {
        if (i + AHEAD < list->count) {
            const px_merge *next = &list->data[i + AHEAD];
            __builtin_prefetch(
                &merges->slots[px_merge_slot(next->left, next->right, merges->mask)], 1);
        }
        /* As in the reference, the last of equal pairs counts. */
        *find_place(merges, list->data[i].left, list->data[i].right) = list->data[i];
    }
    free(merges->rules.data);
    merges->rules = (px_merge_list){0};
    px_buf_done(&merges->joined);
    return px_ok();
}
