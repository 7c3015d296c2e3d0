/* One update of AdamW on a vector of weights, for training/optimizers/adamw.py, in two passes over memory.
 *
 * Loshchilov & Hutter 2019 (arXiv 1711.05101, algorithm 2); `is_cautious` is Liang et al. 2024 (arXiv 2411.16085,
 * algorithm 1): what would move against the gradient stays, and the rest moves the further. A number does not depend on
 * the threads: between the passes only whole numbers are summed.
 */
#include "recurrence.h"

#include "crew.h"
#include "pieces.h"
#include "processor.h"

#include <math.h>

/* A sum of 32 bits, so that the loop stays in vectors; a branch would be guessed wrong half the time. */
TARGET_CLONES static int32_t first_pass(const Update *u, int64_t from, int64_t to) {
    const float *restrict gradient = u->gradient;
    float *restrict first = u->first, *restrict second = u->second;
    const float one = 1 - u->beta1, beta2 = u->beta2;
    int32_t along = 0;
    for (int64_t j = from; j < to; j++) {
        const float g = gradient[j], m = first[j] + (g - first[j]) * one;
        first[j] = m, second[j] = second[j] * beta2 + g * g * (1 - beta2);
        along += (m * g > 0);
    }
    return along;
}

TARGET_CLONES static void second_pass(const Update *u, int64_t from, int64_t to, float scale) {
    const float *restrict gradient = u->gradient, *restrict first = u->first, *restrict second = u->second;
    float *restrict weights = u->weights;
    const float rate = u->learning_rate / u->first_correction, correction = 1 / sqrtf(u->second_correction);
    const float keep = 1 - u->learning_rate * u->weight_decay, epsilon = u->epsilon;
    const float against = u->is_cautious ? 0 : rate, with = u->is_cautious ? rate * scale : rate;
    for (int64_t j = from; j < to; j++) {
        const float m = first[j], change = m / (sqrtf(second[j]) * correction + epsilon);
        weights[j] = weights[j] * keep - (m * gradient[j] > 0 ? with : against) * change;
    }
}

static void first_piece(void *given, int32_t piece) {
    Update *u = given;
    __atomic_add_fetch(&u->along, first_pass(u, piece_begin(u->size, piece), piece_begin(u->size, piece + 1)), __ATOMIC_RELAXED);
}

static void second_piece(void *given, int32_t piece) {
    const Update *u = given;
    second_pass(u, piece_begin(u->size, piece), piece_begin(u->size, piece + 1), u->scale);
}

void charrnn_update(Update *u) {
    const int32_t pieces = pieces_of(u->size);
    crew_begin(pieces < u->most_threads ? pieces : u->most_threads, 4 * (uint64_t)u->size + 1);
    crew_share(first_piece, u, pieces);
    u->scale = (float)u->size / fmaxf((float)u->along, 1e-3f * u->size);
    crew_share(second_piece, u, pieces);
    crew_end();
}
