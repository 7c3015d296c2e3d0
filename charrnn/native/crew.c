/* See crew.h. */
#define _GNU_SOURCE
#include "crew.h"

#include "arithmetic.h"
#include "balance.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#define NS_PER_US 1000ll

/* How long a thread without work spins before it sleeps: to be woken takes as long as much work does. */
#define SPIN (200 * NS_PER_US)
/* And how long it, or who waits for others, lets nobody else have the core: the thread that it waits for may want it. */
#define PATIENCE (20 * NS_PER_US)
/* A job that takes longer is not over before a thread has woken. */
#define LONG_ENOUGH (1000 * NS_PER_US)
/* A piece takes some microseconds. Who is in one for so long after all others are done was put aside. */
#define STALL (300 * NS_PER_US)
/* The owner was put aside where it did not compute for so long of a job. */
#define ASIDE (100 * NS_PER_US)
/* The pieces that a thread has still to begin: phase, first and end in one word, so that none is taken in another phase
 * than the one it was seen in. */
enum { BITS = 14 };
typedef struct {
    _Alignas(128) _Atomic uint64_t word;
} Range;
#define WORD(phase, first, end) ((uint64_t)(phase) << 2 * BITS | (uint64_t)(first) << BITS | (uint64_t)(end))
#define FIRST(word) ((int32_t)((word) >> BITS & MOST_PIECES))
#define END(word) ((int32_t)((word)&MOST_PIECES))
#define IN_PHASE(word, phase) ((word) >> 2 * BITS == ((phase) & (UINT64_MAX >> 2 * BITS)))

static struct {
    /* read by all, written by the owner before a phase is open */
    Piece piece;
    void *job;
    Range ranges[MOST_THREADS];
    _Alignas(128) _Atomic uint64_t open;  /* phase << 8 | threads that take part */
    _Alignas(128) _Atomic int32_t done;   /* pieces of the phase */
    _Alignas(128) _Atomic int32_t sleeping; /* threads of the crew that must be woken */
    _Atomic int32_t is_owner_asleep;
    pthread_mutex_t lock;
    pthread_cond_t opened, grown, finished;
    /* the owner's */
    atomic_flag is_taken;
    int32_t hired, most, size, size_before, is_rigid;
    Balance balance;
    uint64_t phase;
    uint32_t arithmetic;
    uint64_t kind;
    int64_t began, computed; /* on the clock, and of the owner's own computing */
    int32_t stalls;
    int64_t pieces, own_pieces;
    /* what became of it, for charrnn_crew_record */
    int64_t worked, worked_bent, all_stalls;
} crew = {.lock = PTHREAD_MUTEX_INITIALIZER, .opened = PTHREAD_COND_INITIALIZER, .grown = PTHREAD_COND_INITIALIZER,
          .finished = PTHREAD_COND_INITIALIZER, .is_taken = ATOMIC_FLAG_INIT};

static _Thread_local int is_owner;
static _Thread_local uint32_t arithmetic_alone;

static int64_t read_clock(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec * 1000000 * NS_PER_US + time.tv_nsec;
}
static int64_t now(void) { return read_clock(CLOCK_MONOTONIC); }

static inline void pause_a_little(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* A piece of a range, the first or, for others than its owner, the last; -1 where none is left in this phase. */
static int32_t take(Range *range, uint64_t phase, int from_end) {
    uint64_t word = atomic_load_explicit(&range->word, memory_order_relaxed);
    for (;;) {
        const int32_t first = FIRST(word), end = END(word);
        if (!IN_PHASE(word, phase) || first >= end) return -1;
        const uint64_t rest = from_end ? WORD(phase, first, end - 1) : WORD(phase, first + 1, end);
        if (atomic_compare_exchange_weak_explicit(&range->word, &word, rest, memory_order_acq_rel, memory_order_relaxed))
            return from_end ? end - 1 : first;
    }
}

/* Begins and finishes pieces until none is left to begin. */
static int32_t work(uint64_t phase, int32_t thread, int32_t size) {
    int32_t done = 0;
    for (int32_t step = 0; step < size; step++) {
        const int32_t other = (thread + step) % size;
        /* What the crew holds belongs to this phase as long as a piece of it is not done: not before one is taken. */
        for (int32_t piece; (piece = take(&crew.ranges[other], phase, step)) >= 0; done++) crew.piece(crew.job, piece);
    }
    if (!done) return 0;
    atomic_fetch_add(&crew.done, done);
    if (atomic_load(&crew.is_owner_asleep)) {
        pthread_mutex_lock(&crew.lock);
        pthread_cond_signal(&crew.finished);
        pthread_mutex_unlock(&crew.lock);
    }
    return done;
}

/* Returns what is open when that is no longer `seen` and the thread takes part in it. */
static uint64_t wait_for_phase(uint64_t seen, int32_t thread) {
    uint64_t open = atomic_load(&crew.open);
    if ((int32_t)(open & 255) <= thread) { /* given up, perhaps for long */
        pthread_mutex_lock(&crew.lock);
        while ((int32_t)((open = atomic_load(&crew.open)) & 255) <= thread) pthread_cond_wait(&crew.grown, &crew.lock);
        pthread_mutex_unlock(&crew.lock);
        return open;
    }
    const int64_t began = now();
    for (int64_t time = began; time - began < SPIN; time = now()) {
        for (int spins = 0; spins < 64; spins++) {
            if ((open = atomic_load_explicit(&crew.open, memory_order_acquire)) != seen) return open;
            pause_a_little();
        }
        if (time - began > PATIENCE) sched_yield();
    }
    pthread_mutex_lock(&crew.lock);
    atomic_fetch_add(&crew.sleeping, 1);
    while ((open = atomic_load(&crew.open)) == seen) pthread_cond_wait(&crew.opened, &crew.lock);
    atomic_fetch_sub(&crew.sleeping, 1);
    pthread_mutex_unlock(&crew.lock);
    return open;
}

static void *serve(void *given) {
    const int32_t thread = (int32_t)(intptr_t)given;
    enter_arithmetic();
    for (uint64_t open = 0;;) {
        open = wait_for_phase(open, thread);
        work(open >> 8, thread, (int32_t)(open & 255));
    }
    return 0;
}

/* A forked child has none of its parent's threads, whatever they were doing. */
static void begin_anew(void) {
    pthread_mutex_init(&crew.lock, 0);
    pthread_cond_init(&crew.opened, 0);
    pthread_cond_init(&crew.grown, 0);
    pthread_cond_init(&crew.finished, 0);
    atomic_store(&crew.sleeping, 0);
    atomic_store(&crew.is_owner_asleep, 0);
    atomic_store(&crew.open, 0);
    crew.hired = 1, crew.size_before = 0;
    atomic_flag_clear(&crew.is_taken);
}

/* Brings the crew to so many threads, or as many as the system allows. */
static void hire(int32_t most) {
    if (!crew.hired) {
        crew.hired = 1;
        pthread_atfork(0, 0, begin_anew);
    }
    if (crew.hired >= most) return;
    sigset_t all, before; /* signals are for the threads that Python knows */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; crew.hired < most; crew.hired++) {
        pthread_t thread;
        if (pthread_create(&thread, 0, serve, (void *)(intptr_t)crew.hired)) break;
        pthread_detach(thread);
    }
    pthread_sigmask(SIG_SETMASK, &before, 0);
}

void crew_begin(int32_t most_threads, uint64_t kind) {
    is_owner = most_threads > 1 && !atomic_flag_test_and_set(&crew.is_taken);
    if (!is_owner) {
        arithmetic_alone = enter_arithmetic();
        return;
    }
    crew.arithmetic = enter_arithmetic();
    hire(most_threads < MOST_THREADS ? most_threads : MOST_THREADS);
    crew.most = most_threads < crew.hired ? most_threads : crew.hired;
    crew.began = now(), crew.computed = read_clock(CLOCK_THREAD_CPUTIME_ID);
    crew.kind = kind;
    crew.size = crew.is_rigid ? crew.most : balance_choose(&crew.balance, crew.worked, crew.most);
    crew.stalls = 0;
    crew.pieces = crew.own_pieces = 0;
}

static void wait_for_others(int32_t pieces) {
    int64_t began = 0;
    for (int spins = 1; atomic_load_explicit(&crew.done, memory_order_acquire) < pieces; spins++) {
        pause_a_little();
        if (spins % 64) continue;
        const int64_t time = now();
        if (!began) began = time;
        if (time - began > PATIENCE) sched_yield();
        if (time - began < STALL) continue;
        crew.stalls++; /* somebody was put aside in the middle of a piece: the core is another program's */
        pthread_mutex_lock(&crew.lock); /* asleep, so that who is in the piece may have this core */
        atomic_store(&crew.is_owner_asleep, 1);
        while (atomic_load(&crew.done) < pieces) pthread_cond_wait(&crew.finished, &crew.lock);
        atomic_store(&crew.is_owner_asleep, 0);
        pthread_mutex_unlock(&crew.lock);
    }
}

void crew_share(Piece piece, void *job, int32_t pieces) {
    if (!is_owner || crew.size == 1 || pieces < 2) {
        for (int32_t number = 0; number < pieces; number++) piece(job, number);
        return;
    }
    const int32_t size = crew.size;
    const uint64_t phase = ++crew.phase;
    crew.piece = piece, crew.job = job;
    atomic_store_explicit(&crew.done, 0, memory_order_relaxed);
    for (int32_t thread = 0; thread < size; thread++)
        atomic_store_explicit(&crew.ranges[thread].word,
                              WORD(phase, (int64_t)pieces * thread / size, (int64_t)pieces * (thread + 1) / size),
                              memory_order_release);
    atomic_store(&crew.open, phase << 8 | (uint64_t)size);
    if (size > crew.size_before || atomic_load(&crew.sleeping)) {
        pthread_mutex_lock(&crew.lock);
        pthread_cond_broadcast(&crew.opened);
        if (size > crew.size_before) pthread_cond_broadcast(&crew.grown);
        pthread_mutex_unlock(&crew.lock);
    }
    crew.size_before = size;
    crew.pieces += pieces, crew.own_pieces += work(phase, 0, size);
    wait_for_others(pieces);
}

void crew_end(void) {
    if (!is_owner) {
        leave_arithmetic(arithmetic_alone);
        return;
    }
    const int64_t time = now(), worked = time - crew.began;
    crew.worked += worked;
    crew.all_stalls += crew.stalls;
    if (crew.size < crew.most) crew.worked_bent += worked;
    /* The others were put aside, or slept through it all, or the owner was put aside, perhaps by them. */
    const int did_most = crew.own_pieces * (crew.size + 1) > crew.pieces * 2;
    const int64_t aside = worked - (read_clock(CLOCK_THREAD_CPUTIME_ID) - crew.computed);
    const int was_aside = aside > ASIDE && aside > worked / 16;
    const int was_held_up = crew.stalls > 0 || was_aside || (did_most && worked > LONG_ENOUGH);
    if (!crew.is_rigid) balance_note(&crew.balance, crew.worked, crew.kind, crew.size, worked, was_held_up);
    is_owner = 0;
    leave_arithmetic(crew.arithmetic);
    atomic_flag_clear(&crew.is_taken);
}

/* One job of one phase: for what has no more, and for tests. */
void charrnn_crew_run(Piece piece, void *job, int32_t pieces, int32_t most_threads, uint64_t kind) {
    crew_begin(most_threads, kind);
    crew_share(piece, job, pieces);
    crew_end();
}

/* Whether the crew keeps all its threads whatever that costs: what bending is measured against. */
void charrnn_crew_be_rigid(int32_t is_rigid) { crew.is_rigid = is_rigid; }

/* Nanoseconds of jobs for more than one thread; of those that had fewer than they might; stalls; trials of another number of
 * threads, and those after which it was kept. */
void charrnn_crew_record(int64_t record[5]) {
    record[0] = crew.worked, record[1] = crew.worked_bent, record[2] = crew.all_stalls;
    record[3] = crew.balance.trials, record[4] = crew.balance.changes;
}

/* The balance by itself, for tests with clocks of their own: `balance` is charrnn_balance_bytes zero bytes. */
int32_t charrnn_balance_bytes(void) { return sizeof(Balance); }
int32_t charrnn_balance_choose(void *balance, int64_t now, int32_t most) { return balance_choose(balance, now, most); }
void charrnn_balance_note(void *balance, int64_t now, uint64_t kind, int32_t threads, int64_t time, int32_t was_held_up) {
    balance_note(balance, now, kind, threads, time, was_held_up);
}
