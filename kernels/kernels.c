/* kernels.c - which table this CPU runs. Compiled without ISA flags, so it is safe to ask anywhere.
 */
#include "kernels/kernels.h"

#include <string.h>

#ifdef PX_HAVE_AVX2
#include <cpuid.h>

const px_kernels *px_avx2_table(void);
#endif
#ifdef PX_HAVE_AVX512
const px_kernels *px_avx512_table(void);
const px_kernels *px_avx512_bf16_table(void);
#endif

#ifdef PX_HAVE_AVX2
/* CPUID leaf 1, ECX bit 29: clang 14 has no name for it. */
static int has_f16c(void)
{
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && ecx >> 29 & 1;
}
#endif

const px_kernels *px_kernels_avx2(void)
{
#ifdef PX_HAVE_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("bmi2") && has_f16c()) {
        return px_avx2_table();
    }
#endif
    return NULL;
}

const px_kernels *px_kernels_avx512(void)
{
#ifdef PX_HAVE_AVX512
    if (px_kernels_avx2() && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni")) {
        return px_avx512_table();
    }
#endif
    return NULL;
}

const px_kernels *px_kernels_avx512_bf16(void)
{
#ifdef PX_HAVE_AVX512
    if (px_kernels_avx512() && __builtin_cpu_supports("avx512bf16")) return px_avx512_bf16_table();
#endif
    return NULL;
}

const px_kernels *px_kernels_find(const char *name)
{
    if (!name || strcmp(name, "auto") == 0) {
        const px_kernels *best = px_kernels_avx512();
        if (!best) best = px_kernels_avx2();
        return best ? best : px_kernels_scalar();
    }
    if (strcmp(name, "scalar") == 0) return px_kernels_scalar();
    if (strcmp(name, "avx2") == 0) return px_kernels_avx2();
    if (strcmp(name, "avx512") == 0) return px_kernels_avx512();
    if (strcmp(name, "avx512_bf16") == 0) return px_kernels_avx512_bf16();
    return NULL;
}
