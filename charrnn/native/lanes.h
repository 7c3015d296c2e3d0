/* A walk over lanes in tiles of as many as there are registers for.
 *
 * Who includes this has defined EIGHT_LANES(LEFT, AT_MOST, CALL, ...): an `if` and `else` that takes tiles of eight, or nothing.
 */
#ifndef CHARRNN_LANES_H
#define CHARRNN_LANES_H

/* Runs CALL(n, ...) over all LANES, n of them at a time and at most AT_MOST; the first of a tile is lane b. */
#define OVER_LANES(LANES, AT_MOST, CALL, ...)                                                                          \
    for (int b = 0; b < (LANES);) {                                                                                    \
        const int left = (LANES) - b;                                                                                  \
        EIGHT_LANES(left, AT_MOST, CALL, ##__VA_ARGS__)                                                                \
        if (AT_MOST >= 6 && left >= 6) { CALL(6, ##__VA_ARGS__); b += 6; }                                             \
        else if (AT_MOST >= 4 && left >= 4) { CALL(4, ##__VA_ARGS__); b += 4; }                                        \
        else if (left >= 2) { CALL(2, ##__VA_ARGS__); b += 2; }                                                        \
        else { CALL(1, ##__VA_ARGS__); b += 1; }                                                                       \
    }

#endif
