/* What the compiled recurrence and its Python side agree on. The structure is mirrored in window.py, field by field.
 *
 * Shape letters: T steps of a window, B lanes, H hidden size, P hidden size padded to whole cache lines, V vocabulary.
 *
 * A row of gates is KEPT blocks of P numbers. Input and state contribute INPUTS blocks each; the input's lie in the first
 * blocks of a row, the state's in the last:
 *
 *   lstm    i f g o        input i f g o    state i f g o
 *   gru     n r z m        input n r z      state r z m     (m: the state's part of n, inside the reset)
 *   rnn     h              input h          state h
 *   reset   r z n          input r z n      state r z n     (the gru whose reset gate acts before the product)
 *
 * Forward leaves the gates' values there, backward puts their gradients in the same place.
 *
 * A step is a pass over the state's part: a product, of which all numbers are needed at once, and what follows from it.
 * The gru whose reset gate acts before the product has two: RESET, of h, gives r and z; CANDIDATE, of r h, gives n and the
 * new h. Back, the first takes the gradient of h to dz and dn, the second that of r h to dr.
 */
#ifndef CHARRNN_RECURRENCE_H
#define CHARRNN_RECURRENCE_H

#include <stdint.h>

enum { RECURRENCE_VERSION = 6 }; /* of what stands here; a library left over from another one is not used */
enum { RNN, LSTM, GRU, RESET, CANDIDATE };
#define INPUTS(cell) ((cell) == LSTM ? 4 : (cell) == RNN ? 1 : 3)
#define KEPT(pass) ((pass) == RNN ? 1 : (pass) == RESET || (pass) == CANDIDATE ? 3 : 4)
/* What a pass multiplies: so many blocks of the matrix's rows, the first of them, and its place in a row of gates. */
#define BLOCKS(pass) ((pass) == LSTM ? 4 : (pass) == GRU ? 3 : (pass) == RESET ? 2 : 1)
#define FIRST(pass) ((pass) == CANDIDATE ? 2 : 0)
#define PLACE(pass) ((pass) == CANDIDATE ? 2 : (pass) == GRU ? 1 : 0)

typedef struct {
    int32_t cell, most_threads, steps, lanes, hidden, padded, vocabulary;
    int32_t is_double;  /* every number is a double: for checking gradients, not for speed */
    int32_t set;        /* instruction set, as charrnn_best_recurrence says */
    int32_t wants_state_gradient; /* of the state before the window */
    int32_t input_width; /* numbers from one row of `input` to the next */
    const void *recurrent; /* inputs x H, H */
    const void *bias;      /* of the state's part, inputs x P; or null */
    const void *input;     /* T B x inputs x P: the input's products with their bias, may be `gates`; or V x the same, by id */
    const int64_t *ids;    /* T B: rows of `input`; or null */
    int32_t is_narrow;     /* products of bfloat16 numbers, summed in float; needs charrnn_has_narrow, but for tiles that are
                            * emulated. Without ids, `input` is of such numbers too */
    int32_t way;           /* then DOT, TILES or TILES_EMULATED of product.h */
    void *factors;         /* what the recurrent products read, T + 1, B, P, filled along with h: h itself, or room for it where
                            * it is read as bfloat16 numbers or lanes begin anew */
    void *reset;           /* r h, T B P, of the factors' type, filled in on the way: where the cell is RESET */
    void *narrow_gradients; /* where is_narrow, the gates' gradients, T B x kept x P, instead of those in `gates` */
    void *panels;          /* room for the recurrent matrix in panels */
    void *gates;           /* T B x kept x P */
    void *h;               /* T + 1, B, P: before the first step, and after each */
    void *c;               /* the same, of an lstm */
    const uint8_t *starts; /* T B: 1 where a lane begins anew, from zeros, before the step, else 0; or null where none does */
    const void *output_gradient; /* T B P, or null */
    void *h_gradient;      /* B P: of the state after the window; then of the state before it */
    void *c_gradient;
    void *bias_gradient;   /* kept x P: sums of the gates' gradients over the window */
    void *table_gradient;  /* V x inputs x P, where there are ids */
    int32_t step;          /* the one that is being computed */
} Window;

/* One update of a vector of weights by AdamW; see update.c. */
typedef struct {
    int64_t size;
    float *weights, *gradient, *first, *second; /* first and second moment */
    float learning_rate, beta1, beta2, epsilon, weight_decay;
    float first_correction, second_correction;  /* 1 - beta^t */
    int32_t is_cautious, most_threads;
    int64_t along; /* 0 before: weights that move along their gradient */
    float scale;   /* of what moves */
} Update;

#endif
