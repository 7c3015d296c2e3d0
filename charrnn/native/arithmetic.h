/* The arithmetic that compiled code computes with, whatever thread it is in: every entry from outside begins with
 * enter_arithmetic and ends with leave_arithmetic, given what the first returned.
 *
 * Round to nearest, no traps, denormal numbers are 0. The calling thread may be set otherwise (torch, for one, changes it
 * in the threads it is told to), and all threads of a job must compute alike; in closed gates, denormal numbers would
 * slow a step down many times.
 */
#ifndef CHARRNN_ARITHMETIC_H
#define CHARRNN_ARITHMETIC_H

#include <stdint.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

static inline uint32_t enter_arithmetic(void) {
#if defined(__x86_64__)
    const uint32_t before = _mm_getcsr();
    _mm_setcsr(0x9fc0);
    return before;
#else
    return 0;
#endif
}

static inline void leave_arithmetic(uint32_t before) {
#if defined(__x86_64__)
    _mm_setcsr(before);
#else
    (void)before;
#endif
}

#endif
