/* salt.h - from a tenant's name to numbers that nobody outside can make collide.
 *
 * KV is shared between requests of one tenant and one cache salt; a client that could find another
 * tenant's number could learn from response times what it asked. So both are hashed with a key of
 * this process.
 * Source:  J.-P. Aumasson, D. J. Bernstein: "SipHash: a fast short-input PRF" (2012), SipHash-2-4.
 * Threads: pure functions.
 */
#ifndef PX_ENGINE_SALT_H
#define PX_ENGINE_SALT_H

#include "base/memory.h"
#include "engine/kv/kvtree.h"

typedef struct px_siphash_key {
    uint64_t word[2];
} px_siphash_key;

px_siphash_key px_siphash_random_key(void);
uint64_t px_siphash(px_siphash_key key, const void *bytes, size_t length);

/* Different for different pairs of (tenant, extra). */
px_kv_salt px_salt_of(px_siphash_key key, px_slice tenant, px_slice extra);

/* The same for requests with the `generation`-th adapter that this process has loaded, from 1 on:
 * what it computed is of no use to others, nor to a later one of the same name. */
px_kv_salt px_salt_with_adapter(px_siphash_key key, px_kv_salt salt, uint64_t generation);

#endif
