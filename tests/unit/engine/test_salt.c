/* test_salt.c - the hash against its published vectors; no two pairs of names share a salt. */
#include "engine/salt.h"
#include "test.h"

/* Appendix A of the paper: key 00..0f, message 00..0e; the empty message from the reference code.
 */
PX_TEST(the_hash_is_siphash)
{
    px_siphash_key key = {{UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)}};
    unsigned char message[15];
    for (int i = 0; i < 15; i++) message[i] = (unsigned char)i;
    PX_CHECK(px_siphash(key, message, 15) == UINT64_C(0xa129ca6149be45e5));
    PX_CHECK(px_siphash(key, message, 0) == UINT64_C(0x726fdb47dd0e0e31));
}

static px_slice slice(const char *text)
{
    return (px_slice){text, strlen(text)};
}

PX_TEST(every_pair_has_a_salt_of_its_own)
{
    static const char *const names[] = {"", "a", "b", "ab", "ba", "aa"};
    enum { NAMES = sizeof names / sizeof *names };
    px_siphash_key key = px_siphash_random_key(), other = px_siphash_random_key();
    px_kv_salt salts[NAMES * NAMES];
    for (int i = 0; i < NAMES * NAMES; i++) {
        salts[i] = px_salt_of(key, slice(names[i / NAMES]), slice(names[i % NAMES]));
        for (int j = 0; j < i; j++) PX_CHECK(memcmp(&salts[i], &salts[j], sizeof *salts) != 0);
    }
    px_kv_salt again = px_salt_of(key, slice("ab"), slice("b"));
    PX_CHECK(memcmp(&again, &salts[3 * NAMES + 2], sizeof again) == 0);
    again = px_salt_of(other, slice("ab"), slice("b")); /* another process, other numbers */
    PX_CHECK(memcmp(&again, &salts[3 * NAMES + 2], sizeof again) != 0);
}

PX_TEST_MAIN()
