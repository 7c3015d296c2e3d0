/* How much of some samples stands in a text, character by character, without an index of the text: a suffix automaton of
 * the samples (Blumer et al. 1985) through which the text is read once. Mirrored in matching.py. */
#ifndef CHARRNN_MATCHING_H
#define CHARRNN_MATCHING_H

#include <stdint.h>

/* A set of stretches of the samples that end at the same places, the longest of which has `length` characters. Its first
 * edge lies here: most states have no other, and it mostly leads to the next state in memory. */
typedef struct {
    int32_t length;
    int32_t link; /* the state of the longest stretch at the end of these that is in another set; -1: none */
    int32_t character, target; /* the first edge; target -1: none */
    int32_t more; /* the place in `edges` of the newest other edge; -1: none */
} MatchingState;

/* The way from a state by a character; those beside the first edges lie in a hash table with open addressing, and in a
 * list for each state. */
typedef struct {
    int32_t state, character, target; /* state -1: nothing lies here */
    int32_t next;                     /* of the same state; -1: none */
} MatchingEdge;

typedef struct {
    int64_t count;             /* characters of the samples, and in between what is in no text */
    const int32_t *characters;
    int32_t *ends;             /* room: count; the state after each character */
    MatchingState *states;     /* room: 2 count + 1 */
    MatchingEdge *edges;       /* room: mask + 1, at least 2 count: there are fewer than count edges beside the first */
    int32_t *best;             /* room: 2 count + 1; characters of a state's longest stretch that stands in the text */
    int64_t *places;           /* room: 2 count + 1; where in the text that stretch ends */
    int64_t mask;              /* a power of two less one, below 2^31 */
    int64_t read;              /* characters of the text that have been read */
    int32_t num_states;
    int32_t state, matched;    /* the state after what was read, and how many characters of that are in it */
    int32_t reserved;
} Matching;

#endif
