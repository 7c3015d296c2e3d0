/* See product.h. Both factors are first copied into panels, in the order in which they are read, and then multiplied tile by
 * tile: Goto & van de Geijn 2008 (ACM TOMS 34(3)). A tile is what the registers hold of C; a block is the tiles of a piece.
 */
#include "product.h"

#include "arithmetic.h"
#include "crew.h"
#include "packing.h"
#include "processor.h"
#include "tiles.h"

#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* c = alpha (beta start + a b), for one tile of so many vectors in a row; start may be c, or null for 0. */
typedef struct {
    const void *start;
    void *c;
    int64_t start_row, c_row;
    double beta, alpha;
    int32_t rows, vectors;
    int32_t is_start_narrow, is_c_narrow; /* bfloat16 in memory; only for kernels that know it */
    /* Of a left factor for matrix tiles: bytes from row to row, and from 32 numbers along K to the next. */
    int64_t a_row, a_step;
} Sums;
typedef void (*Multiply)(const void *a, const void *b, int64_t items, Sums sums);

#define CAT_(a, b) a##_##b
#define CAT(a, b) CAT_(a, b)
#define NAME(x) CAT(x, SET)

#if defined(__x86_64__)
#define SET avx512
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,fma")))
#define real float
#define W 16
#define ROWS 8
#define VECTORS 3
#define item float
#define ROW vec
#define ROW_OF(p) NAME(get)(p)
#define ONE_OF(p) NAME(splat)(*(p))
#define ADD(sum, row, one) ((sum) + (row) * (one))
#include "product_kernel.h"

typedef int32_t neighbours __attribute__((may_alias));
#define SET dot
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma")))
#define real float
#define W 16
#define ROWS 8
#define VECTORS 3
#define item neighbours
#define ROW __m512bh
#define ROW_OF(p) ((__m512bh)_mm512_loadu_si512(p))
#define ONE_OF(p) ((__m512bh)_mm512_set1_epi32(*(p)))
#define ADD(sum, row, one) ((vec)_mm512_dpbf16_ps((__m512)(sum), row, one))
#define GET_NARROW(p) ((vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(p))), 16))
#define PUT_NARROW(p, v) _mm256_storeu_si256((__m256i *)(p), (__m256i)_mm512_cvtneps_pbh((__m512)(v)))
#include "product_kernel.h"

#define SET avx2
#define TARGET __attribute__((target("avx2,fma")))
#define real float
#define W 8
#define ROWS 4
#define VECTORS 3
#define item float
#define ROW vec
#define ROW_OF(p) NAME(get)(p)
#define ONE_OF(p) NAME(splat)(*(p))
#define ADD(sum, row, one) ((sum) + (row) * (one))
#include "product_kernel.h"
#endif

#if defined(__aarch64__)
enum { PORTABLE_ROWS = 8, PORTABLE_VECTORS = 3 }; /* of 32 registers */
#else
enum { PORTABLE_ROWS = 4, PORTABLE_VECTORS = 2 };
#endif
#define SET portable
#define TARGET
#define real float
#define W 4
#define ROWS PORTABLE_ROWS
#define VECTORS PORTABLE_VECTORS
#define item float
#define ROW vec
#define ROW_OF(p) NAME(get)(p)
#define ONE_OF(p) NAME(splat)(*(p))
#define ADD(sum, row, one) ((sum) + (row) * (one))
#include "product_kernel.h"

#define SET doubled
#define TARGET
#define real double
#define W 2
#define ROWS 4
#define VECTORS 2
#define item double
#define ROW vec
#define ROW_OF(p) NAME(get)(p)
#define ONE_OF(p) NAME(splat)(*(p))
#define ADD(sum, row, one) ((sum) + (row) * (one))
#include "product_kernel.h"

enum { MOST_SUMS = 32 * 64 };

static void scale(float *to, int64_t to_row, const float *from, int64_t from_row, float by, int64_t rows, int64_t columns) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) to[i * to_row + j] = from[i * from_row + j] * by;
}

#if HAS_TILE_INSTRUCTIONS
#define TILES(x) x##_amx
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,amx-tile,amx-bf16,fma")))
#include "product_tiles.h"
#endif
#define TILES(x) x##_emulated
#define TARGET
#include "product_tiles.h"

typedef struct {
    Multiply tile;
    int32_t rows, vectors, vector; /* of a tile; numbers in a vector */
    int32_t pair;                  /* numbers along K in an item */
    int32_t item;                  /* bytes */
    int64_t depth; /* numbers along K that are summed before the next tile, so that B's stay in the first cache */
    int64_t work;  /* multiply-adds of a piece, for some 50 microseconds */
    int32_t step;  /* items are summed so many at a time */
    void (*begin)(void), (*end)(void); /* of a piece, or null */
    int32_t knows_narrow; /* start and c may be bfloat16 */
} Kernel;

static Kernel choose(const Product *p) {
    if (p->is_double)
        return (Kernel){.tile = tile_doubled, .rows = 4, .vectors = 2, .vector = 2, .pair = 1, .item = 8, .step = 1,
                        .depth = 256, .work = 500000};
    Kernel tiles = {.rows = 16, .vectors = 4, .vector = 16, .pair = 2, .item = 4, .step = 16, .depth = 512};
    if (p->rows > 16) tiles.rows = 32, tiles.vectors = 2;
#if HAS_TILE_INSTRUCTIONS
    if (p->is_narrow && p->way == TILES) {
        tiles.tile = tile_amx, tiles.begin = begin_amx, tiles.end = end_amx, tiles.work = 24000000;
        return tiles;
    }
#endif
    if (p->is_narrow && p->way == TILES_EMULATED) {
        tiles.tile = tile_emulated, tiles.begin = begin_emulated, tiles.end = end_emulated, tiles.work = 500000;
        return tiles;
    }
#if defined(__x86_64__)
    if (p->is_narrow && p->way == DOT)
        return (Kernel){.tile = tile_dot, .rows = 8, .vectors = 3, .vector = 16, .pair = 2, .item = 4, .step = 1,
                        .depth = 384, .work = 10000000, .knows_narrow = 1};
    if (p->set == 2)
        return (Kernel){.tile = tile_avx512, .rows = 8, .vectors = 3, .vector = 16, .pair = 1, .item = 4, .step = 1,
                        .depth = 192, .work = 6000000};
    if (p->set == 1)
        return (Kernel){.tile = tile_avx2, .rows = 4, .vectors = 3, .vector = 8, .pair = 1, .item = 4, .step = 1,
                        .depth = 256, .work = 3000000};
#endif
    return (Kernel){.tile = tile_portable, .rows = PORTABLE_ROWS, .vectors = PORTABLE_VECTORS, .vector = 4, .pair = 1,
                    .item = 4, .step = 1, .depth = 256, .work = 500000};
}

static int is_tiled(const Kernel *kernel) { return kernel->step > 1; }

typedef struct {
    const Product *p;
    Kernel kernel;
    Factor a, b;
    int64_t items, depth;                 /* along K, of all; numbers of one part */
    int32_t is_straight;                  /* A is read where it is */
    int64_t a_row, a_step;                /* see Sums */
    int64_t block_rows, block_columns;    /* numbers of a block */
    int64_t row_blocks, column_blocks, blocks, group, pieces; /* all the blocks; and those of a piece */
} Plan;

/* ---- packing */

enum { CACHE = 3 << 20 /* bytes of panels */, GROUP = 32768 /* numbers of a piece */, MOST_PARTS = 4096 /* pieces of a phase */ };

/* Packs some panels from one on, at least it, and returns how many. */
static int64_t pack_panels(const Plan *plan, const Factor *f, int64_t number, int64_t most_panels) {
    const Product *p = plan->p;
    const Kernel *kernel = &plan->kernel;
    const int64_t batch = number / f->panels, start = number % f->panels * f->width;
    const int64_t lines = least(f->width, f->outer - start);
    const int64_t width = least(f->width, up(lines, f->unit)), distance = f->width * plan->items;
    const int64_t size = p->is_double ? sizeof(double) : f->is_narrow ? sizeof(uint16_t) : sizeof(float);
    const char *from = (const char *)f->from + (batch * f->batch_stride + start * f->outer_stride) * size;
    void *to = f->to + number * distance * kernel->item;
    int64_t panels = 1;
    if (p->is_double) pack_double(p, f, (const double *)from, lines, width, to);
    else if (is_tiled(kernel) && f == &plan->a) pack_rows(p, f, from, lines, width, to);
    else if (f->outer_stride == 1) {
        panels = most(least(least((f->outer - start) / width, LINE / width), least(most_panels, TOGETHER)), 1);
        pack_across_depth(p, f, from, p->depth, panels > 1 ? panels * width : lines, width, distance, to, kernel->pair);
    } else pack_along_depth(p, f, from, lines, width, to, kernel->pair);
    const int64_t filled = over(p->depth, kernel->pair) * width;
    if (is_tiled(kernel) && f == &plan->b)
        for (int64_t n = 0; n < panels; n++)
            memset((uint32_t *)to + n * distance + filled, 0, (plan->items * width - filled) * sizeof(uint32_t));
    return panels;
}

static void pack_piece(void *job, int32_t piece) {
    const Plan *plan = job;
    const Factor *f = piece < plan->a.pieces ? &plan->a : &plan->b;
    const int64_t first = (f == &plan->a ? piece : piece - plan->a.pieces) * f->group;
    const int64_t end = least(first + f->group, f->panels * plan->p->batch);
    for (int64_t number = first; number < end;) number += pack_panels(plan, f, number, end - number);
}

/* ---- multiplying */

typedef struct {
    int64_t rows, columns;     /* of it that are in C */
    int64_t c, added;          /* where it begins there, and in D */
    int32_t is_first, is_last; /* of the parts along K */
} Tile;

static void copy_rows(void *to, int64_t to_row, const void *from, int64_t from_row, int64_t rows, int64_t bytes) {
    for (int64_t i = 0; i < rows; i++) memcpy((char *)to + i * to_row, (const char *)from + i * from_row, bytes);
}

/* Where a tile is not whole or not of the sums' type, its sums stand apart: what they begin with there. */
static void begin_tile(const Product *p, const Tile *t, float *sums, int64_t sums_row) {
    const int64_t line = sizeof(float);
    const float *c = (const float *)p->c + t->c, *added = (const float *)p->added + t->added;
    const uint16_t *narrow = (const uint16_t *)p->added + t->added;
    if (!t->is_first) copy_rows(sums, sums_row * line, c, p->c_row * line, t->rows, t->columns * line);
    else if (p->is_added_narrow) widen_rows(sums, sums_row, narrow, p->added_row, t->rows, t->columns);
    else copy_rows(sums, sums_row * line, added, p->added_row * line, t->rows, t->columns * line);
}

/* And how they end in C. */
static void end_tile(const Product *p, const Tile *t, const float *sums, int64_t sums_row) {
    const int64_t line = sizeof(float);
    if (p->is_c_narrow) narrow_rows((uint16_t *)p->c + t->c, p->c_row, sums, sums_row, t->rows, t->columns);
    else copy_rows((float *)p->c + t->c, p->c_row * line, sums, sums_row * line, t->rows, t->columns * line);
}

static void begin_double(const Product *p, const Tile *t, double *sums, int64_t sums_row) {
    const double *from = t->is_first ? (const double *)p->added + t->added : (const double *)p->c + t->c;
    const int64_t line = sizeof(double), row = t->is_first ? p->added_row : p->c_row;
    copy_rows(sums, sums_row * line, from, row * line, t->rows, t->columns * line);
}

static void end_double(const Product *p, const Tile *t, const double *sums, int64_t sums_row) {
    const int64_t line = sizeof(double);
    copy_rows((double *)p->c + t->c, p->c_row * line, sums, sums_row * line, t->rows, t->columns * line);
}

/* Of one part along K, whose items begin at a and b. */
static void multiply_tile(const Plan *plan, const Tile *t, const char *a, const char *b, int64_t items) {
    const Product *p = plan->p;
    const Kernel *kernel = &plan->kernel;
    const int64_t size = p->is_double ? sizeof(double) : sizeof(float);
    const int64_t c_size = p->is_c_narrow ? 2 : size, added_size = p->is_added_narrow ? 2 : size;
    Sums sums = {.vectors = (int32_t)over(t->columns, kernel->vector), .alpha = t->is_last ? p->alpha : 1};
    sums.rows = kernel->rows, sums.a_row = plan->a_row, sums.a_step = plan->a_step;
    sums.c = (char *)p->c + t->c * c_size, sums.c_row = p->c_row, sums.is_c_narrow = p->is_c_narrow;
    sums.start = sums.c, sums.start_row = sums.c_row, sums.beta = 1;
    if (t->is_first) {
        sums.start = p->added ? (const char *)p->added + t->added * added_size : 0, sums.start_row = p->added_row;
        sums.is_start_narrow = p->added && p->is_added_narrow, sums.beta = p->beta / p->alpha;
    }
    const int is_plain = kernel->knows_narrow || !(sums.is_c_narrow || sums.is_start_narrow);
    const int is_whole = t->rows == kernel->rows && t->columns == sums.vectors * kernel->vector;
    if (is_plain && is_whole) {
        kernel->tile(a, b, items, sums);
        return;
    }
    _Alignas(64) double apart[MOST_SUMS / 2];
    const int64_t row = sums.vectors * kernel->vector;
    if (sums.start) { /* what is behind the tile's edge may be anything, but for denormal numbers, which are slow */
        if (!is_whole) memset(apart, 0, kernel->rows * row * size);
        if (p->is_double) begin_double(p, t, apart, row);
        else begin_tile(p, t, (float *)apart, row);
        sums.start = apart, sums.start_row = row, sums.is_start_narrow = 0;
    }
    sums.c = apart, sums.c_row = row, sums.is_c_narrow = 0;
    kernel->tile(a, b, items, sums);
    if (p->is_double) end_double(p, t, apart, row);
    else end_tile(p, t, (float *)apart, row);
}

static void multiply_block(const Plan *plan, int64_t number) {
    const Product *p = plan->p;
    const Kernel *kernel = &plan->kernel;
    const int64_t column_block = number % plan->column_blocks, row_block = number / plan->column_blocks % plan->row_blocks;
    const int64_t first_row = row_block * plan->block_rows, first_column = column_block * plan->block_columns;
    const int64_t end_row = least(first_row + plan->block_rows, p->rows);
    const int64_t end_column = least(first_column + plan->block_columns, p->columns);
    const int64_t batch = number / (plan->row_blocks * plan->column_blocks);
    for (int64_t k = 0; k == 0 || k < p->depth; k += plan->depth) {
        const int64_t before = k / kernel->pair;
        const int64_t items = up(over(least(plan->depth, p->depth - k), kernel->pair), kernel->step);
        for (int64_t j = first_column; j < end_column; j += plan->b.width) {
            const int64_t columns = least(plan->b.width, p->columns - j);
            const int64_t b_panel = batch * plan->b.panels + j / plan->b.width;
            const int64_t b = b_panel * plan->items * plan->b.width + before * up(columns, kernel->vector);
            for (int64_t i = first_row; i < end_row; i += plan->a.width) {
                const int64_t a_panel = batch * plan->a.panels + i / plan->a.width;
                const char *a = plan->a.to + (a_panel * plan->items + before) * plan->a.width * kernel->item;
                if (plan->is_straight) a = (const char *)((const uint16_t *)p->a + batch * p->a_batch + i * p->a_row + k);
                const Tile tile = {
                    .rows = least(plan->a.width, p->rows - i), .columns = columns,
                    .c = batch * p->c_batch + i * p->c_row + j, .added = batch * p->added_batch + i * p->added_row + j,
                    .is_first = k == 0, .is_last = k + plan->depth >= p->depth,
                };
                multiply_tile(plan, &tile, a, plan->b.to + b * kernel->item, items);
            }
        }
    }
}

static void multiply_piece(void *job, int32_t piece) {
    const Plan *plan = job;
    const int64_t first = piece * plan->group, end = least(first + plan->group, plan->blocks);
    if (plan->kernel.begin) plan->kernel.begin();
    for (int64_t number = first; number < end; number++) multiply_block(plan, number);
    if (plan->kernel.end) plan->kernel.end();
}

/* ---- the plan */

static Factor factor(const Plan *plan, int is_a) {
    const Product *p = plan->p;
    const Kernel *kernel = &plan->kernel;
    Factor f = {.is_narrow = is_a ? p->is_a_narrow : p->is_b_narrow};
    f.from = is_a ? p->a : p->b;
    f.outer = is_a ? p->rows : p->columns;
    f.outer_stride = is_a ? p->a_row : p->b_column, f.depth_stride = is_a ? p->a_column : p->b_row;
    f.batch_stride = is_a ? p->a_batch : p->b_batch;
    f.width = is_a ? kernel->rows : kernel->vectors * kernel->vector, f.unit = is_a ? kernel->rows : kernel->vector;
    f.panels = over(f.outer, f.width);
    f.group = most(GROUP / most(f.width * p->depth, 1), 1);
    f.group = up(most(f.group, over(f.panels * p->batch, MOST_PARTS)), TOGETHER);
    f.pieces = over(f.panels * p->batch, f.group);
    return f;
}

static int64_t room_of(const Plan *plan, const Factor *f) {
    return up(f->panels * plan->p->batch * f->width * plan->items * plan->kernel.item, LINE);
}

/* Cuts C into blocks of about the work of a piece: near to squares, since of every block a whole row and column of panels
 * is read. Whatever has less work shares a piece. */
static void cut(Plan *plan) {
    const Product *p = plan->p;
    const int64_t height = plan->a.width, width = plan->b.width, numbers = plan->kernel.work / most(p->depth, 1);
    int64_t side = height;
    while (side * side < numbers) side += height;
    int64_t columns = least(up(most(side, width), width), up(p->columns, width));
    int64_t rows = least(up(most(numbers / columns, 1), height), up(p->rows, height));
    if (rows * columns < numbers) columns = least(up(numbers / rows, width), up(p->columns, width));
    plan->row_blocks = over(p->rows, rows), plan->column_blocks = over(p->columns, columns);
    plan->block_rows = up(over(p->rows, plan->row_blocks), height);
    plan->block_columns = up(over(p->columns, plan->column_blocks), width);
    plan->row_blocks = over(p->rows, plan->block_rows), plan->column_blocks = over(p->columns, plan->block_columns);
    plan->blocks = p->batch * plan->row_blocks * plan->column_blocks;
    plan->group = most(numbers / (plan->block_rows * plan->block_columns), 1);
    plan->group = most(plan->group, over(plan->blocks, MOST_PARTS));
    plan->pieces = over(plan->blocks, plan->group);
}

static Plan plan_of(const Product *p) {
    Plan plan = {.p = p, .kernel = choose(p)};
    const Kernel *kernel = &plan.kernel;
    plan.items = up(over(p->depth, kernel->pair), kernel->step);
    /* Between parts the sums stand in C, which must be of their type then. */
    const int64_t parts = p->is_c_narrow ? 1 : most(over(p->depth, kernel->depth), 1);
    const int64_t together = kernel->pair * kernel->step;
    plan.depth = most(up(over(p->depth, parts), together), together);
    const int is_even = p->depth % 32 == 0 && p->rows % kernel->rows == 0;
    plan.is_straight = is_tiled(kernel) && p->is_a_narrow && p->a_column == 1 && is_even;
    plan.a_row = plan.is_straight ? p->a_row * 2 : 64, plan.a_step = plan.is_straight ? 64 : kernel->rows * 64;
    plan.a = factor(&plan, 1), plan.b = factor(&plan, 0);
    if (plan.is_straight) plan.a.panels = plan.a.pieces = 0;
    plan.a.to = (char *)(((uintptr_t)p->room + LINE - 1) / LINE * LINE);
    plan.b.to = plan.a.to + room_of(&plan, &plan.a);
    cut(&plan);
    return plan;
}

static int is_empty(const Product *p) { return p->rows < 1 || p->columns < 1 || p->batch < 1; }

static int64_t room_for(const Product *p) {
    const Plan plan = plan_of(p);
    return LINE + room_of(&plan, &plan.a) + room_of(&plan, &plan.b);
}

/* As many of the products, from `first` on, as have panels that a cache holds from one phase to the next; at least one. */
static Product some_of(const Product *p, int64_t first) {
    Product some = *p;
    some.batch = 1;
    some.batch = least(most(CACHE / room_for(&some), 1), p->batch - first);
    const int64_t size = p->is_double ? sizeof(double) : sizeof(float);
    some.a = (const char *)p->a + first * p->a_batch * (p->is_a_narrow ? 2 : size);
    some.b = (const char *)p->b + first * p->b_batch * (p->is_b_narrow ? 2 : size);
    some.c = (char *)p->c + first * p->c_batch * (p->is_c_narrow ? 2 : size);
    if (p->added) some.added = (const char *)p->added + first * p->added_batch * (p->is_added_narrow ? 2 : size);
    return some;
}

int64_t charrnn_product_room(const Product *p) {
    if (is_empty(p)) return LINE;
    const Product some = some_of(p, 0);
    return room_for(&some);
}

void product_share(const Product *p) {
    if (is_empty(p)) return;
    for (int64_t first = 0; first < p->batch;) {
        const Product some = some_of(p, first);
        Plan plan = plan_of(&some);
        crew_share(pack_piece, &plan, (int32_t)(plan.a.pieces + plan.b.pieces));
        crew_share(multiply_piece, &plan, (int32_t)plan.pieces);
        first += some.batch;
    }
}

/* Jobs of the same sizes take the same time. */
static uint64_t kind_of(const Product *p) {
    const int64_t facts[] = {p->rows, p->columns, p->depth, p->batch, p->is_double, p->is_narrow, p->a_column == 1,
                             p->b_column == 1};
    uint64_t kind = 0x70726f64;
    for (size_t n = 0; n < sizeof facts / sizeof *facts; n++) kind = (kind ^ (uint64_t)facts[n]) * 0x9e3779b97f4a7c15ull;
    return kind | 1;
}

void charrnn_product(Product *p) {
    crew_begin(p->most_threads, kind_of(p));
    product_share(p);
    crew_end();
}

int32_t charrnn_best_way(void) { return may_use_tiles() ? TILES : best_set() == 2 && HAS("avx512bf16") ? DOT : WIDENED; }

/* The product for the recurrence of tiles.h, for its tests. `is_real` needs AMX. */
#if HAS_TILE_INSTRUCTIONS
__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,amx-tile,amx-bf16,fma")))
static void multiply_real(float *sums, const uint16_t *panel, const uint16_t *x, int64_t x_stride, int32_t K,
                          int32_t vectors, int32_t lanes) {
    tiles_begin_amx(K, lanes);
    tiles_multiply_amx(sums, panel, x, x_stride, K, vectors);
    release_tiles_amx();
}
#else
#define multiply_real(...) ((void)0)
#endif
void charrnn_tiles_multiply(float *sums, const uint16_t *panel, const uint16_t *x, int64_t x_stride, int32_t K,
                            int32_t vectors, int32_t lanes, int32_t is_real) {
    if (is_real) {
        multiply_real(sums, panel, x, x_stride, K, vectors, lanes);
        return;
    }
    tiles_begin_emulated(K, lanes);
    tiles_multiply_emulated(sums, panel, x, x_stride, K, vectors);
    release_tiles_emulated();
}

/* What a caller must know to be the right one. */
int32_t charrnn_product_version(void) { return PRODUCT_VERSION; }
