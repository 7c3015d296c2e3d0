// Settings in the address of the page, after its #.

// Returns settings, texts by their names, as a fragment. A prime of bytes may have halves of UTF-16 pairs in it, of which
// URLSearchParams makes U+FFFD: such a prime stands there as JSON.
function fragmentOf(settings) {
  const said = new URLSearchParams(settings);
  if (said.get("prime") !== settings.prime) {
    said.delete("prime");
    said.set("prime-json", JSON.stringify(settings.prime));
  }
  return "#" + said;
}

// Returns the prime in a fragment that was taken apart, or null.
function primeIn(said) {
  try {
    const prime = JSON.parse(said.get("prime-json"));
    if (typeof prime === "string") return prime;
  } catch {
    // what is no JSON is no prime
  }
  return said.get("prime");
}
