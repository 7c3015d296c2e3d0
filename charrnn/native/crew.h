/* Threads that share a job piece by piece, and give way where other programs need the cores.
 *
 * A job is begun, shares one phase after the other, and is ended, by one thread, its owner; all pieces of a phase are done
 * when crew_share returns. Threads take pieces from ranges of their own, so that the same thread gets the same pieces of
 * the next phase, whose weights its cache still holds; who has none left takes from the others. So a thread that the
 * system has put aside holds up nobody, but for the one piece it is in. Who waits spins for microseconds, then gives way,
 * then sleeps; and how many threads take part is measured while they work (balance.h).
 *
 * What a piece computes may depend on neither the thread nor the pieces that run beside it: so no number depends on how
 * many threads there are, or on what else the machine does.
 */
#ifndef CHARRNN_CREW_H
#define CHARRNN_CREW_H

#include <stdint.h>

enum { MOST_THREADS = 64, MOST_PIECES = (1 << 14) - 1 };

typedef void (*Piece)(void *job, int32_t piece);

/* Begins a job of the calling thread with at most so many threads, itself among them. Jobs of
 * one `kind` (any number but 0) take the same time when they run alike. While the crew is taken by another
 * caller, the thread works alone. Sets the arithmetic (arithmetic.h), which crew_end puts back. */
void crew_begin(int32_t most_threads, uint64_t kind);

/* Calls `piece` for 0 to pieces - 1, by whichever thread; 0 <= pieces <= MOST_PIECES. Returns when all have returned. */
void crew_share(Piece piece, void *job, int32_t pieces);

void crew_end(void);

#endif
