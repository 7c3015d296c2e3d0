/* Products of bfloat16 numbers by matrix tiles (AMX): with the processor's instructions, and with an emulation in plain C
 * that gives the same bits on every machine. Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter
 * 18, and volume 2, TDPBF16PS.
 *
 * There are eight tiles of at most 16 rows of 64 bytes. What is here uses 0 to 3 for sums, 4 and 5 for the left factor (16
 * numbers of M, 32 of K) and 6 and 7 for the right one, whose rows are pairs of neighbours along K (16 pairs, 16 numbers of
 * N): the layout that AVX512-BF16 reads, too.
 *
 * Whoever multiplies configures the tiles first and releases them after, once a piece of work, in the thread that does it: it
 * costs some dozens of cycles, the next piece may need other shapes, and a thread that holds tiles while it waits has 8 KB
 * more to be saved and restored at each change of threads, and keeps its core from sleeping deeply.
 */
#ifndef CHARRNN_TILES_H
#define CHARRNN_TILES_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "processor.h"

#if defined(__x86_64__) && defined(__linux__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#define HAS_TILE_INSTRUCTIONS 1
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#else
#define HAS_TILE_INSTRUCTIONS 0
#endif

/* What LDTILECFG reads. */
typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16]; /* of a row */
    uint8_t rows[16];
} TileShapes;

/* All tiles whole, but for the number of rows of the left factor and the sums. */
static inline TileShapes whole_tiles(int rows) {
    TileShapes shapes = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) shapes.bytes[tile] = 64, shapes.rows[tile] = (uint8_t)(tile < 6 ? rows : 16);
    return shapes;
}

/* Whether the processor has tiles for bfloat16 and the system lets this process use them, for which it is asked here. */
static inline int32_t may_use_tiles(void) {
#if HAS_TILE_INSTRUCTIONS
    enum { ARCH_REQUEST = 0x1023, TILE_DATA = 18, TILES_BFLOAT16 = 1 << 22, TILES_THEMSELVES = 1 << 24 };
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & TILES_BFLOAT16) || !(d & TILES_THEMSELVES)) return 0;
    return best_set() == 2 && syscall(SYS_arch_prctl, ARCH_REQUEST, TILE_DATA) == 0;
#else
    return 0;
#endif
}

#if HAS_TILE_INSTRUCTIONS
#define IS_EMULATED 0
#include "tiles_kernel.h"
#endif
#define IS_EMULATED 1
#include "tiles_kernel.h"

#endif
