/* The gallery. Every text from outside becomes a text node or an attribute's value; no markup is ever parsed here. */
const Gallery = (() => {
  const byId = (id) => document.getElementById(id);
  const { all: jobs, data, axes, values, shown, fileName } = Jobs;
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const number = new Intl.NumberFormat("en");
  const MOST_CHIPS = 8;
  const MOST_OPTIONS = 200;
  const MOST_FACTS = 6;
  const NARROWEST = 156; /* pixels of a column with its gap */
  const PICTURE = /\.(png|jpe?g|webp|gif|avif)$/i;
  const LEFT_OUT = ["planned", "cancelled"]; /* at first: nothing of them can be seen */

  const make = (tag, given = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(given)) {
      if (value === undefined || value === null || value === false) continue;
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  };
  const outside = (text) => make("bdi", {}, text);
  const nameOf = (url) => make("bdi", { dir: "ltr" }, fileName(url));
  const count = (n, noun) => `${number.format(n)} ${noun}${n === 1 ? "" : "s"}`;
  /* What a page for the ledger's owner says of a job besides: on its card, as rows of its details, and below both. */
  const more = { said: () => [], rows: () => [], card: () => [], body: () => [], chain: () => [], chained: () => [] };

  /* ---- what this browser keeps */

  const KEY = `batcher-report:${data.ledger}`;
  const recall = (key) => {
    try { return JSON.parse(localStorage.getItem(key) ?? "{}") ?? {}; }
    catch { byId("unkept").hidden = false; return {}; }
  };
  const keep = (key, value) => {
    try { localStorage.setItem(key, JSON.stringify(value)); } catch { byId("unkept").hidden = false; }
  };

  /* ---- marks: of this page's jobs, and of others that the browser knows of */

  const marks = new Map(Object.entries(recall(KEY)).filter(([, mark]) => mark === "f" || mark === "x"));
  const marked = (mark) => jobs.filter((job) => marks.get(job.id) === mark);
  const heard = []; /* who wants to know of each change */
  const changed = () => {
    keep(KEY, Object.fromEntries(marks));
    for (const tell of heard) tell();
    if (chosen.get("mark")?.size) filter();
  };
  const mark = (job, which) => {
    if (marks.get(job.id) === which) marks.delete(job.id);
    else marks.set(job.id, which);
    showMark(job);
    changed();
  };
  const showMark = (job) => {
    const it = marks.get(job.id);
    job.card.dataset.mark = it ?? "";
    for (const button of job.card.querySelectorAll("[data-which]"))
      button.setAttribute("aria-pressed", String(button.dataset.which === it));
  };
  const replaceMarks = (found) => {
    for (const job of jobs) {
      if (found.has(job.id)) marks.set(job.id, found.get(job.id));
      else marks.delete(job.id);
      showMark(job);
    }
    changed();
  };

  /* ---- cards */

  const ratio = (width, height) => Math.min(2.4, Math.max(0.62, width / height));
  const shape = (job) => {
    if (job.shape) return ratio(job.shape, 1);
    const found = /^(\d+(?:\.\d+)?):(\d+(?:\.\d+)?)$/.exec(job.all.aspect_ratio ?? "");
    return job.files.length && found && Number(found[2]) ? ratio(found[1], found[2]) : 1;
  };
  const media = (job) => {
    const box = make("div", { class: "media" });
    job.box = box;
    const [file] = job.files;
    if (!file) {
      box.classList.add("none");
      const why = (job.gone && Films.GONE) || job.message || job.code || (job.status === "succeeded" ? "Its file is not saved." : "");
      box.append(make("p", { class: "state" }, job.status), make("p", { class: "why" }, outside(why)));
    } else if (Films.is(file)) {
      box.dataset.film = file;
      if (Films.isSound(file)) box.classList.add("sound");
      box.addEventListener("click", () => { job.card.focus({ preventScroll: true }); Films.toggle(job); });
      Films.watch(box);
    } else if (PICTURE.test(file)) {
      const picture = make("img", { loading: "lazy", decoding: "async", alt: "" });
      picture.addEventListener("error", () => { picture.remove(); Films.say(box, Films.GONE); });
      picture.src = file;
      box.append(picture);
    } else Films.say(box, Films.UNKNOWN);
    return box;
  };

  const markButton = (job, which, sign, name) =>
    make("button", { type: "button", "data-which": which, "aria-pressed": "false", "aria-label": name, title: name,
      tabindex: "-1", onclick: () => mark(job, which) }, sign);
  const facts = Jobs.grouping.map(({ kind, name }) => ({ name, title: name.slice(name.startsWith(`${kind}.`) ? kind.length + 1 : 0) }));

  const build = (job) => {
    job.card = make("article", { class: "card", tabindex: "-1", "data-status": job.status,
      "aria-label": `${job.name}, take ${job.take}, ${job.status}` });
    job.card.job = job;
    job.card.style.setProperty("--shape", shape(job));
    const own = facts.map(({ name, title }) => [title, axes.get(name)(job)])
      .filter(([, value]) => value !== undefined && value !== null && String(value).length <= 24).slice(0, MOST_FACTS)
      .map(([title, value]) => make("li", {}, make("span", {}, `${title} `), outside(shown(value))));
    const [file] = job.files;
    const said = [`take ${job.take}`, ...more.said(job), ...(job.files.length > 1 ? [`${job.files.length} files`] : [])];
    job.card.append(
      media(job),
      make("div", { class: "marks" },
        markButton(job, "f", "★", "Favourite (F)"), markButton(job, "x", "✕", "Reject (X)"),
        make("button", { type: "button", tabindex: "-1", "aria-label": "Everything about it (Enter)", title: "Everything about it (Enter)",
          onclick: () => details(job) }, "⋯")),
      make("p", { class: "prompt", dir: "auto", title: job.prompt.slice(0, 1000) }, job.prompt),
      ...(own.length ? [make("ul", { class: "params" }, ...own)] : []),
      make("p", { class: "meta" },
        ...(job.status === "succeeded" ? [] : [make("b", {}, job.status), " · "]), said.join(" · ")),
      make("p", { class: "meta" },
        file ? make("a", { href: file, tabindex: "-1" }, nameOf(file)) : null,
        file ? " " : null, make("code", { title: job.id }, job.id.slice(0, 12))),
      ...more.chain(job),
      ...more.card(job),
    );
    showMark(job);
  };

  const large = (job, file) =>
    Films.is(file) ? make("video", { controls: true, loop: true, playsinline: true, src: file, "aria-label": job.name })
      : PICTURE.test(file) ? make("img", { src: file, alt: "" }) : null;
  const details = (job) => {
    byId("job-title").replaceChildren(outside(job.name));
    const rows = [
      ["status", job.status], ["reason", [job.code, job.message].filter(Boolean).join(": ")], ["campaign", job.campaign],
      ["model", job.model], ...Object.entries(job.all).map(([name, value]) => [name, shown(value) + (name in job.params ? "" : " (the model's default)")]),
      ...Object.entries(job.vars), ...Object.entries(job.tags ?? {}),
      ...job.references.filter((it) => !it.text.startsWith("result:")).map((it) => ["reference", it.text]), ["take", job.take], ...more.rows(job), ["job", job.id],
    ].filter(([, value]) => value !== null && value !== undefined && value !== "");
    Films.pause(job);
    for (const film of byId("job-body").querySelectorAll("video")) film.pause();
    const shows = job.files.map((file) => large(job, file)).filter(Boolean);
    byId("job-body").replaceChildren(
      ...[...shows, make("p", { class: "prompt full", dir: "auto" }, job.prompt),
        make("dl", {}, ...more.chained(job).flatMap(([name, node]) => [make("dt", {}, name), make("dd", {}, node)]),
          ...rows.flatMap(([name, value]) => [make("dt", {}, outside(name)), make("dd", {}, outside(String(value)))]),
          ...(job.files.length ? [make("dt", {}, job.files.length > 1 ? "files" : "file"),
            make("dd", {}, ...job.files.flatMap((url) => [make("a", { href: url }, nameOf(url)), " "]))] : [])),
        ...more.body(job)]);
    if (!byId("job").open) byId("job").showModal(); /* else it leads from one job of a chain to another */
    byId("job").scrollTop = 0;
    const [first] = shows;
    if (first?.tagName === "VIDEO" && !still.matches) { first.muted = !Films.isSound(first.src); first.play().catch(() => {}); }
  };
  byId("job").addEventListener("close", () => {
    for (const film of byId("job-body").querySelectorAll("video")) { film.removeAttribute("src"); film.load(); }
    byId("job-body").replaceChildren();
  });

  /* ---- the grid */

  const matrix = byId("matrix");
  const label = (axis, value) =>
    axis === "prompt" || axis === Jobs.EVERY ? shown(value) : `${axis.replace(/^(param|var|tag)\./, "")} ${shown(value)}`;
  /* Beside each other in columns, films of several shapes stand in boxes of one shape. */
  const shapes = new Set(jobs.filter((job) => job.files.length).map(shape));
  matrix.style.setProperty("--one-shape", shapes.size === 1 ? [...shapes][0] : 1);

  const lay = () => {
    const [rows, columns] = [byId("rows").value, byId("columns").value];
    const across = columns ? values.get(columns) : [null];
    const down = rows ? values.get(rows) : [null];
    const rowOf = rows ? axes.get(rows) : () => null;
    const columnOf = columns ? axes.get(columns) : () => null;
    const cells = new Map();
    for (const job of jobs) {
      const key = JSON.stringify([rowOf(job) ?? null, columnOf(job) ?? null]);
      if (!cells.has(key)) cells.set(key, []);
      cells.get(key).push(job.card);
    }
    const parts = [];
    if (columns)
      parts.push(make("div", { class: "heads" }, ...across.map((value) => make("p", {}, outside(label(columns, value))))));
    for (const value of down) {
      const row = make("section", { class: "row", "aria-label": rows ? label(rows, value) : "All" });
      if (rows) row.append(make("h3", {}, outside(label(rows, value)), make("span", { class: "dim" })));
      row.append(make("div", { class: "cells" }, ...across.map((other) => {
        const cell = make("div", { class: columns ? "cell" : "cell flow" });
        if (columns) cell.append(make("p", { class: "which" }, outside(label(columns, other))));
        cell.append(...(cells.get(JSON.stringify([value, other])) ?? []));
        return cell;
      })));
      parts.push(row);
    }
    matrix.replaceChildren(...parts);
    filter();
  };
  const relay = () => {
    keep(`${KEY}:layout`, Object.fromEntries(["rows", "columns", "size"].map((id) => [id, byId(id).value])));
    matrix.style.setProperty("--card", `${byId("size").value}px`);
    lay();
  };

  /* Columns that do not fit beside each other are scrolled. */
  let across = 1;
  const fit = () => matrix.classList.toggle("wide", across * NARROWEST > matrix.clientWidth && innerWidth > 700);

  /* ---- filters */

  const chosen = new Map();
  const filters = new Map([["mark", (job) => ({ f: "favourite", x: "reject" })[marks.get(job.id)] ?? "unmarked"]]);
  for (const name of ["status", "campaign", "model", "reference", ...facts.map((it) => it.name)])
    if (values.get(name).length > 1 && values.get(name).length <= MOST_OPTIONS) filters.set(name, axes.get(name));

  const chosenAtFirst = () => {
    const shownFirst = values.get("status").filter((status) => !LEFT_OUT.includes(status));
    if (shownFirst.length && shownFirst.length < values.get("status").length) chosen.set("status", new Set(shownFirst));
  };
  const choose = (name, value, on) => {
    const set = chosen.get(name) ?? new Set();
    if (on) set.add(value); else set.delete(value);
    chosen.set(name, set);
    filter();
  };
  const buildFilters = () => {
    for (const [name, of] of filters) {
      const found = name === "mark" ? ["favourite", "reject", "unmarked"] : values.get(name);
      const title = outside(name);
      if (found.length <= MOST_CHIPS) {
        byId("filters").append(make("fieldset", { "data-filter": name }, make("legend", {}, title), ...found.map((value) => {
          const box = make("input", { type: "checkbox", value: shown(value), onchange: (event) => choose(name, shown(value), event.target.checked) });
          box.checked = chosen.get(name)?.has(shown(value)) ?? false;
          const n = name === "mark" ? null : jobs.filter((job) => shown(of(job)) === shown(value)).length;
          return make("label", { class: "chip", ...(name === "status" ? { "data-status": value } : {}) }, box, outside(shown(value)),
            n === null ? null : make("span", { class: "dim" }, ` ${number.format(n)}`));
        })));
      } else {
        const select = make("select", { onchange: (event) => {
          chosen.set(name, new Set(event.target.selectedIndex ? [event.target.value] : []));
          filter();
        } }, make("option", {}, "any"), ...found.map((value) => make("option", { value: shown(value) }, shown(value))));
        byId("filters").append(make("fieldset", { "data-filter": name }, make("legend", {}, title), make("label", {}, make("span", { class: "unseen" }, name), select)));
      }
    }
  };
  const filter = () => {
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const asked = [...chosen].filter(([, set]) => set.size);
    let n = 0;
    for (const job of jobs) {
      const fits = words.every((word) => job.search.includes(word))
        && asked.every(([name, set]) => set.has(shown(filters.get(name)(job))));
      job.card.hidden = !fits;
      n += fits;
    }
    const rows = [...matrix.querySelectorAll(".row")];
    for (const row of rows) {
      const fitting = row.querySelectorAll(".card:not([hidden])").length;
      row.hidden = fitting === 0;
      const told = row.querySelector("h3 .dim");
      if (told) told.textContent = ` ${number.format(fitting)}`;
    }
    closeColumns(rows, n);
    const noun = byId("shown").dataset.noun;
    byId("shown").textContent = n === jobs.length ? count(n, noun) : `${number.format(n)} of ${count(jobs.length, noun)}`;
    byId("nothing").hidden = n > 0 || jobs.length === 0;
    stay();
  };
  /* A column in which nothing is left goes. */
  const closeColumns = (rows, n) => {
    const heads = matrix.querySelector(".heads");
    const columns = rows.map((row) => [...row.querySelectorAll(".cell")]);
    across = 0;
    let most = 1;
    for (let at = 0; at < (columns[0]?.length ?? 0); at++) {
      const empty = columns.every((cells) => !cells[at].querySelector(".card:not([hidden])"));
      for (const cells of columns) cells[at].hidden = empty;
      if (heads) heads.children[at].hidden = empty;
      across += !empty;
      if (heads && !empty) most = Math.max(most, ...columns.map((cells) => cells[at].querySelectorAll(".card:not([hidden])").length));
    }
    matrix.style.setProperty("--columns", String(across || 1));
    matrix.style.setProperty("--fullest", heads ? `calc(${most} * (var(--card) * 1.5 + 10px))` : "1fr");
    heads?.toggleAttribute("hidden", n === 0);
    fit();
  };
  const clear = () => {
    chosen.clear();
    byId("search").value = "";
    for (const box of byId("filters").querySelectorAll("input")) box.checked = false;
    for (const select of byId("filters").querySelectorAll("select")) select.selectedIndex = 0;
    filter();
  };

  /* One card can be reached with Tab; the arrows go on from there. */
  let current = null;
  const visible = () => [...matrix.querySelectorAll(".card:not([hidden])")];
  const stay = () => {
    if (current?.isConnected && !current.hidden) return;
    become(matrix.querySelector(".row:not([hidden]) .card:not([hidden])"));
  };
  const become = (card) => {
    const within = (node, to) => node?.querySelectorAll("button, a").forEach((each) => each.setAttribute("tabindex", to));
    current?.setAttribute("tabindex", "-1");
    within(current, "-1");
    current = card;
    card?.setAttribute("tabindex", "0");
    within(card, "0");
  };

  /* ---- begin */

  const options = (id, preset) => {
    const select = byId(id);
    select.append(make("option", { value: "" }, "none"), ...Jobs.axesToLayBy.map((name) => make("option", { value: name }, name)));
    select.value = preset;
    if (select.selectedIndex < 0) select.value = "";
    select.addEventListener("change", relay);
  };
  const begin = () => {
    jobs.forEach(build);
    const known = (name) => name === "" || Jobs.axesToLayBy.includes(name);
    const kept = recall(`${KEY}:layout`);
    const first = known(kept.rows) && known(kept.columns) ? kept : Jobs.layout();
    options("rows", first.rows);
    options("columns", first.columns);
    if ([...byId("size").options].some((option) => option.value === kept.size)) byId("size").value = kept.size;
    byId("size").addEventListener("change", relay);
    matrix.style.setProperty("--card", `${byId("size").value}px`);
    chosenAtFirst();
    buildFilters();
    for (const tell of heard) tell();
    new ResizeObserver(fit).observe(matrix);
    lay();
    for (const heard of ["input", "search"]) byId("search").addEventListener(heard, filter); /* Escape empties it */
    byId("clear").addEventListener("click", clear);
    byId("help-open").addEventListener("click", () => byId("help").showModal());
    const playing = (job) => !still.matches && !Films.isSound(job.files[0] ?? "") && Films.play(job);
    matrix.addEventListener("pointerover", (event) => {
      const card = event.target.closest(".card");
      if (event.pointerType === "mouse" && card && !card.contains(event.relatedTarget)) playing(card.job);
    });
    matrix.addEventListener("pointerout", (event) => {
      const card = event.target.closest(".card");
      if (event.pointerType === "mouse" && card && !card.contains(event.relatedTarget)) Films.pause(card.job);
    });
    matrix.addEventListener("focusin", (event) => {
      const card = event.target.closest(".card");
      if (!card) return;
      if (card !== current) become(card);
      if (event.target === card && card.matches(":focus-visible")) playing(card.job);
    });
    matrix.addEventListener("focusout", (event) => {
      const card = event.target.closest(".card");
      if (card && !card.contains(event.relatedTarget)) Films.pause(card.job);
    });
  };

  return { begin, mark, marked, replaceMarks, heard, more, details, visible, does: {}, byId, make, count, matrix, PICTURE };
})();
