/* The recurrence for one instruction set and type of number. recurrence.c includes this file once for each, with these
 * names defined:
 *
 *   NAME(x)   x with the set's suffix          TARGET   attribute that turns the set on
 *   real      float or double                  W        numbers in a vector
 *   LANES     lanes of a tile at most, forward; backward takes a third more
 *   IS_NARROW what is multiplied is bfloat16     factor   type of that: real, or uint16_t
 *   IS_TILED  by matrix tiles: TILES(x) is a function of tiles.h
 *   BACK      vectors of a panel of the backward pass, 2 or 4
 *
 * For narrow factors two neighbours along K stand side by side: DOT and tiles add the products of both.
 */

typedef real NAME(reals) __attribute__((vector_size(W * sizeof(real)), may_alias, aligned(sizeof(real))));
#if IS_DOUBLE
#define BITS int64_t
#else
#define BITS int32_t
#endif
typedef BITS NAME(bits) __attribute__((vector_size(W * sizeof(real)), may_alias));
#if IS_NARROW
typedef uint32_t NAME(words) __attribute__((vector_size(W * 4), may_alias, aligned(2)));
#endif
#define vec NAME(reals)
#define INLINE TARGET static inline __attribute__((always_inline))
#if IS_TILED
#define MOST 16
#else
#define MOST 8
#endif

INLINE vec NAME(get)(const real *p) { return *(const vec *)p; }
INLINE void NAME(put)(real *p, vec v) { *(vec *)p = v; }
INLINE vec NAME(splat)(real x) { return x - (vec){0}; }

/* Where a lane begins anew before a step, the step reads zeros, whatever the state holds: all bits of it are kept, or none. */
INLINE BITS NAME(keeping)(const uint8_t *starts, int64_t row) { return starts ? (BITS)starts[row] - 1 : -1; }
INLINE vec NAME(kept)(vec x, BITS keep) { return (vec)((NAME(bits))x & keep); }

#if IS_DOUBLE
INLINE vec NAME(sigmoid)(vec x) {
    for (int j = 0; j < W; j++) x[j] = 1 / (1 + exp(-x[j]));
    return x;
}
INLINE vec NAME(tanh)(vec x) {
    for (int j = 0; j < W; j++) x[j] = tanh(x[j]);
    return x;
}
#else
#include "activations.h"
#endif

#if IS_NARROW
#define ITEM neighbours
enum { NAME(PAIR) = 2 };
INLINE vec NAME(widened)(const factor *p) { return NARROW_WIDEN(p); }
INLINE void NAME(put_factor)(factor *p, vec v) { NARROW_STORE(p, v); }

/* Two rows side by side, as `narrowed` rounds them. */
INLINE void NAME(put_pair)(factor *to, vec even, vec odd) {
    const NAME(words) a = (NAME(words))even, b = (NAME(words))odd;
    *(NAME(words) *)to = (a + 0x7fff + (a >> 16 & 1)) >> 16 | ((b + 0x7fff + (b >> 16 & 1)) & 0xffff0000u);
}
#else
#define ITEM real
enum { NAME(PAIR) = 1 };
#define ONE_OF(p) NAME(splat)(*(p))
#define ROW_OF(p) NAME(get)(p)
#define ADD(a, row, one) ((a) + (row) * (one))
INLINE void NAME(put_factor)(factor *p, vec v) { NAME(put)(p, v); }
#endif

#if !IS_TILED
/* a (lanes x vectors) += panel w (K x vectors) times x (lanes x K). The sums stay in registers, each one chain of
 * multiply-adds in the order of K, whatever lanes stand beside it. */
INLINE void NAME(multiply)(vec a[MOST][4], const factor *w, const factor *x, int64_t stride, int K, const int vectors,
                           const int lanes) {
    const int pair = NAME(PAIR);
    for (int k = 0; k < K; k += pair, w += vectors * W * pair) {
        ROW row[4];
        _Pragma("GCC unroll 4") for (int v = 0; v < vectors; v++) row[v] = ROW_OF(w + v * W * pair);
        _Pragma("GCC unroll 8") for (int b = 0; b < lanes; b++) {
            const ROW one = ONE_OF(x + b * stride + k);
            _Pragma("GCC unroll 4") for (int v = 0; v < vectors; v++) a[b][v] = ADD(a[b][v], row[v], one);
        }
    }
}

#endif

/* ---- forward: a panel is W units, with a vector for each block of the state's part that the pass multiplies */

/* Sixteen inputs at a time: rows of the matrix are read along, and written across. */
INLINE void NAME(pack_forward)(const Window *window, int panel, const int pass) {
    enum { ITEMS = 16 / NAME(PAIR) };
    const int H = window->hidden, P = window->padded, start = panel * W, blocks = BLOCKS(pass);
    ITEM *out = (ITEM *)window->panels + ((int64_t)FIRST(pass) * P + (int64_t)panel * blocks * W) * P / NAME(PAIR);
    for (int k = 0; k < P; k += 16, out += ITEMS * blocks * W)
        for (int g = 0; g < blocks; g++) {
            ITEM rows[W][ITEMS];
            for (int j = 0; j < W; j++) {
                const real *from = (const real *)window->recurrent + ((int64_t)(FIRST(pass) + g) * H + start + j) * H + k;
                __builtin_prefetch(from + FURTHER);
                real row[16] = {0};
                memcpy(row, from, start + j >= H ? 0 : k + 16 <= H ? sizeof row : (H - k) * sizeof(real));
                for (int i = 0; i < 16; i += W) NAME(put_factor)((factor *)rows[j] + i, NAME(get)(row + i));
            }
            for (int i = 0; i < ITEMS; i++)
                for (int j = 0; j < W; j++) out[(i * blocks + g) * W + j] = rows[j][i];
        }
}

INLINE vec NAME(input)(const Window *window, int64_t place, const int has_ids) {
#if IS_NARROW
    if (!has_ids) return NAME(widened)((const factor *)window->input + place);
#endif
    return NAME(get)((const real *)window->input + place);
}

/* What the sums of a lane start from: the input's part and the bias; the gru's candidate is kept apart. */
INLINE vec NAME(start)(const Window *window, int64_t place, const vec *bias, int g, const int pass, const int has_ids) {
    const vec from = pass == GRU && g == 2 ? NAME(splat)(0)
                                           : NAME(input)(window, place + (PLACE(pass) + g) * window->padded, has_ids);
    return from + bias[g];
}

/* State and gates of one vector of units in one lane, from the ends of its sums. `now` is what is kept of the state before,
 * `next` of the state after where the next step reads it. */
INLINE void NAME(activate)(const Window *window, int64_t row, int64_t unit, const vec *a, vec candidate, const int pass,
                           BITS now, BITS next) {
    const int64_t P = window->padded, place = row * P + unit, after = place + window->lanes * P;
    real *gates = (real *)window->gates + row * KEPT(pass) * P + unit;
    vec output;
    if (pass == LSTM) {
        const vec i = NAME(sigmoid)(a[0]), f = NAME(sigmoid)(a[1]), g = NAME(tanh)(a[2]), o = NAME(sigmoid)(a[3]);
        const vec inner = f * NAME(kept)(NAME(get)((const real *)window->c + place), now) + i * g;
        NAME(put)(gates, i), NAME(put)(gates + P, f), NAME(put)(gates + 2 * P, g), NAME(put)(gates + 3 * P, o);
        NAME(put)((real *)window->c + after, inner);
        output = o * NAME(tanh)(inner);
    } else if (pass == GRU) {
        const vec r = NAME(sigmoid)(a[0]), z = NAME(sigmoid)(a[1]), m = a[2], n = NAME(tanh)(r * m + candidate);
        NAME(put)(gates, n), NAME(put)(gates + P, r), NAME(put)(gates + 2 * P, z), NAME(put)(gates + 3 * P, m);
        output = z * (NAME(kept)(NAME(get)((const real *)window->h + place), now) - n) + n;
    } else if (pass == RESET) {
        const vec r = NAME(sigmoid)(a[0]), z = NAME(sigmoid)(a[1]);
        NAME(put)(gates, r), NAME(put)(gates + P, z);
        NAME(put_factor)((factor *)window->reset + place, r * NAME(kept)(NAME(get)((const real *)window->h + place), now));
        return;
    } else if (pass == CANDIDATE) {
        const vec z = NAME(get)(gates + P), n = NAME(tanh)(a[0]);
        NAME(put)(gates + 2 * P, n);
        output = z * (NAME(kept)(NAME(get)((const real *)window->h + place), now) - n) + n;
    } else {
        output = NAME(tanh)(a[0]);
    }
    NAME(put)((real *)window->h + after, output);
    if (IS_NARROW || window->factors != window->h)
        NAME(put_factor)((factor *)window->factors + after, NAME(kept)(output, next));
}

/* The same in all lanes of a tile, from sums in memory (lanes x blocks vectors): apart from the product, whose loop
 * would lose registers to its constants. */
#define APART(name, pass)                                                                                              \
    TARGET __attribute__((noinline)) static void NAME(activate_##name)(                                                \
        const Window *window, int64_t row, int64_t unit, const real *sums, const int64_t *places, int lanes) {         \
        const int has_ids = window->ids != 0;                                                                          \
        const uint8_t *starts = window->starts, *after = window->step + 1 < window->steps ? starts : 0;                \
        for (int l = 0; l < lanes; l++, sums += BLOCKS(pass) * W) {                                                    \
            vec a[4];                                                                                                  \
            for (int g = 0; g < BLOCKS(pass); g++) a[g] = NAME(get)(sums + g * W);                                     \
            const vec candidate = pass == GRU ? NAME(input)(window, places[l], has_ids) : a[0];                        \
            NAME(activate)(window, row + l, unit, a, candidate, pass, NAME(keeping)(starts, row + l),                  \
                           NAME(keeping)(after, row + window->lanes + l));                                             \
        }                                                                                                              \
    }
APART(lstm, LSTM)
APART(gru, GRU)
APART(rnn, RNN)
APART(reset, RESET)
APART(candidate, CANDIDATE)
#undef APART

INLINE void NAME(forward_tile)(const Window *window, int t, int panel, int b, const int pass, const int lanes) {
    const int blocks = BLOCKS(pass);
    const int64_t P = window->padded, unit = (int64_t)panel * W, row = (int64_t)t * window->lanes + b;
    const factor *w = (const factor *)window->panels + (FIRST(pass) * P + (int64_t)panel * blocks * W) * P;
    const factor *factors = (const factor *)(pass == CANDIDATE ? window->reset : window->factors) + row * P;
    const int has_ids = window->ids != 0; /* read once: for all the compiler knows, every store may change it */
    int64_t places[MOST];
    vec bias[4];
    for (int g = 0; g < blocks; g++)
        bias[g] = window->bias ? NAME(get)((const real *)window->bias + (FIRST(pass) + g) * P + unit) : NAME(splat)(0);
    _Pragma("GCC unroll 8") for (int l = 0; l < lanes; l++)
        places[l] = (has_ids ? window->ids[row + l] : row + l) * window->input_width + unit;
    real sums[MOST * 4 * W] __attribute__((aligned(64)));
#if IS_TILED
    for (int l = 0; l < lanes; l++)
        for (int g = 0; g < blocks; g++)
            NAME(put)(sums + (l * blocks + g) * W, NAME(start)(window, places[l], bias, g, pass, has_ids));
    TILES(tiles_begin)((int)P, lanes);
    TILES(tiles_multiply)(sums, w, factors, P, (int)P, blocks);
    TILES(release_tiles)();
#else
    vec a[MOST][4];
    _Pragma("GCC unroll 8") for (int l = 0; l < lanes; l++)
        _Pragma("GCC unroll 4") for (int g = 0; g < blocks; g++)
            a[l][g] = NAME(start)(window, places[l], bias, g, pass, has_ids);
    NAME(multiply)(a, w, factors, P, (int)P, blocks, lanes);
    _Pragma("GCC unroll 8") for (int l = 0; l < lanes; l++)
        _Pragma("GCC unroll 4") for (int g = 0; g < blocks; g++) NAME(put)(sums + (l * blocks + g) * W, a[l][g]);
#endif
    (pass == LSTM        ? NAME(activate_lstm)
     : pass == GRU       ? NAME(activate_gru)
     : pass == RESET     ? NAME(activate_reset)
     : pass == CANDIDATE ? NAME(activate_candidate)
                         : NAME(activate_rnn))(window, row, unit, sums, places, lanes);
}

/* A piece of getting ready: one panel. */
INLINE void NAME(prepare_forward)(const Window *window, int32_t panel, const int pass) {
    NAME(pack_forward)(window, panel, pass);
    if (pass == CANDIDATE || (!IS_NARROW && window->factors == window->h)) return;
    for (int64_t b = 0; b < window->lanes; b++) {
        const int64_t place = b * window->padded + (int64_t)panel * W;
        const vec h = NAME(kept)(NAME(get)((const real *)window->h + place), NAME(keeping)(window->starts, b));
        NAME(put_factor)((factor *)window->factors + place, h);
    }
}

/* A piece of a step: one panel in all lanes. */
INLINE void NAME(step_forward)(const Window *window, int32_t panel, const int pass) {
#if IS_TILED
    for (int b = 0; b < window->lanes; b += MOST)
        NAME(forward_tile)(window, window->step, panel, b, pass, window->lanes - b < MOST ? window->lanes - b : MOST);
#else
#define CALL(n) NAME(forward_tile)(window, window->step, panel, b, pass, n)
    OVER_LANES(window->lanes, LANES, CALL)
#undef CALL
#endif
}

/* A cell goes through one pass a step, or two. */
static void NAME(forward_cell)(Window *window, Piece prepare, Piece step, Piece prepare_second, Piece second) {
    const int32_t panels = (int32_t)(window->padded / W);
    crew_share(prepare, window, panels);
    if (second) crew_share(prepare_second, window, panels);
    for (window->step = 0; window->step < window->steps; window->step++) {
        crew_share(step, window, panels);
        if (second) crew_share(second, window, panels);
    }
}

/* ---- backward: a panel is BACK vectors of units, or fewer at the end, and runs through all gates of the
 * state's part that the pass multiplies */

/* How many vectors a panel has. */
INLINE int NAME(width)(const Window *window, int panel) {
    const int left = (window->padded - panel * BACK * W) / W;
    return left < BACK ? left : BACK;
}

/* W numbers of a row of which so many are left; what is missing is zero. */
INLINE vec NAME(part)(const real *from, int64_t left) {
    if (left >= W) return NAME(get)(from);
    real some[W] = {0};
    for (int j = 0; j < left; j++) some[j] = from[j];
    return NAME(get)(some);
}

/* Rows of the matrix are read along; those that will be next are far from these, and are fetched meanwhile. */
INLINE void NAME(pack_backward)(const Window *window, int panel, const int pass) {
    const int64_t H = window->hidden, P = window->padded, first = (int64_t)panel * BACK * W;
    const int vectors = NAME(width)(window, panel), pair = NAME(PAIR), blocks = BLOCKS(pass);
    factor *to = (factor *)window->panels + (FIRST(pass) * P + first * blocks) * P;
    for (int g = 0; g < blocks; g++)
        for (int k = 0; k < P; k += pair, to += vectors * W * pair) {
            const real *from = (const real *)window->recurrent + ((FIRST(pass) + g) * H + k) * H + first;
            for (int i = 0; i < pair; i++)
                for (int line = 0; line < vectors * W; line += 64 / (int)sizeof(real))
                    __builtin_prefetch(from + (AHEAD + i) * H + line);
            for (int v = 0; v < vectors; v++) {
                const int64_t left = H - first - v * W;
                const vec row = NAME(part)(from + v * W, k < H ? left : 0);
#if IS_NARROW
                NAME(put_pair)(to + v * W * 2, row, NAME(part)(from + H + v * W, k + 1 < H ? left : 0));
#else
                NAME(put)(to + v * W, row);
#endif
            }
        }
}

INLINE void NAME(put_gradient)(const Window *window, int64_t place, vec gradient) {
#if IS_NARROW
    NAME(put_factor)((factor *)window->narrow_gradients + place, gradient);
#else
    NAME(put)((real *)window->gates + place, gradient);
#endif
}

/* Gradients of one vector of units in one lane: dh and, kept in memory, dc come in; those of the gates go out. `now` is what
 * the step kept of the state before it. */
INLINE void NAME(backward_unit)(const Window *window, int64_t row, int64_t lane, int64_t unit, vec dh, vec sums[4],
                                const int pass, BITS now) {
    const int64_t P = window->padded, kept = KEPT(pass), place = lane * P + unit, to = row * kept * P + unit;
    const real *gates = (const real *)window->gates + to;
    if (pass == LSTM) {
        const real *c_before = (const real *)window->c + row * P + unit, *c = c_before + window->lanes * P;
        real *carried = (real *)window->c_gradient + place;
        const vec i = NAME(get)(gates), f = NAME(get)(gates + P), g = NAME(get)(gates + 2 * P), o = NAME(get)(gates + 3 * P);
        const vec squashed = NAME(tanh)(NAME(get)(c));
        const vec dc = dh * o * (1 - squashed * squashed) + NAME(get)(carried);
        const vec di = dc * g * i * (1 - i), df = dc * NAME(kept)(NAME(get)(c_before), now) * f * (1 - f);
        const vec dg = dc * i * (1 - g * g), d_o = dh * squashed * o * (1 - o);
        NAME(put)(carried, NAME(kept)(dc * f, now));
        NAME(put_gradient)(window, to, di), NAME(put_gradient)(window, to + P, df);
        NAME(put_gradient)(window, to + 2 * P, dg), NAME(put_gradient)(window, to + 3 * P, d_o);
        sums[0] += di, sums[1] += df, sums[2] += dg, sums[3] += d_o;
        NAME(put)((real *)window->h_gradient + place, NAME(splat)(0));
    } else if (pass == GRU) {
        const vec n = NAME(get)(gates), r = NAME(get)(gates + P), z = NAME(get)(gates + 2 * P), m = NAME(get)(gates + 3 * P);
        const vec h_before = NAME(kept)(NAME(get)((const real *)window->h + row * P + unit), now);
        const vec dn = dh * (1 - z) * (1 - n * n), dz = dh * (h_before - n) * z * (1 - z);
        const vec dm = dn * r, dr = dn * m * r * (1 - r);
        NAME(put_gradient)(window, to, dn), NAME(put_gradient)(window, to + P, dr);
        NAME(put_gradient)(window, to + 2 * P, dz), NAME(put_gradient)(window, to + 3 * P, dm);
        sums[0] += dn, sums[1] += dr, sums[2] += dz, sums[3] += dm;
        NAME(put)((real *)window->h_gradient + place, NAME(kept)(dh * z, now));
    } else if (pass == RESET) { /* dr is for the second pass: r acts on what that multiplies */
        const vec z = NAME(get)(gates + P), n = NAME(get)(gates + 2 * P);
        const vec h_before = NAME(kept)(NAME(get)((const real *)window->h + row * P + unit), now);
        const vec dn = dh * (1 - z) * (1 - n * n), dz = dh * (h_before - n) * z * (1 - z);
        NAME(put_gradient)(window, to + P, dz), NAME(put_gradient)(window, to + 2 * P, dn);
        sums[1] += dz, sums[2] += dn;
        NAME(put)((real *)window->h_gradient + place, NAME(kept)(dh * z, now));
    } else if (pass == CANDIDATE) { /* dh is of r h here */
        real *carried = (real *)window->h_gradient + place;
        const vec r = NAME(get)(gates), h_before = NAME(kept)(NAME(get)((const real *)window->h + row * P + unit), now);
        const vec dr = dh * h_before * r * (1 - r);
        NAME(put_gradient)(window, to, dr);
        sums[0] += dr;
        NAME(put)(carried, NAME(get)(carried) + NAME(kept)(dh * r, now));
    } else {
        const vec h = NAME(get)((const real *)window->h + (row + window->lanes) * P + unit);
        const vec d = dh * (1 - h * h);
        NAME(put_gradient)(window, to, d);
        sums[0] += d;
        NAME(put)((real *)window->h_gradient + place, NAME(splat)(0));
    }
}

INLINE void NAME(backward_tile)(const Window *window, int t, int panel, int b, vec sums[BACK][4], const int pass,
                                const int vectors, const int lanes) {
    const int blocks = BLOCKS(pass), kept = KEPT(pass), is_second = pass == CANDIDATE;
    const int64_t P = window->padded, unit = (int64_t)panel * BACK * W, row = (int64_t)t * window->lanes + b;
    const real *carried = (const real *)window->h_gradient + b * P + unit;
    const real *above = !is_second && t >= 0 && window->output_gradient ? (const real *)window->output_gradient + row * P + unit : 0;
    const factor *w = (const factor *)window->panels + (FIRST(pass) * P + (int64_t)panel * blocks * BACK * W) * P;
    const factor *after = (const factor *)(IS_NARROW ? window->narrow_gradients : window->gates) +
                          ((row + (is_second ? 0 : window->lanes)) * kept + PLACE(pass)) * P;
    const int has_after = is_second || t + 1 < window->steps;
    const uint8_t *starts = window->starts;
    vec a[MOST][4];
    _Pragma("GCC unroll 8") for (int l = 0; l < lanes; l++) _Pragma("GCC unroll 4") for (int v = 0; v < vectors; v++) {
        a[l][v] = is_second ? NAME(splat)(0) : NAME(get)(carried + l * P + v * W);
        if (above) a[l][v] += NAME(get)(above + l * P + v * W);
    }
#if IS_TILED
    if (has_after) {
        real in_memory[MOST * BACK * W] __attribute__((aligned(64)));
        for (int l = 0; l < lanes; l++)
            for (int v = 0; v < vectors; v++) NAME(put)(in_memory + (l * vectors + v) * W, a[l][v]);
        TILES(tiles_begin)((int)(blocks * P), lanes);
        TILES(tiles_multiply)(in_memory, w, after, kept * P, (int)(blocks * P), vectors);
        TILES(release_tiles)();
        for (int l = 0; l < lanes; l++)
            for (int v = 0; v < vectors; v++) a[l][v] = NAME(get)(in_memory + (l * vectors + v) * W);
    }
#else
    if (has_after) NAME(multiply)(a, w, after, kept * P, (int)(blocks * P), vectors, lanes);
#endif
    if (!is_second && has_after && starts) /* no gradient comes from a step that did not read this one; what was carried is zero */
        _Pragma("GCC unroll 8") for (int l = 0; l < lanes; l++) {
            if (!starts[row + window->lanes + l]) continue;
            _Pragma("GCC unroll 4") for (int v = 0; v < vectors; v++)
                a[l][v] = above ? NAME(get)(above + l * P + v * W) : NAME(splat)(0);
        }
    _Pragma("GCC unroll 8") for (int l = 0; l < lanes; l++) _Pragma("GCC unroll 4") for (int v = 0; v < vectors; v++) {
        if (t >= 0)
            NAME(backward_unit)(window, row + l, b + l, unit + v * W, a[l][v], sums[v], pass, NAME(keeping)(starts, row + l));
        else NAME(put)((real *)window->h_gradient + (b + l) * P + unit + v * W, a[l][v]);
    }
}

INLINE void NAME(prepare_backward)(const Window *window, int32_t panel, const int pass) {
    NAME(pack_backward)(window, panel, pass);
    if (pass == CANDIDATE) return; /* what follows has been done */
    for (int g = 0; g < KEPT(pass); g++)
        memset((real *)window->bias_gradient + (int64_t)g * window->padded + (int64_t)panel * BACK * W, 0,
               NAME(width)(window, panel) * W * sizeof(real));
}

INLINE void NAME(step_backward)(const Window *window, int32_t panel, const int pass) {
    const int64_t P = window->padded;
    const int vectors = NAME(width)(window, panel);
    vec sums[BACK][4];
    memset(sums, 0, sizeof sums);
#if IS_TILED
    for (int b = 0; b < window->lanes; b += MOST) {
        const int lanes = window->lanes - b < MOST ? window->lanes - b : MOST;
        NAME(backward_tile)(window, window->step, panel, b, sums, pass, vectors, lanes);
    }
#else
#define CALL(n) NAME(backward_tile)(window, window->step, panel, b, sums, pass, 2, n)
    if (vectors == 2) { OVER_LANES(window->lanes, LANES / 3 * 4, CALL) }
#undef CALL
#define CALL(n) NAME(backward_tile)(window, window->step, panel, b, sums, pass, 1, n)
    else { OVER_LANES(window->lanes, LANES / 3 * 4, CALL) }
#undef CALL
#endif
    for (int v = 0; v < vectors; v++)
        for (int g = 0; g < KEPT(pass); g++) {
            real *sum = (real *)window->bias_gradient + g * P + (int64_t)panel * BACK * W + v * W;
            NAME(put)(sum, NAME(get)(sum) + sums[v][g]);
        }
}

/* The input's part of the gates, summed by id: a piece is some columns. */
TARGET static void NAME(sum_by_id)(void *given, int32_t piece) {
    const Window *window = given;
    const int64_t P = window->padded, width = INPUTS(window->cell) * P;
    const int64_t left = (int64_t)piece * COLUMNS, right = left + COLUMNS < width ? left + COLUMNS : width;
    real *table = (real *)window->table_gradient;
    for (int64_t v = 0; v < window->vocabulary; v++) memset(table + v * width + left, 0, (right - left) * sizeof(real));
    for (int64_t row = 0; row < (int64_t)window->steps * window->lanes; row++) {
        real *sum = table + window->ids[row] * width;
        const int64_t place = row * KEPT(window->cell) * P;
#if IS_NARROW
        const factor *gradients = (const factor *)window->narrow_gradients + place;
        for (int64_t j = left; j < right; j += W) NAME(put)(sum + j, NAME(get)(sum + j) + NAME(widened)(gradients + j));
#else
        const real *gradients = (const real *)window->gates + place;
        for (int64_t j = left; j < right; j += W) NAME(put)(sum + j, NAME(get)(sum + j) + NAME(get)(gradients + j));
#endif
    }
}

static void NAME(backward_cell)(Window *window, Piece prepare, Piece step, Piece prepare_second, Piece second) {
    const int32_t panels = (int32_t)((window->padded + BACK * W - 1) / (BACK * W));
    crew_share(prepare, window, panels);
    if (second) crew_share(prepare_second, window, panels);
    for (window->step = window->steps - 1; window->step >= (window->wants_state_gradient ? -1 : 0); window->step--) {
        crew_share(step, window, panels);
        if (second && window->step >= 0) crew_share(second, window, panels);
    }
    if (window->ids && window->table_gradient)
        crew_share(NAME(sum_by_id), window, (INPUTS(window->cell) * window->padded + COLUMNS - 1) / COLUMNS);
}

/* The pieces of each pass, and each cell's way through a window. */
#define PIECE(what, name, pass)                                                                                        \
    TARGET static void NAME(what##_##name)(void *window, int32_t panel) { NAME(what)(window, panel, pass); }
#define PIECES(name, pass)                                                                                             \
    PIECE(prepare_forward, name, pass) PIECE(step_forward, name, pass)                                                 \
    PIECE(prepare_backward, name, pass) PIECE(step_backward, name, pass)
PIECES(lstm, LSTM)
PIECES(gru, GRU)
PIECES(rnn, RNN)
PIECES(reset, RESET)
PIECES(candidate, CANDIDATE)
#undef PIECE
#undef PIECES

static void NAME(run)(Window *window, int is_backward) {
#define PASS(way, name) NAME(prepare_##way##_##name), NAME(step_##way##_##name)
#define ONE(way, name) NAME(way##_cell)(window, PASS(way, name), 0, 0)
#define TWO(way, first, second) NAME(way##_cell)(window, PASS(way, first), PASS(way, second))
#define RUN(way)                                                                                                       \
    if (window->cell == LSTM) ONE(way, lstm);                                                                          \
    else if (window->cell == GRU) ONE(way, gru);                                                                       \
    else if (window->cell == RNN) ONE(way, rnn);                                                                       \
    else TWO(way, reset, candidate);
    if (is_backward) { RUN(backward) }
    else { RUN(forward) }
#undef RUN
#undef TWO
#undef ONE
#undef PASS
}

#undef vec
#undef ints
#undef BITS
#undef INLINE
#undef MOST
/* and what was given, for the next set */
#undef SET
#undef TARGET
#undef real
#undef W
#undef LANES
#undef IS_DOUBLE
#undef IS_NARROW
#undef IS_TILED
#undef BACK
#undef factor
#undef ROW
#undef ITEM
#undef ONE_OF
#undef ROW_OF
#undef ADD
