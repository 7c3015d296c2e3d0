/* A layer run along a window, forward and back, for ../network/compiled_layer.py: only what must go step by step, which is the
 * recurrent product and the gates. The products over whole windows are torch's.
 *
 * No Python, no allocation; the threads are the crew's. A number depends on neither the threads nor the lanes beside it.
 *
 * Williams & Peng 1990 (Neural Computation 2(4)) for the backward pass through a window.
 */
#include "recurrence.h"

#include "crew.h"
#include "processor.h"
#include "product.h"
#include "tiles.h"

#define EIGHT_LANES(LEFT, AT_MOST, CALL) if (AT_MOST >= 8 && LEFT >= 8) { CALL(8); b += 8; } else
#include "lanes.h"

#include <math.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { COLUMNS = 128 }; /* of the table's gradient that are summed in one go */
/* Rows, and numbers of a row, that a matrix is fetched before it is packed: no hardware foresees its way across pages. */
enum { AHEAD = 8, FURTHER = 64 };

#define CAT_(a, b) a##_##b
#define CAT(a, b) CAT_(a, b)
#define NAME(x) CAT(x, SET)

typedef int32_t neighbours __attribute__((may_alias, aligned(2)));
static inline uint16_t narrowed(float x) { /* to nearest, ties to even; weights are finite */
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
static inline float widened(uint16_t x) {
    const uint32_t bits = (uint32_t)x << 16;
    float wide;
    memcpy(&wide, &bits, sizeof wide);
    return wide;
}

#if defined(__x86_64__)
#define SET avx512
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,fma")))
#define real float
#define factor float
#define ROW vec
#define W 16
#define LANES 6
#define BACK 2
#define IS_DOUBLE 0
#define IS_NARROW 0
#define IS_TILED 0
#include "window.h"

/* bfloat16: the upper half of a float. */
#define ROW_OF(p) ((__m512bh)_mm512_loadu_si512(p))
#define ONE_OF(p) ((__m512bh)_mm512_set1_epi32(*(const neighbours *)(p)))
#define ADD(a, row, one) ((vec)_mm512_dpbf16_ps((__m512)(a), row, one))
#define NARROW_WIDEN(p) ((vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(p))), 16))
#define NARROW_STORE(p, v) _mm256_storeu_si256((__m256i *)(p), (__m256i)_mm512_cvtneps_pbh((__m512)(v)))
#define SET narrow
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma")))
#define real float
#define factor uint16_t
#define ROW __m512bh
#define W 16
#define LANES 6
#define BACK 2
#define IS_DOUBLE 0
#define IS_NARROW 1
#define IS_TILED 0
#include "window.h"

#if HAS_TILE_INSTRUCTIONS
#define SET tiled
#define TILES(x) x##_amx
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,amx-tile,amx-bf16,fma")))
#define real float
#define factor uint16_t
#define ROW __m512bh
#define W 16
#define LANES 6
#define BACK 4
#define IS_DOUBLE 0
#define IS_NARROW 1
#define IS_TILED 1
#include "window.h"
#undef TILES
#endif
#undef NARROW_WIDEN
#undef NARROW_STORE

#define SET avx2
#define TARGET __attribute__((target("avx2,fma")))
#define real float
#define factor float
#define ROW vec
#define W 8
#define LANES 3
#define BACK 2
#define IS_DOUBLE 0
#define IS_NARROW 0
#define IS_TILED 0
#include "window.h"
#endif

/* The same as with matrix tiles, on every machine. */
#define SET emulated
#define TILES(x) x##_emulated
#define NARROW_WIDEN(p) NAME(widen_each)(p)
#define NARROW_STORE(p, v) NAME(narrow_each)(p, v)
#define TARGET
#define real float
#define factor uint16_t
#define ROW int
#define W 16
#define LANES 6
#define BACK 4
#define IS_DOUBLE 0
#define IS_NARROW 1
#define IS_TILED 1
typedef float NAME(each) __attribute__((vector_size(W * 4), aligned(4)));
static inline __attribute__((always_inline)) NAME(each) NAME(widen_each)(const uint16_t *from) {
    NAME(each) wide;
    for (int j = 0; j < W; j++) wide[j] = widened(from[j]);
    return wide;
}
static inline __attribute__((always_inline)) void NAME(narrow_each)(uint16_t *to, NAME(each) from) {
    for (int j = 0; j < W; j++) to[j] = narrowed(from[j]);
}
#include "window.h"
#undef TILES
#undef NARROW_WIDEN
#undef NARROW_STORE

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
#define BACK 2
#define IS_DOUBLE 0
#define IS_NARROW 0
#define IS_TILED 0
#include "window.h"

#define SET doubled
#define TARGET
#define real double
#define factor double
#define ROW vec
#define W 2
#define LANES 3
#define BACK 2
#define IS_DOUBLE 1
#define IS_NARROW 0
#define IS_TILED 0
#include "window.h"

/* The best set of this machine: 0 portable, 1 AVX2, 2 AVX-512. */
int32_t charrnn_best_recurrence(void) { return best_set(); }

/* Whether this machine multiplies bfloat16 numbers. */
int32_t charrnn_has_narrow(void) { return charrnn_best_recurrence() == 2 && HAS("avx512bf16"); }

/* Whether that is faster than to multiply floats. Intel's dot products of pairs issue at half the rate of its multiply-adds, so
 * that tiles alone gain; AMD's issue at the same rate. */
int32_t charrnn_is_narrow_faster(void) {
#if defined(__x86_64__)
    return charrnn_has_narrow() && (may_use_tiles() || __builtin_cpu_is("amd"));
#else
    return 0;
#endif
}

static void run(Window *window, int is_backward) {
    const uint64_t sizes[] = {window->steps, window->lanes, window->padded, window->cell, is_backward, window->is_narrow, window->way,
                              window->starts != 0};
    uint64_t kind = 1;
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) kind = kind * 1000003 + sizes[i];
    crew_begin(window->most_threads, kind);
    if (window->is_double) run_doubled(window, is_backward);
    else if (window->is_narrow && window->way == TILES_EMULATED) run_emulated(window, is_backward);
#if HAS_TILE_INSTRUCTIONS
    else if (window->is_narrow && window->way == TILES) run_tiled(window, is_backward);
#endif
#if defined(__x86_64__)
    else if (window->is_narrow) run_narrow(window, is_backward);
    else if (window->set == 2) run_avx512(window, is_backward);
    else if (window->set == 1) run_avx2(window, is_backward);
#endif
    else run_portable(window, is_backward);
    crew_end();
}

void charrnn_window_forward(Window *window) { run(window, 0); }
void charrnn_window_backward(Window *window) { run(window, 1); }

/* What a caller must know to be the right one. */
int32_t charrnn_recurrence_version(void) { return RECURRENCE_VERSION; }
