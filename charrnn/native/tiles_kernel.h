/* Tiles of one kind: tiles.h includes this file with IS_EMULATED 0, where the names end in `_amx`, and 1, in `_emulated`. */
#if IS_EMULATED
#define TILES(x) x##_emulated
#define TILES_INLINE static inline __attribute__((always_inline))
#else
#define TILES(x) x##_amx
#define TILES_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,amx-tile,amx-bf16,fma")))
#define TILES_INLINE TILES_TARGET static inline __attribute__((always_inline))
#endif

#if IS_EMULATED

/* The registers of a thread. */
static _Thread_local struct {
    TileShapes shapes;
    _Alignas(64) uint8_t tiles[8][16][64];
} emulated;

static inline void configure_tiles_emulated(const TileShapes *shapes) {
    memset(&emulated, 0, sizeof emulated);
    emulated.shapes = *shapes;
}
static inline void release_tiles_emulated(void) { memset(&emulated, 0, sizeof emulated); }
static inline void zero_tile_emulated(int tile) { memset(emulated.tiles[tile], 0, sizeof emulated.tiles[tile]); }
/* `stride` is in bytes. */
static inline void load_tile_emulated(int tile, const void *from, int64_t stride) {
    zero_tile_emulated(tile);
    for (int row = 0; row < emulated.shapes.rows[tile]; row++)
        memcpy(emulated.tiles[tile][row], (const char *)from + row * stride, emulated.shapes.bytes[tile]);
}
static inline void store_tile_emulated(int tile, void *to, int64_t stride) {
    for (int row = 0; row < emulated.shapes.rows[tile]; row++)
        memcpy((char *)to + row * stride, emulated.tiles[tile][row], emulated.shapes.bytes[tile]);
}

/* Denormal numbers are 0, read or made, whatever the arithmetic of the thread. */
static inline float flushed(float x) { return fabsf(x) < FLT_MIN ? copysignf(0, x) : x; }
static inline float factor_of(const uint8_t *row, int place) {
    uint16_t narrow;
    memcpy(&narrow, row + 2 * place, sizeof narrow);
    const uint32_t bits = (uint32_t)narrow << 16;
    float wide;
    memcpy(&wide, &bits, sizeof wide);
    return flushed(wide);
}

/* sums += left right, as TDPBF16PS: two chains of fused multiply-adds, of the even and of the odd numbers along K, from 0;
 * then both are added, and that to the sum. */
TARGET_CLONES static void add_tiles_emulated(int sums, int left, int right) {
    const int rows = emulated.shapes.rows[sums], columns = emulated.shapes.bytes[sums] / 4;
    const int pairs = emulated.shapes.bytes[left] / 4;
    for (int m = 0; m < rows; m++) {
        float even[16] = {0}, odd[16] = {0}, row[16];
        for (int k = 0; k < pairs; k++) {
            const uint8_t *along = emulated.tiles[left][m];
            const float first = factor_of(along, 2 * k), second = factor_of(along, 2 * k + 1);
            for (int n = 0; n < columns; n++) {
                even[n] = flushed(fmaf(first, factor_of(emulated.tiles[right][k], 2 * n), even[n]));
                odd[n] = flushed(fmaf(second, factor_of(emulated.tiles[right][k], 2 * n + 1), odd[n]));
            }
        }
        memcpy(row, emulated.tiles[sums][m], sizeof row);
        for (int n = 0; n < columns; n++) row[n] = flushed(flushed(row[n]) + flushed(even[n] + odd[n]));
        memcpy(emulated.tiles[sums][m], row, sizeof row);
    }
}

#else

/* What is written before is in memory, and known to be read: the intrinsics do not tell the compiler. */
#define WRITTEN(p) __asm__ volatile("" : : "r"(p) : "memory")

TILES_INLINE void configure_tiles_amx(const TileShapes *shapes) {
    WRITTEN(shapes);
    _tile_loadconfig(shapes);
}
TILES_INLINE void release_tiles_amx(void) { _tile_release(); }

/* Instructions name their tiles: functions take numbers that are known when they are compiled. */
TILES_INLINE void zero_tile_amx(const int tile) {
    if (tile == 0) _tile_zero(0);
    else if (tile == 1) _tile_zero(1);
    else if (tile == 2) _tile_zero(2);
    else _tile_zero(3);
}
TILES_INLINE void load_tile_amx(const int tile, const void *from, int64_t stride) {
    WRITTEN(from);
    if (tile == 0) _tile_loadd(0, from, stride);
    else if (tile == 1) _tile_loadd(1, from, stride);
    else if (tile == 2) _tile_loadd(2, from, stride);
    else if (tile == 3) _tile_loadd(3, from, stride);
    else if (tile == 4) _tile_loadd(4, from, stride);
    else if (tile == 5) _tile_loadd(5, from, stride);
    else if (tile == 6) _tile_loadd(6, from, stride);
    else _tile_loadd(7, from, stride);
}
TILES_INLINE void store_tile_amx(const int tile, void *to, int64_t stride) {
    if (tile == 0) _tile_stored(0, to, stride);
    else if (tile == 1) _tile_stored(1, to, stride);
    else if (tile == 2) _tile_stored(2, to, stride);
    else _tile_stored(3, to, stride);
}
#define ADD_TO(sums) \
    if (left == 4 && right == 6) _tile_dpbf16ps(sums, 4, 6); \
    else if (left == 4) _tile_dpbf16ps(sums, 4, 7); \
    else if (right == 6) _tile_dpbf16ps(sums, 5, 6); \
    else _tile_dpbf16ps(sums, 5, 7);
TILES_INLINE void add_tiles_amx(const int sums, const int left, const int right) {
    if (sums == 0) { ADD_TO(0) }
    else if (sums == 1) { ADD_TO(1) }
    else if (sums == 2) { ADD_TO(2) }
    else { ADD_TO(3) }
}
#undef ADD_TO
#undef WRITTEN

#endif

/* ---- a product of at most 16 rows, for the recurrence */

/* To be called before tiles_multiply of so many lanes and of K, once a piece; and release_tiles after. Tiles 5 and 7 are for
 * what is left where K is no multiple of 32. */
TILES_INLINE void TILES(tiles_begin)(int K, int lanes) {
    TileShapes shapes = whole_tiles(lanes);
    if (K % 32) shapes.bytes[5] = (uint16_t)(K % 32 * 2), shapes.rows[7] = (uint8_t)(K % 32 / 2);
    TILES(configure_tiles)(&shapes);
}

TILES_INLINE void TILES(multiply_some)(float *sums, const uint16_t *panel, const uint16_t *x, int64_t x_stride, int K,
                                       const int vectors) {
    const int64_t width = vectors * 16;
    int k = 0;
    _Pragma("GCC unroll 4") for (int v = 0; v < vectors; v++) TILES(load_tile)(v, sums + v * 16, width * 4);
    for (; k + 32 <= K; k += 32, panel += 32 * width) {
        TILES(load_tile)(4, x + k, x_stride * 2);
        _Pragma("GCC unroll 4") for (int v = 0; v < vectors; v++) {
            TILES(load_tile)(6, panel + v * 32, width * 4);
            TILES(add_tiles)(v, 4, 6);
        }
    }
    if (k < K) {
        TILES(load_tile)(5, x + k, x_stride * 2);
        _Pragma("GCC unroll 4") for (int v = 0; v < vectors; v++) {
            TILES(load_tile)(7, panel + v * 32, width * 4);
            TILES(add_tiles)(v, 5, 7);
        }
    }
    _Pragma("GCC unroll 4") for (int v = 0; v < vectors; v++) TILES(store_tile)(v, sums + v * 16, width * 4);
}

/* sums (lanes x 16 vectors) += x (lanes x K) times panel (K / 2 x 16 vectors x 2); lanes and K as tiles_begin was told. K is
 * even, `vectors` 1 to 4; a lane of x is x_stride numbers from the next. */
TILES_INLINE void TILES(tiles_multiply)(float *sums, const uint16_t *panel, const uint16_t *x, int64_t x_stride, int K,
                                        int vectors) {
    if (vectors == 4) TILES(multiply_some)(sums, panel, x, x_stride, K, 4);
    else if (vectors == 3) TILES(multiply_some)(sums, panel, x, x_stride, K, 3);
    else if (vectors == 2) TILES(multiply_some)(sums, panel, x, x_stride, K, 2);
    else TILES(multiply_some)(sums, panel, x, x_stride, K, 1);
}

#undef TILES
#undef TILES_INLINE
#undef TILES_TARGET
#undef IS_EMULATED
