/* Where the threads of a job wait for each other. */
#ifndef CHARRNN_BARRIER_H
#define CHARRNN_BARRIER_H

#include <stdint.h>
#if defined(_WIN32)
#error "the compiled code needs GCC or Clang with POSIX threads; torch's kernels and numpy serve instead"
#endif
#include <sched.h>

/* Returns when all threads of a job have called it: 1; or, where `given_up` is not null, 0 as soon as that holds something
 * else than 0. Waiting spins, since the others are microseconds away, and gives way when they are not (another program may
 * have their core). */
static inline int meet(int32_t *arrived, int32_t *generation, int threads, const int32_t *given_up) {
    if (threads == 1) return 1;
    const int32_t now = __atomic_load_n(generation, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(arrived, 1, __ATOMIC_ACQ_REL) == threads) {
        *arrived = 0;
        __atomic_store_n(generation, now + 1, __ATOMIC_RELEASE);
        return 1;
    }
    for (int spins = 0; __atomic_load_n(generation, __ATOMIC_ACQUIRE) == now; spins++) {
        if (given_up && __atomic_load_n(given_up, __ATOMIC_RELAXED)) return 0;
        if (spins > 2000) sched_yield();
#if defined(__x86_64__)
        else __builtin_ia32_pause();
#endif
    }
    return 1;
}

#endif
