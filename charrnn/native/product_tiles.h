/* The innermost part of a product by matrix tiles; product.c includes this file for the processor's instructions and for the
 * emulation, with these names defined:
 *
 *   TILES(x)   a function of tiles.h       TARGET   attribute that turns the instructions on
 *
 * A panel of the left factor holds, for each 32 numbers along K, the rows' numbers one after the other; or it is the matrix
 * itself.
 */

/* c = start + a b: `rows` times 16 rows, `vectors` times 16 columns, and items in whole tiles. */
TARGET static inline __attribute__((always_inline)) void TILES(sum)(const char *a, const char *b, int64_t items, Sums s,
                                                                  const int rows, const int vectors) {
    const int64_t b_row = vectors * 64, line = sizeof(float);
    const float *start = s.start;
    float *c = s.c;
    _Pragma("GCC unroll 2") for (int i = 0; i < rows; i++) _Pragma("GCC unroll 4") for (int v = 0; v < vectors; v++)
        if (start) TILES(load_tile)(i * 2 + v, start + i * 16 * s.start_row + v * 16, s.start_row * line);
        else TILES(zero_tile)(i * 2 + v);
    for (int64_t k = 0; k < items; k += 16, a += s.a_step, b += 16 * b_row) {
        _Pragma("GCC unroll 2") for (int i = 0; i < rows; i++) TILES(load_tile)(4 + i, a + i * 16 * s.a_row, s.a_row);
        _Pragma("GCC unroll 4") for (int v = 0; v < vectors; v++) {
            TILES(load_tile)(6 + v % 2, b + v * 64, b_row);
            _Pragma("GCC unroll 2") for (int i = 0; i < rows; i++) TILES(add_tiles)(i * 2 + v, 4 + i, 6 + v % 2);
        }
    }
    _Pragma("GCC unroll 2") for (int i = 0; i < rows; i++) _Pragma("GCC unroll 4") for (int v = 0; v < vectors; v++)
        TILES(store_tile)(i * 2 + v, c + i * 16 * s.c_row + v * 16, s.c_row * line);
}

TARGET static void TILES(tile)(const void *a, const void *b, int64_t items, Sums s) {
    float scaled[MOST_SUMS];
    const int columns = s.vectors * 16;
    if (s.start && s.beta != 1) {
        scale(scaled, columns, s.start, s.start_row, (float)s.beta, s.rows, columns);
        s.start = scaled, s.start_row = columns;
    }
    if (s.rows == 32 && s.vectors == 2) TILES(sum)(a, b, items, s, 2, 2);
    else if (s.rows == 32) TILES(sum)(a, b, items, s, 2, 1);
    else if (s.vectors == 4) TILES(sum)(a, b, items, s, 1, 4);
    else if (s.vectors == 3) TILES(sum)(a, b, items, s, 1, 3);
    else if (s.vectors == 2) TILES(sum)(a, b, items, s, 1, 2);
    else TILES(sum)(a, b, items, s, 1, 1);
    if (s.alpha != 1) scale(s.c, s.c_row, s.c, s.c_row, (float)s.alpha, s.rows, columns);
}

/* All tiles are whole. */
TARGET static void TILES(begin)(void) {
    const TileShapes shapes = whole_tiles(16);
    TILES(configure_tiles)(&shapes);
}
TARGET static void TILES(end)(void) { TILES(release_tiles)(); }

#undef TILES
#undef TARGET
