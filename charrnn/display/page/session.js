// The text that person and model write together, id by id: what can be undone, and what each unit did at each id.

const EVERY = 16; // ids between two snapshots of the state
const [READ, WRITTEN, OWN] = [0, 1, 2]; // the beginning, what the model wrote, and what the person put in

class Session {
  constructor(model, characters, start, most) {
    this.model = model;
    this.characters = characters;
    this.start = start; // {empty, text}: ids that are read before a beginning of no character, or of some
    this.most = most; // ids that are kept, with the values of all units at each
    this.empty();
  }

  empty() {
    this.ids = [];
    this.who = [];
    this.bits = []; // what the model would have paid for each id; of the first one nothing is known
    this.held = []; // the clamps with which each id was read
    this.units = []; // the values of all units at each id, in 1/127
    this.snapshots = [];
    this.waiting = []; // ids that are still to be read
    this.cells = []; // what is shown: {text, from, to}, ids from..to-1
    this.steps = []; // the lengths before each thing that can be undone
    this.shown = this.begun = 0; // ids before the first one that is shown, and before the first after the beginning
    this.decoder = this.characters.decoder();
    this.from = 0;
    this.model.begin();
  }

  begin(ids) {
    this.empty();
    const before = ids.length ? this.start.text : this.start.empty;
    this.waiting = [...before, ...ids].map(id => [id, READ]);
    this.shown = before.length;
    this.begun = this.waiting.length;
  }

  get isReading() {
    return this.waiting.length > 0;
  }

  get isFull() {
    return this.ids.length + this.waiting.length >= this.most;
  }

  get isEnded() {
    return this.written > 0 && this.ids[this.ids.length - 1] === this.model.end;
  }

  // The number of ids after the beginning, by which random numbers are found: so they come again after an undo.
  get written() {
    return Math.max(0, this.ids.length - this.begun);
  }

  readNext() {
    this.append(...this.waiting.shift());
  }

  add(ids) {
    this.waiting.push(...ids.map(id => [id, OWN]));
  }

  // Remembers that what comes now, after what is still to be read, can be undone as a whole.
  mark() {
    const length = this.ids.length + this.waiting.length;
    if (this.steps[this.steps.length - 1] !== length) this.steps.push(length);
  }

  writeNext({temperature, topP, seed}) {
    this.append(draw(this.model.logits, temperature, topP, uniform(seed, this.written)), WRITTEN);
  }

  append(id, who) {
    const place = this.ids.length, bits = place ? bitsOf(this.model.logits, id) : 0;
    const snapshot = place % EVERY ? null : this.model.snapshot();
    this.model.read(id);
    if (!this.model.logits.every(Number.isFinite)) {
      this.readAgain(place);
      throw new RangeError("the model's output is not finite");
    }
    if (snapshot) this.snapshots.push(snapshot);
    this.bits.push(bits);
    this.ids.push(id);
    this.who.push(who);
    this.held.push(this.model.held);
    this.units.push(this.model.roundedValues());
    this.show(id, place);
  }

  // Brings the model back to where it was after `length` ids, from the snapshot before.
  readAgain(length) {
    if (!length) {
      this.model.begin();
      return;
    }
    const now = this.model.held, last = Math.floor((length - 1) / EVERY);
    this.model.restore(this.snapshots[last]);
    for (let place = last * EVERY; place < length; place++) {
      this.model.held = this.held[place];
      this.model.read(this.ids[place]);
    }
    this.model.held = now;
  }

  // Leaves out what is still to be read, which the model cannot read.
  giveUp() {
    this.waiting = [];
    this.begun = Math.min(this.begun, this.ids.length);
  }

  // Makes a cell of the text that an id completes; several bytes may have made it.
  show(id, place) {
    if (place < this.shown) {
      this.from = place + 1;
      return;
    }
    const text = this.decoder.next(id);
    if (id === this.model.end) {
      this.cells.push({text, isEnd: true, from: this.from, to: place + 1});
    } else if (text) {
      this.cells.push({text, isEnd: false, from: this.from, to: place + 1});
    } else {
      return;
    }
    this.from = place + 1;
  }

  // Goes back to `length` ids, at least those of the beginning.
  cut(length) {
    length = Math.max(length, this.begun, 1);
    this.waiting = [];
    if (length >= this.ids.length) return;
    this.readAgain(length);
    for (const list of [this.ids, this.who, this.bits, this.held, this.units]) list.length = length;
    this.snapshots.length = Math.ceil(length / EVERY);
    this.steps = this.steps.filter(step => step < length);
    this.cells = [];
    this.decoder = this.characters.decoder();
    this.from = 0;
    this.ids.forEach((id, place) => this.show(id, place));
  }

  // Takes back the last thing that was done: a run of writing, or what the person put in.
  undo() {
    while (this.steps[this.steps.length - 1] >= this.ids.length) this.steps.pop(); // of what put nothing
    this.cut(this.steps.length ? this.steps.pop() : this.ids.length - 1);
  }

  get canUndo() {
    return this.ids.length > this.begun;
  }

  surprisal(cell) {
    let bits = 0;
    for (let place = cell.from; place < cell.to; place++) bits += this.bits[place];
    return bits;
  }

  // Returns the place of a unit, {layer, kind, index} with layers from 0, among all values of an id.
  placeOf({layer, kind, index}) {
    const {kinds, hidden} = this.model;
    return (layer * kinds.length + kinds.indexOf(kind)) * hidden + index;
  }

  valueAt(cell, unit) {
    return this.units[cell.to - 1][this.placeOf(unit)] / 127;
  }

  // Returns the names of the states' units, not of gates, that vary most over the text, the liveliest first.
  liveliest(count) {
    const {kinds, hidden, layers} = this.model, found = [], T = this.units.length;
    for (let layer = 0; layer < layers; layer++) {
      for (const kind of kinds.filter(each => each === "h" || each === "c")) {
        for (let index = 0; index < hidden; index++) {
          const place = this.placeOf({layer, kind, index});
          let sum = 0, squares = 0;
          for (const values of this.units) {
            sum += values[place];
            squares += values[place] ** 2;
          }
          found.push([squares / T - (sum / T) ** 2, `L${layer + 1}.${kind}${index}`]);
        }
      }
    }
    return found.sort((one, two) => two[0] - one[0]).slice(0, count).map(([, name]) => name);
  }
}
