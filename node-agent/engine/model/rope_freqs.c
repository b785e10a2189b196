/* rope_freqs.c - see rope_freqs.h. */
#include "engine/model/rope_freqs.h"

#include <math.h>
#include <string.h>

px_status px_rope_kind_parse(const char *name, px_rope_kind *out)
{
    static const struct {
        const char *name;
        px_rope_kind kind;
    } known[] = {{"default", PX_ROPE_PLAIN}, {"none", PX_ROPE_PLAIN}, {"linear", PX_ROPE_LINEAR},
        {"llama3", PX_ROPE_LLAMA3}, {"yarn", PX_ROPE_YARN}, {"longrope", PX_ROPE_LONG},
        {"su", PX_ROPE_LONG}, {"dynamic", PX_ROPE_DYNAMIC}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].name, name) != 0) continue;
        *out = known[i].kind;
        return px_ok();
    }
    return px_fail(PX_UNIMPLEMENTED,
        "RoPE scaling '%.60s' is not supported; known: default, linear, dynamic, llama3, yarn, "
        "longrope",
        name);
}

double px_rope_mscale(double factor, double m)
{
    return factor <= 1 ? 1 : 0.1 * m * log(factor) + 1;
}

static double plain(double theta, uint32_t pair, uint32_t dims)
{
    return pow(theta, -2.0 * pair / dims);
}

/* Llama 3: long waves are slowed by `factor`, short ones kept, those between blended. */
static double llama3(const px_rope_scaling *s, double freq)
{
    double wave = 2 * M_PI / freq;
    if (wave > s->original_context / s->low_freq_factor) return freq / s->factor;
    if (wave < s->original_context / s->high_freq_factor) return freq;
    double smooth = (s->original_context / wave - s->low_freq_factor) /
                    (s->high_freq_factor - s->low_freq_factor);
    return (1 - smooth) * freq / s->factor + smooth * freq;
}

/* The (fractional) pair index whose wave turns `turns` times within the original context. */
static double yarn_pair(const px_rope_scaling *s, double turns, double theta, uint32_t dims)
{
    return dims * log(s->original_context / (turns * 2 * M_PI)) / (2 * log(theta));
}

static void yarn(const px_rope_scaling *s, double theta, px_rope_freqs *out)
{
    double low = yarn_pair(s, s->beta_fast, theta, out->stated_dims);
    double high = yarn_pair(s, s->beta_slow, theta, out->stated_dims);
    if (!s->no_truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, out->stated_dims - 1.0);
    if (low == high) high += 0.001;
    for (uint32_t i = 0; i < out->dims / 2; i++) {
        double slowed = fmin(fmax((i - low) / (high - low), 0), 1);
        double freq = plain(theta, i, out->stated_dims);
        if (s->divisor_count) freq /= s->divisors[i];
        out->freq[i] = (float)(freq / s->factor * slowed + freq * (1 - slowed));
    }
    out->scale = (float)px_rope_mscale(s->factor, 1);
    if (s->mscale != 0 && s->mscale_all_dim != 0)
        out->scale = (float)(px_rope_mscale(s->factor, s->mscale) /
                             px_rope_mscale(s->factor, s->mscale_all_dim));
    if (s->attention_factor != 0) out->scale = (float)s->attention_factor;
}

static void longrope(const px_rope_scaling *s, double theta, px_rope_freqs *out)
{
    for (uint32_t i = 0; i < out->dims / 2; i++) {
        double freq = plain(theta, i, out->stated_dims);
        out->freq[i] = (float)(freq / s->short_factors[i]);
        out->long_freq[i] = (float)(freq / s->long_factors[i]);
    }
    out->long_from = (uint32_t)s->original_context;
    double factor = s->factor > 0 ? s->factor : s->context / s->original_context;
    if (factor > 1) out->scale = (float)sqrt(1 + log(factor) / log(s->original_context));
    if (s->attention_factor != 0) out->scale = (float)s->attention_factor;
}

static px_status check(const px_rope_scaling *s, double theta, uint32_t dims)
{
    if (dims > 2 * PX_ROPE_PAIRS_MAX)
        return px_fail(
            PX_INVALID_ARGUMENT, "RoPE over %u elements of a head is not possible", dims);
    if (!(theta > 1)) return px_fail(PX_INVALID_ARGUMENT, "rope_theta %g must be above 1", theta);
    if (s->divisor_count && s->divisor_count != (dims + 1) / 2)
        return px_fail(PX_INVALID_ARGUMENT, "%u RoPE divisors, but %u pairs are rotated",
            s->divisor_count, (dims + 1) / 2);
    for (uint32_t i = 0; i < s->divisor_count; i++)
        if (!(s->divisors[i] > 0))
            return px_fail(PX_INVALID_ARGUMENT, "a RoPE divisor is not positive");
    bool needs_factor = s->kind != PX_ROPE_PLAIN && s->kind != PX_ROPE_LONG;
    if (needs_factor && !(s->factor > 0))
        return px_fail(PX_INVALID_ARGUMENT, "the RoPE scaling lacks a positive 'factor'");
    bool needs_original = s->kind > PX_ROPE_LINEAR && s->kind != PX_ROPE_DYNAMIC;
    if (needs_original && !(s->original_context >= 2 && s->original_context < 1e9))
        return px_fail(PX_INVALID_ARGUMENT,
            "the RoPE scaling lacks a sensible 'original_max_position_embeddings'");
    if (s->kind == PX_ROPE_LLAMA3 &&
        !(s->low_freq_factor > 0 && s->high_freq_factor > s->low_freq_factor))
        return px_fail(PX_INVALID_ARGUMENT, "llama3 RoPE needs low_freq_factor < high_freq_factor");
    if (s->kind == PX_ROPE_DYNAMIC && (dims < 3 || !(s->context >= 1 && s->context < 1e9)))
        return px_fail(PX_INVALID_ARGUMENT,
            "dynamic RoPE needs at least 3 rotated elements of a head and a sensible "
            "'max_position_embeddings'");
    for (uint32_t i = 0; s->kind == PX_ROPE_LONG && i < (dims + 1) / 2; i++)
        if (!(s->short_factors[i] > 0 && s->long_factors[i] > 0))
            return px_fail(PX_INVALID_ARGUMENT, "longrope needs %u positive factors in each list",
                (dims + 1) / 2);
    return px_ok();
}

px_status px_rope_freqs_make(
    const px_rope_scaling *scaling, double theta, uint32_t dims, px_rope_freqs *out)
{
    if (dims) PX_TRY(check(scaling, theta, dims));
    *out = (px_rope_freqs){.dims = dims + dims % 2,
        .stated_dims = dims,
        .theta = theta,
        .factor = scaling->factor,
        .dynamic = scaling->kind == PX_ROPE_DYNAMIC,
        .long_from = scaling->kind == PX_ROPE_DYNAMIC ? (uint32_t)scaling->context : 0,
        .scale = 1};
    if (scaling->kind == PX_ROPE_YARN) {
        yarn(scaling, theta, out);
    } else if (scaling->kind == PX_ROPE_LONG) {
        longrope(scaling, theta, out);
    } else {
        for (uint32_t i = 0; i < out->dims / 2; i++) {
            double freq = plain(theta, i, dims);
            if (scaling->kind == PX_ROPE_LINEAR) freq /= scaling->factor;
            if (scaling->kind == PX_ROPE_LLAMA3) freq = llama3(scaling, freq);
            if (scaling->divisor_count) freq /= scaling->divisors[i];
            out->freq[i] = (float)freq;
        }
    }
    return px_ok();
}

float px_rope_freq(const px_rope_freqs *rope, uint32_t pair, uint32_t length)
{
    if (!rope->long_from || length <= rope->long_from) return rope->freq[pair];
    if (!rope->dynamic) return rope->long_freq[pair];
    double dims = rope->stated_dims, stretch = (double)length / rope->long_from;
    double theta =
        rope->theta * pow(rope->factor * stretch - (rope->factor - 1), dims / (dims - 2));
    return (float)plain(theta, pair, rope->stated_dims);
}
