// One step of a plain lstm, gru or rnn in typed arrays: an id goes in, logits come out. The equations are those of
// charrnn/cells; weights and the rounding of int8 are as in charrnn/inference/page_model.py.
//
// Shape letters: V vocabulary, E embedding size, H hidden size, R rows and K inputs of a matrix, L layers.

const GROUP = 64;   // inputs of a row that share a scale in int8
const FULL = 32767; // what int8 products read as 1: h in 16 bits
const KINDS = {lstm: ["h", "c", "i", "f", "g", "o"], gru: ["h", "r", "z", "n"], rnn: ["h"]};
const BLOCKS = {lstm: ["i", "f", "g", "o"], gru: ["r", "z", "n"], rnn: ["h"]};
const SIGMOIDS = new Set(["i", "f", "o", "r", "z"]);

// Returns the bytes of a text in base64; the text is cut, so that no copy of the whole is made.
function bytesOf(base64) {
  const padding = base64.endsWith("==") ? 2 : base64.endsWith("=") ? 1 : 0;
  const bytes = new Uint8Array(base64.length / 4 * 3 - padding), piece = 1 << 20;
  let place = 0;
  for (let from = 0; from < base64.length; from += piece) {
    const part = atob(base64.slice(from, from + piece));
    for (let k = 0; k < part.length; k++) bytes[place++] = part.charCodeAt(k);
  }
  return bytes;
}

// A matrix whose rows lie in fours: of four rows the first weights, then the second ones, and so on.
class Matrix {
  constructor(arrays, name) {
    const [rows, inputs] = arrays.shapes[name];
    this.rows = rows;
    this.inputs = inputs;
    const weights = arrays.of(name);
    this.isRounded = weights instanceof Int8Array;
    this.weights = this.isRounded ? new Int32Array(weights.buffer, weights.byteOffset, weights.length / 4) : weights;
    this.scales = this.isRounded ? arrays.of(name + ".scales") : null;
    this.out = new Float64Array(Math.ceil(rows / 4) * 4);
  }

  // Returns the product (R,) with x (K,), given also in whole numbers of 1/32767; good until the next call.
  times(x, rounded) {
    if (this.isRounded) roundedProduct(this.weights, this.scales, rounded, this.inputs, this.out);
    else product(this.weights, x, this.inputs, this.out);
    return this.out;
  }

  // Copies row `row` to `out` (K,); only of a matrix of float32.
  copyRow(row, out) {
    const start = (row >> 2) * 4 * this.inputs + (row & 3);
    for (let k = 0; k < this.inputs; k++) out[k] = this.weights[start + 4 * k];
  }
}

function product(weights, x, K, out) {
  let w = 0;
  for (let r = 0; r < out.length; r += 4) {
    let a = 0, b = 0, c = 0, d = 0;
    for (let k = 0; k < K; k++, w += 4) {
      const v = x[k];
      a += weights[w] * v;
      b += weights[w + 1] * v;
      c += weights[w + 2] * v;
      d += weights[w + 3] * v;
    }
    out[r] = a;
    out[r + 1] = b;
    out[r + 2] = c;
    out[r + 3] = d;
  }
}

// The weights of four rows are the bytes of one number. Sums of a group are below 2^28, so whole numbers are exact.
function roundedProduct(weights, scales, x, K, out) {
  let w = 0, s = 0;
  for (let r = 0; r < out.length; r += 4) {
    let suma = 0, sumb = 0, sumc = 0, sumd = 0;
    for (let start = 0; start < K; start += GROUP, s += 4) {
      const end = Math.min(K, start + GROUP);
      let a = 0, b = 0, c = 0, d = 0, k = start;
      for (; k + 3 < end; k += 4, w += 4) {
        const v0 = x[k], v1 = x[k + 1], v2 = x[k + 2], v3 = x[k + 3];
        const w0 = weights[w], w1 = weights[w + 1], w2 = weights[w + 2], w3 = weights[w + 3];
        a = a + Math.imul(w0 << 24 >> 24, v0) + Math.imul(w1 << 24 >> 24, v1)
          + Math.imul(w2 << 24 >> 24, v2) + Math.imul(w3 << 24 >> 24, v3) | 0;
        b = b + Math.imul(w0 << 16 >> 24, v0) + Math.imul(w1 << 16 >> 24, v1)
          + Math.imul(w2 << 16 >> 24, v2) + Math.imul(w3 << 16 >> 24, v3) | 0;
        c = c + Math.imul(w0 << 8 >> 24, v0) + Math.imul(w1 << 8 >> 24, v1)
          + Math.imul(w2 << 8 >> 24, v2) + Math.imul(w3 << 8 >> 24, v3) | 0;
        d = d + Math.imul(w0 >> 24, v0) + Math.imul(w1 >> 24, v1)
          + Math.imul(w2 >> 24, v2) + Math.imul(w3 >> 24, v3) | 0;
      }
      for (; k < end; k++, w++) {
        const one = weights[w], v = x[k];
        a = a + Math.imul(one << 24 >> 24, v) | 0;
        b = b + Math.imul(one << 16 >> 24, v) | 0;
        c = c + Math.imul(one << 8 >> 24, v) | 0;
        d = d + Math.imul(one >> 24, v) | 0;
      }
      suma += scales[s] * a;
      sumb += scales[s + 1] * b;
      sumc += scales[s + 2] * c;
      sumd += scales[s + 3] * d;
    }
    out[r] = suma;
    out[r + 1] = sumb;
    out[r + 2] = sumc;
    out[r + 3] = sumd;
  }
}

// Both by way of exp, which is the fastest; far from 0 they are exactly 0, 1 or -1.
const sigmoid = x => 1 / (1 + Math.exp(-x));
const tanh = x => 1 - 2 / (Math.exp(2 * x) + 1);

// The arrays of a file by name: views of its bytes, which begin at multiples of eight.
class Arrays {
  constructor(entries, bytes) {
    this.shapes = {};
    this.places = {};
    this.bytes = bytes;
    for (const {name, type, shape, offset, length} of entries) {
      this.shapes[name] = shape;
      this.places[name] = {type, offset, length};
    }
  }

  has(name) {
    return name in this.places;
  }

  of(name) {
    const {type, offset, length} = this.places[name];
    const kind = type === "int8" ? Int8Array : Float32Array;
    return new kind(this.bytes.buffer, this.bytes.byteOffset + offset, length);
  }
}

class Model {
  // `described` says cell, layers, hidden, vocabulary, end (an id or null) and arrays; `bytes` is what they lie in.
  constructor(described, bytes) {
    const arrays = new Arrays(described.arrays, bytes);
    const {cell, layers: L, hidden: H} = described;
    this.cell = cell;
    this.layers = L;
    this.hidden = H;
    this.vocabulary = described.vocabulary;
    this.end = described.end;
    this.kinds = KINDS[cell];
    this.embedding = new Matrix(arrays, "embedding");
    this.decoder = arrays.has("decoder.weight") ? new Matrix(arrays, "decoder.weight") : this.embedding;
    this.decoderBias = arrays.of("decoder.bias");
    this.embedded = new Float64Array(this.embedding.inputs);
    this.firstInputs = new Array(this.vocabulary).fill(null); // what layer 1 adds for an id, once it was met
    const states = cell === "lstm" ? 2 : 1;
    this.state = new Float32Array(L * states * H);
    // What all units did in the last step, by layer and kind; of an lstm's memory c the value is tanh(c).
    this.values = new Float32Array(L * this.kinds.length * H);
    this.logits = new Float32Array(this.vocabulary);
    this.held = []; // {layer, kind, index, value}, layers from 0
    this.stack = [];
    for (let layer = 0; layer < L; layer++) {
      const name = `layers.${layer + 1}.`, values = {};
      this.kinds.forEach((kind, place) => {
        const start = (layer * this.kinds.length + place) * H;
        values[kind] = this.values.subarray(start, start + H);
      });
      this.stack.push({
        input: new Matrix(arrays, name + "weight_ih"),
        recurrent: new Matrix(arrays, name + "weight_hh"),
        bias: arrays.of(name + "bias").slice(),
        recurrentBias: arrays.has(name + "recurrent_bias") ? arrays.of(name + "recurrent_bias") : null,
        // What multiplies r h, where the reset gate acts before the candidate's product.
        candidate: arrays.has(name + "candidate") ? new Matrix(arrays, name + "candidate") : null,
        h: this.state.subarray(layer * states * H, layer * states * H + H),
        c: states > 1 ? this.state.subarray((layer * states + 1) * H, (layer * states + 2) * H) : null,
        exact: new Float64Array(H), // what the products read: h, or r h
        rounded: new Int32Array(H),
        values,
      });
    }
    if (cell === "gru") { // of the gates whose two biases are only added, the first bias becomes the sum
      for (const {bias, recurrentBias, candidate} of this.stack) {
        for (let row = 0; row < (candidate ? 3 : 2) * H; row++) bias[row] += recurrentBias[row];
      }
    }
    // Multiplications of a step, each with an addition, once all ids were met.
    this.cost = this.stack.reduce(
      (sum, {recurrent, candidate, input}, place) =>
        sum + (recurrent.rows + (candidate ? candidate.rows : 0) + (place ? input.rows : 0)) * H, this.vocabulary * H);
  }

  begin() {
    this.restore(new Float32Array(this.state.length));
  }

  snapshot() {
    return this.state.slice();
  }

  restore(state) {
    this.state.set(state);
    this.stack.forEach(layer => this.shareOutput(layer));
  }

  // What products read of a layer's unit: h, or what a gate leaves of it.
  share({exact, rounded}, u, value) {
    exact[u] = value;
    rounded[u] = Math.round(value * FULL);
  }

  shareOutput(layer) {
    for (let u = 0; u < this.hidden; u++) this.share(layer, u, layer.h[u]);
  }

  // Returns what all units did, in 1/127.
  roundedValues() {
    const {values} = this, out = new Int8Array(values.length);
    for (let k = 0; k < out.length; k++) out[k] = Math.round(values[k] * 127);
    return out;
  }

  // Reads a character: `logits` are those of the next, and `values` what the units did.
  read(id) {
    if (!Number.isInteger(id) || id < 0 || id >= this.vocabulary) {
      throw new RangeError(`the id ${id} is outside 0 to ${this.vocabulary - 1}`);
    }
    if (id === this.end) this.begin();
    let below = null;
    this.stack.forEach((layer, place) => {
      const recurrent = layer.recurrent.times(layer.exact, layer.rounded);
      const input = place ? layer.input.times(below.exact, below.rounded) : this.firstInput(id);
      this.activate(layer, place, input, recurrent);
      this.shareOutput(layer);
      below = layer;
    });
    const scores = this.decoder.times(below.exact, below.rounded), bias = this.decoderBias;
    for (let v = 0; v < this.vocabulary; v++) this.logits[v] = scores[v] + bias[v];
  }

  firstInput(id) {
    if (this.firstInputs[id] === null) {
      this.embedding.copyRow(id, this.embedded);
      this.firstInputs[id] = Float32Array.from(this.stack[0].input.times(this.embedded, null));
    }
    return this.firstInputs[id];
  }

  activate(layer, place, input, recurrent) {
    const H = this.hidden, {h, c, bias, recurrentBias, values} = layer;
    const held = this.held.filter(one => one.layer === place);
    const hold = kind => held.forEach(one => { if (one.kind === kind) values[kind][one.index] = one.value; });
    BLOCKS[this.cell].forEach((kind, block) => {
      const out = values[kind], start = block * H, own = bias.subarray(start, start + H);
      if (kind === "n" && layer.candidate) { // the reset gate acts on what is multiplied
        for (let u = 0; u < H; u++) this.share(layer, u, values.r[u] * h[u]);
        const product = layer.candidate.times(layer.exact, layer.rounded);
        for (let u = 0; u < H; u++) out[u] = tanh(input[start + u] + own[u] + product[u]);
      } else if (kind === "n") { // the reset gate acts on the recurrent product
        for (let u = 0; u < H; u++) {
          const row = start + u;
          out[u] = tanh(input[row] + own[u] + values.r[u] * (recurrent[row] + recurrentBias[row]));
        }
      } else if (SIGMOIDS.has(kind)) {
        for (let u = 0; u < H; u++) out[u] = sigmoid(input[start + u] + recurrent[start + u] + own[u]);
      } else {
        for (let u = 0; u < H; u++) out[u] = tanh(input[start + u] + recurrent[start + u] + own[u]);
      }
      hold(kind);
    });
    if (this.cell === "lstm") {
      const {i, f, g, o} = values, memory = values.c;
      for (let u = 0; u < H; u++) {
        c[u] = f[u] * c[u] + i[u] * g[u];
        memory[u] = tanh(c[u]);
      }
      hold("c");
      held.forEach(one => { if (one.kind === "c") c[one.index] = Math.atanh(one.value * 0.9999999); });
      for (let u = 0; u < H; u++) values.h[u] = o[u] * memory[u];
    } else if (this.cell === "gru") {
      const {z, n} = values;
      for (let u = 0; u < H; u++) values.h[u] = (1 - z[u]) * n[u] + z[u] * h[u];
    }
    hold("h");
    h.set(values.h);
  }
}
