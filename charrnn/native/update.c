/* One update of AdamW on a vector of weights, for training/optimizers/adamw.py, in two passes over memory.
 *
 * Loshchilov & Hutter 2019 (arXiv 1711.05101, algorithm 2); `is_cautious` is Liang et al. 2024 (arXiv 2411.16085,
 * algorithm 1): what would move against the gradient stays, and the rest moves the further. Runs inside a parallel region
 * as recurrence.c does. A number does not depend on the threads: between the passes only whole numbers are summed.
 */
#include "recurrence.h"

#include "arithmetic.h"
#include "barrier.h"
#include "processor.h"

#include <math.h>

/* Few enough for a sum of 32 bits, so that the loop stays in vectors; a branch would be guessed wrong half the time. */
enum { CHUNK = 1 << 20 };

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

/* To be entered by every thread of a parallel region. */
void charrnn_update(void *given) {
    Update *u = given;
    const int thread = u->thread(), threads = u->threads();
    const uint32_t before = enter_arithmetic();
    const int64_t lines = (u->size + 15) / 16;
    const int64_t from = lines * thread / threads * 16, end = lines * (thread + 1) / threads * 16;
    const int64_t to = end < u->size ? end : u->size;
    int64_t along = 0;
    for (int64_t start = from; start < to; start += CHUNK)
        along += first_pass(u, start, start + CHUNK < to ? start + CHUNK : to);
    __atomic_add_fetch(&u->along, along, __ATOMIC_ACQ_REL);
    meet(&u->arrived, &u->generation, threads, 0);
    const int64_t all = __atomic_load_n(&u->along, __ATOMIC_ACQUIRE);
    second_pass(u, from, to, (float)u->size / fmaxf((float)all, 1e-3f * u->size));
    leave_arithmetic(before);
}
