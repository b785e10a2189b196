/* trust.c - see trust.h. */
#include "engine/speculate/trust.h"

static const double unknown_share = 0.3, unknown_weight = 2; /* before any outcome */
static const double others_weight = 3; /* outcomes that everybody's count as */

void px_trust_note(px_trust *trust, uint32_t kind, bool was_right, float memory)
{
    float keep = 1 - 1 / memory;
    trust->tried[kind] = trust->tried[kind] * keep + 1;
    trust->right[kind] = trust->right[kind] * keep + (float)was_right;
}

double px_trust_of(const px_trust *own, const px_trust *all, uint32_t kind)
{
    double everybody = ((double)all->right[kind] + unknown_share * unknown_weight) /
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

uint32_t px_trust_kind_of_probability(double probability)
{
    uint32_t kind = (uint32_t)(probability * PX_TRUST_KINDS);
    return kind < PX_TRUST_KINDS ? kind : PX_TRUST_KINDS - 1;
}
