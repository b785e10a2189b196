/* peft_config.c - see peft_config.h. */
#include "engine/adapter/peft_config.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "engine/text/pattern.h"

enum {
    CONFIG_BYTES_MAX = 1 << 20,
    PATTERNS_MAX = 1024, /* of ranks or of alphas */
    PATTERN_BYTES_MAX = 4096
};
static const double alpha_max = 1e6;

/* Modules named by a list of last parts of their names, by one expression, or all. */
typedef struct px_selection {
    const json_t *list;  /* borrowed from the file; NULL: no list */
    px_pattern *pattern; /* NULL: no expression */
    bool all;
} px_selection;

typedef struct px_rule { /* modules whose name ends in what the expression matches */
    px_pattern *pattern;
    double value;
} px_rule;

typedef struct px_rules {
    px_rule *items;
    uint32_t count;
} px_rules;

struct px_peft_config {
    json_t *file;
    int64_t rank;
    double alpha;
    bool rank_stabilised;
    px_selection targets, excluded;
    const json_t *layers;     /* array or integer; NULL: all */
    const json_t *parameters; /* array of texts; NULL: none */
    px_rules ranks, alphas;
    px_matcher *matcher;
};

/* --- names --- */

static px_status compile(const char *prefix, const char *expression, px_pattern **out)
{
    px_buf text;
    px_buf_init(&text, PATTERN_BYTES_MAX);
    px_buf_printf(&text, "\\A%s(?:%s)\\z", prefix, expression);
    px_status status =
        text.overflowed ? px_fail(PX_INVALID_ARGUMENT, "is longer than %d bytes", PATTERN_BYTES_MAX)
                        : px_pattern_create((px_slice){px_buf_text(&text), text.length}, out);
    px_buf_done(&text);
    return px_prefix(status, "'%.40s'", expression);
}

static px_status matches(
    px_peft_config *config, const px_pattern *pattern, const char *module, bool *out)
{
    px_match match;
    px_matcher_start(config->matcher, pattern, (px_slice){module, strlen(module)});
    return px_matcher_next(config->matcher, out, &match);
}

/* The whole name or its last parts. */
static bool ends_in(const char *module, const char *name)
{
    size_t length = strlen(module), tail = strlen(name);
    if (length < tail || strcmp(module + length - tail, name) != 0) return false;
    return length == tail || module[length - tail - 1] == '.';
}

static px_status selects(
    px_peft_config *config, const px_selection *selection, const char *module, bool *out)
{
    *out = selection->all;
    if (selection->pattern) return matches(config, selection->pattern, module, out);
    for (size_t i = 0; i < json_array_size(selection->list) && !*out; i++)
        *out = ends_in(module, json_string_value(json_array_get(selection->list, i)));
    return px_ok();
}

/* target_parameters: a matrix of a module that is no linear layer to PEFT, such as a router, is a
 * parameter "gate.weight"; what else stands there (stacked experts) has no module that we adapt. */
static bool is_parameter(const px_peft_config *config, const char *module)
{
    static const char tail[] = ".weight";
    for (size_t i = 0; i < json_array_size(config->parameters); i++) {
        const char *name = json_string_value(json_array_get(config->parameters, i));
        size_t length = strlen(name);
        char owner[PATTERN_BYTES_MAX];
        if (length < sizeof tail || length >= sizeof owner ||
            strcmp(name + length - strlen(tail), tail) != 0)
            continue;
        snprintf(owner, sizeof owner, "%.*s", (int)(length - strlen(tail)), name);
        if (ends_in(module, owner)) return true;
    }
    return false;
}

/* The value of the first rule that fits the module; *value stays where none does. */
static px_status apply(
    px_peft_config *config, const px_rules *rules, const char *module, double *value)
{
    for (uint32_t i = 0; i < rules->count; i++) {
        bool fits;
        PX_TRY(matches(config, rules->items[i].pattern, module, &fits));
        if (!fits) continue;
        *value = rules->items[i].value;
        break;
    }
    return px_ok();
}

/* Is the module in one of the chosen layers? What is in no layer is not, if any are chosen. */
static bool is_in_layers(const px_peft_config *config, const char *module)
{
    if (!config->layers) return true;
    const char *at = strstr(module, "layers.");
    if (!at || !isdigit((unsigned char)at[7])) return false;
    long layer = strtol(at + 7, NULL, 10);
    if (json_is_integer(config->layers)) return json_integer_value(config->layers) == layer;
    for (size_t i = 0; i < json_array_size(config->layers); i++)
        if (json_integer_value(json_array_get(config->layers, i)) == layer) return true;
    return false;
}

px_status px_peft_config_module(px_peft_config *config, const char *module, px_peft_module *out)
{
    double rank = (double)config->rank, alpha = config->alpha;
    bool targeted, excluded;
    PX_TRY(selects(config, &config->targets, module, &targeted));
    PX_TRY(selects(config, &config->excluded, module, &excluded));
    PX_TRY(apply(config, &config->ranks, module, &rank));
    PX_TRY(apply(config, &config->alphas, module, &alpha));
    targeted = targeted && !excluded && is_in_layers(config, module);
    *out = (px_peft_module){.targeted = targeted || is_parameter(config, module),
        .rank = (uint32_t)rank,
        .scale = (float)(alpha / (config->rank_stabilised ? sqrt(rank) : rank))};
    return px_ok();
}

/* --- reading --- */

static px_status check_rank(double rank)
{
    if (rank >= 1 && rank <= PX_ADAPTER_RANK_MAX && rank == floor(rank)) return px_ok();
    return px_fail(
        PX_INVALID_ARGUMENT, "a rank of %g is not from 1 to %d", rank, PX_ADAPTER_RANK_MAX);
}

static px_status check_alpha(double alpha)
{
    if (fabs(alpha) <= alpha_max) return px_ok();
    return px_fail(PX_INVALID_ARGUMENT, "a lora_alpha of %g is not within +-%g", alpha, alpha_max);
}

static px_status read_selection(const px_peft_config *config, const char *key, px_selection *out)
{
    const json_t *value = json_object_get(config->file, key);
    if (json_is_null(value)) value = NULL;
    if (json_is_string(value)) {
        const char *text = json_string_value(value);
        out->all = strcasecmp(text, "all-linear") == 0;
        return out->all ? px_ok() : px_prefix(compile("", text, &out->pattern), "%s", key);
    }
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!json_is_string(json_array_get(value, i))) value = json_true();
    if (value && !json_is_array(value))
        return px_fail(PX_INVALID_ARGUMENT, "'%s' is neither a text nor a list of texts", key);
    out->list = value;
    return px_ok();
}

static px_status read_rules(
    const px_peft_config *config, const char *key, px_status (*check)(double), px_rules *out)
{
    const json_t *map = json_object_get(config->file, key);
    if (!map || json_is_null(map)) return px_ok();
    if (!json_is_object(map) || json_object_size(map) > PATTERNS_MAX)
        return px_fail(
            PX_INVALID_ARGUMENT, "'%s' is not a map of at most %d patterns", key, PATTERNS_MAX);
    out->items = px_alloc_array(json_object_size(map), sizeof *out->items);
    const char *pattern;
    json_t *value;
    json_object_foreach((json_t *)map, pattern, value)
    {
        if (!json_is_number(value))
            return px_fail(PX_INVALID_ARGUMENT, "'%s' gives '%.40s' no number", key, pattern);
        PX_TRY(px_prefix(check(json_number_value(value)), "%s", key));
        px_rule *rule = &out->items[out->count++];
        rule->value = json_number_value(value);
        PX_TRY(px_prefix(compile("(?:.*\\.)?", pattern, &rule->pattern), "%s", key));
    }
    return px_ok();
}

static px_status read_layers(px_peft_config *config)
{
    const json_t *layers = json_object_get(config->file, "layers_to_transform");
    if (!layers || json_is_null(layers)) return px_ok();
    bool is_good = json_is_integer(layers) || json_is_array(layers);
    for (size_t i = 0; i < json_array_size(layers); i++)
        is_good = is_good && json_is_integer(json_array_get(layers, i));
    if (!is_good)
        return px_fail(
            PX_INVALID_ARGUMENT, "'layers_to_transform' is neither a number nor a list of numbers");
    config->layers = layers;
    return px_ok();
}

/* Empty, false, null or not there. */
static bool is_unset(const json_t *value)
{
    if (json_is_string(value)) return !*json_string_value(value);
    return !value || json_is_null(value) || json_is_false(value) ||
           (json_is_array(value) && !json_array_size(value)) ||
           (json_is_object(value) && !json_object_size(value));
}

static px_status read_parameters(px_peft_config *config)
{
    const json_t *names = json_object_get(config->file, "target_parameters");
    if (!names || json_is_null(names)) return px_ok();
    bool is_good = json_is_array(names);
    for (size_t i = 0; i < json_array_size(names); i++)
        is_good = is_good && json_is_string(json_array_get(names, i));
    if (!is_good) return px_fail(PX_INVALID_ARGUMENT, "'target_parameters' is no list of texts");
    config->parameters = names;
    return px_ok();
}

/* Settings that mean another arithmetic than ours. */
static px_status refuse_others(const json_t *file)
{
    static const struct {
        const char *key, *what;
    } others[] = {{"use_dora", "DoRA (weights split into size and direction)"},
        {"modules_to_save", "modules that are replaced whole"}, {"lora_bias", "biases of its own"},
        {"trainable_token_indices", "tokens of its own"},
        {"layer_replication", "layers that are repeated"},
        {"alora_invocation_tokens", "a start in the middle of the text (aLoRA)"},
        {"use_qalora", "pooled inputs (QA-LoRA)"},
        {"use_bdlora", "blocks on the diagonal (BD-LoRA)"},
        {"arrow_config", "routing between adapters (Arrow)"},
        {"kasa_config", "singular values of the base model (KaSA)"},
        {"monteclora_config", "random weights (MonteCLoRA)"}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (!is_unset(json_object_get(file, others[i].key)))
            return px_fail(PX_UNIMPLEMENTED,
                "the adapter has %s ('%s'), which is not supported: only plain LoRA is",
                others[i].what, others[i].key);
    return px_ok();
}

/* Some initialisations change the base model as well, and what is saved fits only the changed one.
 */
static px_status check_initialisation(const json_t *file)
{
    static const char *const changing[] = {"pissa", "olora", "corda", "lora_ga"};
    const char *how = json_string_value(json_object_get(file, "init_lora_weights"));
    for (size_t i = 0; how && i < sizeof changing / sizeof *changing; i++)
        if (strncasecmp(how, changing[i], strlen(changing[i])) == 0)
            return px_fail(PX_UNIMPLEMENTED,
                "the adapter belongs to a base model that '%s' changed: convert it to plain LoRA "
                "when saving it",
                changing[i]);
    return px_ok();
}

static px_status read_settings(px_peft_config *config)
{
    static const char where[] = "settings";
    const json_t *file = config->file;
    const char *type = NULL, *bias = "none";
    if (!json_is_object(file)) return px_fail(PX_INVALID_ARGUMENT, "it holds no JSON object");
    PX_TRY(px_json_get_str(file, "peft_type", where, &type));
    if (!type || strcmp(type, "LORA") != 0)
        return px_fail(PX_UNIMPLEMENTED, "'peft_type' is '%.40s'; only LORA is supported",
            type ? type : "(missing)");
    PX_TRY(px_json_get_str(file, "bias", where, &bias));
    if (strcmp(bias, "none") != 0)
        return px_fail(PX_UNIMPLEMENTED, "'bias' is '%.40s'; only 'none' is supported", bias);
    PX_TRY(refuse_others(file));
    PX_TRY(check_initialisation(file));
    config->rank = config->alpha = 8; /* LoraConfig's own */
    PX_TRY(px_json_get_int(file, "r", where, &config->rank));
    PX_TRY(px_json_get_real(file, "lora_alpha", where, &config->alpha));
    PX_TRY(px_json_get_bool(file, "use_rslora", where, &config->rank_stabilised));
    PX_TRY(check_rank((double)config->rank));
    PX_TRY(check_alpha(config->alpha));
    PX_TRY(read_selection(config, "target_modules", &config->targets));
    PX_TRY(read_selection(config, "exclude_modules", &config->excluded));
    /* Without targets PEFT takes its own choice for the architecture: then the weights tell. */
    if (!config->targets.list && !config->targets.pattern) config->targets.all = true;
    PX_TRY(read_layers(config));
    PX_TRY(read_parameters(config));
    PX_TRY(read_rules(config, "rank_pattern", check_rank, &config->ranks));
    return read_rules(config, "alpha_pattern", check_alpha, &config->alphas);
}

px_status px_peft_config_read(const char *folder, px_peft_config **out)
{
    static const char name[] = "adapter_config.json";
    px_buf path;
    px_buf_init(&path, 4096);
    px_buf_printf(&path, "%s/%s", folder, name);
    px_peft_config *config = px_alloc(sizeof *config);
    px_status status = px_json_load(px_buf_text(&path), CONFIG_BYTES_MAX, &config->file);
    px_buf_done(&path);
    if (px_is_ok(status)) status = px_matcher_create(&config->matcher);
    if (px_is_ok(status)) status = px_prefix(read_settings(config), "%s", name);
    if (!px_is_ok(status)) {
        px_peft_config_free(config);
        return status;
    }
    *out = config;
    return status;
}

static void rules_done(px_rules *rules)
{
    for (uint32_t i = 0; i < rules->count; i++) px_pattern_free(rules->items[i].pattern);
    free(rules->items);
}

void px_peft_config_free(px_peft_config *config)
{
    if (!config) return;
    rules_done(&config->ranks);
    rules_done(&config->alphas);
    px_pattern_free(config->targets.pattern);
    px_pattern_free(config->excluded.pattern);
    px_matcher_free(config->matcher);
    json_decref(config->file);
    free(config);
}
