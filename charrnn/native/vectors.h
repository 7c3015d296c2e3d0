/* Passes over gradients and weights, side by side as one vector, in pieces that threads share. Mirrored in vectors.py. */
#ifndef CHARRNN_VECTORS_H
#define CHARRNN_VECTORS_H

#include <stdint.h>

/* Brings arrays side by side into one vector, and sums its squares in double. */
typedef struct {
    int64_t size, count;       /* of the vector; of the arrays */
    float *to;
    const float *const *from;
    const int64_t *begins;     /* count + 1: where each array begins in the vector, and where the last one ends */
    double *sums;              /* room: one of each of charrnn_pieces(size) */
    double square;
    int32_t most_threads;
} Gathering;

/* One of two passes of Muon over a matrix (training/optimizers/muon.py):
 *   0   momentum += (gradient - momentum) share,  to = gradient + (momentum - gradient) (1 - share), where there is a `to`
 *   1   to = to keep - rate direction */
typedef struct {
    int64_t size;
    float *to, *momentum;
    const float *gradient; /* in pass 1 the direction */
    float share, keep, rate;
    int32_t number, most_threads; /* of the pass */
} Moving;

#endif
