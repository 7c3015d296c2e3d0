/* What all that runs in a parallel region needs: a place to meet, and code for every width of vectors. */
#ifndef CHARRNN_THREADS_H
#define CHARRNN_THREADS_H

#include <stdint.h>
#if defined(_WIN32)
#error "the compiled training step needs GCC or Clang with POSIX threads; torch's kernels serve instead"
#endif
#include <sched.h>

/* All threads meet here. Waiting spins, since the others are microseconds away, and gives way when they are not. */
static inline void meet(int32_t *arrived, int32_t *generation, int threads) {
    if (threads == 1) return;
    const int32_t now = __atomic_load_n(generation, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(arrived, 1, __ATOMIC_ACQ_REL) == threads) {
        *arrived = 0;
        __atomic_store_n(generation, now + 1, __ATOMIC_RELEASE);
        return;
    }
    for (int spins = 0; __atomic_load_n(generation, __ATOMIC_ACQUIRE) == now; spins++) {
        if (spins > 2000) sched_yield();
#if defined(__x86_64__)
        else __builtin_ia32_pause();
#endif
    }
}

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__gnu_linux__)
#define TARGET_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define TARGET_CLONES
#endif

#endif
