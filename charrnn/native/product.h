/* Products of matrices, shared by the crew's threads piece by piece; mirrored in product.py, field by field.
 *
 *   C = alpha A B + beta D        A is M x K, B is K x N, C and D are M x N, `batch` times
 *
 * A float32 or double result is one chain of multiply-adds in the order of K, fused wherever the processor can (all but an
 * x86 without AVX2). It begins at (beta / alpha) D, and C is alpha times what it comes to; alpha is not 0. So no bit depends
 * on the width of vectors, on threads, or on how the product is cut. The same holds for products of bfloat16 numbers of one
 * `way`; between ways the roundings of the sums differ.
 *
 * A number of A is in row m and column k at a[m a_row + k a_column]; one of the strides should be 1: reading is slow
 * otherwise. So a transposed matrix is one with its strides exchanged. Rows of C and D are contiguous; D may be C, or one row
 * for all (added_row = 0: a bias). C overlaps neither A nor B.
 */
#ifndef CHARRNN_PRODUCT_H
#define CHARRNN_PRODUCT_H

#include <stdint.h>

enum { PRODUCT_VERSION = 1 };

/* How factors in bfloat16 are multiplied. Products are exact in each way, sums are float32. */
enum {
    WIDENED,       /* as float32, in one chain: on every machine */
    DOT,           /* AVX512-BF16: two neighbours along K at a time */
    TILES,         /* AMX */
    TILES_EMULATED /* the same bits as AMX gives, slowly, on every machine: for tests */
};

typedef struct {
    int64_t rows, columns, depth, batch; /* M, N, K; and how many products, at distances `..._batch` */
    const void *a, *b, *added;           /* added: D, or null for 0 */
    void *c;
    int64_t a_row, a_column, a_batch, b_row, b_column, b_batch, added_row, added_batch, c_row, c_batch; /* in numbers */
    double alpha, beta;
    void *room;           /* charrnn_product_room bytes */
    int32_t is_double;    /* all numbers are double */
    int32_t is_narrow;    /* factors that are float32 are rounded to bfloat16, to nearest, ties to even */
    int32_t is_a_narrow, is_b_narrow, is_added_narrow, is_c_narrow; /* these are bfloat16 in memory, else float32 */
    int32_t set;          /* 0 portable, 1 AVX2, 2 AVX-512: as processor.h says */
    int32_t way;          /* of multiplying, where is_narrow */
    int32_t most_threads; /* for charrnn_product */
} Product;

/* The best way of multiplying bfloat16 numbers that this machine has. Asks the system for AMX where there is one. */
int32_t charrnn_best_way(void);

/* How many bytes of room a product needs. All fields but pointers must be set. */
int64_t charrnn_product_room(const Product *product);

/* A job of the crew of its own. */
void charrnn_product(Product *product);

/* The same inside a job that the calling thread has begun. */
void product_share(const Product *product);

#endif
