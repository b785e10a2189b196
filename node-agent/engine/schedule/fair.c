/* fair.c - see fair.h. */
#include "engine/schedule/fair.h"

#include "base/clock.h"

static const int64_t remembered_ns = 60 * PX_SEC;
static const double credit_s = 1.5, newcomer_credit_s = 1, margin_s = 0.5;

void px_fair_set_rate(px_fair *fair, double tokens_per_second)
{
    fair->credit = credit_s * tokens_per_second;
    fair->newcomer_credit = newcomer_credit_s * tokens_per_second;
    fair->margin = margin_s * tokens_per_second;
}

static bool is_busy(const px_tenant *tenant)
{
    return tenant->running || tenant->waiting.count;
}

/* Where the least served of the busy stands; with nobody busy, where the most served of all does:
 * so that virtual time never runs back. */
static double virtual_now(const px_fair *fair)
{
    const px_tenant *least = NULL;
    double most = 0;
    for (uint32_t i = 0; i < fair->count; i++) {
        const px_tenant *tenant = &fair->tenants[i];
        if (is_busy(tenant) && (!least || tenant->served < least->served)) least = tenant;
        if (tenant->served > most) most = tenant->served;
    }
    return least ? least->served : most;
}

/* A place for a new tenant: an unused one, or that of whoever has been idle for longest. */
static px_tenant *find_place(px_fair *fair)
{
    if (fair->count < PX_TENANTS_MAX) return &fair->tenants[fair->count++];
    px_tenant *place = NULL;
    for (uint32_t i = 0; i < fair->count; i++) {
        px_tenant *tenant = &fair->tenants[i];
        if (!is_busy(tenant) && (!place || tenant->seen_ns < place->seen_ns)) place = tenant;
    }
    return place;
}

px_tenant *px_fair_join(px_fair *fair, uint64_t id, double weight, int64_t now_ns)
{
    px_tenant *tenant = NULL;
    for (uint32_t i = 0; i < fair->count && !tenant; i++)
        if (fair->tenants[i].id == id) tenant = &fair->tenants[i];
    double now = virtual_now(fair);
    if (!tenant) {
        tenant = find_place(fair);
        if (!tenant) return &fair->tenants[PX_TENANTS_MAX - 1];
        *tenant = (px_tenant){.id = id, .served = now - fair->newcomer_credit};
    }
    if (!is_busy(tenant) && tenant->served < now - fair->credit)
        tenant->served = now - fair->credit;
    tenant->weight = weight > 0 ? weight : 1;
    tenant->seen_ns = now_ns;
    return tenant;
}

void px_fair_charge(px_tenant *tenant, double tokens)
{
    tenant->served += tokens / tenant->weight;
}

bool px_fair_favours(const px_fair *fair, const px_tenant *tenant, const px_tenant *over)
{
    return tenant->served + fair->margin < over->served;
}

static bool was_here(const px_tenant *tenant, int64_t now_ns)
{
    return is_busy(tenant) || now_ns - tenant->seen_ns < remembered_ns;
}

bool px_fair_is_favoured(const px_fair *fair, const px_tenant *tenant, int64_t now_ns)
{
    for (uint32_t i = 0; i < fair->count; i++) {
        const px_tenant *other = &fair->tenants[i];
        if (was_here(other, now_ns) && px_fair_favours(fair, tenant, other)) return true;
    }
    return false;
}

double px_fair_favoured_prompt(const px_fair *fair, const px_tenant *tenant, int64_t now_ns)
{
    double shortest = 0;
    for (uint32_t i = 0; i < fair->count; i++) {
        const px_tenant *other = &fair->tenants[i];
        if (!was_here(other, now_ns) || !px_fair_favours(fair, other, tenant)) continue;
        if (!shortest || other->prompt_tokens < shortest) shortest = other->prompt_tokens;
    }
    return shortest;
}
