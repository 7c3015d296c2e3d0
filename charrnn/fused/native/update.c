/* One update of AdamW on a vector of weights, for ../update.py, in two passes over memory.
 *
 * Loshchilov & Hutter 2019 (arXiv 1711.05101, algorithm 2); `is_cautious` is Liang et al. 2024 (arXiv 2411.16085,
 * algorithm 1): what would move against the gradient stays, and the rest moves the further. Runs inside a parallel region
 * as recurrence.c does. A number does not depend on the threads: between the passes only whole numbers are summed.
 */
#include "recurrence.h"

#include <math.h>

static inline void moments(const Update *u, int64_t j, float *m, float *v) {
    const float g = u->gradient[j];
    *m = u->first[j] + (g - u->first[j]) * (1 - u->beta1);
    *v = u->second[j] * u->beta2 + g * g * (1 - u->beta2);
}

TARGET_CLONES static int64_t first_pass(const Update *u, int64_t from, int64_t to) {
    int64_t along = 0;
    for (int64_t j = from; j < to; j++) {
        float m, v;
        moments(u, j, &m, &v);
        u->first[j] = m, u->second[j] = v;
        along += m * u->gradient[j] > 0;
    }
    return along;
}

TARGET_CLONES static void second_pass(const Update *u, int64_t from, int64_t to, float scale) {
    const float rate = u->learning_rate / u->first_correction, correction = 1 / sqrtf(u->second_correction);
    const float keep = 1 - u->learning_rate * u->weight_decay;
    for (int64_t j = from; j < to; j++) {
        const float m = u->first[j];
        float change = m / (sqrtf(u->second[j]) * correction + u->epsilon);
        if (u->is_cautious) change = m * u->gradient[j] > 0 ? change * scale : 0;
        u->weights[j] = u->weights[j] * keep - rate * change;
    }
}

/* To be entered by every thread of a parallel region. */
void charrnn_update(void *given) {
    Update *u = given;
    const int thread = u->thread(), threads = u->threads();
    const uint32_t before = flush_denormals();
    const int64_t lines = (u->size + 15) / 16;
    const int64_t from = lines * thread / threads * 16, end = lines * (thread + 1) / threads * 16;
    const int64_t to = end < u->size ? end : u->size;
    const int64_t along = first_pass(u, from, to);
    __atomic_add_fetch(&u->along, along, __ATOMIC_ACQ_REL);
    meet(&u->arrived, &u->generation, threads);
    const int64_t all = __atomic_load_n(&u->along, __ATOMIC_ACQUIRE);
    second_pass(u, from, to, (float)u->size / fmaxf((float)all, 1e-3f * u->size));
    restore_denormals(before);
}
