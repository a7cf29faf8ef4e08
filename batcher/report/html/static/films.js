/* Films and sounds of the gallery: only those near the window have a player. */
const Films = (() => {
  const NAME = /\.(mp4|m4v|webm|mov|ogv|mp3|m4a|wav|ogg|flac|aac)$/i;
  const SOUND = /\.(mp3|m4a|wav|ogg|flac|aac)$/i;
  const MOST = 40; /* a browser plays only so many at a time */
  /* What browsers say of a file that is not there; of one that they cannot play they say something else, or nothing. */
  const MISSING = /format error|not found|404|fail/i;

  const near = new Set();
  let settling = 0;
  const observer = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting) near.add(target);
        else { near.delete(target); detach(target); }
      }
      clearTimeout(settling);
      settling = setTimeout(attachNear, 80);
    },
    { rootMargin: "300px 0px" },
  );
  const attachNear = () => {
    const middle = innerHeight / 2;
    const far = (box) => { const at = box.getBoundingClientRect(); return Math.abs((at.top + at.bottom) / 2 - middle); };
    const sorted = near.size > MOST ? [...near].sort((a, b) => far(a) - far(b)) : [...near];
    sorted.slice(MOST).forEach(detach);
    sorted.slice(0, MOST).forEach(attach);
  };
  const say = (box, words) => {
    const why = document.createElement("p");
    why.className = "why";
    why.textContent = words;
    box.classList.add("gone");
    box.append(why);
  };
  const GONE = "The file is not there any more.";
  const UNKNOWN = "This browser does not play it. Open the file with another program.";
  const attach = (box) => {
    if (box.firstElementChild?.tagName === "VIDEO" || box.classList.contains("gone")) return;
    const film = document.createElement("video");
    Object.assign(film, { preload: "metadata", loop: true, playsInline: true, tabIndex: -1, ariaHidden: "true" });
    film.muted = !SOUND.test(box.dataset.film);
    film.addEventListener("error", () => {
      if (!film.isConnected) return;
      const { message } = film.error;
      film.remove();
      say(box, MISSING.test(message) ? GONE : UNKNOWN);
    });
    film.addEventListener("playing", () => box.classList.add("playing"));
    film.addEventListener("pause", () => box.classList.remove("playing"));
    film.src = `${box.dataset.film}#t=0.001`; /* from the first picture on, which stands until it plays */
    box.prepend(film);
  };
  const detach = (box) => {
    const film = box.firstElementChild;
    if (film?.tagName !== "VIDEO") return;
    film.pause();
    film.remove();
    film.removeAttribute("src");
    film.load(); /* lets the player go */
    box.classList.remove("playing");
  };
  const play = (job) => {
    const box = job.box;
    if (!box?.dataset.film) return;
    attach(box);
    const film = box.firstElementChild;
    if (film?.tagName === "VIDEO") film.play().catch(() => {}); /* a browser may refuse; its first picture stays */
  };
  const pause = (job) => {
    const film = job.box?.firstElementChild;
    if (film?.tagName === "VIDEO") film.pause();
  };
  const toggle = (job) => {
    const film = job.box?.firstElementChild;
    if (film?.tagName === "VIDEO" && !film.paused) film.pause();
    else play(job);
  };

  return {
    play, pause, toggle, say, GONE, UNKNOWN, watch: (box) => observer.observe(box),
    is: (url) => NAME.test(url), isSound: (url) => SOUND.test(url),
  };
})();
