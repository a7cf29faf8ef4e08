/* The keyboard. */
(() => {
  Gallery.begin();

  const go = (card) => {
    if (!card) return;
    card.focus({ preventScroll: true });
    card.scrollIntoView({ block: "nearest", behavior: "instant" });
  };

  /* The card above or below whose middle is nearest, by what the eye sees; among those before or after it. */
  const NEIGHBOURS = 80;
  const vertical = (card, down, cards, here) => {
    const middle = (it) => { const box = it.getBoundingClientRect(); return [(box.left + box.right) / 2, box.top]; };
    const [x, y] = middle(card);
    let found = null, best = Infinity;
    for (const other of down ? cards.slice(here + 1, here + NEIGHBOURS) : cards.slice(Math.max(0, here - NEIGHBOURS), here)) {
      const [otherX, otherY] = middle(other);
      const step = (otherY - y) * (down ? 1 : -1);
      if (step < 8) continue;
      const cost = step + Math.abs(otherX - x) * 2;
      if (cost < best) [found, best] = [other, cost];
    }
    return found;
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const at = event.target;
    if (at.matches("input, select, textarea")) {
      if (event.key === "Escape" && at === Gallery.search) at.blur();
      return;
    }
    const card = at.closest(".card");
    const does = { "/": () => Gallery.search.focus(), "?": () => Gallery.help.showModal(), m: () => Gallery.showManifest() };
    if (card) {
      const cards = Gallery.visible();
      const here = cards.indexOf(card);
      Object.assign(does, {
        ArrowRight: () => go(cards[here + 1]),
        ArrowLeft: () => go(cards[here - 1]),
        ArrowDown: () => go(vertical(card, true, cards, here)),
        ArrowUp: () => go(vertical(card, false, cards, here)),
        Home: () => go(cards[0]),
        End: () => go(cards.at(-1)),
        f: () => Gallery.mark(card.job, "f"),
        x: () => Gallery.mark(card.job, "x"),
      });
      if (at === card) Object.assign(does, { " ": () => Films.toggle(card.job), Enter: () => Gallery.details(card.job) });
    }
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (!Object.hasOwn(does, key)) return;
    event.preventDefault();
    does[key]();
  });
})();
