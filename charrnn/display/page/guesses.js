// The likeliest next characters as buttons. The buttons stay, and what stands in them changes, but not in one that is
// pressed: so a click is of the character that was pressed, however long it takes, and the focus stays in its place.

const RELEASED = 300; // milliseconds after a pointer is up in which its click comes

class Guesses {
  // `pick` is handed the id and the name of what is chosen.
  constructor(count, characters, pick) {
    this.characters = characters;
    this.coming = null; // what is to be shown, [id, probability] each, once nothing is pressed
    this.isPressed = false;
    this.timer = null;
    this.buttons = Array.from({length: count}, () => this.made(pick));
    const list = at("next");
    list.addEventListener("pointerdown", () => this.press());
    list.addEventListener("keydown", event => { if (event.key === " ") this.press(); });
    for (const kind of ["pointerup", "pointercancel", "keyup"]) {
      window.addEventListener(kind, () => {
        clearTimeout(this.timer);
        if (this.isPressed) this.timer = setTimeout(() => this.release(), RELEASED);
      });
    }
  }

  made(pick) {
    const button = element("button", ""), item = document.createElement("li");
    const parts = {button, bar: document.createElement("i"), name: element("bdi", ""), share: element("span", "")};
    button.append(parts.bar, parts.name, parts.share);
    button.title = "put this character next";
    button.addEventListener("click", () => {
      const {id} = parts;
      this.release();
      if (id !== undefined) pick(id, this.characters.name(id));
    });
    item.append(button);
    at("next").append(item);
    return parts;
  }

  press() {
    clearTimeout(this.timer);
    this.isPressed = true;
  }

  release() {
    clearTimeout(this.timer);
    this.isPressed = false;
    this.paint();
  }

  show(guesses) {
    this.coming = guesses;
    if (!this.isPressed) this.paint();
  }

  paint() {
    this.coming?.forEach(([id, share], place) => {
      const parts = this.buttons[place];
      parts.id = id;
      parts.bar.style.width = `${share * 100}%`;
      parts.name.textContent = this.characters.name(id);
      parts.share.textContent = share < 0.0005 ? "<0.1 %" : `${(share * 100).toFixed(share < 0.0995 ? 1 : 0)} %`;
    });
    this.coming = null;
  }
}
