/* See matching.h. Both the automaton and the way of a text through it take time in proportion to their lengths. */
#include "matching.h"

#include <string.h>

int32_t charrnn_matching_version(void) { return 1; }

static inline int64_t slot_of(const Matching *m, int32_t state, int32_t character) {
    const uint64_t key = ((uint64_t)(uint32_t)state << 32 | (uint32_t)character) * 0x9E3779B97F4A7C15u;
    return (int64_t)(key ^ key >> 32) & m->mask;
}

static inline MatchingEdge *find(const Matching *m, int32_t state, int32_t character) {
    for (int64_t slot = slot_of(m, state, character);; slot = (slot + 1) & m->mask) {
        MatchingEdge *edge = m->edges + slot;
        if (edge->state == state && edge->character == character) return edge;
        if (edge->state < 0) return 0;
    }
}

static void add_edge(Matching *m, int32_t state, int32_t character, int32_t target) {
    int64_t slot = slot_of(m, state, character);
    while (m->edges[slot].state >= 0) slot = (slot + 1) & m->mask;
    m->edges[slot] = (MatchingEdge){state, character, target, m->states[state].first};
    m->states[state].first = (int32_t)slot;
}

static int32_t add_state(Matching *m, int32_t length, int32_t link) {
    m->states[m->num_states] = (MatchingState){length, link, -1, 0};
    return m->num_states++;
}

/* The state of length `length` that takes over from `q` the stretches of at most that length: its twin. */
static int32_t split(Matching *m, int32_t p, int32_t q, int32_t character) {
    const int32_t twin = add_state(m, m->states[p].length + 1, m->states[q].link);
    for (int32_t slot = m->states[q].first; slot >= 0; slot = m->edges[slot].next)
        add_edge(m, twin, m->edges[slot].character, m->edges[slot].target);
    for (; p >= 0; p = m->states[p].link) {
        MatchingEdge *edge = find(m, p, character);
        if (!edge || edge->target != q) break;
        edge->target = twin;
    }
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
        MatchingEdge *edge = 0;
        int32_t p = last;
        for (; p >= 0 && !(edge = find(m, p, character)); p = m->states[p].link) add_edge(m, p, character, here);
        if (p >= 0) {
            const int32_t q = edge->target;
            m->states[here].link = m->states[q].length == m->states[p].length + 1 ? q : split(m, p, q, character);
        }
        m->ends[i] = last = here;
    }
}

/* Reads the next `count` characters of the text. */
void charrnn_matching_read(Matching *m, const int32_t *text, int64_t count) {
    int32_t state = m->state, matched = m->matched;
    for (int64_t i = 0; i < count; i++) {
        const MatchingEdge *edge;
        while (!(edge = find(m, state, text[i])) && state) {
            state = m->states[state].link;
            matched = m->states[state].length;
        }
        if (edge) state = edge->target, matched++;
        if (matched > m->states[state].best) {
            m->states[state].best = matched;
            m->places[state] = m->read + i + 1;
        }
    }
    m->state = state, m->matched = matched;
    m->read += count;
}

/* Brings what was found for a state to those of the stretches at its end and at its beginning. `order` has the states
 * from the shortest to the longest. */
void charrnn_matching_finish(Matching *m, const int32_t *order) {
    for (int64_t i = m->num_states - 1; i > 0; i--) {
        const MatchingState *s = m->states + order[i];
        MatchingState *shorter = m->states + s->link;
        if (s->best > 0 && s->link > 0 && shorter->best < shorter->length) {
            shorter->best = shorter->length;
            m->places[s->link] = m->places[order[i]];
        }
    }
    for (int64_t i = 1; i < m->num_states; i++) {
        MatchingState *s = m->states + order[i];
        if (s->best > 0 || s->link < 0) continue;
        s->best = m->states[s->link].best;
        m->places[order[i]] = m->places[s->link];
    }
}
