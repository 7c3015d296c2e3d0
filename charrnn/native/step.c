/* Recurrent cells stepped from character to character, for ../inference/compiled.py: products, activations, draws, and the choice of
 * instruction set. No Python, no allocation; its threads are those of crew.h.
 *
 * See step.h for the layout and for what the order of additions promises.
 */
#include "step.h"

#include "arithmetic.h"
#include "crew.h"
#include "processor.h"

#define EIGHT_LANES(...)
#include "lanes.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define BLOCK 128 /* inputs of a panel that stay in the first cache while lanes pass by */

/* In multiplications: less work is not handed over; and a job of the crew takes some milliseconds. */
#define WORTH_SHARING 60000
#define WORK_OF_A_JOB 400000000ll
#define WORK_OF_A_DRAW 200     /* for each character that there is */
#define LANES_OF_A_READ 4      /* reading a weight takes as long as multiplying it in so many lanes */
#define CHARACTERS_OF_A_DRAW 512 /* that a piece goes through, in one lane or several */

typedef void (*Exponentials)(const float *logits, float largest, float temperature, float *weights, int count);

/* In four chains, whose order is the same on every machine. */
static double sum_of(const float *weights, int count) {
    double sums[4] = {0, 0, 0, 0};
    int v = 0;
    for (; v + 4 <= count; v += 4)
        for (int chain = 0; chain < 4; chain++) sums[chain] += weights[v + chain];
    for (; v < count; v++) sums[v % 4] += weights[v];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

static double log_probability(int count, const float *logits, float largest, float *weights, Exponentials exponentials,
                              int id) {
    exponentials(logits, largest, 1, weights, count);
    return ((double)logits[id] - largest) - log(sum_of(weights, count));
}

static int heavier(const float *logits, int a, int b) { return logits[a] > logits[b] || (logits[a] == logits[b] && a < b); }

/* Restores the heap property (the heaviest on top) below `root`. */
static void sink(int32_t *heap, int size, int root, const float *logits) {
    for (int child; (child = 2 * root + 1) < size; root = child) {
        if (child + 1 < size && heavier(logits, heap[child + 1], heap[child])) child++;
        if (!heavier(logits, heap[child], heap[root])) return;
        int32_t swapped = heap[root];
        heap[root] = heap[child], heap[child] = swapped;
    }
}

/* Sets to 0 what top-k and then top-p leave out: characters are taken from a heap, heaviest first, equals by id. Logits
 * tell the order: at a high temperature the weights of unequal characters round to the same float. */
static void keep_head(const float *logits, float *weights, int count, const Settings *settings, int32_t *heap) {
    const int cut = settings->top_k > 0 && settings->top_k < count;
    double total = 0, before = 0;
    for (int v = 0; v < count; v++) heap[v] = v, total += weights[v];
    for (int root = count / 2 - 1; root >= 0; root--) sink(heap, count, root, logits);
    int size = count;
    for (int taken = 0; taken < (cut ? settings->top_k : count); taken++) {
        if (!cut && before >= settings->top_p * total) break;
        before += weights[heap[0]];
        const int32_t top = heap[0]; /* what is taken lies behind the heap, the heaviest last */
        heap[0] = heap[--size], heap[size] = top;
        sink(heap, size, 0, logits);
    }
    for (int rest = 0; rest < size; rest++) weights[heap[rest]] = 0;
    if (!cut || settings->top_p >= 1) return;
    total = before, before = 0;
    for (int place = count - 1; place >= size; place--) {
        const double here = weights[heap[place]];
        if (before >= settings->top_p * total) weights[heap[place]] = 0;
        before += here;
    }
}

/* Draws the next id of lane b by inversion of the cumulative distribution, as `probabilities` and `draw` in
 * ../inference/distribution.py do.
 * All logits are finite; `largest` is the largest of them. */
static int draw(const Job *job, int count, const float *logits, float largest, float *weights, int32_t *heap,
                Exponentials exponentials, int t, int b) {
    const Settings *settings = &job->settings[b];
    int id = 0;
    while (logits[id] != largest) id++;
    if (settings->temperature == 0) return id;
    const double temperature = fmin(fmax(settings->temperature, FLT_MIN), FLT_MAX); /* 0 / 0 would be no number */
    exponentials(logits, largest, (float)temperature, weights, count);
    if (settings->min_p > 0)
        for (int v = 0; v < count; v++) weights[v] = weights[v] < settings->min_p ? 0 : weights[v];
    if ((settings->top_k > 0 && settings->top_k < count) || settings->top_p < 1)
        keep_head(logits, weights, count, settings, heap);
    const double target = job->uniforms[(int64_t)t * job->lanes + b] * sum_of(weights, count);
    double cumulative = 0;
    for (int v = 0; v < count; v++) {
        if (weights[v] == 0) continue;
        id = v; /* rounding may leave the last sum short of the target: then the last with any weight */
        cumulative += weights[v];
        if (cumulative > target) break;
    }
    return id;
}

/* Two neighbouring int16 as one number of 32 bits. */
__attribute__((unused)) static inline int32_t pair(const int16_t *x) {
    int32_t both;
    memcpy(&both, x, sizeof both);
    return both;
}

/* Where a job is on its way, for the pieces of a phase. */
typedef struct {
    const Model *model;
    Job *job;
    int32_t t, layer;
    int32_t has_logits;        /* of the characters before */
    int32_t lanes_of_a_draw;   /* that one piece draws */
    int32_t draws, decoder_panels; /* pieces of these phases */
} Step;

/* What there is for each instruction set. */
typedef struct {
    Piece choose_ids, advance, advance_gates, advance_candidate, decode;
    void (*quantise_state)(const Model *m, const Job *job);
    void (*tabulate)(const Model *m, float *table);
} Kernel;

#define CAT_(a, b) a##_##b
#define CAT(a, b) CAT_(a, b)
#define NAME(x) CAT(x, SET)

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

#define SET avx512
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,fma")))
#define W 16
#define SINGLE 8
#define TILE 4
#define PAIRS __m512i
#define HALF(p) ((vec)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(p))))
#define WIDEN(p) _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(p)))
#define DOT(a, w, x) ((ints)_mm512_dpwssd_epi32((__m512i)(a), w, _mm512_set1_epi32(pair(x))))
#include "kernel.h"

#define SET avx2
#define TARGET __attribute__((target("avx2,fma,f16c")))
#define W 8
#define SINGLE 8
#define TILE 2
#define PAIRS __m256i
#define HALF(p) ((vec)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p))))
#define WIDEN(p) _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(p)))
#define DOT(a, w, x) \
    ((ints)_mm256_add_epi32((__m256i)(a), _mm256_madd_epi16(w, _mm256_set1_epi32(pair(x)))))
#include "kernel.h"
#endif

/* Four float16 as floats, without the processor's help: exact, numbers below the least normal one too, where denormal
 * floats are 0. */
typedef float FourFloats __attribute__((vector_size(16), may_alias));
typedef int32_t FourInts __attribute__((vector_size(16), may_alias));
__attribute__((unused)) static inline FourFloats four_halves(const uint16_t *p) {
    FourInts bits = {p[0], p[1], p[2], p[3]};
    const FourInts sign = (bits & 0x8000) << 16;
    const FourInts moved = ((bits & 0x7fff) << 13) + (112 << 23);
    const FourInts is_special = (bits & 0x7c00) == 0x7c00, is_small = (bits & 0x7c00) == 0;
    const FourFloats small = (FourFloats)(moved + (1 << 23)) - 0x1p-14f;
    return (FourFloats)(sign | (is_small & (FourInts)small) | (~is_small & (moved + (is_special & (112 << 23)))));
}

#define SET portable
#define TARGET
#define W 4
#define SINGLE 8
#if defined(__aarch64__)
#include <arm_neon.h>
#define TILE 4 /* of 32 registers */
#define HALF(p) ((vec)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))))
#define PAIRS int16x8_t
#define WIDEN(p) vmovl_s8(vld1_s8(p))
static inline int32x4_t dot(int32x4_t a, int16x8_t w, int32_t x) {
    const int16x8_t both = vreinterpretq_s16_s32(vdupq_n_s32(x));
    return vaddq_s32(a, vpaddq_s32(vmull_s16(vget_low_s16(w), vget_low_s16(both)), vmull_high_s16(w, both)));
}
#define DOT(a, w, x) ((ints)dot((int32x4_t)(a), w, pair(x)))
#elif defined(__x86_64__)
#define TILE 2
#define HALF(p) ((vec)four_halves(p))
#define PAIRS __m128i
static inline __m128i widen(const int8_t *p) {
    const __m128i bytes = _mm_loadl_epi64((const __m128i *)p);
    return _mm_srai_epi16(_mm_unpacklo_epi8(bytes, bytes), 8);
}
#define WIDEN(p) widen(p)
#define DOT(a, w, x) ((ints)_mm_add_epi32((__m128i)(a), _mm_madd_epi16(w, _mm_set1_epi32(pair(x)))))
#else
#define TILE 2
#define HALF(p) ((vec)four_halves(p))
typedef struct {
    int32_t even[4], odd[4];
} Pairs;
static inline Pairs widen(const int8_t *p) {
    Pairs pairs;
    for (int j = 0; j < 4; j++) pairs.even[j] = p[2 * j], pairs.odd[j] = p[2 * j + 1];
    return pairs;
}
static inline FourInts dot(FourInts a, Pairs w, const int16_t *x) {
    for (int j = 0; j < 4; j++) a[j] += w.even[j] * x[0] + w.odd[j] * x[1];
    return a;
}
#define PAIRS Pairs
#define WIDEN(p) widen(p)
#define DOT(a, w, x) dot(a, w, x)
#endif
#include "kernel.h"

/* The best set of this machine: 0 portable, 1 AVX2 with float16, 2 AVX-512 with its dot products of int16. */
int32_t charrnn_best_set(void) {
    int32_t best = best_set();
#if defined(__x86_64__)
    uint32_t a, b, c, d;
    if (best == 1 && !(__get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C)) best = 0;
#endif
    return best == 2 && !HAS("avx512vnni") ? 1 : best;
}

static const Kernel *kernel_of(int32_t set) {
    (void)set;
#if defined(__x86_64__)
    if (set == 2) return &kernel_avx512;
    if (set == 1) return &kernel_avx2;
#endif
    return &kernel_portable;
}

/* Shares pieces where they are worth it: a little work is done sooner than handed over. */
static void share(Piece piece, Step *step, int32_t pieces, int64_t work) {
    if (work >= WORTH_SHARING) crew_share(piece, step, pieces);
    else for (int32_t number = 0; number < pieces; number++) piece(step, number);
}

static void take_step(const Kernel *kernel, Step *step) {
    const Model *m = step->model;
    const Job *job = step->job;
    const int64_t lanes = job->lanes, V = m->vocabulary_padded;
    share(kernel->choose_ids, step, step->draws, lanes * V * WORK_OF_A_DRAW);
    for (step->layer = 0; step->layer < m->num_layers; step->layer++) {
        if (m->cell == CELL_GRU_BEFORE) {
            crew_share(kernel->advance_gates, step, m->panels);
            crew_share(kernel->advance_candidate, step, m->panels);
        } else {
            crew_share(kernel->advance, step, m->panels);
        }
    }
    if (job->decode_all || step->t + 1 == job->steps) {
        share(kernel->decode, step, step->decoder_panels, lanes * V * m->hidden);
        step->has_logits = 1;
    }
}

/* Multiplications of a character in all layers, for one lane. */
static int64_t products(const Model *m) {
    int64_t sum = (int64_t)m->decoder.inputs * m->vocabulary_padded;
    for (int32_t l = 0; l < m->num_layers; l++)
        sum += ((int64_t)m->layers[l].recurrent.inputs * m->layers[l].recurrent.rows
                + (int64_t)m->layers[l].candidate.inputs * m->layers[l].candidate.rows
                + (l > 0 ? (int64_t)m->layers[l].input.inputs * m->layers[l].input.rows : 0)) * m->panels;
    return sum;
}

/* A number for jobs that take the same time, if they run alike. */
static uint64_t kind_of(const Model *m, const Job *job, int32_t characters) {
    uint64_t kind = 0x9e3779b97f4a7c15ull;
    const int32_t facts[] = {m->cell, m->num_layers, m->hidden, m->vocabulary, job->lanes, characters, job->decode_all,
                             m->layers[0].recurrent.quantised != 0,
                             m->layers[0].recurrent.half != 0, job->given != 0, job->record != 0};
    for (unsigned i = 0; i < sizeof facts / sizeof *facts; i++) kind = (kind ^ (uint32_t)facts[i]) * 0x100000001b3ull;
    return kind | 1;
}

/* Goes through the characters of `job` in jobs of the crew, which are so short that it can act between them. A power of two
 * of characters each, so that there are few kinds of them. */
void charrnn_run(const Model *model, Job *job, int32_t set) {
    const Kernel *kernel = kernel_of(set);
    Step step = {.model = model, .job = job, .has_logits = job->has_logits};
    step.lanes_of_a_draw = 1 + CHARACTERS_OF_A_DRAW / model->vocabulary_padded;
    step.draws = (job->lanes + step.lanes_of_a_draw - 1) / step.lanes_of_a_draw;
    step.decoder_panels = (model->vocabulary_padded + model->decoder.rows - 1) / model->decoder.rows;
    const int64_t work = products(model) * (job->lanes + LANES_OF_A_READ), most = 1 + WORK_OF_A_JOB / work;
    while (step.t < job->steps) {
        const int32_t left = job->steps - step.t;
        int32_t characters = 1;
        while (characters * 2 <= left && characters * 2 <= most) characters *= 2;
        crew_begin(job->threads, kind_of(model, job, characters));
        if (step.t == 0 && job->hidden_quantised) kernel->quantise_state(model, job);
        for (const int32_t end = step.t + characters; step.t < end; step.t++) take_step(kernel, &step);
        crew_end();
    }
}

/* What the first layer's chains hold after the input of each character: V x panels x input.rows. */
void charrnn_tabulate(const Model *model, float *table, int32_t set) {
    const uint32_t before = enter_arithmetic();
    kernel_of(set)->tabulate(model, table);
    leave_arithmetic(before);
}

/* What a caller must know to be the right one. */
int32_t charrnn_version(void) { return VERSION; }

/* The float16 nearest to x, of two the even one; infinite where x is too large. */
static uint16_t half_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    if (size > 0x7f800000) return (uint16_t)(sign | 0x7e00);
    if (size >= 0x477ff000) return (uint16_t)(sign | 0x7c00);
    if (size >= 0x38800000) return (uint16_t)(sign | ((size + 0xfff + (size >> 13 & 1) - (112u << 23)) >> 13));
    float small; /* below the least normal number: whole steps of 2^-24, which are those of a float from 0.5 on */
    memcpy(&small, &size, sizeof small);
    small += 0.5f;
    memcpy(&bits, &small, sizeof bits);
    return (uint16_t)(sign | (bits - 0x3f000000));
}

/* The panels of a matrix: from `blocks` blocks of `size` rows (gates of H units) and K columns, row by row, the blocks in
 * `order`, `units` of each block in a panel, up to `padded` units. Exactly one of out, half and (quantised, scales) is given. */
void charrnn_pack(const float *matrix, int32_t blocks, int32_t size, int32_t K, const int32_t *order, int32_t units,
                  int32_t padded, float *out, uint16_t *half, int8_t *quantised, float *scales) {
    const int32_t groups = (K + GROUP - 1) / GROUP;
    for (int32_t start = 0; start < padded; start += units) {
        const int32_t here = padded - start < units ? padded - start : units;
        if (out || half) {
            /* Sixteen inputs at a time: a row's line is read once, and what is written stays in the first cache. */
            const int32_t rows = blocks * here;
            for (int32_t first = 0; first < K; first += 16) {
                const int32_t count = K - first < 16 ? K - first : 16;
                for (int32_t row = 0; row < rows; row++) {
                    const int32_t u = start + row % here;
                    const float *from = matrix + ((int64_t)order[row / here] * size + u) * K + first;
                    for (int32_t k = 0; out && k < count; k++) out[(int64_t)k * rows + row] = u < size ? from[k] : 0.0f;
                    for (int32_t k = 0; half && k < count; k++)
                        half[(int64_t)k * rows + row] = u < size ? half_of(from[k]) : 0;
                }
                if (out) out += (int64_t)count * rows;
                else half += (int64_t)count * rows;
            }
            continue;
        }
        for (int32_t g = 0; g < groups; g++) {
            const int32_t from = g * GROUP, to = K < from + GROUP ? K : from + GROUP;
            for (int32_t s = 0; s < blocks; s++)
                for (int32_t u = start; u < start + here; u++) {
                    const int32_t row = s * here + u - start;
                    const float *weights = matrix + ((int64_t)order[s] * size + u) * K;
                    float largest = 0;
                    if (u < size)
                        for (int32_t k = from; k < to; k++) largest = fmaxf(largest, fabsf(weights[k]));
                    const float inverse = largest > 0 ? 127.0f / largest : 0.0f;
                    scales[row] = largest / 127.0f / 32767.0f;
                    for (int32_t k = from; k < from + GROUP; k++)
                        quantised[(((int64_t)(k - from) / 2) * blocks * here + row) * 2 + k % 2] =
                            (int8_t)(u < size && k < to ? lrintf(weights[k] * inverse) : 0);
                }
            scales += blocks * here;
            quantised += (int64_t)GROUP * blocks * here;
        }
    }
}
