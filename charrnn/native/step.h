/* What the compiled step and its Python side agree on. The structures are mirrored in step.py, field by field.
 *
 * Shape letters: T characters, B lanes, H hidden size, P hidden size padded to whole panels and cache lines, V vocabulary,
 * K inputs of a matrix product.
 *
 * A matrix is kept in panels. A panel holds, for each of K inputs, `rows` neighbouring outputs; the product runs through
 * it from front to back, and every output is one chain of fused multiply-adds in the order of K. So a number depends on
 * neither the threads, the lanes beside it, nor the width of the machine's vectors.
 */
#ifndef CHARRNN_STEP_H
#define CHARRNN_STEP_H

#include <stdint.h>

enum { VERSION = 5 }; /* of what stands here; a library left over from another one is not used */
enum { CELL_RNN, CELL_LSTM, CELL_GRU, CELL_GRU_BEFORE }; /* the last with its reset gate before the product */
enum { SCRATCH = 128 }; /* outputs of a panel at most */
enum { GROUP = 64 };    /* inputs that share a scale in int8 */
enum { MOST_LANES = 64 };

typedef struct {
    int32_t inputs; /* K; 0 where there is no such product */
    int32_t rows;   /* outputs in a panel */
    const float *weights;    /* panels x K x rows, or null */
    const uint16_t *half;    /* the same as float16, or null */
    const int8_t *quantised; /* panels x K/2 x rows x 2, or null; K padded to whole groups with zeros */
    const float *scales;     /* panels x K/GROUP x rows */
} Matrix;

typedef struct {
    Matrix input;
    Matrix recurrent;
    Matrix candidate; /* multiplies r h, where the reset gate acts before the product */
    const float *bias; /* panels x SCRATCH: where the chains start */
} Layer;

typedef struct {
    int32_t cell, num_layers, hidden, padded, panels, units; /* units: of a panel */
    int32_t vocabulary, vocabulary_padded, embedding_size;
    int32_t end;            /* the id that a lane reads from the zero state, whatever stood before; or -1 */
    const float *table;     /* V x panels x input.rows: the first layer's input product and biases; or null */
    const float *embedding; /* V x padded embedding size, where there is no table */
    const Layer *layers;
    Matrix decoder;
    const float *decoder_bias; /* hugely negative where padded */
} Model;

typedef struct {
    double temperature, top_p, min_p;
    int32_t top_k, reserved;
} Settings;

typedef struct {
    int32_t lanes, steps;
    int32_t threads; /* at most */
    int32_t decode_all; /* logits after every character, not only after the last */
    int32_t has_logits; /* `logits` holds what comes next already */
    const int32_t *given;      /* T x B ids to read; or null: draw them */
    const double *uniforms;    /* T x B in [0, 1) */
    const Settings *settings;  /* B */
    int32_t *ids;              /* T x B: what was read or drawn */
    double *log_probabilities; /* T x B of `ids` under the model, natural logarithm; or null */
    float *logits;             /* B x padded V */
    float *hidden;             /* L x 2 x B x P: before and after a step, in turn; the first holds the state to begin with */
    int16_t *hidden_quantised; /* room for the same, zeros, where weights are int8; or null */
    float *cell_state;         /* L x B x P; or null */
    float *record;             /* T x L x parts x P of lane 0: h, c and the gates after each character; or null */
    float *probabilities;      /* B x padded V, scratch */
    int32_t *order;            /* B x padded V, scratch */
    float *reset;              /* B x P, where the reset gate acts before the product: r h, which the candidate reads */
    int16_t *reset_quantised;  /* room for the same, zeros, where weights are int8 */
    float *waiting;            /* B x panels x 2 units: the update gate, and the candidate's chains up to that product */
    int32_t not_finite; /* set where logits are not */
    int32_t reserved;
} Job;

#endif
