/* salt.c - see salt.h. */
#include "engine/salt.h"

#include <sys/random.h>

#include "base/clock.h"

px_siphash_key px_siphash_random_key(void)
{
    px_siphash_key key;
    if (getrandom(&key, sizeof key, 0) != (ssize_t)sizeof key)
        key = (px_siphash_key){{(uint64_t)px_now_ns(), (uint64_t)(uintptr_t)&key}};
    return key;
}

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static void rounds(uint64_t v[4], int count)
{
    while (count--) {
        v[0] += v[1], v[1] = rotate(v[1], 13) ^ v[0], v[0] = rotate(v[0], 32);
        v[2] += v[3], v[3] = rotate(v[3], 16) ^ v[2];
        v[0] += v[3], v[3] = rotate(v[3], 21) ^ v[0];
        v[2] += v[1], v[1] = rotate(v[1], 17) ^ v[2], v[2] = rotate(v[2], 32);
    }
}

static void absorb(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    rounds(v, 2);
    v[0] ^= word;
}

uint64_t px_siphash(px_siphash_key key, const void *bytes, size_t length)
{
    uint64_t v[4] = {key.word[0] ^ UINT64_C(0x736f6d6570736575),
        key.word[1] ^ UINT64_C(0x646f72616e646f6d), key.word[0] ^ UINT64_C(0x6c7967656e657261),
        key.word[1] ^ UINT64_C(0x7465646279746573)};
    const unsigned char *at = bytes;
    size_t left = length;
    for (; left >= 8; left -= 8, at += 8) {
        uint64_t word = 0;
        for (int i = 7; i >= 0; i--) word = word << 8 | at[i];
        absorb(v, word);
    }
    uint64_t last = (uint64_t)length << 56;
    for (size_t i = 0; i < left; i++) last |= (uint64_t)at[i] << 8 * i;
    absorb(v, last);
    v[2] ^= 0xff;
    rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

px_kv_salt px_salt_of(px_siphash_key key, px_slice tenant, px_slice extra)
{
    /* Each part on its own, then all: no other way of cutting the bytes in two gives the same. */
    px_siphash_key other = {{~key.word[0], key.word[1]}};
    uint64_t parts[] = {px_siphash(key, tenant.data, tenant.length),
        px_siphash(key, extra.data, extra.length), px_siphash(other, tenant.data, tenant.length),
        px_siphash(other, extra.data, extra.length)};
    return (px_kv_salt){
        {px_siphash(key, parts, sizeof parts), px_siphash(other, parts, sizeof parts)}};
}

px_kv_salt px_salt_with_adapter(px_siphash_key key, px_kv_salt salt, uint64_t generation)
{
    px_siphash_key other = {{~key.word[0], key.word[1]}};
    uint64_t parts[] = {salt.word[0], salt.word[1], generation};
    return (px_kv_salt){
        {px_siphash(key, parts, sizeof parts), px_siphash(other, parts, sizeof parts)}};
}
