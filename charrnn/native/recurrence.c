/* A layer run along a window, forward and back, for ../network/compiled_layer.py: only what must go step by step, which is the
 * recurrent product and the gates. The products over whole windows are torch's.
 *
 * No Python, no allocation, no thread of its own: it runs inside a parallel region of the OpenMP library that torch has
 * loaded, so that one crew of threads does everything and none waits for a core that another one spins on. A number
 * depends on neither the threads nor the lanes beside it.
 *
 * Williams & Peng 1990 (Neural Computation 2(4)) for the backward pass through a window.
 */
#include "recurrence.h"

#include "arithmetic.h"
#include "barrier.h"
#include "processor.h"

#define EIGHT_LANES(LEFT, AT_MOST, CALL) if (AT_MOST >= 8 && LEFT >= 8) { CALL(8); b += 8; } else
#include "lanes.h"

#include <math.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define wait_for_all(window, threads) meet(&(window)->arrived, &(window)->generation, threads, 0)

#define CAT_(a, b) a##_##b
#define CAT(a, b) CAT_(a, b)
#define NAME(x) CAT(x, SET)

#if defined(__x86_64__)
#define SET avx512
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,fma")))
#define real float
#define factor float
#define ROW vec
#define W 16
#define LANES 6
#define IS_DOUBLE 0
#define IS_NARROW 0
#include "window.h"

/* bfloat16: the upper half of a float. */
#define NARROW_ROW(p) ((__m512bh)_mm512_loadu_si512(p))
#define NARROW_PAIR(p) ((__m512bh)_mm512_set1_epi32(*(const neighbours *)(p)))
#define NARROW_DOT(a, row, one) ((vec)_mm512_dpbf16_ps((__m512)(a), row, one))
#define NARROW_WIDEN(p) ((vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(p))), 16))
#define NARROW_STORE(p, v) _mm256_storeu_si256((__m256i *)(p), (__m256i)_mm512_cvtneps_pbh((__m512)(v)))
typedef int32_t neighbours __attribute__((may_alias, aligned(2)));
static inline uint16_t narrowed(float x) { /* to nearest, ties to even; weights are finite */
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
#define SET narrow
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma")))
#define real float
#define factor uint16_t
#define ROW __m512bh
#define W 16
#define LANES 6
#define IS_DOUBLE 0
#define IS_NARROW 1
#include "window.h"

#define SET avx2
#define TARGET __attribute__((target("avx2,fma")))
#define real float
#define factor float
#define ROW vec
#define W 8
#define LANES 3
#define IS_DOUBLE 0
#define IS_NARROW 0
#include "window.h"
#endif

#define SET portable
#define TARGET
#define real float
#define factor float
#define ROW vec
#define W 4
#if defined(__aarch64__)
#define LANES 6 /* of 32 registers */
#else
#define LANES 3
#endif
#define IS_DOUBLE 0
#define IS_NARROW 0
#include "window.h"

#define SET doubled
#define TARGET
#define real double
#define factor double
#define ROW vec
#define W 2
#define LANES 3
#define IS_DOUBLE 1
#define IS_NARROW 0
#include "window.h"

/* The best set of this machine: 0 portable, 1 AVX2, 2 AVX-512. */
int32_t charrnn_best_recurrence(void) { return best_set(); }

/* Whether this machine multiplies bfloat16 numbers. */
int32_t charrnn_has_narrow(void) { return charrnn_best_recurrence() == 2 && HAS("avx512bf16"); }

static void run(Window *window, int is_backward) {
    /* The region has all of torch's threads: a smaller one would end the others, to be made anew. Some have nothing to do. */
    const int thread = window->thread(), all = window->threads();
    const int threads = all < window->most_threads ? all : window->most_threads;
    if (thread >= threads) return;
    const uint32_t before = enter_arithmetic();
    if (window->is_double) (is_backward ? backward_doubled : forward_doubled)(window, thread, threads);
#if defined(__x86_64__)
    else if (window->is_narrow) (is_backward ? backward_narrow : forward_narrow)(window, thread, threads);
    else if (window->set == 2) (is_backward ? backward_avx512 : forward_avx512)(window, thread, threads);
    else if (window->set == 1) (is_backward ? backward_avx2 : forward_avx2)(window, thread, threads);
#endif
    else (is_backward ? backward_portable : forward_portable)(window, thread, threads);
    leave_arithmetic(before);
}

/* To be entered by every thread of a parallel region. */
void charrnn_window_forward(void *window) { run(window, 0); }
void charrnn_window_backward(void *window) { run(window, 1); }

/* What a caller must know to be the right one. */
int32_t charrnn_recurrence_version(void) { return RECURRENCE_VERSION; }
