// The text as it is seen: a span for each character, coloured by surprisal or by a unit.

const at = id => document.getElementById(id);
const element = (tag, text, className) => {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
};
const signed = value => (value < 0 ? "\u2212" : "+") + Math.abs(value).toFixed(2);

class Painting {
  // `steps` and `bits` are the largest numbers of the classes v0, v1, ... of a unit, and s1, s2, ... of surprisal.
  constructor(session, {steps, bits}) {
    this.session = session;
    this.steps = steps;
    this.bits = bits;
    this.colour = "none"; // or surprisal, or unit
    this.unit = null; // {layer, kind, index, name}, layers from 0
    this.painted = 0; // when the text was drawn last
    this.clear();
    at("text").addEventListener("pointerover", event => {
      const cell = this.cellOf.get(event.target);
      if (cell) at("under").textContent = this.described(cell);
    });
    at("text").addEventListener("pointerleave", () => this.tellLast());
    at("text").addEventListener("keydown", event => this.move(event));
    at("text").addEventListener("blur", () => this.pointAt(null));
  }

  clear() {
    this.spans = [];
    this.cursor = null; // the place of the character that a person has gone to by keys
    this.cellOf = new WeakMap();
    at("text").replaceChildren();
  }

  get byUnit() {
    return this.colour === "unit" && this.unit !== null;
  }

  // The lowest and the highest value of the unit: gates are between 0 and 1.
  get range() {
    return "cgnh".includes(this.unit.kind) ? [-1, 1] : [0, 1];
  }

  // Returns what brings the end of the text into view again, where it is in view now.
  following() {
    const box = at("text"), isAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 60;
    return () => { if (isAtEnd) box.scrollTop = box.scrollHeight; };
  }

  // Adds what is new to the text, and follows its end where a reader is there.
  add() {
    this.painted = performance.now();
    const follow = this.following(), fresh = document.createDocumentFragment();
    for (const cell of this.session.cells.slice(this.spans.length)) {
      const shown = cell.isEnd ? cell.text + "\u2039end\u203a\n"
        : /[\n\t]/.test(cell.text) ? cell.text : Array.from(cell.text, visible).join("");
      const span = element("span", shown);
      this.cellOf.set(span, cell);
      this.spans.push(span);
      this.paint(span, cell);
      fresh.append(span);
    }
    if (!fresh.hasChildNodes()) return;
    at("text").append(fresh);
    follow();
    this.tellLast();
  }

  paint(span, cell) {
    const classes = [["begun", "", "own"][this.session.who[cell.to - 1]]];
    if (cell.text === "\n" || cell.isEnd) classes.push("end-of-line");
    if (this.colour === "surprisal") {
      const bits = this.session.surprisal(cell);
      if (bits >= 1) classes.push("s" + Math.min(this.bits, Math.round(bits)));
    } else if (this.byUnit) {
      const [low, high] = this.range, share = (this.session.valueAt(cell, this.unit) - low) / (high - low);
      classes.push("v" + Math.round(Math.min(1, Math.max(0, share)) * this.steps));
    }
    span.className = classes.join(" ").trim();
  }

  // Colours the whole text anew, and shows what the colours mean.
  again() {
    const isColoured = this.colour === "surprisal" || this.byUnit;
    const follow = this.following();
    at("text").classList.toggle("coloured", isColoured);
    this.spans.forEach((span, place) => this.paint(span, this.session.cells[place]));
    this.spans[this.cursor]?.classList.add("cursor");
    follow();
    at("of-unit").hidden = this.colour !== "unit";
    at("scale").hidden = !isColoured;
    this.tellLast();
    if (!isColoured) return;
    const count = (this.byUnit ? this.steps : this.bits) + 1;
    at("low").textContent = this.byUnit ? (this.range[0] ? "\u22121" : "0") : "expected";
    at("high").textContent = this.byUnit ? "+1" : `${this.bits} bits`;
    const name = step => this.byUnit ? "v" + step : step ? "s" + step : "";
    at("ramp").replaceChildren(...Array.from({length: count}, (_, step) => element("span", "", name(step))));
  }

  // Goes to another character by a key, where the key is one for that.
  move(event) {
    const end = this.spans.length - 1, from = this.cursor;
    const places = {ArrowLeft: (from ?? end + 1) - 1, ArrowRight: (from ?? -1) + 1, Home: 0, End: end};
    if (!(event.key in places) || end < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.pointAt(Math.max(0, Math.min(end, places[event.key])));
  }

  // Marks the character at a place, and says what is known of it; null marks none.
  pointAt(place) {
    this.spans[this.cursor]?.classList.remove("cursor");
    this.cursor = place;
    if (place === null) return;
    this.spans[place].classList.add("cursor");
    this.spans[place].scrollIntoView({block: "nearest"});
    at("status").textContent = this.described(this.session.cells[place]);
  }

  // Returns what is known of a character.
  described(cell) {
    const name = Array.from(cell.text, named).join("") || "\u2039end\u203a";
    const value = this.byUnit ? `, ${this.unit.name} at ${signed(this.session.valueAt(cell, this.unit))}` : "";
    return `${name}: ${this.session.surprisal(cell).toFixed(2)} bits${value}`;
  }

  tellLast() {
    const last = this.session.cells[this.session.cells.length - 1];
    const isShown = this.byUnit && last !== undefined;
    at("under").textContent = isShown ? `${this.unit.name} is at ${signed(this.session.valueAt(last, this.unit))}` : "";
  }
}
