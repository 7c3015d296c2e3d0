/* How a long vector is cut into pieces. */
#ifndef CHARRNN_PIECES_H
#define CHARRNN_PIECES_H

#include "crew.h"

enum { CHUNK = 1 << 14 }; /* numbers of a piece, of all but the longest vectors: they fit the first caches */

static inline int64_t piece_begin(int64_t size, int64_t piece) {
    const int64_t least = (size + MOST_PIECES - 1) / MOST_PIECES, chunk = least > CHUNK ? (least + 15) / 16 * 16 : CHUNK;
    return piece * chunk < size ? piece * chunk : size;
}

static inline int32_t pieces_of(int64_t size) {
    return size ? (int32_t)((size - 1) / piece_begin(size, 1) + 1) : 0; /* of one piece: the whole */
}

#endif
