/* Which instruction sets the machine has that there is code for. */
#ifndef CHARRNN_PROCESSOR_H
#define CHARRNN_PROCESSOR_H

#include <stdint.h>

/* The best set: 0 portable, 1 AVX2, 2 AVX-512. */
#if defined(__x86_64__)
#define HAS(set) (__builtin_cpu_supports(set) != 0)
static inline int32_t best_set(void) {
    __builtin_cpu_init();
    if (HAS("avx512f") && HAS("avx512bw") && HAS("avx512vl") && HAS("avx512dq") && HAS("fma")) return 2;
    return HAS("avx2") && HAS("fma");
}
#else
#define HAS(set) 0
static inline int32_t best_set(void) { return 0; }
#endif

/* A function compiled for each width of vectors, of which the loader of libraries takes the best. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__gnu_linux__)
#define TARGET_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define TARGET_CLONES
#endif

#endif
