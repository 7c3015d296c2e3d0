/* See product.h. Both factors are first copied into panels, in the order in which they are read, and then multiplied tile by
 * tile: Goto & van de Geijn 2008 (ACM TOMS 34(3)). A tile is what the registers hold of C; a block is the tiles of a piece.
 */
#include "product.h"

#include "arithmetic.h"
#include "crew.h"
#include "processor.h"
#include "tiles.h"

#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* c = alpha (beta start + a b), for one tile of so many vectors in a row; start may be c, or null for 0. */
typedef struct {
    const void *start;
    void *c;
    int64_t start_row, c_row;
    double beta, alpha;
    int32_t rows, vectors;
    int32_t is_start_narrow, is_c_narrow; /* bfloat16 in memory; only for kernels that know it */
    int64_t a_row, a_step; /* of a left factor for matrix tiles: bytes from row to row, and from 32 numbers along K to the next */
} Sums;
typedef void (*Multiply)(const void *a, const void *b, int64_t items, Sums sums);

#define CAT_(a, b) a##_##b
#define CAT(a, b) CAT_(a, b)
#define NAME(x) CAT(x, SET)

#if defined(__x86_64__)
#define SET avx512
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,fma")))
#define real float
#define W 16
#define ROWS 8
#define VECTORS 3
#define item float
#define ROW vec
#define ROW_OF(p) NAME(get)(p)
#define ONE_OF(p) NAME(splat)(*(p))
#define ADD(sum, row, one) ((sum) + (row) * (one))
#include "product_kernel.h"

typedef int32_t neighbours __attribute__((may_alias));
#define SET dot
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma")))
#define real float
#define W 16
#define ROWS 8
#define VECTORS 3
#define item neighbours
#define ROW __m512bh
#define ROW_OF(p) ((__m512bh)_mm512_loadu_si512(p))
#define ONE_OF(p) ((__m512bh)_mm512_set1_epi32(*(p)))
#define ADD(sum, row, one) ((vec)_mm512_dpbf16_ps((__m512)(sum), row, one))
#define GET_NARROW(p) ((vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(p))), 16))
#define PUT_NARROW(p, v) _mm256_storeu_si256((__m256i *)(p), (__m256i)_mm512_cvtneps_pbh((__m512)(v)))
#include "product_kernel.h"

#define SET avx2
#define TARGET __attribute__((target("avx2,fma")))
#define real float
#define W 8
#define ROWS 4
#define VECTORS 3
#define item float
#define ROW vec
#define ROW_OF(p) NAME(get)(p)
#define ONE_OF(p) NAME(splat)(*(p))
#define ADD(sum, row, one) ((sum) + (row) * (one))
#include "product_kernel.h"
#endif

#if defined(__aarch64__)
enum { PORTABLE_ROWS = 8, PORTABLE_VECTORS = 3 }; /* of 32 registers */
#else
enum { PORTABLE_ROWS = 4, PORTABLE_VECTORS = 2 };
#endif
#define SET portable
#define TARGET
#define real float
#define W 4
#define ROWS PORTABLE_ROWS
#define VECTORS PORTABLE_VECTORS
#define item float
#define ROW vec
#define ROW_OF(p) NAME(get)(p)
#define ONE_OF(p) NAME(splat)(*(p))
#define ADD(sum, row, one) ((sum) + (row) * (one))
#include "product_kernel.h"

#define SET doubled
#define TARGET
#define real double
#define W 2
#define ROWS 4
#define VECTORS 2
#define item double
#define ROW vec
#define ROW_OF(p) NAME(get)(p)
#define ONE_OF(p) NAME(splat)(*(p))
#define ADD(sum, row, one) ((sum) + (row) * (one))
#include "product_kernel.h"

enum { MOST_SUMS = 32 * 64 };

static void scale(float *to, int64_t to_row, const float *from, int64_t from_row, float by, int64_t rows, int64_t columns) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) to[i * to_row + j] = from[i * from_row + j] * by;
}

#if HAS_TILE_INSTRUCTIONS
#define TILES(x) x##_amx
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,amx-tile,amx-bf16,fma")))
#include "product_tiles.h"
#endif
#define TILES(x) x##_emulated
#define TARGET
#include "product_tiles.h"

typedef struct {
    Multiply tile;
    int32_t rows, vectors, vector; /* of a tile; numbers in a vector */
    int32_t pair;                  /* numbers along K in an item */
    int32_t item;                  /* bytes */
    int64_t depth; /* numbers along K that are summed before the next tile: what is used again of B stays in the first cache */
    int64_t work;  /* multiply-adds of a piece, for some 50 microseconds */
    int32_t step;  /* items are summed so many at a time */
    void (*begin)(void), (*end)(void); /* of a piece, or null */
    int32_t knows_narrow; /* start and c may be bfloat16 */
} Kernel;

static Kernel choose(const Product *p) {
    const int is_flat = p->rows <= 16;
    if (p->is_double) return (Kernel){tile_doubled, 4, 2, 2, 1, 8, 256, 500000, 1, 0, 0, 0};
#if HAS_TILE_INSTRUCTIONS
    if (p->is_narrow && p->way == TILES)
        return (Kernel){tile_amx, is_flat ? 16 : 32, is_flat ? 4 : 2, 16, 2, 4, 512, 24000000, 16, begin_amx, end_amx, 0};
#endif
    if (p->is_narrow && p->way == TILES_EMULATED)
        return (Kernel){tile_emulated, is_flat ? 16 : 32, is_flat ? 4 : 2, 16, 2, 4, 512, 500000, 16, begin_emulated, end_emulated, 0};
#if defined(__x86_64__)
    if (p->is_narrow && p->way == DOT) return (Kernel){tile_dot, 8, 3, 16, 2, 4, 384, 10000000, 1, 0, 0, 1};
    if (p->set == 2) return (Kernel){tile_avx512, 8, 3, 16, 1, 4, 192, 6000000, 1, 0, 0, 0};
    if (p->set == 1) return (Kernel){tile_avx2, 4, 3, 8, 1, 4, 256, 3000000, 1, 0, 0, 0};
#endif
    return (Kernel){tile_portable, PORTABLE_ROWS, PORTABLE_VECTORS, 4, 1, 4, 256, 500000, 1, 0, 0, 0};
}

static int is_tiled(const Kernel *kernel) { return kernel->step > 1; }

/* A factor, as a matrix whose `outer` dimension (M of A, N of B) is cut into panels. */
typedef struct {
    const void *from;
    int64_t outer, outer_stride, depth_stride, batch_stride;
    int32_t is_narrow;      /* in memory */
    int64_t width, unit;    /* of a panel, which holds its numbers item by item along K; the last has a few units of that */
    int64_t panels;         /* of one batch */
    char *to;
    int64_t group, pieces;  /* panels of a piece */
} Factor;

typedef struct {
    const Product *p;
    Kernel kernel;
    Factor a, b;
    int64_t items, depth;                 /* along K, of all; numbers of one part */
    int32_t is_straight;                  /* A is read where it is */
    int64_t a_row, a_step;                /* see Sums */
    int64_t block_rows, block_columns;    /* numbers of a block */
    int64_t row_blocks, column_blocks, blocks, group, pieces; /* all the blocks; and those of a piece */
} Plan;

static int64_t over(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t up(int64_t a, int64_t b) { return over(a, b) * b; }
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* ---- packing */

enum { LINE = 64, GROUP = 32768, MOST_PARTS = 4096, TOGETHER = 8 };

static inline float widened(uint16_t x) {
    const uint32_t bits = (uint32_t)x << 16;
    float wide;
    memcpy(&wide, &bits, sizeof wide);
    return wide;
}

/* To nearest, ties to even; not-a-number stays. */
static inline uint16_t narrowed(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16, quiet = bits >> 16 | 0x40;
    return (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? quiet : rounded);
}

TARGET_CLONES static void widen_line(float *to, const uint16_t *from, int64_t n) {
    for (int64_t j = 0; j < n; j++) to[j] = widened(from[j]);
}
TARGET_CLONES static void narrow_line(uint16_t *to, const float *from, int64_t n) {
    for (int64_t j = 0; j < n; j++) to[j] = narrowed(from[j]);
}
TARGET_CLONES static void widen_rows(float *to, int64_t to_row, const uint16_t *from, int64_t from_row, int64_t rows, int64_t n) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < n; j++) to[i * to_row + j] = widened(from[i * from_row + j]);
}
TARGET_CLONES static void narrow_rows(uint16_t *to, int64_t to_row, const float *from, int64_t from_row, int64_t rows, int64_t n) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < n; j++) to[i * to_row + j] = narrowed(from[i * from_row + j]);
}
TARGET_CLONES static void round_line(float *to, const float *from, int64_t n) {
    for (int64_t j = 0; j < n; j++) to[j] = widened(narrowed(from[j]));
}
/* Of two lines, the numbers in turn. */
TARGET_CLONES static void zip_line(uint32_t *to, const uint16_t *first, const uint16_t *second, int64_t n) {
    for (int64_t j = 0; j < n; j++) to[j] = (uint32_t)first[j] | (uint32_t)second[j] << 16;
}

/* n numbers at `from` at a distance, of the type that is multiplied: where they are, or in `room`, n <= LINE. */
static const void *line(const Product *p, const Factor *f, const char *from, int64_t stride, int64_t n, void *room, int pair) {
    _Alignas(64) char gathered[LINE * sizeof(float)];
    if (stride != 1) {
        if (f->is_narrow)
            for (int64_t j = 0; j < n; j++) ((uint16_t *)gathered)[j] = ((const uint16_t *)from)[j * stride];
        else
            for (int64_t j = 0; j < n; j++) ((float *)gathered)[j] = ((const float *)from)[j * stride];
        from = gathered;
    }
    if (f->is_narrow && pair == 1) widen_line(room, (const uint16_t *)from, n);
    else if (!f->is_narrow && pair == 2) narrow_line(room, (const float *)from, n);
    else if (!f->is_narrow && p->is_narrow) round_line(room, (const float *)from, n);
    else if (stride != 1) memcpy(room, from, n * (f->is_narrow ? sizeof(uint16_t) : sizeof(float)));
    else return from;
    return room;
}

typedef uint32_t four __attribute__((vector_size(16), may_alias, aligned(2)));
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#endif
#endif
#if !defined(SHUFFLE)
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (four){__VA_ARGS__})
#endif

/* Four rows of items, read along and written across: item k of row j goes to `to`[k width + j]. */
static inline void across(const uint32_t *rows[4], int64_t items, uint32_t *to, int64_t width) {
    typedef uint32_t any __attribute__((may_alias, aligned(2)));
    int64_t k = 0;
    for (; k + 4 <= items; k += 4, to += 4 * width) {
        const four r0 = *(const four *)(rows[0] + k), r1 = *(const four *)(rows[1] + k);
        const four r2 = *(const four *)(rows[2] + k), r3 = *(const four *)(rows[3] + k);
        const four low01 = SHUFFLE(r0, r1, 0, 4, 1, 5), high01 = SHUFFLE(r0, r1, 2, 6, 3, 7);
        const four low23 = SHUFFLE(r2, r3, 0, 4, 1, 5), high23 = SHUFFLE(r2, r3, 2, 6, 3, 7);
        *(four *)to = SHUFFLE(low01, low23, 0, 1, 4, 5), *(four *)(to + width) = SHUFFLE(low01, low23, 2, 3, 6, 7);
        *(four *)(to + 2 * width) = SHUFFLE(high01, high23, 0, 1, 4, 5);
        *(four *)(to + 3 * width) = SHUFFLE(high01, high23, 2, 3, 6, 7);
    }
    for (; k < items; k++, to += width)
        for (int j = 0; j < 4; j++) to[j] = ((const any *)rows[j])[k];
}

/* A panel whose lines lie along K in memory. */
static void pack_along_depth(const Product *p, const Factor *f, const char *from, int64_t lines, int64_t width, uint32_t *to,
                             int pair) {
    const int64_t size = f->is_narrow ? sizeof(uint16_t) : sizeof(float), K = p->depth;
    static const uint32_t nothing[LINE];
    for (int64_t k = 0; k < K; k += LINE) {
        const int64_t n = least(LINE, K - k), items = over(n, pair);
        uint32_t *out = to + k / pair * width;
        for (int64_t j = 0; j < width; j += 4) {
            _Alignas(64) uint32_t room[4][LINE];
            const uint32_t *rows[4];
            for (int64_t i = 0; i < 4; i++) {
                rows[i] = nothing;
                if (j + i >= lines) continue;
                rows[i] = line(p, f, from + ((j + i) * f->outer_stride + k * f->depth_stride) * size, f->depth_stride, n, room[i], pair);
                if (n % pair && rows[i] != room[i]) rows[i] = memcpy(room[i], rows[i], n * sizeof(uint16_t));
                if (n % pair) ((uint16_t *)room[i])[n] = 0;
            }
            across(rows, items, out + j, width);
        }
    }
}

/* Zeros are behind the items, up to `width`. */
static inline void copy_items(uint32_t *to, const uint32_t *from, int64_t n, int64_t width) {
    int64_t j = 0;
    for (; j + 4 <= n; j += 4) *(four *)(to + j) = *(const four *)(from + j);
    for (; j < n; j++) to[j] = from[j];
    for (; j < width; j++) to[j] = 0;
}

/* Panels, `distance` items from one to the next, whose lines lie across K: what a cache has read of a line goes to several. */
static void pack_across_depth(const Product *p, const Factor *f, const char *from, int64_t K, int64_t lines, int64_t width,
                              int64_t distance, uint32_t *to, int pair) {
    const int64_t size = f->is_narrow ? sizeof(uint16_t) : sizeof(float);
    _Alignas(64) uint32_t room[2][LINE], zipped[LINE];
    static const uint16_t nothing[LINE];
    for (int64_t k = 0; k < K; k += pair, to += width) {
        const char *at = from + k * f->depth_stride * size;
        const void *row = line(p, f, at, 1, lines, room[0], pair);
        if (pair == 2) {
            zip_line(zipped, row, k + 1 < K ? line(p, f, at + f->depth_stride * size, 1, lines, room[1], pair) : nothing, lines);
            row = zipped;
        }
        for (int64_t start = 0; start < lines; start += width)
            copy_items(to + start / width * distance, (const uint32_t *)row + start, least(width, lines - start), width);
    }
}

/* A panel of the left factor for matrix tiles: for each 32 numbers along K, the lines' numbers one after the other. */
static void pack_rows(const Product *p, const Factor *f, const char *from, int64_t lines, int64_t width, uint32_t *to) {
    const int64_t size = f->is_narrow ? sizeof(uint16_t) : sizeof(float), K = p->depth;
    for (int64_t k = 0; k < K; k += 32, to += width * 16) {
        const int64_t n = least(32, K - k);
        _Alignas(64) uint32_t room[LINE], pairs[16][32] = {0};
        if (n < 32 || lines < width) memset(to, 0, width * 64);
        const char *at = from + k * f->depth_stride * size;
        if (f->outer_stride != 1) {
            for (int64_t i = 0; i < lines; i++)
                memcpy(to + i * 16, line(p, f, at + i * f->outer_stride * size, f->depth_stride, n, room, 2), n * sizeof(uint16_t));
            continue;
        }
        pack_across_depth(p, f, at, n, lines, 32, 0, pairs[0], 2);
        for (int64_t i = 0; i < 16; i += 4) across((const uint32_t *[4]){pairs[i], pairs[i + 1], pairs[i + 2], pairs[i + 3]}, width, to + i, 16);
    }
}

static void pack_double(const Product *p, const Factor *f, const double *from, int64_t lines, int64_t width, double *to) {
    for (int64_t k = 0; k < p->depth; k++)
        for (int64_t j = 0; j < width; j++)
            to[k * width + j] = j < lines ? from[j * f->outer_stride + k * f->depth_stride] : 0;
}

/* Packs some panels from one on, at least it, and returns how many. */
static int64_t pack_panels(const Plan *plan, const Factor *f, int64_t number, int64_t most_panels) {
    const Product *p = plan->p;
    const Kernel *kernel = &plan->kernel;
    const int64_t batch = number / f->panels, start = number % f->panels * f->width, lines = least(f->width, f->outer - start);
    const int64_t width = least(f->width, up(lines, f->unit)), distance = f->width * plan->items;
    const int64_t size = p->is_double ? sizeof(double) : f->is_narrow ? sizeof(uint16_t) : sizeof(float);
    const char *from = (const char *)f->from + (batch * f->batch_stride + start * f->outer_stride) * size;
    void *to = f->to + number * distance * kernel->item;
    int64_t panels = 1;
    if (p->is_double) pack_double(p, f, (const double *)from, lines, width, to);
    else if (is_tiled(kernel) && f == &plan->a) pack_rows(p, f, from, lines, width, to);
    else if (f->outer_stride == 1) {
        panels = most(least(least((f->outer - start) / width, LINE / width), least(most_panels, TOGETHER)), 1);
        pack_across_depth(p, f, from, p->depth, panels > 1 ? panels * width : lines, width, distance, to, kernel->pair);
    } else pack_along_depth(p, f, from, lines, width, to, kernel->pair);
    const int64_t filled = over(p->depth, kernel->pair) * width;
    if (is_tiled(kernel) && f == &plan->b)
        for (int64_t n = 0; n < panels; n++)
            memset((uint32_t *)to + n * distance + filled, 0, (plan->items * width - filled) * sizeof(uint32_t));
    return panels;
}

static void pack_piece(void *job, int32_t piece) {
    const Plan *plan = job;
    const Factor *f = piece < plan->a.pieces ? &plan->a : &plan->b;
    const int64_t first = (f == &plan->a ? piece : piece - plan->a.pieces) * f->group;
    const int64_t end = least(first + f->group, f->panels * plan->p->batch);
    for (int64_t number = first; number < end;) number += pack_panels(plan, f, number, end - number);
}

/* ---- multiplying */

typedef struct {
    int64_t rows, columns;     /* of it that are in C */
    int64_t c, added;          /* where it begins there, and in D */
    int32_t is_first, is_last; /* of the parts along K */
} Tile;

static void copy_rows(void *to, int64_t to_row, const void *from, int64_t from_row, int64_t rows, int64_t bytes) {
    for (int64_t i = 0; i < rows; i++) memcpy((char *)to + i * to_row, (const char *)from + i * from_row, bytes);
}

/* Where a tile is not whole or not of the sums' type, its sums stand apart: what they begin with there. */
static void begin_tile(const Product *p, const Tile *t, float *sums, int64_t sums_row) {
    const int64_t line = sizeof(float);
    const float *c = (const float *)p->c + t->c, *added = (const float *)p->added + t->added;
    if (!t->is_first) copy_rows(sums, sums_row * line, c, p->c_row * line, t->rows, t->columns * line);
    else if (p->is_added_narrow) widen_rows(sums, sums_row, (const uint16_t *)p->added + t->added, p->added_row, t->rows, t->columns);
    else copy_rows(sums, sums_row * line, added, p->added_row * line, t->rows, t->columns * line);
}

/* And how they end in C. */
static void end_tile(const Product *p, const Tile *t, const float *sums, int64_t sums_row) {
    const int64_t line = sizeof(float);
    if (p->is_c_narrow) narrow_rows((uint16_t *)p->c + t->c, p->c_row, sums, sums_row, t->rows, t->columns);
    else copy_rows((float *)p->c + t->c, p->c_row * line, sums, sums_row * line, t->rows, t->columns * line);
}

static void begin_double(const Product *p, const Tile *t, double *sums, int64_t sums_row) {
    const double *from = t->is_first ? (const double *)p->added + t->added : (const double *)p->c + t->c;
    const int64_t line = sizeof(double), row = t->is_first ? p->added_row : p->c_row;
    copy_rows(sums, sums_row * line, from, row * line, t->rows, t->columns * line);
}

static void end_double(const Product *p, const Tile *t, const double *sums, int64_t sums_row) {
    const int64_t line = sizeof(double);
    copy_rows((double *)p->c + t->c, p->c_row * line, sums, sums_row * line, t->rows, t->columns * line);
}

/* Of one part along K, whose items begin at a and b. */
static void multiply_tile(const Plan *plan, const Tile *t, const char *a, const char *b, int64_t items) {
    const Product *p = plan->p;
    const Kernel *kernel = &plan->kernel;
    const int64_t size = p->is_double ? sizeof(double) : sizeof(float);
    const int64_t c_size = p->is_c_narrow ? 2 : size, added_size = p->is_added_narrow ? 2 : size;
    Sums sums = {.vectors = (int32_t)over(t->columns, kernel->vector), .alpha = t->is_last ? p->alpha : 1};
    sums.rows = kernel->rows, sums.a_row = plan->a_row, sums.a_step = plan->a_step;
    sums.c = (char *)p->c + t->c * c_size, sums.c_row = p->c_row, sums.is_c_narrow = p->is_c_narrow;
    sums.start = sums.c, sums.start_row = sums.c_row, sums.beta = 1;
    if (t->is_first) {
        sums.start = p->added ? (const char *)p->added + t->added * added_size : 0, sums.start_row = p->added_row;
        sums.is_start_narrow = p->added && p->is_added_narrow, sums.beta = p->beta / p->alpha;
    }
    const int is_plain = kernel->knows_narrow || !(sums.is_c_narrow || sums.is_start_narrow);
    const int is_whole = t->rows == kernel->rows && t->columns == sums.vectors * kernel->vector;
    if (is_plain && is_whole) {
        kernel->tile(a, b, items, sums);
        return;
    }
    _Alignas(64) double apart[MOST_SUMS / 2];
    const int64_t row = sums.vectors * kernel->vector;
    if (sums.start) { /* what is behind the tile's edge may be anything, but for denormal numbers, which are slow */
        if (!is_whole) memset(apart, 0, kernel->rows * row * size);
        if (p->is_double) begin_double(p, t, apart, row);
        else begin_tile(p, t, (float *)apart, row);
        sums.start = apart, sums.start_row = row, sums.is_start_narrow = 0;
    }
    sums.c = apart, sums.c_row = row, sums.is_c_narrow = 0;
    kernel->tile(a, b, items, sums);
    if (p->is_double) end_double(p, t, apart, row);
    else end_tile(p, t, (float *)apart, row);
}

static void multiply_block(const Plan *plan, int64_t number) {
    const Product *p = plan->p;
    const Kernel *kernel = &plan->kernel;
    const int64_t column_block = number % plan->column_blocks, row_block = number / plan->column_blocks % plan->row_blocks;
    const int64_t first_row = row_block * plan->block_rows, first_column = column_block * plan->block_columns;
    const int64_t end_row = least(first_row + plan->block_rows, p->rows);
    const int64_t end_column = least(first_column + plan->block_columns, p->columns);
    const int64_t batch = number / (plan->row_blocks * plan->column_blocks);
    for (int64_t k = 0; k == 0 || k < p->depth; k += plan->depth) {
        const int64_t before = k / kernel->pair, items = up(over(least(plan->depth, p->depth - k), kernel->pair), kernel->step);
        for (int64_t j = first_column; j < end_column; j += plan->b.width) {
            const int64_t columns = least(plan->b.width, p->columns - j), b_panel = batch * plan->b.panels + j / plan->b.width;
            const int64_t b = b_panel * plan->items * plan->b.width + before * up(columns, kernel->vector);
            for (int64_t i = first_row; i < end_row; i += plan->a.width) {
                const int64_t a_panel = batch * plan->a.panels + i / plan->a.width;
                const char *a = plan->a.to + (a_panel * plan->items + before) * plan->a.width * kernel->item;
                if (plan->is_straight) a = (const char *)((const uint16_t *)p->a + batch * p->a_batch + i * p->a_row + k);
                const Tile tile = {
                    .rows = least(plan->a.width, p->rows - i), .columns = columns,
                    .c = batch * p->c_batch + i * p->c_row + j, .added = batch * p->added_batch + i * p->added_row + j,
                    .is_first = k == 0, .is_last = k + plan->depth >= p->depth,
                };
                multiply_tile(plan, &tile, a, plan->b.to + b * kernel->item, items);
            }
        }
    }
}

static void multiply_piece(void *job, int32_t piece) {
    const Plan *plan = job;
    const int64_t first = piece * plan->group, end = least(first + plan->group, plan->blocks);
    if (plan->kernel.begin) plan->kernel.begin();
    for (int64_t number = first; number < end; number++) multiply_block(plan, number);
    if (plan->kernel.end) plan->kernel.end();
}

/* ---- the plan */

static Factor factor(const Plan *plan, int is_a) {
    const Product *p = plan->p;
    const Kernel *kernel = &plan->kernel;
    Factor f = {.is_narrow = is_a ? p->is_a_narrow : p->is_b_narrow};
    f.from = is_a ? p->a : p->b;
    f.outer = is_a ? p->rows : p->columns;
    f.outer_stride = is_a ? p->a_row : p->b_column, f.depth_stride = is_a ? p->a_column : p->b_row;
    f.batch_stride = is_a ? p->a_batch : p->b_batch;
    f.width = is_a ? kernel->rows : kernel->vectors * kernel->vector, f.unit = is_a ? kernel->rows : kernel->vector;
    f.panels = over(f.outer, f.width);
    f.group = most(GROUP / most(f.width * p->depth, 1), 1);
    f.group = up(most(f.group, over(f.panels * p->batch, MOST_PARTS)), TOGETHER);
    f.pieces = over(f.panels * p->batch, f.group);
    return f;
}

static int64_t room_of(const Plan *plan, const Factor *f) {
    return up(f->panels * plan->p->batch * f->width * plan->items * plan->kernel.item, LINE);
}

/* Cuts C into blocks of about the work of a piece: near to squares, since of every block a whole row and column of panels
 * is read. Whatever has less work shares a piece. */
static void cut(Plan *plan) {
    const Product *p = plan->p;
    const int64_t height = plan->a.width, width = plan->b.width, numbers = plan->kernel.work / most(p->depth, 1);
    int64_t side = height;
    while (side * side < numbers) side += height;
    int64_t columns = least(up(most(side, width), width), up(p->columns, width));
    int64_t rows = least(up(most(numbers / columns, 1), height), up(p->rows, height));
    if (rows * columns < numbers) columns = least(up(numbers / rows, width), up(p->columns, width));
    plan->row_blocks = over(p->rows, rows), plan->column_blocks = over(p->columns, columns);
    plan->block_rows = up(over(p->rows, plan->row_blocks), height);
    plan->block_columns = up(over(p->columns, plan->column_blocks), width);
    plan->row_blocks = over(p->rows, plan->block_rows), plan->column_blocks = over(p->columns, plan->block_columns);
    plan->blocks = p->batch * plan->row_blocks * plan->column_blocks;
    plan->group = most(numbers / (plan->block_rows * plan->block_columns), 1);
    plan->group = most(plan->group, over(plan->blocks, MOST_PARTS));
    plan->pieces = over(plan->blocks, plan->group);
}

static Plan plan_of(const Product *p) {
    Plan plan = {.p = p, .kernel = choose(p)};
    const Kernel *kernel = &plan.kernel;
    plan.items = up(over(p->depth, kernel->pair), kernel->step);
    /* Between parts the sums stand in C, which must be of their type then. */
    const int64_t parts = p->is_c_narrow ? 1 : most(over(p->depth, kernel->depth), 1);
    const int64_t together = kernel->pair * kernel->step;
    plan.depth = most(up(over(p->depth, parts), together), together);
    plan.is_straight = is_tiled(kernel) && p->is_a_narrow && p->a_column == 1 && p->depth % 32 == 0 && p->rows % kernel->rows == 0;
    plan.a_row = plan.is_straight ? p->a_row * 2 : 64, plan.a_step = plan.is_straight ? 64 : kernel->rows * 64;
    plan.a = factor(&plan, 1), plan.b = factor(&plan, 0);
    if (plan.is_straight) plan.a.panels = plan.a.pieces = 0;
    plan.a.to = (char *)(((uintptr_t)p->room + LINE - 1) / LINE * LINE);
    plan.b.to = plan.a.to + room_of(&plan, &plan.a);
    cut(&plan);
    return plan;
}

static int is_empty(const Product *p) { return p->rows < 1 || p->columns < 1 || p->batch < 1; }

int64_t charrnn_product_room(const Product *p) {
    if (is_empty(p)) return LINE;
    const Plan plan = plan_of(p);
    return LINE + room_of(&plan, &plan.a) + room_of(&plan, &plan.b);
}

void product_share(const Product *p) {
    if (is_empty(p)) return;
    Plan plan = plan_of(p);
    crew_share(pack_piece, &plan, (int32_t)(plan.a.pieces + plan.b.pieces));
    crew_share(multiply_piece, &plan, (int32_t)plan.pieces);
}

/* Jobs of the same sizes take the same time. */
static uint64_t kind_of(const Product *p) {
    const int64_t facts[] = {p->rows, p->columns, p->depth, p->batch, p->is_double, p->is_narrow, p->a_column == 1, p->b_column == 1};
    uint64_t kind = 0x70726f64;
    for (size_t n = 0; n < sizeof facts / sizeof *facts; n++) kind = (kind ^ (uint64_t)facts[n]) * 0x9e3779b97f4a7c15ull;
    return kind | 1;
}

void charrnn_product(Product *p) {
    crew_begin(p->most_threads, kind_of(p));
    product_share(p);
    crew_end();
}

int32_t charrnn_best_way(void) { return may_use_tiles() ? TILES : best_set() == 2 && HAS("avx512bf16") ? DOT : WIDENED; }

/* Whether the product for the recurrence of tiles.h gives what it should: for tests. `is_real` needs AMX. */
#if HAS_TILE_INSTRUCTIONS
__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,amx-tile,amx-bf16,fma")))
static void multiply_real(float *sums, const uint16_t *panel, const uint16_t *x, int64_t x_stride, int32_t K, int32_t vectors, int32_t lanes) {
    tiles_begin_amx(K, lanes);
    tiles_multiply_amx(sums, panel, x, x_stride, K, vectors);
    release_tiles_amx();
}
#else
#define multiply_real(...) ((void)0)
#endif
void charrnn_tiles_multiply(float *sums, const uint16_t *panel, const uint16_t *x, int64_t x_stride, int32_t K, int32_t vectors,
                            int32_t lanes, int32_t is_real) {
    if (is_real) {
        multiply_real(sums, panel, x, x_stride, K, vectors, lanes);
        return;
    }
    tiles_begin_emulated(K, lanes);
    tiles_multiply_emulated(sums, panel, x, x_stride, K, vectors);
    release_tiles_emulated();
}

/* What a caller must know to be the right one. */
int32_t charrnn_product_version(void) { return PRODUCT_VERSION; }
