/* How the factors of a product are copied into panels; for product.c. */
#ifndef CHARRNN_PACKING_H
#define CHARRNN_PACKING_H

#include "processor.h"
#include "product.h"

#include <string.h>

enum { LINE = 64 /* numbers read at a time, at most */, TOGETHER = 8 /* panels that are filled at a time, at most */ };

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

static int64_t over(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t up(int64_t a, int64_t b) { return over(a, b) * b; }
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

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
TARGET_CLONES static void widen_rows(float *to, int64_t to_row, const uint16_t *from, int64_t from_row, int64_t rows,
                                     int64_t n) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < n; j++) to[i * to_row + j] = widened(from[i * from_row + j]);
}
TARGET_CLONES static void narrow_rows(uint16_t *to, int64_t to_row, const float *from, int64_t from_row, int64_t rows,
                                      int64_t n) {
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
static const void *line(const Product *p, const Factor *f, const char *from, int64_t stride, int64_t n, void *room,
                        int pair) {
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
                const char *at = from + ((j + i) * f->outer_stride + k * f->depth_stride) * size;
                rows[i] = line(p, f, at, f->depth_stride, n, room[i], pair);
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

/* Panels, `distance` items from one to the next, whose lines lie across K: what a cache has read of a line goes to
 * several. */
static void pack_across_depth(const Product *p, const Factor *f, const char *from, int64_t K, int64_t lines, int64_t width,
                              int64_t distance, uint32_t *to, int pair) {
    const int64_t size = f->is_narrow ? sizeof(uint16_t) : sizeof(float);
    _Alignas(64) uint32_t room[2][LINE], zipped[LINE];
    static const uint16_t nothing[LINE];
    for (int64_t k = 0; k < K; k += pair, to += width) {
        const char *at = from + k * f->depth_stride * size;
        const void *row = line(p, f, at, 1, lines, room[0], pair);
        if (pair == 2) {
            const char *next = at + f->depth_stride * size;
            zip_line(zipped, row, k + 1 < K ? line(p, f, next, 1, lines, room[1], pair) : nothing, lines);
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
            for (int64_t i = 0; i < lines; i++) {
                const void *row = line(p, f, at + i * f->outer_stride * size, f->depth_stride, n, room, 2);
                memcpy(to + i * 16, row, n * sizeof(uint16_t));
            }
            continue;
        }
        pack_across_depth(p, f, at, n, lines, 32, 0, pairs[0], 2);
        for (int64_t i = 0; i < 16; i += 4) {
            const uint32_t *rows[4] = {pairs[i], pairs[i + 1], pairs[i + 2], pairs[i + 3]};
            across(rows, width, to + i, 16);
        }
    }
}

static void pack_double(const Product *p, const Factor *f, const double *from, int64_t lines, int64_t width, double *to) {
    for (int64_t k = 0; k < p->depth; k++)
        for (int64_t j = 0; j < width; j++)
            to[k * width + j] = j < lines ? from[j * f->outer_stride + k * f->depth_stride] : 0;
}

#endif
