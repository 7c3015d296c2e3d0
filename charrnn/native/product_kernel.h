/* The innermost part of a product for one instruction set and type of number. product.c includes this file once for each,
 * with these names defined:
 *
 *   NAME(x)   x with the set's suffix          TARGET    attribute that turns the set on
 *   real      type of the sums                 W         numbers in a vector of them
 *   ROWS      rows of a tile                   VECTORS   vectors in a row of a tile: with ROWS, what the registers hold
 *   item      what is multiplied at a time: one number, or two neighbours along K
 *   ROW       a vector of items                ROW_OF(p), ONE_OF(p)   a vector of items at p, and one item everywhere
 *   ADD(sum, row, one)                         adds the products
 *   GET_NARROW(p), PUT_NARROW(p, v)            where the set has them: vectors of bfloat16 numbers in memory
 */

typedef real NAME(reals) __attribute__((vector_size(W * sizeof(real)), may_alias, aligned(sizeof(real))));
#define vec NAME(reals)
#define INLINE TARGET static inline __attribute__((always_inline))

INLINE vec NAME(get)(const real *p) { return *(const vec *)p; }
INLINE void NAME(put)(real *p, vec v) { *(vec *)p = v; }
INLINE vec NAME(splat)(real x) { return x - (vec){0}; }

INLINE void NAME(begin)(const Sums *s, vec sums[ROWS][VECTORS], const int vectors) {
    const real beta = (real)s->beta;
#if defined(GET_NARROW)
    if (s->is_start_narrow) {
        const uint16_t *from = s->start;
        _Pragma("GCC unroll 16") for (int i = 0; i < ROWS; i++) _Pragma("GCC unroll 4") for (int v = 0; v < vectors; v++)
            sums[i][v] = GET_NARROW(from + i * s->start_row + v * W) * beta;
        return;
    }
#endif
    const real *from = s->start;
    _Pragma("GCC unroll 16") for (int i = 0; i < ROWS; i++) _Pragma("GCC unroll 4") for (int v = 0; v < vectors; v++)
        sums[i][v] = from ? (vec)(NAME(get)(from + i * s->start_row + v * W) * beta) : (vec)NAME(splat)(0);
}

INLINE void NAME(end)(const Sums *s, vec sums[ROWS][VECTORS], const int vectors) {
    const real alpha = (real)s->alpha;
#if defined(PUT_NARROW)
    if (s->is_c_narrow) {
        uint16_t *to = s->c;
        _Pragma("GCC unroll 16") for (int i = 0; i < ROWS; i++) _Pragma("GCC unroll 4") for (int v = 0; v < vectors; v++)
            PUT_NARROW(to + i * s->c_row + v * W, sums[i][v] * alpha);
        return;
    }
#endif
    real *to = s->c;
    _Pragma("GCC unroll 16") for (int i = 0; i < ROWS; i++) _Pragma("GCC unroll 4") for (int v = 0; v < vectors; v++)
        NAME(put)(to + i * s->c_row + v * W, sums[i][v] * alpha);
}

/* c = alpha (beta start + a b) for one tile. */
INLINE void NAME(sum)(const item *a, const item *b, int64_t items, const Sums *s, const int vectors) {
    vec sums[ROWS][VECTORS];
    NAME(begin)(s, sums, vectors);
    for (int64_t k = 0; k < items; k++, a += ROWS, b += vectors * W) {
        ROW row[VECTORS];
        _Pragma("GCC unroll 4") for (int v = 0; v < vectors; v++) row[v] = ROW_OF(b + v * W);
        _Pragma("GCC unroll 16") for (int i = 0; i < ROWS; i++) {
            const ROW one = ONE_OF(a + i);
            _Pragma("GCC unroll 4") for (int v = 0; v < vectors; v++) sums[i][v] = ADD(sums[i][v], row[v], one);
        }
    }
    NAME(end)(s, sums, vectors);
}

TARGET static void NAME(tile)(const void *a, const void *b, int64_t items, Sums sums) {
    if (sums.vectors == VECTORS) NAME(sum)(a, b, items, &sums, VECTORS);
    else if (sums.vectors == 1) NAME(sum)(a, b, items, &sums, 1);
    else NAME(sum)(a, b, items, &sums, 2);
}

#undef vec
#undef INLINE
/* and what was given, for the next set */
#undef SET
#undef TARGET
#undef real
#undef W
#undef ROWS
#undef VECTORS
#undef item
#undef ROW
#undef ROW_OF
#undef ONE_OF
#undef ADD
#undef GET_NARROW
#undef PUT_NARROW
