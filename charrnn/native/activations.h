/* exp, sigmoid and tanh of a vector of floats, for one instruction set: whatever is trained and whatever is sampled goes
 * through the same ones. A file that is compiled once for each set includes this one each time, with these names defined:
 *
 *   NAME(x)   x with the set's suffix       INLINE           how a function of the set is declared
 *   vec       a vector of W floats          NAME(splat)(x)   a vector of nothing but x
 *
 * It leaves NAME(choose), NAME(exponential), NAME(sigmoid), NAME(tanh) and `ints`, a vector of W int32, for the includer to
 * undefine with the rest.
 */

typedef int32_t NAME(int32s) __attribute__((vector_size(W * 4), may_alias));
#define ints NAME(int32s)

INLINE vec NAME(choose)(ints mask, vec yes, vec no) { return (vec)((mask & (ints)yes) | (~mask & (ints)no)); }

/* exp(x) within 2 units in the last place: x = n ln 2 + r, a polynomial in r (the coefficients of Cephes' expf), and n
 * added to the exponent. Saturates instead of overflowing; not-a-number stays. */
INLINE vec NAME(exponential)(vec x) {
    x = NAME(choose)(x > 88.0f, NAME(splat)(88.0f), x);
    x = NAME(choose)(x < -87.0f, NAME(splat)(-87.0f), x);
    const vec magic = NAME(splat)(12582912.0f); /* 1.5 * 2^23: adding it rounds to a whole number */
    vec n = (x * 1.44269504f + magic) - magic;
    vec r = n * -0.693359375f + x;
    r = n * 2.12194440e-4f + r;
    vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = (p * r) * r + r;
    p = p + 1.0f;
    ints exponent = ((ints)(n + magic) - (ints)magic + 127) << 23;
    return p * (vec)exponent;
}
INLINE vec NAME(sigmoid)(vec x) { return 1.0f / (1.0f + NAME(exponential)(-x)); }
INLINE vec NAME(tanh)(vec x) { return 1.0f - 2.0f / (1.0f + NAME(exponential)(x + x)); }
