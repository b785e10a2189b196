/* pooling.c - see pooling.h. */
#include "engine/model/pooling.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/json.h"
#include "engine/model/arch.h"

enum {
    STEPS_MAX = 8,
    WIDTH_MAX = 1 << 17,
    CONFIG_BYTES_MAX = 1 << 20,
    PATH_BYTES_MAX = 4096,
};

typedef enum squash { SQUASH_NONE, SQUASH_TANH, SQUASH_SIGMOID, SQUASH_RELU, SQUASH_GELU } squash;

/* One of two things: a dense layer, or (without a weight) normalising. */
typedef struct step {
    uint32_t in, out;
    float *weight; /* [out, in]; owned */
    float *bias;   /* [out] or NULL; owned */
    squash after;
} step;

struct px_pooling {
    px_pooling_info info;
    step steps[STEPS_MAX];
    uint32_t step_count;
    float *room[2]; /* [widest]: between steps */
};

/* --- steps ------------------------------------------------------------------------------------ */

static px_status add_step(px_pooling *p, step s)
{
    if (p->step_count == STEPS_MAX) {
        free(s.weight);
        free(s.bias);
        return px_fail(PX_UNIMPLEMENTED, "more than %d steps after pooling", STEPS_MAX);
    }
    p->steps[p->step_count++] = s;
    p->info.width = s.out;
    p->info.normalised = !s.weight;
    return px_ok();
}

static px_status add_normalising(px_pooling *p)
{
    return add_step(p, (step){.in = p->info.width, .out = p->info.width});
}

static float *floats_of(const px_tensor *tensor)
{
    uint64_t cols = tensor->shape[tensor->dims - 1],
             rows = tensor->dims == 2 ? tensor->shape[0] : 1;
    size_t row_bytes = px_dtype_bytes(tensor->dtype, cols);
    float *out = px_alloc_array(rows * cols, sizeof *out);
    for (uint64_t i = 0; i < rows; i++)
        px_dtype_to_f32(tensor->dtype, (const unsigned char *)tensor->data + i * row_bytes,
            out + i * cols, cols);
    return out;
}

/* `bias` may be NULL. */
static px_status add_dense(
    px_pooling *p, const px_tensor *weight, const px_tensor *bias, squash after)
{
    if (weight->dims != 2 || weight->shape[1] != p->info.width || weight->shape[0] < 1 ||
        weight->shape[0] > WIDTH_MAX || weight->dtype >= PX_I32)
        return px_fail(PX_INVALID_ARGUMENT, "tensor '%s' must be a matrix of %u columns",
            weight->name, p->info.width);
    if (bias && (bias->dims != 1 || bias->shape[0] != weight->shape[0] || bias->dtype >= PX_I32))
        return px_fail(PX_INVALID_ARGUMENT, "tensor '%s' must be a vector of %llu elements",
            bias->name, (unsigned long long)weight->shape[0]);
    return add_step(p, (step){.in = p->info.width,
                           .out = (uint32_t)weight->shape[0],
                           .weight = floats_of(weight),
                           .bias = bias ? floats_of(bias) : NULL,
                           .after = after});
}

/* --- sentence-transformers -------------------------------------------------------------------- */

/* A file of the model's folder, or of the folder `module` in it. */
static px_status path_in(
    const px_model_file *file, const char *module, const char *name, char out[PATH_BYTES_MAX])
{
    const char *path = px_model_file_path(file), *slash = strrchr(path, '/');
    int length = px_fs_is_dir(path) ? (int)strlen(path) : slash ? (int)(slash - path) : 0;
    int used = snprintf(out, PATH_BYTES_MAX, "%.*s/%s%s%s", length ? length : 1,
        length ? path : ".", module, *module ? "/" : "", name);
    if (used >= PATH_BYTES_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "%s: the path is too long", path);
    return px_ok();
}

/* What a class is called, without the modules that it is in. */
static const char *class_of(const char *type)
{
    const char *dot = strrchr(type, '.');
    return dot ? dot + 1 : type;
}

static px_status read_kind(px_pooling *p, const json_t *config, const char *where)
{
    static const struct {
        const char *key, *name;
        px_pooling_kind kind; /* PX_POOLING_KIND_COUNT: none of ours */
    } known[] = {{"pooling_mode_cls_token", "cls", PX_POOLING_FIRST},
        {"pooling_mode_mean_tokens", "mean", PX_POOLING_MEAN},
        {"pooling_mode_lasttoken", "lasttoken", PX_POOLING_LAST},
        {"pooling_mode_max_tokens", "max", PX_POOLING_KIND_COUNT},
        {"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", PX_POOLING_KIND_COUNT},
        {"pooling_mode_weightedmean_tokens", "weightedmean", PX_POOLING_KIND_COUNT}};
    const char *mode = NULL;
    int chosen = 0;
    if (json_is_string(json_object_get(config, "pooling_mode"))) /* newer */
        PX_TRY(px_json_get_str(config, "pooling_mode", where, &mode));
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        bool is_on = mode && strcmp(mode, known[i].name) == 0;
        if (!mode) PX_TRY(px_json_get_bool(config, known[i].key, where, &is_on));
        if (!is_on) continue;
        if (known[i].kind == PX_POOLING_KIND_COUNT)
            return px_fail(PX_UNIMPLEMENTED,
                "pooling by '%s' is not supported; known: cls, mean, "
                "lasttoken",
                known[i].name);
        p->info.kind = known[i].kind;
        chosen++;
    }
    if (chosen == 1) return px_ok();
    return px_fail(PX_UNIMPLEMENTED,
        "%s asks for %d kinds of pooling that are known; one is possible", where, chosen);
}

static px_status squash_parse(const char *type, squash *out)
{
    static const char *const names[] = {"Identity", "Tanh", "Sigmoid", "ReLU", "GELU"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(class_of(type), names[i]) != 0) continue;
        *out = (squash)i;
        return px_ok();
    }
    return px_fail(PX_UNIMPLEMENTED, "activation '%.60s' of a dense layer is not supported", type);
}

/* A module's folder holds config.json and weights of its own. */
static px_status read_dense(
    px_pooling *p, const px_model_file *file, const char *module, const json_t *config)
{
    char path[PATH_BYTES_MAX];
    const char *activation = "Tanh"; /* the library's default */
    px_model_file *weights;
    squash after = SQUASH_NONE;
    bool has_bias = true;
    PX_TRY(px_json_get_str(config, "activation_function", module, &activation));
    PX_TRY(px_json_get_bool(config, "bias", module, &has_bias));
    PX_TRY(squash_parse(activation, &after));
    PX_TRY(path_in(file, module, "", path));
    PX_TRY(px_model_file_open(path, &weights));
    const px_tensor *weight = px_model_file_tensor(weights, "linear.weight");
    const px_tensor *bias = px_model_file_tensor(weights, "linear.bias");
    px_status status = weight && (bias || !has_bias)
                           ? add_dense(p, weight, has_bias ? bias : NULL, after)
                           : px_fail(PX_NOT_FOUND, "%s: tensor 'linear.%s' is missing", module,
                                 weight ? "bias" : "weight");
    px_model_file_close(weights);
    return status;
}

/* Modules are folders beside modules.json: names, not paths to elsewhere. */
static bool is_plain_name(const char *name)
{
    return *name && *name != '.' && strlen(name) <= 64 && !strchr(name, '/');
}

static px_status read_module(px_pooling *p, const px_model_file *file, const json_t *module)
{
    static const char where[] = "modules.json";
    const char *type = "", *folder = "";
    char path[PATH_BYTES_MAX];
    PX_TRY(px_json_get_str(module, "type", where, &type));
    PX_TRY(px_json_get_str(module, "path", where, &folder));
    const char *class = class_of(type);
    if (strcmp(class, "Transformer") == 0) return px_ok();
    if (strcmp(class, "Normalize") == 0) return add_normalising(p);
    bool is_pooling = strcmp(class, "Pooling") == 0;
    if (!is_pooling && strcmp(class, "Dense") != 0)
        return px_fail(PX_UNIMPLEMENTED, "%s: a '%.60s' is not supported", where, type);
    if (!is_plain_name(folder))
        return px_fail(
            PX_INVALID_ARGUMENT, "%s: '%.60s' is not the name of a folder", where, folder);
    json_t *config;
    PX_TRY(path_in(file, folder, "config.json", path));
    PX_TRY(px_json_load(path, CONFIG_BYTES_MAX, &config));
    px_status status =
        is_pooling ? read_kind(p, config, folder) : read_dense(p, file, folder, config);
    json_decref(config);
    return status;
}

static px_status read_modules(px_pooling *p, const px_model_file *file, bool *out_found)
{
    char path[PATH_BYTES_MAX];
    json_t *modules;
    PX_TRY(path_in(file, "", "modules.json", path));
    *out_found = px_fs_is_file(path);
    if (!*out_found) return px_ok();
    PX_TRY(px_json_load(path, CONFIG_BYTES_MAX, &modules));
    px_status status = json_is_array(modules)
                           ? px_ok()
                           : px_fail(PX_INVALID_ARGUMENT, "modules.json must hold a list");
    for (size_t i = 0; i < json_array_size(modules) && px_is_ok(status); i++)
        status = read_module(p, file, json_array_get(modules, i));
    json_decref(modules);
    return status;
}

/* --- GGUF ------------------------------------------------------------------------------------- */

static px_status add_named(px_pooling *p, const px_model_file *file, const char *name, squash after)
{
    char weight_name[64], bias_name[64];
    snprintf(weight_name, sizeof weight_name, "%s.weight", name);
    snprintf(bias_name, sizeof bias_name, "%s.bias", name);
    const px_tensor *weight = px_model_file_tensor(file, weight_name);
    if (!weight) return px_ok();
    return add_dense(p, weight, px_model_file_tensor(file, bias_name), after);
}

static px_status read_gguf(px_pooling *p, const px_model_file *file, bool *out_found)
{
    enum { MEAN = 1, FIRST, LAST, RANK }; /* the format's numbers; 0: not stated */
    const px_gguf *gguf = px_model_file_gguf(file);
    char key[128];
    px_slice arch = {0};
    int64_t type = 0;
    (void)px_gguf_str(gguf, "general.architecture", &arch);
    snprintf(key, sizeof key, "%.*s.pooling_type", (int)(arch.length < 64 ? arch.length : 64),
        arch.data);
    *out_found = px_gguf_int(gguf, key, &type) && type > 0;
    if (type < 0 || type > RANK)
        return px_fail(PX_UNIMPLEMENTED, "'%s' of %lld is not supported", key, (long long)type);
    if (*out_found && type != RANK)
        p->info.kind = type == MEAN    ? PX_POOLING_MEAN
                       : type == FIRST ? PX_POOLING_FIRST
                                       : PX_POOLING_LAST;
    p->info.is_scores = type == RANK;
    if (p->info.is_scores) {
        PX_TRY(add_named(p, file, "cls", SQUASH_TANH));
        return add_named(p, file, "cls.output", SQUASH_NONE);
    }
    PX_TRY(add_named(p, file, "dense_2", SQUASH_NONE));
    PX_TRY(add_named(p, file, "dense_3", SQUASH_NONE));
    bool normalises = true; /* the format has no word for it; files of ours do */
    snprintf(key, sizeof key, "%.*s.pooling_normalise", (int)(arch.length < 64 ? arch.length : 64),
        arch.data);
    (void)px_gguf_bool(gguf, key, &normalises);
    return normalises ? add_normalising(p) : px_ok();
}

/* --- opening ---------------------------------------------------------------------------------- */

static px_status read_scores(px_pooling *p, const px_model_file *file)
{
    const px_tensor *weight = px_model_file_tensor(file, "score.weight");
    if (!weight) weight = px_model_file_tensor(file, "cls.output.weight"); /* of a GGUF of ours */
    if (!weight) return px_fail(PX_NOT_FOUND, "tensor 'score.weight' (scores) is missing");
    p->info.is_scores = p->info.is_stated = true;
    p->info.kind = PX_POOLING_LAST;
    return add_dense(p, weight, px_model_file_tensor(file, "score.bias"), SQUASH_NONE);
}

static px_status read_all(px_pooling *p, const px_model_file *file)
{
    px_arch *arch = px_alloc(sizeof *arch);
    px_status status = px_arch_read(file, arch);
    bool both_ways = arch->both_ways, has_scores = arch->head == PX_HEAD_SCORES;
    uint32_t hidden = arch->hidden;
    free(arch);
    PX_TRY(status);
    p->info = (px_pooling_info){
        .kind = both_ways ? PX_POOLING_MEAN : PX_POOLING_LAST, .hidden = hidden, .width = hidden};
    if (has_scores) return read_scores(p, file);
    if (px_model_file_gguf(file)) return read_gguf(p, file, &p->info.is_stated);
    PX_TRY(read_modules(p, file, &p->info.is_stated));
    return p->info.is_stated ? px_ok() : add_normalising(p);
}

static uint32_t widest(const px_pooling *p)
{
    uint32_t cols = p->info.hidden;
    for (uint32_t i = 0; i < p->step_count; i++)
        if (p->steps[i].out > cols) cols = p->steps[i].out;
    return cols;
}

px_status px_pooling_open(const px_model_file *file, px_pooling **out)
{
    px_pooling *p = px_alloc(sizeof *p);
    px_status status = read_all(p, file);
    if (!px_is_ok(status)) {
        px_pooling_free(p);
        return px_prefix(status, "%s", px_model_file_path(file));
    }
    for (int i = 0; i < 2; i++) p->room[i] = px_alloc_array(widest(p), sizeof *p->room[i]);
    *out = p;
    return px_ok();
}

void px_pooling_free(px_pooling *p)
{
    if (!p) return;
    for (uint32_t i = 0; i < p->step_count; i++) {
        free(p->steps[i].weight);
        free(p->steps[i].bias);
    }
    for (int i = 0; i < 2; i++) free(p->room[i]);
    free(p);
}

bool px_pooling_dense_at(const px_pooling *p, uint32_t index, px_pooling_dense *out)
{
    for (uint32_t i = 0; i < p->step_count; i++) {
        const step *s = &p->steps[i];
        if (!s->weight || index-- > 0) continue;
        *out = (px_pooling_dense){s->weight, s->bias, s->in, s->out, s->after == SQUASH_NONE};
        return true;
    }
    return false;
}

px_pooling_info px_pooling_describe(const px_pooling *p)
{
    return p->info;
}

uint64_t px_pooling_bytes(const px_pooling *p)
{
    uint64_t floats = 2 * (uint64_t)widest(p);
    for (uint32_t i = 0; i < p->step_count; i++) {
        const step *s = &p->steps[i];
        if (s->weight) floats += (uint64_t)s->in * s->out;
        if (s->bias) floats += s->out;
    }
    return floats * sizeof(float);
}

/* --- finishing -------------------------------------------------------------------------------- */

static double squashed(squash how, double x)
{
    switch (how) {
    case SQUASH_NONE: return x;
    case SQUASH_TANH: return tanh(x);
    case SQUASH_SIGMOID: return 1 / (1 + exp(-x));
    case SQUASH_RELU: return x > 0 ? x : 0;
    case SQUASH_GELU: return 0.5 * x * (1 + erf(x / sqrt(2)));
    }
    return x;
}

/* Four sums side by side: one alone would wait for each addition. */
static double dot(const float *a, const float *b, uint32_t count)
{
    double sum[4] = {0};
    uint32_t i = 0;
    for (; i + 4 <= count; i += 4)
        for (uint32_t k = 0; k < 4; k++) sum[k] += (double)a[i + k] * (double)b[i + k];
    for (; i < count; i++) sum[0] += (double)a[i] * (double)b[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static void apply(const step *s, const float *x, float *y)
{
    if (!s->weight) {
        double length = sqrt(dot(x, x, s->in));
        for (uint32_t i = 0; i < s->in; i++)
            y[i] = (float)((double)x[i] / fmax(length, 1e-12)); /* zero stays zero */
        return;
    }
    for (uint32_t i = 0; i < s->out; i++) {
        double sum = dot(s->weight + (size_t)i * s->in, x, s->in);
        y[i] = (float)squashed(s->after, sum + (s->bias ? (double)s->bias[i] : 0));
    }
}

void px_pooling_finish(px_pooling *p, const float *pooled, bool normalises, float *out)
{
    const float *x = pooled;
    for (uint32_t i = 0; i < p->step_count; i++) {
        float *y = p->room[i % 2];
        if (!p->steps[i].weight && !normalises) continue;
        apply(&p->steps[i], x, y);
        x = y;
    }
    memcpy(out, x, p->info.width * sizeof *out);
}
