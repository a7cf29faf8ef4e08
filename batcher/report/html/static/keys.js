/* The keyboard: it acts on the card under the mouse, or on that which has its mark, whichever moved last. */
(() => {
  /* Thousands of cards take their time: what stands above them is painted first. */
  requestAnimationFrame(() => setTimeout(Gallery.begin));
  const { byId, matrix } = Gallery;
  const search = byId("search");

  let pointed = null;
  let place = "";
  document.addEventListener("pointermove", (event) => {
    const now = `${event.clientX} ${event.clientY}`; /* what is scrolled under a mouse that rests was not pointed at */
    if (now !== place) pointed = event.target.closest?.("#matrix .card") ?? null;
    place = now;
  });

  const go = (card) => {
    if (!card) return;
    if (pointed) Films.pause(pointed.job);
    pointed = null;
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
    if (event.key === "Tab") pointed = null;
    const at = event.target;
    if (at.matches("input:not([type=checkbox]), select, textarea")) {
      if (event.key === "Escape" && at === search) at.blur();
      return;
    }
    const focused = at.closest(".card");
    const card = pointed?.isConnected && !pointed.hidden ? pointed : focused;
    const does = { "/": () => search.focus(), "?": () => byId("help").showModal(), ...Gallery.does };
    if (card) {
      Object.assign(does, { f: () => Gallery.mark(card.job, "f"), x: () => Gallery.mark(card.job, "x") });
      /* a button or link that the keyboard went to last keeps its own keys */
      if (pointed || !at.matches("button, a, input, summary"))
        Object.assign(does, { " ": () => Films.toggle(card.job), Enter: () => Gallery.details(card.job) });
    }
    if (focused) { /* else the arrows scroll */
      const cards = Gallery.visible();
      const here = cards.indexOf(card);
      Object.assign(does, {
        ArrowRight: () => go(cards[here + 1]),
        ArrowLeft: () => go(cards[here - 1]),
        ArrowDown: () => go(vertical(card, true, cards, here)),
        ArrowUp: () => go(vertical(card, false, cards, here)),
        Home: () => go(cards[0]),
        End: () => go(cards.at(-1)),
      });
    }
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (!Object.hasOwn(does, key)) return;
    event.preventDefault();
    does[key]();
  });
})();
