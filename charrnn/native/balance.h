/* How many threads pay, found out while they work.
 *
 * Beside busy programs neither few nor many threads are always better: two that wait for each other may be slower than one
 * alone, and yet, since a system shares its cores out by threads, two may get more of them. So it is tried. The time of
 * each kind of job with the number in force is known from the last moments; another number is in force for a trial, and
 * stays if the same jobs took less. Fewer threads are tried where a job was held up, as on cores that are free it never
 * is; more now and then, the more rarely the more the last trial cost, so that trials cost a few hundredths in all.
 *
 * Times are nanoseconds, given by the caller: nothing here looks at a clock. `now` is the time worked so far: what a trial
 * may cost is a part of the work, however long the pauses in it are.
 */
#ifndef CHARRNN_BALANCE_H
#define CHARRNN_BALANCE_H

#include <stdint.h>
#include <string.h>

#define MILLISECOND 1000000ll
/* A system lets a program run for some milliseconds in turn: a trial sees many turns. */
#define TRIAL (250 * MILLISECOND)
#define LONGEST_TRIAL (1000 * MILLISECOND)
/* What is remembered of a kind of job fades so fast. */
#define MEMORY (1000 * MILLISECOND)
#define SHORTEST_PAUSE (60 * MILLISECOND)
#define LONGEST_PAUSE (4000 * MILLISECOND)
/* A trial that goes badly ends at this much more than the time expected, and some time more for chance. */
#define WORST 1.3
#define CHANCE (40 * MILLISECOND)
/* Trials may cost this part of the time between them. */
#define COST 0.02
/* A number stays if its jobs took less than this of the time expected: for half as many threads more it is much less where
 * cores are free, and chance must not decide where they are not. */
#define ENOUGH_FOR_MORE 0.82
#define ENOUGH_FOR_FEWER 0.95

/* After a number has proved itself, the other direction is tried so soon. */
#define BACK_SOON (200 * MILLISECOND)
/* And more threads the later, the more often they did not last. */
#define LASTING (4000 * MILLISECOND)
#define LONGEST_WAIT (5000 * MILLISECOND)

/* Fewer threads are tried where jobs that are held up make up this part of the time: now and then every system has a moment
 * for itself. */
#define OFTEN 0.15

enum { KINDS = 128, NEW = 3 };
typedef struct {
    uint64_t kind;
    double mean[2], weight[2]; /* time of a job: with the number in force, and in this trial */
    int32_t met;               /* jobs so far: the first ones meet memory that nobody has touched */
} Known;

typedef struct {
    int32_t threads, other; /* in force; and on trial, or 0 */
    double held_up;            /* of the last MEMORY, in jobs that were held up */
    int64_t next_more, next_fewer; /* when a trial may begin */
    int64_t expires;               /* when this one is broken off */
    int64_t since, wait;           /* when there were last more; and how long they are not tried after fewer */
    double taken, expected; /* of the trial's jobs */
    int64_t trials, changes;
    Known known[KINDS];
} Balance;

static inline Known *balance_find(Balance *b, uint64_t kind) {
    Known *known = &b->known[(kind * 0x9e3779b97f4a7c15ull) >> 57];
    if (known->kind != kind) memset(known, 0, sizeof *known), known->kind = kind;
    return known;
}

static inline int32_t balance_least(int32_t one, int32_t other) { return one < other ? one : other; }

/* The number of threads for the next job, of which it can use `most`. */
static inline int32_t balance_choose(Balance *b, int64_t now, int32_t most) {
    if (b->threads < 1) b->threads = most;
    if (b->other && now >= b->expires) b->other = 0;
    if (!b->other) {
        const int32_t fewer = b->held_up > OFTEN * MEMORY && balance_least(b->threads, most) > 1 && now >= b->next_fewer;
        const int32_t more = !fewer && b->threads < most && now >= b->next_more;
        if (fewer) b->threads = balance_least(b->threads, most); /* what was held up had no more */
        if (fewer) b->other = b->threads - (b->threads + 3) / 4;
        if (more) b->other = balance_least(b->threads + (b->threads + 1) / 2, most);
        if (b->other) {
            b->taken = b->expected = 0;
            b->expires = now + LONGEST_TRIAL;
            b->trials++;
            for (int i = 0; i < KINDS; i++) b->known[i].weight[1] = 0;
        }
    }
    return balance_least(b->other ? b->other : b->threads, most);
}

static inline void balance_average(double *mean, double *weight, double taken) {
    *weight = *weight * (1 - (taken < MEMORY ? taken / MEMORY : 1)) + taken;
    *mean += (taken - *mean) * (taken / *weight);
}

/* A job of this kind ran with so many threads for so long; `was_held_up` where one of them was put aside meanwhile. */
static inline void balance_note(Balance *b, int64_t now, uint64_t kind, int32_t threads, int64_t time, int32_t was_held_up) {
    Known *known = balance_find(b, kind);
    const double taken = time > 0 ? (double)time : 1;
    if (known->met < NEW) {
        known->met++;
        return;
    }
    if (!b->other) {
        balance_average(&known->mean[0], &known->weight[0], taken);
        b->held_up = b->held_up * (1 - (taken < MEMORY ? taken / MEMORY : 1)) + was_held_up * taken;
        return;
    }
    if (threads == b->threads || threads > b->other) return; /* a small job, which the trial makes no difference to */
    balance_average(&known->mean[1], &known->weight[1], taken);
    if (known->weight[0] > 0) b->taken += taken, b->expected += known->mean[0];
    const int is_bad = b->taken > WORST * b->expected + CHANCE;
    if (b->taken < TRIAL && !is_bad) return;
    const double loss = b->taken - b->expected, pause = loss > 0 ? loss / COST : 0;
    int64_t *next = b->other > b->threads ? &b->next_more : &b->next_fewer;
    *next = now + (int64_t)(pause < SHORTEST_PAUSE ? SHORTEST_PAUSE : pause > LONGEST_PAUSE ? LONGEST_PAUSE : pause);
    if (b->taken < (b->other > b->threads ? ENOUGH_FOR_MORE : ENOUGH_FOR_FEWER) * b->expected) {
        if (b->other > b->threads) {
            b->since = now, b->next_fewer = now + BACK_SOON;
        } else { /* more that were soon given up again had been taken by chance */
            const int64_t longer = b->wait < LONGEST_WAIT / 2 ? 2 * b->wait : LONGEST_WAIT;
            b->wait = b->since && now - b->since < LASTING ? longer : BACK_SOON;
            b->next_more = now + b->wait;
        }
        b->threads = b->other;
        b->changes++;
        for (int i = 0; i < KINDS; i++)
            b->known[i].mean[0] = b->known[i].mean[1], b->known[i].weight[0] = b->known[i].weight[1];
    }
    b->other = 0;
}

#endif
