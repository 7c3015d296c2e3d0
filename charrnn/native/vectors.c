/* See vectors.h. What a pass computes of a number depends on that number alone; sums are made piece by piece, in the order
 * of the pieces, so that they depend on neither threads nor the width of vectors. */
#include "vectors.h"

#include "crew.h"
#include "pieces.h"
#include "processor.h"

#include <string.h>

/* In 16 chains; the square of a float is exact in double. */
TARGET_CLONES static double sum_of_squares(const float *x, int64_t count) {
    double chains[16] = {0};
    int64_t j = 0;
    for (; j + 16 <= count; j += 16)
        for (int chain = 0; chain < 16; chain++) chains[chain] += (double)x[j + chain] * x[j + chain];
    for (; j < count; j++) chains[j % 16] += (double)x[j] * x[j];
    double sum = 0;
    for (int chain = 0; chain < 16; chain++) sum += chains[chain];
    return sum;
}

static void gather_piece(void *given, int32_t piece) {
    Gathering *g = given;
    const int64_t from = piece_begin(g->size, piece), to = piece_begin(g->size, piece + 1);
    int64_t array = 0, left = g->count; /* the last array that begins at or before `from` */
    while (left > 1) {
        const int64_t half = left / 2;
        if (g->begins[array + half] <= from) array += half, left -= half;
        else left = half;
    }
    for (int64_t place = from; place < to; array++) {
        const int64_t end = g->begins[array + 1] < to ? g->begins[array + 1] : to;
        memcpy(g->to + place, g->from[array] + (place - g->begins[array]), (end - place) * sizeof(float));
        place = end;
    }
    g->sums[piece] = sum_of_squares(g->to + from, to - from);
}

void charrnn_gather(Gathering *g) {
    const int32_t pieces = pieces_of(g->size);
    crew_begin(pieces < g->most_threads ? pieces : g->most_threads, 4 * (uint64_t)g->size + 2);
    crew_share(gather_piece, g, pieces);
    crew_end();
    g->square = 0;
    for (int32_t piece = 0; piece < pieces; piece++) g->square += g->sums[piece];
}

typedef struct {
    float *to;
    int64_t size;
    float factor;
} Scaling;

TARGET_CLONES static void scale_piece(void *given, int32_t piece) {
    const Scaling *s = given;
    float *to = s->to;
    const float factor = s->factor;
    for (int64_t j = piece_begin(s->size, piece), end = piece_begin(s->size, piece + 1); j < end; j++) to[j] *= factor;
}

/* to *= factor */
void charrnn_scale(float *to, int64_t size, float factor, int32_t most_threads) {
    Scaling s = {to, size, factor};
    const int32_t pieces = pieces_of(size);
    crew_begin(pieces < most_threads ? pieces : most_threads, 4 * (uint64_t)size + 3);
    crew_share(scale_piece, &s, pieces);
    crew_end();
}

TARGET_CLONES static void move_piece(void *given, int32_t piece) {
    const Moving *m = given;
    const int64_t from = piece_begin(m->size, piece), end = piece_begin(m->size, piece + 1);
    float *restrict to = m->to, *restrict momentum = m->momentum;
    const float *restrict gradient = m->gradient;
    const float share = m->share, rest = 1 - share, keep = m->keep, rate = m->rate;
    if (m->number == 0 && !to)
        for (int64_t j = from; j < end; j++) momentum[j] += (gradient[j] - momentum[j]) * share;
    else if (m->number == 0)
        for (int64_t j = from; j < end; j++) {
            const float g = gradient[j], moved = momentum[j] + (g - momentum[j]) * share;
            momentum[j] = moved, to[j] = g + (moved - g) * rest;
        }
    else
        for (int64_t j = from; j < end; j++) to[j] = to[j] * keep - rate * gradient[j];
}

void charrnn_move(Moving *m) {
    const int32_t pieces = pieces_of(m->size);
    crew_begin(pieces < m->most_threads ? pieces : m->most_threads, 8 * (uint64_t)m->size + 4 + m->number);
    crew_share(move_piece, m, pieces);
    crew_end();
}

int32_t charrnn_pieces(int64_t size) { return pieces_of(size); }
