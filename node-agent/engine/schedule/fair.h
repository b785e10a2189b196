/* fair.h - tenants and what each was served: who is next, who may not be held up.
 *
 * Every tenant has a virtual time: the tokens it was served, divided by its weight. The one with
 * the least goes next. A tenant that was idle rejoins where the least served one stands, less a
 * small credit: it saves up nothing beyond that, so it can hold the others up for no longer.
 * Tokens count when they are promised (a prompt's, when it is let in) or made (an answer's, which
 * cost twice: each takes a row of a step by itself).
 *
 * A tenant is favoured over another while it was served less by more than a margin: then it need
 * not wait for the other's slots, blocks or steps. The margin keeps equals from turning each other
 * out.
 * Source:  Y. Sheng et al., "Fairness in Serving Large Language Models" (OSDI 2024), virtual token
 *          counter.
 * Owns:    the tenants, a fixed table; one that has nothing to do gives its place to a new one
 *          when the table is full, and if nobody has, the newcomer shares the last place.
 * Threads: engine thread.
 */
#ifndef PX_ENGINE_FAIR_H
#define PX_ENGINE_FAIR_H

#include "engine/seq.h"

typedef struct px_tenant {
    uint64_t id;
    double weight;
    double served; /* virtual time */
    px_seq_list waiting;
    uint32_t running;        /* sequences */
    uint64_t waiting_tokens; /* not yet computed, of those that wait */
    double prompt_tokens;    /* of a typical request, less what was cached; 0: not known */
    int64_t seen_ns;         /* it last asked for something; 0: an empty place */
} px_tenant;

enum { PX_TENANTS_MAX = 256 };

typedef struct px_fair {
    px_tenant tenants[PX_TENANTS_MAX];
    uint32_t count;                         /* places ever used */
    double credit, newcomer_credit, margin; /* in tokens at weight 1 */
} px_fair;

/* `tokens_per_second`: what the engine can serve, for credit and margin to mean a time. */
void px_fair_set_rate(px_fair *fair, double tokens_per_second);
/* The tenant of a new request. weight 0: 1. */
px_tenant *px_fair_join(px_fair *fair, uint64_t id, double weight, int64_t now_ns);
void px_fair_charge(px_tenant *tenant, double tokens);
bool px_fair_favours(const px_fair *fair, const px_tenant *tenant, const px_tenant *over);
/* Over somebody who was here within the last minute, busy or not. */
bool px_fair_is_favoured(const px_fair *fair, const px_tenant *tenant, int64_t now_ns);
/* The shortest typical prompt of those who were here within the last minute and are favoured over
 * `tenant`; 0: there are none. */
double px_fair_favoured_prompt(const px_fair *fair, const px_tenant *tenant, int64_t now_ns);

#endif
