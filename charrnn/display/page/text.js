// Between ids and text: what is typed is read as charrnn reads a prime, and what is shown cannot drive the page.

const UNSEEN = "\u2039U+";
const HARMLESS = /[\u200b\u200c\u200d\u2060\u00ad]/;
const DISTURBING = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;

// Returns what is shown in the place of a character: itself, or a symbol for one that would turn or move others.
function visible(character) {
  if (!DISTURBING.test(character) || HARMLESS.test(character)) return character;
  const code = character.codePointAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  return code === 0x7f ? "\u2421" : UNSEEN + code.toString(16).toUpperCase().padStart(4, "0") + "\u203a";
}

// Returns a character as it is named on a button or in a sentence, where a line end must not take effect.
function named(character) {
  return {"\n": "\u21b5", "\t": "\u2192", " ": "\u2423"}[character] || visible(character);
}

// Decodes UTF-8 byte by byte (https://encoding.spec.whatwg.org/#utf-8-decoder), as Python's "replace" does.
class Utf8 {
  constructor() {
    this.clear();
  }

  clear() {
    this.needed = this.code = 0;
    [this.low, this.high] = [0x80, 0xbf];
  }

  // Returns the text that a byte completes, which is empty within a character.
  next(byte) {
    if (this.needed) {
      if (byte < this.low || byte > this.high) {
        this.clear();
        return "\ufffd" + this.next(byte);
      }
      [this.low, this.high] = [0x80, 0xbf];
      this.code = this.code << 6 | byte & 0x3f;
      if (--this.needed) return "";
      const text = String.fromCodePoint(this.code);
      this.clear();
      return text;
    }
    if (byte < 0x80) return String.fromCharCode(byte);
    if (byte < 0xc2 || byte > 0xf4) return "\ufffd";
    this.needed = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
    this.code = byte & (byte < 0xe0 ? 0x1f : byte < 0xf0 ? 0x0f : 0x07);
    if (byte === 0xe0) this.low = 0xa0;
    if (byte === 0xed) this.high = 0x9f;
    if (byte === 0xf0) this.low = 0x90;
    if (byte === 0xf4) this.high = 0x8f;
    return "";
  }

  finish() {
    const left = this.needed ? "\ufffd" : "";
    this.clear();
    return left;
  }
}

class Characters {
  // `said` has kind (text or bytes), points (the code points by id), end, unknown (ids or null), and how a text is
  // read: lineEnd (or null), lowercase, normalize.
  constructor(said) {
    this.said = said;
    this.ids = new Map(said.points.map((point, id) => [point, id]));
  }

  get isBytes() {
    return this.said.kind === "bytes";
  }

  // Returns the ids of a text, read as the model's own was (line ends, normal form, case), and the characters that the
  // model does not know, which have no ids. Where it has no normal form, that is taken in which it knows most.
  encode(text) {
    const {lineEnd, lowercase, normalize} = this.said;
    if (lineEnd !== null) text = text.replace(/\r\n|\r|\n/g, lineEnd);
    if (this.isBytes) return this.encodeAs(text);
    if (lowercase) text = text.toLowerCase();
    if (normalize !== "none") return this.encodeAs(text.normalize(normalize.toUpperCase()));
    const ways = [text, text.normalize("NFC"), text.normalize("NFD")].map(each => this.encodeAs(each));
    return ways.reduce((best, way) => way.unknown.length < best.unknown.length ? way : best);
  }

  encodeAs(text) {
    const ids = [], unknown = new Set();
    for (const character of text) {
      const point = character.codePointAt(0), isHalf = point >= 0xd800 && point <= 0xdfff;
      if (!this.isBytes) {
        const id = this.ids.has(point) ? this.ids.get(point) : this.said.unknown;
        if (id === null) unknown.add(character);
        else ids.push(id);
      } else if (point >= 0xdc80 && point <= 0xdcff) {
        ids.push(point - 0xdc00); // a byte that is not UTF-8, as Python's command line gives it
      } else if (isHalf) {
        unknown.add(character);
      } else {
        ids.push(...new TextEncoder().encode(character));
      }
    }
    return {ids, unknown: [...unknown]};
  }

  // Returns the name of an id on a button.
  name(id) {
    if (id === this.said.end) return "\u2039end\u203a";
    if (this.isBytes && id > 0x7f) return "\u2039" + id.toString(16).toUpperCase() + "\u203a";
    return named(String.fromCodePoint(this.said.points[id]));
  }

  // Returns an object whose `next` gives the text that an id completes, and whose `finish` what is left.
  decoder() {
    const {end, points} = this.said;
    if (!this.isBytes) return {next: id => id === end ? "" : String.fromCodePoint(points[id]), finish: () => ""};
    const bytes = new Utf8();
    return {next: id => id === end ? bytes.finish() : bytes.next(id), finish: () => bytes.finish()};
  }
}
