/* test_rope_freqs.c - rotary frequencies against values worked out from the published rules. */
#include "engine/model/rope_freqs.h"

#include "test.h"

static bool near(double got, double want)
{
    return fabs(got - want) <= 2e-6 * fabs(want);
}

PX_TEST(plain_is_a_geometric_series)
{
    px_rope_freqs freqs;
    px_rope_scaling plain = {.kind = PX_ROPE_PLAIN};
    PX_CHECK_OK(px_rope_freqs_make(&plain, 10000, 8, &freqs));
    PX_CHECK(freqs.dims == 8 && freqs.scale == 1 && freqs.long_from == 0);
    PX_CHECK(near(freqs.freq[0], 1) && near(freqs.freq[1], 0.1) && near(freqs.freq[3], 0.001));
    plain.divisor_count = 4;
    for (int i = 0; i < 4; i++) plain.divisors[i] = (float)(i + 1);
    PX_CHECK_OK(px_rope_freqs_make(&plain, 10000, 8, &freqs));
    PX_CHECK(near(freqs.freq[0], 1) && near(freqs.freq[3], 0.001 / 4));
}

PX_TEST(linear_slows_all_alike)
{
    px_rope_freqs freqs;
    px_rope_scaling linear = {.kind = PX_ROPE_LINEAR, .factor = 4};
    PX_CHECK_OK(px_rope_freqs_make(&linear, 10000, 8, &freqs));
    PX_CHECK(near(freqs.freq[0], 0.25) && near(freqs.freq[3], 0.00025));
}

/* theta 10000, 8 dims, original context 64: waves of 6.28, 62.8, 628 and 6283 positions. */
PX_TEST(llama3_keeps_short_waves_and_slows_long_ones)
{
    px_rope_freqs freqs;
    px_rope_scaling s = {.kind = PX_ROPE_LLAMA3,
        .factor = 8,
        .low_freq_factor = 1,
        .high_freq_factor = 4,
        .original_context = 64};
    PX_CHECK_OK(px_rope_freqs_make(&s, 10000, 8, &freqs));
    PX_CHECK(near(freqs.freq[0], 1));           /* 6.28 < 64 / 4 */
    double smooth = (64 / (20 * M_PI) - 1) / 3; /* 62.8 lies between 16 and 64 */
    PX_CHECK(near(freqs.freq[1], 0.1 * (smooth + (1 - smooth) / 8)));
    PX_CHECK(near(freqs.freq[2], 0.01 / 8) && near(freqs.freq[3], 0.001 / 8));
}

/* The pair that turns 32 times in 4096 positions is 16 * ln(4096 / (64 pi)) / ln 10000 = 5.2, the
 * one that turns once 11.3: pairs up to 5 stay, from 12 on they are slowed, a ramp between. */
PX_TEST(yarn_blends_between_its_two_pairs)
{
    px_rope_freqs freqs;
    px_rope_scaling s = {.kind = PX_ROPE_YARN,
        .factor = 4,
        .beta_fast = 32,
        .beta_slow = 1,
        .original_context = 4096};
    PX_CHECK_OK(px_rope_freqs_make(&s, 10000, 32, &freqs));
    PX_CHECK(near(freqs.scale, 0.1 * log(4) + 1));
    for (int i = 0; i < 16; i++) {
        double plain = pow(10000, -i / 16.0), slowed = fmin(fmax((i - 5) / 7.0, 0), 1);
        PX_CHECK(near(freqs.freq[i], plain * (1 - slowed) + plain / 4 * slowed));
    }
    s.mscale = 1, s.mscale_all_dim = 0.5;
    PX_CHECK_OK(px_rope_freqs_make(&s, 10000, 32, &freqs));
    PX_CHECK(near(freqs.scale, (0.1 * log(4) + 1) / (0.05 * log(4) + 1)));
    s.attention_factor = 1.5;
    PX_CHECK_OK(px_rope_freqs_make(&s, 10000, 32, &freqs));
    PX_CHECK(freqs.scale == 1.5f);
}

PX_TEST(longrope_has_a_list_for_short_and_one_for_long)
{
    px_rope_freqs freqs;
    px_rope_scaling s = {.kind = PX_ROPE_LONG, .original_context = 64, .context = 512};
    for (int i = 0; i < 4; i++) s.short_factors[i] = 1, s.long_factors[i] = (float)(2 * i + 2);
    PX_CHECK_OK(px_rope_freqs_make(&s, 10000, 8, &freqs));
    PX_CHECK(freqs.long_from == 64 && near(freqs.freq[1], 0.1) && near(freqs.long_freq[1], 0.025));
    PX_CHECK(near(freqs.scale, sqrt(1 + log(8) / log(64))));
}

/* (factor * length / context - (factor - 1)) ^ (8 / 6) stretches the base beyond the context. */
PX_TEST(a_dynamic_base_grows_with_the_sequence)
{
    px_rope_freqs freqs;
    px_rope_scaling dynamic = {.kind = PX_ROPE_DYNAMIC, .factor = 2, .context = 64};
    PX_CHECK_OK(px_rope_freqs_make(&dynamic, 10000, 8, &freqs));
    PX_CHECK(px_rope_freq(&freqs, 1, 64) == freqs.freq[1]);
    PX_CHECK(fabsf(freqs.freq[1] - 0.1f) < 1e-8f);
    double base = 10000 * pow(3, 8.0 / 6); /* of 128 positions */
    PX_CHECK(fabs((double)px_rope_freq(&freqs, 1, 128) - pow(base, -0.25)) < 1e-8);
    PX_CHECK(px_rope_freq(&freqs, 3, 129) < px_rope_freq(&freqs, 3, 128));
}

PX_TEST(an_odd_number_rotates_one_more)
{
    px_rope_freqs freqs;
    px_rope_scaling plain = {.kind = PX_ROPE_PLAIN};
    PX_CHECK_OK(px_rope_freqs_make(&plain, 10000, 5, &freqs));
    PX_CHECK(freqs.dims == 6 && freqs.freq[0] == 1);
    PX_CHECK(fabs((double)freqs.freq[2] - pow(10000, -4.0 / 5)) < 1e-9);
}

PX_TEST(impossible_settings_are_refused)
{
    px_rope_freqs freqs;
    px_rope_scaling plain = {.kind = PX_ROPE_PLAIN}, linear = {.kind = PX_ROPE_LINEAR};
    px_rope_scaling yarn = {.kind = PX_ROPE_YARN, .factor = 4};
    px_rope_scaling longrope = {.kind = PX_ROPE_LONG, .original_context = 64};
    px_rope_scaling dynamic = {.kind = PX_ROPE_DYNAMIC, .factor = 2, .context = 64};
    px_rope_kind kind;
    PX_CHECK_OK(px_rope_freqs_make(&dynamic, 10000, 8, &freqs));
    PX_CHECK(!px_is_ok(px_rope_freqs_make(&dynamic, 10000, 2, &freqs)));
    dynamic.context = 0;
    PX_CHECK(!px_is_ok(px_rope_freqs_make(&dynamic, 10000, 8, &freqs)));
    PX_CHECK(!px_is_ok(px_rope_freqs_make(&plain, 10000, 4096, &freqs)));
    PX_CHECK(!px_is_ok(px_rope_freqs_make(&plain, NAN, 8, &freqs)));
    PX_CHECK(!px_is_ok(px_rope_freqs_make(&linear, 10000, 8, &freqs)));
    PX_CHECK(!px_is_ok(px_rope_freqs_make(&yarn, 10000, 8, &freqs)));
    PX_CHECK(!px_is_ok(px_rope_freqs_make(&longrope, 10000, 8, &freqs)));
    px_status status = px_rope_kind_parse("spiral", &kind);
    PX_CHECK(status.code == PX_UNIMPLEMENTED && strstr(status.text, "spiral"));
}

PX_TEST_MAIN()
