/* See matching.h. Both the automaton and the way of a text through it take time in proportion to their lengths. */
#include "matching.h"

#include <string.h>

int32_t charrnn_matching_version(void) { return 1; }

static inline int64_t slot_of(const Matching *m, int32_t state, int32_t character) {
    const uint64_t key = ((uint64_t)(uint32_t)state << 32 | (uint32_t)character) * 0x9E3779B97F4A7C15u;
    return (int64_t)(key ^ key >> 32) & m->mask;
}

/* Where the way from a state by a character is kept to where it leads; null where there is none. */
static inline int32_t *find(const Matching *m, int32_t state, int32_t character) {
    MatchingState *s = m->states + state;
    if (s->character == character && s->target >= 0) return &s->target;
    if (s->more < 0) return 0;
    for (int64_t slot = slot_of(m, state, character);; slot = (slot + 1) & m->mask) {
        MatchingEdge *edge = m->edges + slot;
        if (edge->state == state && edge->character == character) return &edge->target;
        if (edge->state < 0) return 0;
    }
}

static void add_edge(Matching *m, int32_t state, int32_t character, int32_t target) {
    MatchingState *s = m->states + state;
    if (s->target < 0) {
        s->character = character, s->target = target;
        return;
    }
    int64_t slot = slot_of(m, state, character);
    while (m->edges[slot].state >= 0) slot = (slot + 1) & m->mask;
    m->edges[slot] = (MatchingEdge){state, character, target, s->more};
    s->more = (int32_t)slot;
}

static int32_t add_state(Matching *m, int32_t length, int32_t link) {
    m->states[m->num_states] = (MatchingState){length, link, 0, -1, -1};
    m->best[m->num_states] = 0;
    return m->num_states++;
}

/* Adds a state that takes over from `q` those of its stretches that are one character longer than the longest of `p`. */
static int32_t split(Matching *m, int32_t p, int32_t q, int32_t character) {
    const MatchingState *old = m->states + q;
    const int32_t twin = add_state(m, m->states[p].length + 1, old->link);
    add_edge(m, twin, old->character, old->target);
    for (int32_t slot = old->more; slot >= 0; slot = m->edges[slot].next)
        add_edge(m, twin, m->edges[slot].character, m->edges[slot].target);
    for (int32_t *target; p >= 0 && (target = find(m, p, character)) && *target == q; p = m->states[p].link) *target = twin;
    m->states[q].link = twin;
    return twin;
}

void charrnn_matching_build(Matching *m) {
    memset(m->edges, 0xff, (m->mask + 1) * sizeof(MatchingEdge));
    m->num_states = m->state = m->matched = 0;
    m->read = 0;
    int32_t last = add_state(m, 0, -1);
    for (int64_t i = 0; i < m->count; i++) {
        const int32_t character = m->characters[i];
        const int32_t here = add_state(m, m->states[last].length + 1, 0);
        int32_t *target = 0, p = last;
        for (; p >= 0 && !(target = find(m, p, character)); p = m->states[p].link) add_edge(m, p, character, here);
        if (p >= 0) {
            const int32_t q = *target;
            m->states[here].link = m->states[q].length == m->states[p].length + 1 ? q : split(m, p, q, character);
        }
        m->ends[i] = last = here;
    }
}

static inline void record(Matching *m, int32_t state, int32_t matched, int64_t end) {
    if (matched > m->best[state]) m->best[state] = matched, m->places[state] = end;
}

/* Reads the next `count` characters of the text. A stretch is recorded where it does not go on. */
void charrnn_matching_read(Matching *m, const int32_t *text, int64_t count) {
    int32_t state = m->state, matched = m->matched;
    for (int64_t i = 0; i < count; i++) {
        const int32_t *target = find(m, state, text[i]);
        if (!target) {
            record(m, state, matched, m->read + i);
            do {
                state = m->states[state].link;
            } while (state >= 0 && !(target = find(m, state, text[i])));
            if (state < 0) {
                state = matched = 0;
                continue;
            }
            matched = m->states[state].length;
        }
        state = *target, matched++;
    }
    m->state = state, m->matched = matched;
    m->read += count;
}

/* The longest stretch of a state that stands in the text, where one of `matched` characters does that ends there. */
static inline void learn(Matching *m, int32_t state, int32_t matched, int64_t end) {
    const MatchingState *s = m->states + state;
    const int32_t longest = matched < s->length ? matched : s->length;
    if (s->link >= 0 && longest > m->states[s->link].length) record(m, state, longest, end);
}

/* Brings what was found to all states: a stretch stands in the text where one does of which it is the beginning or the
 * end. `order` has the states from the shortest to the longest. */
void charrnn_matching_finish(Matching *m, const int32_t *order) {
    record(m, m->state, m->matched, m->read);
    for (int64_t i = m->num_states - 1; i > 0; i--) {
        const int32_t state = order[i];
        const MatchingState *s = m->states + state;
        if (s->target >= 0) learn(m, state, m->best[s->target] - 1, m->places[s->target] - 1);
        for (int32_t slot = s->more; slot >= 0; slot = m->edges[slot].next) {
            const int32_t target = m->edges[slot].target;
            learn(m, state, m->best[target] - 1, m->places[target] - 1);
        }
        if (m->best[state] > 0) learn(m, s->link, m->best[state], m->places[state]);
    }
    for (int64_t i = 1; i < m->num_states; i++) {
        const int32_t state = order[i], link = m->states[state].link;
        if (m->best[state] == 0) m->best[state] = m->best[link], m->places[state] = m->places[link];
    }
}
