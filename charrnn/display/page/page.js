// The page: what a person sees and does, over step.js, draw.js, text.js and session.js. All text of the model or of a
// person is put into the document as text, never as HTML.

const MOMENT = 12; // milliseconds of computing between which the page answers
const FRAME = 50; // milliseconds between two pictures of the text, while the model writes
const GUESSES = 10;
const NUMBERS = {temperature: value => value >= 0 && value <= 3e38, "top-p": value => value > 0 && value <= 1};

const counted = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;

class Page {
  constructor(said, model) {
    this.said = said;
    this.model = model;
    this.characters = new Characters(said.characters);
    this.session = new Session(model, this.characters, said.start, said.limits.characters);
    this.prime = said.settings.prime; // as it was given: a field for text would change some of it
    this.left = 0; // characters still to write
    this.painting = new Painting(this.session, said.limits);
    this.numbers = {}; // those of NUMBERS that were typed or moved to last
    this.guesses = new Guesses(Math.min(GUESSES, model.vocabulary), this.characters, (id, name) => {
      if (this.put([id])) this.tell(`Picked ${name}.`);
    });
    this.guessed = 0; // when the guesses were shown last
    this.count = 0; // characters of the last stretch of writing
    this.began = 0; // when its first one was written
    this.timer = null;
    this.channel = new MessageChannel();
    this.channel.port1.onmessage = () => {
      this.isComing = false;
      this.go();
    };
    this.fill();
    this.listen();
    if (location.hash.length > 1) this.applyFragment();
    else this.startOver();
  }

  // ------------------------------------------------------------------------------------------------------- controls

  fill() {
    const {found, settings} = this.said;
    this.set(settings);
    at("known").hidden = !found.length;
    at("found").append(new Option("choose", ""), ...found.map(
      ([name, label]) => new Option(`${Array.from(label, visible).join("")} (${name})`, name)));
    const {layers, kinds, hidden} = this.model, last = layers > 1 ? ` to L${layers}` : "";
    this.unitHelp = `A unit is a layer (L1${last}), a kind (${kinds.join(", ")}) and a number (0 to ${hidden - 1}), `
      + `such as L1.${kinds.includes("c") ? "c" : "h"}0.`;
    at("unit-help").textContent = this.unitHelp;
  }

  set({prime, temperature, top_p, seed, length}) {
    this.prime = prime;
    at("prime").value = prime;
    for (const [id, value] of [["temperature", temperature], ["top-p", top_p]]) {
      at(id).value = value;
      this.take(id);
      this.settle(id);
    }
    at("seed").value = seed;
    at("length").value = length;
    this.showNumbers();
  }

  // Takes the number in a field, if it is one, and moves the slider beside it as far as that goes.
  take(id) {
    const typed = at(id).value.trim().replace(",", "."), value = Number(typed);
    if (!typed || !NUMBERS[id](value)) return;
    this.numbers[id] = value;
    at(id + "-slider").value = value;
  }

  // Shows the number that is taken in its field.
  settle(id) {
    at(id).value = this.numbers[id];
  }

  showNumbers() {
    const value = Number(at("at").value);
    at("at-shown").textContent = (value > 0 ? "+" : "") + value.toFixed(2);
  }

  listen() {
    const press = (id, act) => at(id).addEventListener("click", () => act());
    press("write", () => this.left ? this.stop() : this.write(this.length()));
    press("one", () => this.write(1));
    press("undo", () => this.change(() => this.session.undo()));
    press("again", () => {
      this.startOver();
      this.write(this.length());
    });
    press("copy", () => this.copy(this.text(), "The text was copied."));
    press("share", () => this.share());
    press("add", () => this.addOwn());
    press("lively", () => this.chooseLively());
    press("another", () => {
      at("seed").value = crypto.getRandomValues(new Uint32Array(1))[0];
      this.tell("The seed is another one: Start again writes another text.");
    });
    at("own").addEventListener("keydown", event => { if (event.key === "Enter" && !event.isComposing) this.addOwn(); });
    at("prime").addEventListener("keydown", event => {
      if (event.key === "Enter" && !event.isComposing && (event.ctrlKey || event.metaKey)) at("again").click();
    });
    at("prime").addEventListener("input", () => {
      this.prime = at("prime").value;
      if (!this.session.written && !this.left) this.startOver();
      else this.tell("The beginning was changed: Start again reads it.");
    });
    document.addEventListener("keydown", event => { if (event.key === "Escape") this.stop(); });
    for (const id of Object.keys(NUMBERS)) {
      at(id).addEventListener("input", () => this.take(id));
      at(id).addEventListener("change", () => this.settle(id));
      at(id + "-slider").addEventListener("input", () => {
        at(id).value = at(id + "-slider").value;
        this.take(id);
      });
    }
    for (const name of ["none", "surprisal", "unit"]) {
      at("colour-" + name).addEventListener("change", () => this.paintBy(name));
    }
    at("found").addEventListener("change", () => { if (at("found").value) this.choose(at("found").value); });
    at("unit").addEventListener("change", () => this.choose(at("unit").value));
    at("hold").addEventListener("change", () => this.hold());
    at("at").addEventListener("input", () => {
      this.showNumbers();
      this.hold();
    });
    window.addEventListener("hashchange", () => this.applyFragment());
  }

  // Returns a whole number that was typed, or what to take instead, which then stands in the field.
  whole(id, least, most, instead) {
    const typed = at(id).value.trim();
    const value = /^\d{1,19}$/.test(typed) ? BigInt(typed) : BigInt(instead);
    const kept = value < least ? BigInt(least) : value > most ? BigInt(most) : value;
    if (String(kept) !== typed) at(id).value = kept;
    return kept;
  }

  length() {
    return Number(this.whole("length", 1n, BigInt(this.session.most), 1000n));
  }

  drawing() {
    const seed = this.whole("seed", 0n, (1n << 63n) - 1n, 1n);
    return {temperature: this.numbers.temperature, topP: this.numbers["top-p"], seed};
  }

  // -------------------------------------------------------------------------------------------------------- writing

  startOver() {
    this.left = 0;
    const {ids, unknown} = this.characters.encode(this.prime);
    const kept = ids.slice(0, this.said.limits.beginning);
    this.session.begin(kept);
    this.painting.clear();
    const said = [];
    if (unknown.length) said.push(this.leftOut(unknown));
    if (kept.length < ids.length) said.push(`The beginning is read up to ${counted(kept.length, "character")}.`);
    this.tell(said.join(" ") || "Ready.");
    this.started();
  }

  leftOut(unknown) {
    const names = unknown.slice(0, 8).map(one => `${named(one)} (U+${
      one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")})`);
    return `The model has never met ${names.join(", ")}${unknown.length > 8 ? " and others" : ""}: left out.`;
  }

  write(count) {
    if (this.session.isFull) {
      this.tell(`The text has ${counted(this.session.most, "character")}, and a page keeps no more: undo, or start again.`);
      return;
    }
    this.session.mark();
    this.left = count;
    this.count = 0;
    this.started();
  }

  stop() {
    if (this.left) {
      this.left = 0;
      this.finished();
    }
  }

  addOwn() {
    const {ids, unknown} = this.characters.encode(at("own").value);
    if (unknown.length) this.tell(this.leftOut(unknown));
    if (!ids.length || !this.put(ids)) return;
    at("own").value = "";
    if (!unknown.length) this.tell("Added.");
  }

  // Puts characters behind the text, and returns whether it has room for them.
  put(ids) {
    if (this.session.ids.length + ids.length > this.session.most) {
      this.tell(`The text would have more than ${counted(this.session.most, "character")}, which a page does not keep.`);
      return false;
    }
    this.stop();
    this.session.mark();
    this.session.add(ids);
    this.started();
    return true;
  }

  change(act) {
    this.stop();
    act();
    this.painting.clear();
    this.show();
    this.tell("Undone.");
  }

  started() {
    this.next(0);
    this.showButtons();
  }

  // Has `go` called after a pause, and without one as soon as the page has answered what waits.
  next(pause) {
    clearTimeout(this.timer);
    if (pause) this.timer = setTimeout(() => this.go(), pause);
    else if (!this.isComing) this.channel.port2.postMessage(this.isComing = true);
  }

  go() {
    const pace = Number(at("pace").value), until = performance.now() + MOMENT, session = this.session;
    const wasReading = session.isReading;
    let wrote = false;
    try {
      while (performance.now() < until) {
        if (session.isReading) {
          session.readNext();
        } else if (this.left && !session.isFull && !(wrote && session.isEnded)) {
          if (!this.count) this.began = performance.now();
          session.writeNext(this.drawing());
          this.left--;
          this.count++;
          wrote = true;
          if (pace || session.isEnded) break;
        } else {
          break;
        }
      }
    } catch (error) {
      this.left = 0;
      session.giveUp();
      this.show();
      this.tell(`The model cannot go on: ${error.message}.`);
      return;
    }
    if (wasReading && !session.isReading) this.showButtons();
    this.chooseAny();
    if (wrote && (session.isEnded || session.isFull)) this.left = 0;
    const isGoing = session.isReading || this.left > 0;
    if (!isGoing || pace || performance.now() - this.painting.painted > FRAME) this.painting.add();
    if (isGoing) {
      this.next(this.left && pace && !session.isReading ? 1000 / pace : 0);
      this.showGuesses(false);
    } else if (wrote) {
      this.finished();
    } else {
      this.showGuesses(true);
      this.showButtons();
    }
  }

  finished() {
    this.show();
    this.showSpeed();
    const count = this.count;
    if (this.session.isEnded) this.tell(`The document has ended after ${counted(count, "character")}; the next one may follow.`);
    else this.tell(`Wrote ${counted(count, "character")}.`);
  }

  showSpeed() {
    if (this.count <= 20) return;
    const speed = this.count / (performance.now() - this.began) * 1000, products = speed * this.model.cost / 1e6;
    at("speed").textContent = `${Math.round(speed).toLocaleString("en")} characters a second, `
      + `${Math.round(products).toLocaleString("en")} million multiply-adds a second`;
  }

  // ---------------------------------------------------------------------------------------------------- what is seen

  tell(sentence) {
    at("status").textContent = sentence;
  }

  showButtons() {
    at("write").textContent = this.left ? "Stop" : this.session.written ? "Go on" : "Write";
    at("one").disabled = this.left > 0;
    at("undo").disabled = this.session.isReading || !this.session.canUndo;
    at("copy").disabled = !this.session.cells.length;
    at("text").classList.toggle("going", this.left > 0);
  }

  // Shows the likeliest characters; while the model writes, a few times a second.
  showGuesses(isNow) {
    const now = performance.now();
    if (!isNow && now - this.guessed < 200) return;
    this.guessed = now;
    if (this.left) this.showSpeed();
    this.guesses.show(likeliest(this.model.logits, GUESSES));
  }

  // Shows the text, the guesses and the buttons as they are now.
  show() {
    this.painting.add();
    this.showGuesses(true);
    this.showButtons();
  }

  // ---------------------------------------------------------------------------------------------------------- units

  get unit() {
    return this.painting.unit;
  }

  paintBy(name) {
    this.painting.colour = name;
    at("colour-" + name).checked = true;
    this.chooseAny();
    this.painting.again();
  }

  // Chooses a unit where the text is to be coloured by one and none was named: by what has been read, once it has.
  chooseAny() {
    if (this.painting.colour !== "unit" || this.unit) return;
    if (this.said.found.length) this.choose(this.said.found[0][0]);
    else if (!this.session.isReading && this.session.units.length) this.choose(this.session.liveliest(1)[0]);
  }

  // Takes a unit by its name; a minus before it, as inspect --find prints it, is no part of the name.
  choose(name) {
    const match = /^-?L(\d{1,6})\.([a-z])(\d{1,9})$/.exec(name.trim());
    const unit = match && {layer: Number(match[1]) - 1, kind: match[2], index: Number(match[3]),
      name: match[0].replace(/^-/, "")};
    const {layers, hidden, kinds} = this.model;
    if (!unit || unit.layer < 0 || unit.layer >= layers || unit.index >= hidden || !kinds.includes(unit.kind)) {
      this.tell(`There is no unit ${Array.from(name, visible).join("") || "without a name"}. ${this.unitHelp}`);
      return;
    }
    this.release();
    this.painting.unit = unit;
    at("unit").value = unit.name;
    at("found").value = this.said.found.some(([known]) => known === unit.name) ? unit.name : "";
    const [low, high] = this.painting.range;
    Object.assign(at("at"), {min: low, max: high, step: 0.05});
    at("at").value = high;
    this.showNumbers();
    this.painting.again();
  }

  // Goes on to the next of the units that vary most over the text.
  chooseLively() {
    if (!this.session.units.length) return;
    const names = this.session.liveliest(12);
    this.choose(names[(names.indexOf(this.unit?.name) + 1) % names.length]);
    this.tell(`${this.unit.name} is one of the units that vary most over this text.`);
  }

  release() {
    at("hold").checked = false;
    this.model.held = [];
  }

  hold() {
    if (!this.unit || !at("hold").checked) {
      if (this.model.held.length) this.tell(`${this.unit.name} is free again.`);
      this.model.held = [];
      return;
    }
    const value = Number(at("at").value);
    this.model.held = [{...this.unit, value}];
    this.tell(`${this.unit.name} is held at ${signed(value)} from here on; Start again holds it from the beginning.`);
  }

  // -------------------------------------------------------------------------------------------------------- sharing

  text() {
    return this.session.cells.map(cell => cell.isEnd ? cell.text + "\n" : cell.text).join("");
  }

  async copy(text, done) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const field = element("textarea", text);
      document.body.append(field);
      field.select();
      const isDone = document.execCommand("copy");
      field.remove();
      if (!isDone) done = "The browser does not let this page copy.";
    }
    this.tell(done);
  }

  share() {
    const {temperature, topP, seed} = this.drawing();
    const said = {prime: this.prime, temperature, "top-p": topP, seed, length: this.length(), pace: at("pace").value};
    if (this.painting.colour !== "none") said.colour = this.painting.colour;
    if (this.unit) said.unit = this.unit.name;
    if (this.model.held.length) said.hold = at("at").value;
    history.replaceState(null, "", fragmentOf(said));
    this.copy(location.href, "The address of this page now holds the settings, and was copied.");
  }

  // Takes settings from the address; what is missing or makes no sense there stays as it is.
  applyFragment() {
    const said = new URLSearchParams(location.hash.slice(1));
    const isNumber = text => text !== null && text.trim() !== "" && Number.isFinite(Number(text));
    const number = (name, now) => isNumber(said.get(name)) ? Number(said.get(name)) : now;
    this.set({
      prime: primeIn(said) ?? this.prime,
      temperature: number("temperature", at("temperature").value),
      top_p: number("top-p", at("top-p").value),
      seed: /^\d{1,19}$/.test(said.get("seed") || "") ? said.get("seed") : at("seed").value,
      length: number("length", at("length").value),
    });
    const pace = [...at("pace").options].find(each => each.value === said.get("pace"));
    if (pace) pace.selected = true;
    this.startOver();
    if (said.has("unit")) this.choose(said.get("unit"));
    if (["none", "surprisal", "unit"].includes(said.get("colour"))) this.paintBy(said.get("colour"));
    if (this.unit && said.has("hold")) {
      at("at").value = number("hold", 1);
      at("hold").checked = true;
      this.showNumbers();
      this.hold();
      this.startOver();
    }
  }
}


// The window is drawn before the model is read, which takes a while where it is large.
requestAnimationFrame(() => setTimeout(() => {
  const said = JSON.parse(at("said").textContent), arrays = at("arrays");
  const model = new Model(said.model, bytesOf(arrays.textContent));
  arrays.remove();
  globalThis.page = new Page(said, model);
  document.body.dataset.state = "ready";
}));
