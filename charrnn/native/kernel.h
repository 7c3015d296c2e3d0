/* The step for one instruction set. step.c includes this file once for each, with these names defined:
 *
 *   NAME(x)    x with the set's suffix           TARGET     attribute that turns the set on
 *   W          floats in a vector                SINGLE     vectors of one lane kept in registers
 *   TILE       vectors of a tile of lanes        PAIRS      W pairs of int16
 *   WIDEN(p)   pairs of int8, as PAIRS           DOT(a,w,x) a + the dot products of pairs w with the pair at x
 *   HALF(p)    W float16, as floats
 *
 * Only arithmetic stands here: products, activations, and the pieces of a step that a crew shares.
 */

typedef float NAME(floats) __attribute__((vector_size(W * 4), may_alias));
#define vec NAME(floats)
#define INLINE TARGET static inline __attribute__((always_inline))

/* A loop that needs the registers for itself. */
#define ALONE TARGET __attribute__((noinline)) static void

INLINE vec NAME(load)(const float *p) { return *(const vec *)p; }
INLINE void NAME(store)(float *p, vec v) { *(vec *)p = v; }
INLINE vec NAME(splat)(float x) { return x - (vec){0}; }
#include "activations.h"

INLINE vec NAME(load_full)(const float *p) { return NAME(load)(p); }
INLINE vec NAME(load_half)(const uint16_t *p) { return HALF(p); }

/* z (B x NV vectors) += w (K x NV vectors, `stride` weights apart) times x (B x K). The chains of B x NV outputs stay in
 * registers; a part of what will be multiplied next, which lies at `ahead`, is fetched meanwhile. */
#define TILE_OF(KIND, TYPE, NB, NV)                                                                                    \
    ALONE NAME(KIND##_##NB##_##NV)(const TYPE *w, int64_t stride, int K, const float *x,                               \
                                                int64_t x_stride, float *z, const TYPE *ahead) {                       \
        vec a[NB][NV];                                                                                                 \
        _Pragma("GCC unroll 8") for (int b = 0; b < NB; b++)                                                           \
            _Pragma("GCC unroll 8") for (int v = 0; v < NV; v++) a[b][v] = NAME(load)(z + b * SCRATCH + v * W);        \
        for (int64_t k = 0; k < K; k++) {                                                                              \
            if (NB == 1) { /* each weight is used once, from memory */                                                 \
                _Pragma("GCC unroll 8") for (int v = 0; v < NV; v++)                                                   \
                    a[0][v] += NAME(load_##KIND)(w + k * stride + v * W) * x[k];                                       \
                continue;                                                                                              \
            }                                                                                                          \
            vec row[NV];                                                                                               \
            _Pragma("GCC unroll 8") for (int v = 0; v < NV; v++) row[v] = NAME(load_##KIND)(w + k * stride + v * W);   \
            __builtin_prefetch(ahead + k * stride, 0, 2);                                                  \
            if (sizeof(TYPE) * NV * W > 128) __builtin_prefetch((const char *)(ahead + k * stride) + 64, 0, 2); \
            _Pragma("GCC unroll 8") for (int b = 0; b < NB; b++) {                                                     \
                vec here = NAME(splat)(x[b * x_stride + k]);                                                           \
                _Pragma("GCC unroll 8") for (int v = 0; v < NV; v++) a[b][v] += row[v] * here;                         \
            }                                                                                                          \
        }                                                                                                              \
        _Pragma("GCC unroll 8") for (int b = 0; b < NB; b++)                                                           \
            _Pragma("GCC unroll 8") for (int v = 0; v < NV; v++) NAME(store)(z + b * SCRATCH + v * W, a[b][v]);        \
    }
/* The same in int8, for one group of inputs: w is K/2 x rows x 2 weights, x holds int16 pairs. Whole numbers are summed,
 * which is exact, and scaled once. */
#define QUANTISED_OF(NB, NV)                                                                                           \
    ALONE NAME(quantised_##NB##_##NV)(const int8_t *w, int64_t stride, const int16_t *x,                 \
                                                   int64_t x_stride, const float *scale, float *z) {                   \
        ints a[NB][NV];                                                                                                \
        memset(a, 0, sizeof a);                                                                                        \
        for (int64_t k = 0; k < GROUP / 2; k++) {                                                                      \
            if (NB == 1 && TILE < 4) { /* with few registers, no weight waits in one for another lane */               \
                const int16_t *pair_of_x = x + 2 * k;                                                                  \
                _Pragma("GCC unroll 8") for (int v = 0; v < NV; v++)                                                   \
                    a[0][v] = DOT(a[0][v], WIDEN(w + k * stride * 2 + v * W * 2), pair_of_x);                          \
                continue;                                                                                              \
            }                                                                                                          \
            PAIRS row[NV];                                                                                             \
            _Pragma("GCC unroll 8") for (int v = 0; v < NV; v++) row[v] = WIDEN(w + k * stride * 2 + v * W * 2);       \
            _Pragma("GCC unroll 8") for (int b = 0; b < NB; b++)                                                       \
                _Pragma("GCC unroll 8") for (int v = 0; v < NV; v++)                                                   \
                    a[b][v] = DOT(a[b][v], row[v], x + b * x_stride + 2 * k);                                          \
        }                                                                                                              \
        _Pragma("GCC unroll 8") for (int b = 0; b < NB; b++)                                                           \
            _Pragma("GCC unroll 8") for (int v = 0; v < NV; v++) {                                                     \
                float *to = z + b * SCRATCH + v * W;                                                                   \
                vec sum = __builtin_convertvector(a[b][v], vec);                                                       \
                NAME(store)(to, sum * NAME(load)(scale + v * W) + NAME(load)(to));                                     \
            }                                                                                                          \
    }
#define TILES(KIND, TYPE, NV) \
    TILE_OF(KIND, TYPE, 1, NV) TILE_OF(KIND, TYPE, 2, NV) TILE_OF(KIND, TYPE, 4, NV) TILE_OF(KIND, TYPE, 6, NV)
#define ALL_TILES(KIND, TYPE) \
    TILES(KIND, TYPE, 1) TILES(KIND, TYPE, 2) TILES(KIND, TYPE, 4) TILE_OF(KIND, TYPE, 1, 6) TILE_OF(KIND, TYPE, 1, 8)
#define ALL_QUANTISED(NV) QUANTISED_OF(1, NV) QUANTISED_OF(2, NV) QUANTISED_OF(4, NV) QUANTISED_OF(6, NV)
ALL_TILES(full, float) ALL_TILES(half, uint16_t)
ALL_QUANTISED(1) ALL_QUANTISED(2) ALL_QUANTISED(4) QUANTISED_OF(1, 8)

/* z (B x SCRATCH) += a panel w (K x rows) times x (B x K), for one lane and for several. */
#define PANEL_OF(KIND, TYPE)                                                                                           \
    ALONE NAME(single_##KIND)(const TYPE *w, int rows, int K, const float *x, float *z) {                              \
        const int vectors = rows / W, x_stride = 0, b = 0, k = 0, length = K;                                          \
        for (int v = 0; v < vectors;) {                                                                                \
            if (SINGLE >= 8 && vectors - v >= 8) { TILE_CALL(1, 8, KIND); v += 8; }                                    \
            else if (SINGLE >= 6 && vectors - v >= 6) { TILE_CALL(1, 6, KIND); v += 6; }                               \
            else if (vectors - v >= 4) { TILE_CALL(1, 4, KIND); v += 4; }                                              \
            else if (vectors - v >= 2) { TILE_CALL(1, 2, KIND); v += 2; }                                              \
            else { TILE_CALL(1, 1, KIND); v += 1; }                                                                    \
        }                                                                                                              \
    }                                                                                                                  \
    ALONE NAME(several_##KIND)(const TYPE *w, int rows, int K, const float *x, int64_t x_stride, int lanes, float *z) {\
        const int vectors = rows / W;                                                                                  \
        for (int k = 0; k < K; k += BLOCK, w += (int64_t)BLOCK * rows) {                                               \
            const int length = K - k < BLOCK ? K - k : BLOCK;                                                          \
            for (int v = 0; v < vectors;) {                                                                            \
                if (TILE >= 4 && vectors - v >= 4) { OVER_LANES(lanes, 6, TILE_CALL, 4, KIND); v += 4; }               \
                else if (vectors - v >= 2) { OVER_LANES(lanes, 6, TILE_CALL, 2, KIND); v += 2; }                       \
                else { OVER_LANES(lanes, 6, TILE_CALL, 1, KIND); v += 1; }                                             \
            }                                                                                                          \
        }                                                                                                              \
    }
#define TILE_CALL(NB, NV, KIND)                                                                                        \
    NAME(KIND##_##NB##_##NV)(w + v * W, rows, length, x + b * x_stride + k, x_stride, z + b * SCRATCH + v * W,         \
                             w + (int64_t)length * rows + v * W + (b / 6) * 32)
PANEL_OF(full, float) PANEL_OF(half, uint16_t)

/* The same in int8, where x is given in int16. */
#define CALL(NB, NV)                                                                                                   \
    NAME(quantised_##NB##_##NV)(w + v * W * 2, rows, from + b * x_stride, x_stride, scales + v * W, z + b * SCRATCH + v * W)
ALONE NAME(single_quantised)(const int8_t *w, const float *scales, int rows, int groups, const int16_t *from, float *z) {
    const int x_stride = 0, b = 0;
    for (int g = 0; g < groups; g++, w += GROUP * rows, scales += rows, from += GROUP)
        for (int v = 0; v < rows / W;) {
            if (SINGLE >= 8 && rows / W - v >= 8) { CALL(1, 8); v += 8; }
            else if (rows / W - v >= 4) { CALL(1, 4); v += 4; }
            else if (rows / W - v >= 2) { CALL(1, 2); v += 2; }
            else { CALL(1, 1); v += 1; }
        }
}
ALONE NAME(several_quantised)(const int8_t *w, const float *scales, int rows, int groups, const int16_t *from,
                              int64_t x_stride, int lanes, float *z) {
    for (int g = 0; g < groups; g++, w += GROUP * rows, scales += rows, from += GROUP)
        for (int v = 0; v < rows / W;) {
            if (TILE >= 4 && rows / W - v >= 4) { OVER_LANES(lanes, 6, CALL, 4); v += 4; }
            else if (rows / W - v >= 2) { OVER_LANES(lanes, 6, CALL, 2); v += 2; }
            else { OVER_LANES(lanes, 6, CALL, 1); v += 1; }
        }
}
#undef CALL

/* z (B x SCRATCH) += panel of `m` times x (B x K). */
TARGET static void NAME(multiply)(const Matrix *m, int64_t panel, int rows, const float *x, const int16_t *x_quantised,
                                  int x_stride, int lanes, float *z) {
    const int K = m->inputs, groups = (K + GROUP - 1) / GROUP;
    const int64_t first = panel * K * m->rows;
    if (m->quantised) {
        const int8_t *w = m->quantised + panel * groups * GROUP * m->rows;
        const float *scales = m->scales + panel * groups * m->rows;
        if (lanes == 1) NAME(single_quantised)(w, scales, rows, groups, x_quantised, z);
        else NAME(several_quantised)(w, scales, rows, groups, x_quantised, x_stride, lanes, z);
    } else if (m->half) {
        if (lanes == 1) NAME(single_half)(m->half + first, rows, K, x, z);
        else NAME(several_half)(m->half + first, rows, K, x, x_stride, lanes, z);
    } else {
        if (lanes == 1) NAME(single_full)(m->weights + first, rows, K, x, z);
        else NAME(several_full)(m->weights + first, rows, K, x, x_stride, lanes, z);
    }
}

/* What int8 products multiply: h in 1/32767. */
INLINE void NAME(quantise)(vec h, int16_t *quantised) {
    const vec magic = NAME(splat)(12582912.0f);
    ints rounded = (ints)(h * 32767.0f + magic) - (ints)magic;
    for (int j = 0; j < W; j++) quantised[j] = (int16_t)rounded[j];
}

/* New state of a panel's units in one lane from the chains' ends in z. `record`, where given, gets h, (c,) and gates. */
TARGET static void NAME(activate)(const Model *m, const float *z, const float *h_before, float *h, float *c,
                                  int16_t *quantised, float *record) {
    const int units = m->units;
    const int64_t P = m->padded;
    for (int u = 0; u < units; u += W) {
        vec output;
        if (m->cell == CELL_LSTM) {
            vec i = NAME(sigmoid)(NAME(load)(z + u)), f = NAME(sigmoid)(NAME(load)(z + units + u));
            vec g = NAME(tanh)(NAME(load)(z + 2 * units + u)), o = NAME(sigmoid)(NAME(load)(z + 3 * units + u));
            vec inner = f * NAME(load)(c + u) + i * g;
            NAME(store)(c + u, inner);
            output = o * NAME(tanh)(inner);
            if (record) {
                NAME(store)(record + P + u, inner);
                NAME(store)(record + 2 * P + u, i), NAME(store)(record + 3 * P + u, f);
                NAME(store)(record + 4 * P + u, g), NAME(store)(record + 5 * P + u, o);
            }
        } else if (m->cell == CELL_GRU) { /* chains: n of the input, r, z, n of the state */
            vec r = NAME(sigmoid)(NAME(load)(z + units + u)), update = NAME(sigmoid)(NAME(load)(z + 2 * units + u));
            vec n = NAME(tanh)(r * NAME(load)(z + 3 * units + u) + NAME(load)(z + u));
            output = update * (NAME(load)(h_before + u) - n) + n;
            if (record)
                NAME(store)(record + P + u, r), NAME(store)(record + 2 * P + u, update), NAME(store)(record + 3 * P + u, n);
        } else {
            output = NAME(tanh)(NAME(load)(z + u));
        }
        NAME(store)(h + u, output);
        if (record) NAME(store)(record + u, output);
        if (quantised) NAME(quantise)(output, quantised + u);
    }
}

/* The largest of the logits (whole vectors of them), and whether all are finite. */
TARGET static int NAME(largest)(const float *logits, int count, float *largest) {
    vec most = NAME(load)(logits);
    ints are_finite = ~(ints){0};
    for (int v = 0; v < count; v += W) {
        vec x = NAME(load)(logits + v);
        most = NAME(choose)(x > most, x, most);
        are_finite &= (x <= FLT_MAX) & (x >= -FLT_MAX);
    }
    *largest = most[0];
    int is_finite = 1;
    for (int j = 0; j < W; j++) {
        if (most[j] > *largest) *largest = most[j];
        is_finite &= are_finite[j] != 0;
    }
    return is_finite;
}

/* weights[v] = exp((logits[v] - largest) / temperature), and 0, not the least float, where that is next to nothing */
TARGET static void NAME(exponentials)(const float *logits, float largest, float temperature, float *weights, int count) {
    for (int v = 0; v < count; v += W) {
        vec x = (NAME(load)(logits + v) - largest) / temperature;
        NAME(store)(weights + v, NAME(choose)(x < -87.0f, NAME(splat)(0), NAME(exponential)(x)));
    }
}

TARGET static void NAME(tabulate)(const Model *m, float *table) {
    float z[MOST_LANES * SCRATCH] __attribute__((aligned(64)));
    const Layer *layer = &m->layers[0];
    const int rows = layer->input.rows;
    for (int p = 0; p < m->panels; p++)
        for (int start = 0; start < m->vocabulary; start += MOST_LANES) {
            const int count = m->vocabulary - start < MOST_LANES ? m->vocabulary - start : MOST_LANES;
            for (int b = 0; b < count; b++) memcpy(z + b * SCRATCH, layer->bias + (int64_t)p * SCRATCH, rows * sizeof(float));
            NAME(multiply)(&layer->input, p, rows, m->embedding + (int64_t)start * m->embedding_size, 0, m->embedding_size, count, z);
            for (int b = 0; b < count; b++)
                memcpy(table + ((int64_t)(start + b) * m->panels + p) * rows, z + b * SCRATCH, rows * sizeof(float));
        }
}

/* Where a row of job->hidden (P) of this layer begins: before the character, or after it. */
INLINE int64_t NAME(row_of)(const Step *step, int layer, int is_after) {
    return ((int64_t)layer * 2 + ((step->t + is_after) & 1)) * step->job->lanes * step->model->padded;
}

/* Sets the state that a lane has before this character to zeros. */
TARGET static void NAME(begin_anew)(const Step *step, int b) {
    const Model *m = step->model;
    const Job *job = step->job;
    const int64_t P = m->padded;
    for (int l = 0; l < m->num_layers; l++) {
        const int64_t before = NAME(row_of)(step, l, 0) + b * P;
        memset(job->hidden + before, 0, P * sizeof(float));
        if (job->hidden_quantised) memset(job->hidden_quantised + before, 0, P * sizeof(int16_t));
        if (job->cell_state) memset(job->cell_state + ((int64_t)l * job->lanes + b) * P, 0, P * sizeof(float));
    }
}

/* A part of the lanes: what is read next, or drawn; how likely it was; and the state that it is read from. */
TARGET static void NAME(choose_ids)(void *given, int32_t piece) {
    const Step *step = given;
    Job *job = step->job;
    const int V = step->model->vocabulary, VP = step->model->vocabulary_padded;
    const int first = piece * step->lanes_of_a_draw, end = first + step->lanes_of_a_draw;
    for (int b = first; b < end && b < job->lanes; b++) {
        const int64_t place = (int64_t)step->t * job->lanes + b;
        const float *logits = job->logits + (int64_t)b * VP;
        float *weights = job->probabilities + (int64_t)b * VP;
        float largest = 0;
        const int is_finite =
            step->has_logits && (!job->given || job->log_probabilities) && NAME(largest)(logits, VP, &largest);
        int id = 0;
        if (job->given) id = job->given[place];
        else if (is_finite)
            id = draw(job, V, logits, largest, weights, job->order + (int64_t)b * VP, NAME(exponentials), step->t, b);
        else __atomic_store_n(&job->not_finite, 1, __ATOMIC_RELAXED);
        job->ids[place] = id;
        if (id == step->model->end) NAME(begin_anew)(step, b);
        if (job->log_probabilities && step->has_logits)
            job->log_probabilities[place] =
                is_finite ? log_probability(V, logits, largest, weights, NAME(exponentials), id) : NAN;
    }
}

/* A panel's chains in all lanes, z (B x SCRATCH), after the biases and the input's product. */
TARGET static void NAME(begin_chains)(const Step *step, int32_t p, float *z) {
    const Model *m = step->model;
    const Job *job = step->job;
    const int lanes = job->lanes, l = step->layer, rows = m->layers[l].input.rows;
    const int32_t *ids = job->ids + (int64_t)step->t * lanes;
    const Layer *layer = &m->layers[l];
    const int tabled = l == 0 && m->table ? rows : 0; /* of the chains, whose start stands in the table */
    for (int b = 0; b < lanes; b++) {
        memcpy(z + b * SCRATCH + tabled, layer->bias + (int64_t)p * SCRATCH + tabled, (SCRATCH - tabled) * sizeof(float));
        if (tabled)
            memcpy(z + b * SCRATCH, m->table + ((int64_t)ids[b] * m->panels + p) * rows, rows * sizeof(float));
        else if (l == 0)
            NAME(multiply)(&layer->input, p, rows, m->embedding + (int64_t)ids[b] * m->embedding_size, 0, 0, 1, z + b * SCRATCH);
    }
    if (l == 0) return;
    const int64_t below = NAME(row_of)(step, l - 1, 1);
    NAME(multiply)(&layer->input, p, rows, job->hidden + below, job->hidden_quantised ? job->hidden_quantised + below : 0,
                   m->padded, lanes, z);
}

/* Where the units of a panel lie in what is recorded of lane 0; null for another lane, or without a record. */
INLINE float *NAME(record_of)(const Step *step, int32_t p, int b) {
    const Model *m = step->model;
    const int64_t parts = m->cell == CELL_LSTM ? 6 : m->cell == CELL_RNN ? 1 : 4;
    if (!step->job->record || b > 0) return 0;
    return step->job->record + ((int64_t)step->t * m->num_layers + step->layer) * parts * m->padded + (int64_t)p * m->units;
}

/* A panel of a layer: the new state of its units in all lanes. */
TARGET static void NAME(advance)(void *given, int32_t p) {
    const Step *step = given;
    const Model *m = step->model;
    Job *job = step->job;
    float z[MOST_LANES * SCRATCH] __attribute__((aligned(64)));
    const int lanes = job->lanes, l = step->layer;
    const Layer *layer = &m->layers[l];
    const int64_t P = m->padded;
    const int64_t before = NAME(row_of)(step, l, 0), after = NAME(row_of)(step, l, 1);
    int16_t *quantised = job->hidden_quantised;
    NAME(begin_chains)(step, p, z);
    NAME(multiply)(&layer->recurrent, p, layer->recurrent.rows, job->hidden + before, quantised ? quantised + before : 0,
                   (int)P, lanes, z + (m->cell == CELL_GRU ? m->units : 0));
    for (int b = 0; b < lanes; b++) {
        const int64_t unit = b * P + (int64_t)p * m->units;
        NAME(activate)(m, z + b * SCRATCH, job->hidden + before + unit, job->hidden + after + unit,
                       job->cell_state ? job->cell_state + (int64_t)l * lanes * P + unit : 0,
                       quantised ? quantised + after + unit : 0, NAME(record_of)(step, p, b));
    }
}

/* The first half of a step whose reset gate acts before the candidate's product: a panel's gates, and r h, which the
 * candidates of all panels read. Chains: r, z, n. */
TARGET static void NAME(advance_gates)(void *given, int32_t p) {
    const Step *step = given;
    const Model *m = step->model;
    Job *job = step->job;
    float z[MOST_LANES * SCRATCH] __attribute__((aligned(64)));
    const int lanes = job->lanes, units = m->units;
    const Matrix *recurrent = &m->layers[step->layer].recurrent;
    const int64_t P = m->padded, before = NAME(row_of)(step, step->layer, 0);
    NAME(begin_chains)(step, p, z);
    NAME(multiply)(recurrent, p, recurrent->rows, job->hidden + before,
                   job->hidden_quantised ? job->hidden_quantised + before : 0, (int)P, lanes, z);
    for (int b = 0; b < lanes; b++) {
        const int64_t unit = b * P + (int64_t)p * units;
        const float *chains = z + b * SCRATCH;
        float *waiting = job->waiting + ((int64_t)b * m->panels + p) * 2 * units, *record = NAME(record_of)(step, p, b);
        for (int u = 0; u < units; u += W) {
            const vec r = NAME(sigmoid)(NAME(load)(chains + u)), update = NAME(sigmoid)(NAME(load)(chains + units + u));
            const vec left = r * NAME(load)(job->hidden + before + unit + u);
            NAME(store)(job->reset + unit + u, left);
            if (job->reset_quantised) NAME(quantise)(left, job->reset_quantised + unit + u);
            NAME(store)(waiting + u, update);
            NAME(store)(waiting + units + u, NAME(load)(chains + 2 * units + u));
            if (record) NAME(store)(record + P + u, r), NAME(store)(record + 2 * P + u, update);
        }
    }
}

/* The second half: the candidate, and the new state of a panel's units in all lanes. */
TARGET static void NAME(advance_candidate)(void *given, int32_t p) {
    const Step *step = given;
    const Model *m = step->model;
    Job *job = step->job;
    float z[MOST_LANES * SCRATCH] __attribute__((aligned(64)));
    const int lanes = job->lanes, units = m->units;
    const int64_t P = m->padded;
    const int64_t before = NAME(row_of)(step, step->layer, 0), after = NAME(row_of)(step, step->layer, 1);
    const float *waiting = job->waiting + (int64_t)p * 2 * units;
    const int64_t next = (int64_t)m->panels * 2 * units; /* lane */
    for (int b = 0; b < lanes; b++) memcpy(z + b * SCRATCH, waiting + b * next + units, units * sizeof(float));
    NAME(multiply)(&m->layers[step->layer].candidate, p, units, job->reset, job->reset_quantised, (int)P, lanes, z);
    for (int b = 0; b < lanes; b++) {
        const int64_t unit = b * P + (int64_t)p * units;
        float *record = NAME(record_of)(step, p, b);
        for (int u = 0; u < units; u += W) {
            const vec n = NAME(tanh)(NAME(load)(z + b * SCRATCH + u));
            const vec output = NAME(load)(waiting + b * next + u) * (NAME(load)(job->hidden + before + unit + u) - n) + n;
            NAME(store)(job->hidden + after + unit + u, output);
            if (job->hidden_quantised) NAME(quantise)(output, job->hidden_quantised + after + unit + u);
            if (record) NAME(store)(record + u, output), NAME(store)(record + 3 * P + u, n);
        }
    }
}

/* A panel of the decoder: its logits in all lanes. */
TARGET static void NAME(decode)(void *given, int32_t p) {
    const Step *step = given;
    const Model *m = step->model;
    const Job *job = step->job;
    float z[MOST_LANES * SCRATCH] __attribute__((aligned(64)));
    const int VP = m->vocabulary_padded, start = p * m->decoder.rows;
    const int rows = VP - start < m->decoder.rows ? VP - start : m->decoder.rows;
    for (int b = 0; b < job->lanes; b++) memcpy(z + b * SCRATCH, m->decoder_bias + start, rows * sizeof(float));
    NAME(multiply)(&m->decoder, p, rows, job->hidden + NAME(row_of)(step, m->num_layers - 1, 1), 0, m->padded, job->lanes, z);
    for (int b = 0; b < job->lanes; b++)
        memcpy(job->logits + (int64_t)b * VP + start, z + b * SCRATCH, rows * sizeof(float));
}

/* The state that a job begins with, for int8 products. */
TARGET static void NAME(quantise_state)(const Model *m, const Job *job) {
    const int64_t P = m->padded;
    for (int64_t row = 0; row < (int64_t)m->num_layers * job->lanes; row++) {
        const int64_t before = (row / job->lanes * 2 * job->lanes + row % job->lanes) * P;
        for (int u = 0; u < m->panels * m->units; u += W)
            NAME(quantise)(NAME(load)(job->hidden + before + u), job->hidden_quantised + before + u);
    }
}

static const Kernel NAME(kernel) = {NAME(choose_ids), NAME(advance),        NAME(advance_gates), NAME(advance_candidate),
                                    NAME(decode),     NAME(quantise_state), NAME(tabulate)};

#undef vec
#undef ints
#undef INLINE
#undef ALONE
#undef TILE_CALL
/* and what was given, for the next set */
#undef SET
#undef TARGET
#undef W
#undef SINGLE
#undef TILE
#undef PAIRS
#undef WIDEN
#undef DOT
#undef HALF
