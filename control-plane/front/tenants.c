#include "control/front/tenants.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static const double weight_least = 0.001, weight_most = 1000000;

typedef struct tenant {
    const char *name; /* in `text` */
    double weight;
} tenant;

struct px_tenants {
    char *text;
    tenant *list;
    size_t count;
};

static px_status parse_one(char *pair, tenant *out)
{
    char *equals = strrchr(pair, '='), *end = NULL;
    double weight = equals ? strtod(equals + 1, &end) : 0;
    bool is_number = equals && end != equals + 1 && *end == '\0';
    if (!is_number || equals == pair || !(weight >= weight_least && weight <= weight_most))
        return px_fail(PX_INVALID_ARGUMENT,
            "'%.64s' is no tenant's weight: write NAME=WEIGHT, from %g to %.0f", pair, weight_least,
            weight_most);
    *equals = '\0';
    *out = (tenant){.name = pair, .weight = weight};
    return px_ok();
}

px_status px_tenants_parse(const char *text, px_tenants **out)
{
    px_tenants *tenants = px_alloc(sizeof *tenants);
    tenants->text = px_strdup(text ? text : "");
    size_t most = 1;
    for (const char *at = tenants->text; *at; at++) most += *at == ',';
    tenants->list = px_alloc_array(most, sizeof *tenants->list);
    for (char *rest = NULL, *pair = strtok_r(tenants->text, ",", &rest); pair;
         pair = strtok_r(NULL, ",", &rest)) {
        px_status status = parse_one(pair, &tenants->list[tenants->count]);
        if (!px_is_ok(status)) {
            px_tenants_free(tenants);
            return status;
        }
        tenants->count++;
    }
    *out = tenants;
    return px_ok();
}

void px_tenants_free(px_tenants *tenants)
{
    if (!tenants) return;
    free(tenants->list);
    free(tenants->text);
    free(tenants);
}

double px_tenants_weight(const px_tenants *tenants, const char *name)
{
    for (size_t i = 0; tenants && name && i < tenants->count; i++)
        if (strcmp(tenants->list[i].name, name) == 0) return tenants->list[i].weight;
    return 1;
}
