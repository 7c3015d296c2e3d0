// From logits to the next character, as charrnn/inference/distribution.py defines it, with the same random numbers:
// a seed writes here what `charrnn sample --seed` writes.

const MASK = (1n << 64n) - 1n;
const PHILOX = [0xD2E7470EE14C6C93n, 0xCA5A826395121157n, 0x9E3779B97F4A7C15n, 0xBB67AE8584CAA73Bn];

// Returns four numbers of 64 bits: Philox 4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
function philox(counter, key) {
  let [a, b, c, d] = [counter, 0n, 0n, 0n], [p, q] = key;
  for (let round = 0; round < 10; round++) {
    const one = PHILOX[0] * a, two = PHILOX[1] * c;
    [a, b, c, d] = [(two >> 64n) ^ b ^ p, two & MASK, (one >> 64n) ^ d ^ q, one & MASK];
    p = p + PHILOX[2] & MASK;
    q = q + PHILOX[3] & MASK;
  }
  return [a, b, c, d];
}

// Returns number `place` of a seed's stream, in [0, 1): of sample 0, as numpy's Generator(Philox) gives them.
function uniform(seed, place) {
  const four = philox(BigInt(Math.floor(place / 4)) + 1n, [BigInt(seed), 0n]);
  return Number(four[place % 4] >> 11n) / 2 ** 53;
}

function largest(logits) {
  let best = 0;
  for (let v = 1; v < logits.length; v++) if (logits[v] > logits[best]) best = v;
  return best;
}

// Returns the ids from the likeliest on; among equals the lower goes first.
function ranked(logits) {
  return Uint32Array.from(logits.keys()).sort((one, two) => logits[two] - logits[one] || one - two);
}

// Returns weights, of which those of a distribution are the shares: temperature first, then top-p.
function weightsOf(logits, temperature, topP) {
  const best = largest(logits), weights = new Float64Array(logits.length);
  if (temperature === 0) {
    weights[best] = 1;
    return weights;
  }
  let sum = 0;
  for (let v = 0; v < weights.length; v++) sum += weights[v] = Math.exp((logits[v] - logits[best]) / temperature);
  if (topP < 1) {
    let before = 0; // a character stays where those before it hold less than top-p
    for (const id of ranked(logits)) {
      const own = weights[id];
      if (before / sum >= topP) weights[id] = 0;
      before += own;
    }
  }
  return weights;
}

function draw(logits, temperature, topP, number) {
  const weights = weightsOf(logits, temperature, topP);
  let sum = 0;
  for (const weight of weights) sum += weight;
  let so = 0, last = 0;
  for (let v = 0; v < weights.length; v++) {
    if (weights[v] > 0) last = v;
    so += weights[v];
    if (so > number * sum) return v;
  }
  return last;
}

// Returns how many bits the model pays for each id: the surprisal at temperature 1, nothing cut.
function bitsOf(logits, id) {
  const most = logits[largest(logits)];
  let sum = 0;
  for (let v = 0; v < logits.length; v++) sum += Math.exp(logits[v] - most);
  return (Math.log(sum) - (logits[id] - most)) / Math.LN2;
}

// Returns the likeliest ids with their probabilities, [id, probability], at most `count`.
function likeliest(logits, count) {
  return Array.from(ranked(logits).slice(0, count), id => [id, 2 ** -bitsOf(logits, id)]);
}
