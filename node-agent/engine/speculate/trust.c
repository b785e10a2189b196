/* trust.c - see trust.h. */
#include "engine/speculate/trust.h"

/* In outcomes: what is thought before any of them, and everybody's beside one's own. */
static const double unknown_weight = 2, others_weight = 3;

void px_trust_note(px_trust *trust, uint32_t kind, bool was_right, float memory)
{
    float keep = 1 - 1 / memory;
    trust->tried[kind] = trust->tried[kind] * keep + 1;
    trust->right[kind] = trust->right[kind] * keep + (float)was_right;
}

void px_trust_fade(px_trust *trust, float memory)
{
    float keep = 1 - 1 / memory;
    for (int kind = 0; kind < PX_TRUST_KINDS; kind++) {
        trust->tried[kind] *= keep;
        trust->right[kind] *= keep;
    }
}

double px_trust_of(const px_trust *own, const px_trust *all, uint32_t kind)
{
    double everybody = ((double)all->right[kind] + (double)all->unknown[kind] * unknown_weight) /
                       ((double)all->tried[kind] + unknown_weight);
    return ((double)own->right[kind] + everybody * others_weight) /
           ((double)own->tried[kind] + others_weight);
}

/* 2, 3, 4, 5-6, 7-9, 10-14, 15-22, 23 and more */
uint32_t px_trust_kind_of_length(uint32_t length)
{
    static const uint8_t from[PX_TRUST_KINDS] = {0, 3, 4, 5, 7, 10, 15, 23};
    uint32_t kind = PX_TRUST_KINDS - 1;
    while (kind && length < from[kind]) kind--;
    return kind;
}

uint32_t px_trust_kind_of_depth(uint32_t depth)
{
    return depth < PX_TRUST_KINDS ? depth : PX_TRUST_KINDS - 1;
}
