/* The gallery. Every text from outside becomes a text node or an attribute's value; no markup is ever parsed here. */
const Gallery = (() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const written = document.querySelector("time").textContent;
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const number = new Intl.NumberFormat("en");
  const MOST_CHIPS = 8;
  const MOST_COLUMNS = 6;
  const NARROWEST = 156; /* pixels of a column with its gap */
  const PICTURE = /\.(png|jpe?g|webp|gif|avif)$/i;

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
  const fileName = (url) => {
    const last = url.slice(url.lastIndexOf("/") + 1);
    try { return decodeURIComponent(last); } catch { return last; }
  };
  const shown = (value) => (value === undefined || value === null ? "–" : String(value));
  const credits = (job) =>
    [
      job.settled || !job.held ? `${number.format(job.settled)} credit${job.settled === 1 ? "" : "s"}` : null,
      job.held ? `${number.format(job.held)} held` : null,
    ].filter(Boolean).join(", ");

  /* ---- jobs */

  const jobs = data.rows.map((row) => {
    const job = {};
    data.columns.forEach((name, at) => {
      job[name] = name in data.shared ? data.shared[name][row[at]] : row[at];
    });
    job.all = { ...(data.defaults[job.model] ?? {}), ...job.params };
    job.search = [job.name, job.prompt, job.id, job.task, ...job.files.map(fileName)].join("\n").toLowerCase();
    return job;
  });

  /* What a grid can be laid out by, and filtered by: name, and the value of a job. */
  const axes = new Map([
    ["prompt", (job) => job.name],
    ["campaign", (job) => job.campaign],
    ["model", (job) => job.model],
    ["reference", (job) => (job.reference ? job.reference.text.slice(job.reference.text.lastIndexOf("/") + 1) : null)],
    ["take", (job) => job.take],
    ["status", (job) => job.status],
  ]);
  const params = [...new Set(jobs.flatMap((job) => Object.keys(job.all)))];
  for (const name of params) axes.set(axes.has(name) ? `param ${name}` : name, (job) => job.all[name]);

  /* Every param that varies, at once: the matrix as it was meant. */
  const EVERY = "all params";
  const varied = params.filter((name) => new Set(jobs.map((job) => job.all[name] ?? null)).size > 1);
  if (varied.length > 1) axes.set(EVERY, (job) => varied.map((name) => shown(job.all[name])).join(" · "));

  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : 0; /* texts stay in the manifest's order */
  const values = new Map();
  for (const [name, of] of axes) {
    const found = [...new Set(jobs.map((job) => of(job) ?? null))];
    values.set(name, name === "prompt" ? found : found.sort(compare));
  }
  const varies = (name) => values.get(name).length > 1;
  const varying = [...axes.keys()].filter(varies);
  const varyingParams = params.map((name) => (values.has(`param ${name}`) ? `param ${name}` : name)).filter(varies);

  /* ---- marks */

  const KEY = `batcher-report:${data.ledger}`;
  const marks = new Map();
  const loadMarks = () => {
    try {
      for (const [id, mark] of Object.entries(JSON.parse(localStorage.getItem(KEY) ?? "{}")))
        if (mark === "f" || mark === "x") marks.set(id, mark);
    } catch { byId("unkept").hidden = false; }
  };
  const keepMarks = () => {
    try { localStorage.setItem(KEY, JSON.stringify(Object.fromEntries(marks))); }
    catch { byId("unkept").hidden = false; }
  };
  const marked = (mark) => jobs.filter((job) => marks.get(job.id) === mark);

  const mark = (job, which) => {
    if (marks.get(job.id) === which) marks.delete(job.id);
    else marks.set(job.id, which);
    keepMarks();
    showMark(job);
    showCounts();
    if (chosen.get("mark")?.size) filter();
  };
  const showMark = (job) => {
    const it = marks.get(job.id);
    job.card.dataset.mark = it ?? "";
    for (const button of job.card.querySelectorAll("[data-which]"))
      button.setAttribute("aria-pressed", String(button.dataset.which === it));
  };
  const showCounts = () => {
    const n = marked("f").length;
    const copy = byId("copy");
    copy.disabled = n === 0;
    copy.textContent = n ? `Copy ${number.format(n)} as manifest` : "Copy as manifest";
    copy.title = n ? "A manifest that makes new takes of the favourites (M)" : "Mark favourites first (★ or F)";
  };

  /* ---- cards */

  const shape = (job) => {
    const found = /^(\d+(?:\.\d+)?):(\d+(?:\.\d+)?)$/.exec(job.all.aspect_ratio ?? "");
    return found && Number(found[2]) ? Math.min(2.4, Math.max(0.5, found[1] / found[2])) : 1;
  };
  const commandsOf = (job) =>
    ["submitted --task ID", "failed", "again"].map((as) => `batcher resolve${data.words} ${job.id.slice(0, 12)} --as ${as}`);

  const media = (job) => {
    const box = make("div", { class: "media" });
    box.style.aspectRatio = String(shape(job));
    job.box = box;
    const [file] = job.files;
    if (file && Films.is(file)) {
      box.dataset.film = file;
      box.addEventListener("click", () => { job.card.focus({ preventScroll: true }); Films.toggle(job); });
      Films.watch(box);
    } else if (file && PICTURE.test(file)) {
      const picture = make("img", { loading: "lazy", decoding: "async", alt: "" });
      picture.addEventListener("error", () => { picture.remove(); Films.gone(box); });
      picture.src = file;
      box.append(picture);
    } else {
      box.classList.add("none");
      const why = job.message || job.code || (job.status === "succeeded" ? "Its file is not saved." : "");
      box.append(make("p", { class: "state" }, job.status), make("p", { class: "why" }, outside(why)));
    }
    return box;
  };

  const markButton = (job, which, sign, name) =>
    make("button", { type: "button", "data-which": which, "aria-pressed": "false", "aria-label": name, title: name,
      tabindex: "-1", onclick: () => mark(job, which) }, sign);

  const build = (job, place) => {
    job.place = place;
    job.card = make("article", { class: "card", tabindex: "-1", "data-status": job.status,
      "aria-label": `${job.name}, take ${job.take}, ${job.status}` });
    job.card.job = job;
    const own = varyingParams.map((name) => make("li", {}, make("span", {}, `${name.replace(/^param /, "")} `), outside(shown(axes.get(name)(job)))));
    const [file] = job.files;
    job.card.append(
      media(job),
      make("div", { class: "marks" },
        markButton(job, "f", "★", "Favourite (F)"), markButton(job, "x", "✕", "Reject (X)"),
        make("button", { type: "button", tabindex: "-1", "aria-label": "Everything about it (Enter)", title: "Everything about it (Enter)",
          onclick: () => details(job) }, "⋯")),
      make("p", { class: "prompt", title: job.prompt.slice(0, 1000) }, outside(job.prompt)),
      ...(own.length ? [make("ul", { class: "params" }, ...own)] : []),
      make("p", { class: "meta" },
        ...(job.status === "succeeded" ? [] : [make("b", {}, job.status), " · "]),
        `take ${job.take} · ${credits(job)}${job.attempts > 1 ? ` · bought ${job.attempts} times` : ""}`),
      make("p", { class: "meta" },
        file ? make("a", { href: file, tabindex: "-1" }, outside(fileName(file))) : null,
        file ? " " : null, make("code", { title: job.id }, job.id.slice(0, 12))),
    );
    if (job.status === "doubtful")
      job.card.append(make("p", { class: "meta decide" }, "A person must decide: ", make("code", {}, `batcher resolve${data.words} ${job.id.slice(0, 12)} …`)));
    showMark(job);
  };

  const details = (job) => {
    const [file] = job.files;
    byId("job-title").replaceChildren(outside(job.name));
    const rows = [
      ["status", job.status], ["reason", [job.code, job.message].filter(Boolean).join(": ")], ["campaign", job.campaign],
      ["model", job.model], ...Object.entries(job.all).map(([name, value]) => [name, shown(value) + (name in job.params ? "" : " (the model's default)")]),
      ["reference", job.reference?.text], ["take", job.take], ["credits", credits(job)], ["purchases", job.attempts],
      ["waited", job.wait === null ? null : `${number.format(job.wait)} s`],
      ["finished", job.finished && new Date(job.finished).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" })],
      ["job", job.id], ["task", job.task],
    ].filter(([, value]) => value !== null && value !== undefined && value !== "");
    Films.pause(job);
    const large = file && Films.is(file) ? make("video", { controls: true, loop: true, playsinline: true, src: file, "aria-label": job.name })
      : file && PICTURE.test(file) ? make("img", { src: file, alt: "" }) : null;
    byId("job-body").replaceChildren(
      ...[large, make("p", { class: "prompt full" }, outside(job.prompt)),
        make("dl", {}, ...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, outside(String(value)))]),
          ...(job.files.length ? [make("dt", {}, job.files.length > 1 ? "files" : "file"),
            make("dd", {}, ...job.files.flatMap((url) => [make("a", { href: url }, outside(fileName(url))), " "]))] : [])),
        ...(job.status === "doubtful" ? [make("p", {}, "Nobody here can know whether the API charged it. Type one of:"),
          make("pre", { tabindex: "0" }, commandsOf(job).join("\n"))] : [])].filter(Boolean));
    byId("job").showModal();
    if (large?.tagName === "VIDEO" && !still.matches) { large.muted = true; large.play().catch(() => {}); }
  };
  byId("job").addEventListener("close", () => {
    const film = byId("job-body").querySelector("video");
    if (film) { film.removeAttribute("src"); film.load(); }
    byId("job-body").replaceChildren();
  });

  /* ---- the grid */

  const matrix = byId("matrix");
  const label = (axis, value) => (axis === "prompt" || axis === EVERY ? shown(value) : `${axis.replace(/^param /, "")} ${shown(value)}`);

  const lay = () => {
    const [rows, columns] = [byId("rows").value, byId("columns").value];
    const across = columns ? values.get(columns) : [null];
    const down = rows ? values.get(rows) : [null];
    const rowOf = rows ? axes.get(rows) : () => null;
    const columnOf = columns ? axes.get(columns) : () => null;
    matrix.style.setProperty("--columns", String(across.length));
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
      const row = make("section", { class: "row", "aria-label": rows ? label(rows, value) : "All jobs" });
      if (rows) row.append(make("h3", {}, outside(label(rows, value)), make("span", { class: "dim" })));
      row.append(make("div", { class: "cells" }, ...across.map((other) => {
        const cell = make("div", { class: "cell" });
        if (columns) cell.append(make("p", { class: "which" }, outside(label(columns, other))));
        cell.append(...(cells.get(JSON.stringify([value, other])) ?? []));
        return cell;
      })));
      parts.push(row);
    }
    matrix.replaceChildren(...parts);
    fit();
    filter();
  };

  /* Columns that do not fit beside each other are scrolled. */
  const fit = () => matrix.classList.toggle("wide", values.get(byId("columns").value)?.length * NARROWEST > matrix.clientWidth && innerWidth > 700);

  /* ---- filters */

  const chosen = new Map();
  const filters = new Map([["mark", (job) => ({ f: "favourite", x: "reject" })[marks.get(job.id)] ?? "unmarked"]]);
  for (const name of ["status", "campaign", "model", "reference", ...varyingParams])
    if (varying.includes(name) && !filters.has(name)) filters.set(name, axes.get(name));

  const choose = (name, value, on) => {
    const set = chosen.get(name) ?? new Set();
    if (on) set.add(value); else set.delete(value);
    chosen.set(name, set);
    filter();
  };
  const buildFilters = () => {
    for (const [name, of] of filters) {
      const found = name === "mark" ? ["favourite", "reject", "unmarked"] : values.get(name);
      const title = name.replace(/^param /, "");
      if (found.length <= MOST_CHIPS) {
        byId("filters").append(make("fieldset", { "data-filter": name }, make("legend", {}, title), ...found.map((value) => {
          const box = make("input", { type: "checkbox", value: shown(value), onchange: (event) => choose(name, shown(value), event.target.checked) });
          const n = name === "mark" ? null : jobs.filter((job) => shown(of(job)) === shown(value)).length;
          return make("label", { class: "chip", ...(name === "status" ? { "data-status": value } : {}) }, box, outside(shown(value)),
            n === null ? null : make("span", { class: "dim" }, ` ${number.format(n)}`));
        })));
      } else {
        const select = make("select", { onchange: (event) => {
          chosen.set(name, new Set(event.target.selectedIndex ? [event.target.value] : []));
          filter();
        } }, make("option", {}, "any"), ...found.map((value) => make("option", { value: shown(value) }, shown(value))));
        byId("filters").append(make("fieldset", { "data-filter": name }, make("legend", {}, title), make("label", {}, make("span", { class: "unseen" }, title), select)));
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
    for (const row of matrix.querySelectorAll(".row")) {
      const fitting = row.querySelectorAll(".card:not([hidden])").length;
      row.hidden = fitting === 0;
      const count = row.querySelector("h3 .dim");
      if (count) count.textContent = ` ${number.format(fitting)}`;
    }
    byId("shown").textContent = n === jobs.length ? `${number.format(n)} job${n === 1 ? "" : "s"}` : `${number.format(n)} of ${number.format(jobs.length)} jobs`;
    byId("nothing").hidden = n > 0 || jobs.length === 0;
    matrix.querySelector(".heads")?.toggleAttribute("hidden", n === 0);
    stay();
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

  /* ---- the manifest */

  const showManifest = () => {
    const favourites = marked("f");
    if (!favourites.length) return;
    const models = [...new Set(favourites.map((job) => job.model))];
    byId("m-model").replaceChildren(...models.map((model) => make("option", { value: model }, model)));
    byId("m-model-label").hidden = models.length < 2;
    byId("m-campaign").value = Manifest.fresh(favourites[0].campaign, data.campaigns);
    byId("m-said").textContent = "";
    writeManifest();
    byId("manifest").showModal();
  };
  const writeManifest = () => {
    const model = byId("m-model").value;
    const wanted = marked("f").filter((job) => job.model === model);
    const campaign = byId("m-campaign").value.trim();
    const takes = Math.min(100, Math.max(1, Math.trunc(Number(byId("m-takes").value)) || 1));
    const fine = Manifest.valid(campaign);
    byId("m-text").value = fine ? Manifest.text(wanted, { campaign, takes, rejects: marked("x"), written }) : "";
    for (const id of ["m-copy", "m-save"]) byId(id).disabled = !fine;
    const jobs = wanted.length * takes;
    byId("manifest-note").textContent = !fine ? "A campaign's name has 1 to 64 of a-z 0-9 . _ - and begins with a letter or digit."
      : data.campaigns.includes(campaign) ? `The ledger has a campaign ${campaign} already: takes that it has are not made again.`
      : `${number.format(jobs)} new take${jobs === 1 ? "" : "s"} of ${number.format(wanted.length)} favourite${wanted.length === 1 ? "" : "s"}, as a campaign of its own.`;
    byId("m-command").textContent = fine ? Manifest.command("plan", campaign, wanted, data.words) : "";
  };
  const say = (text) => { byId("m-said").textContent = text; };
  const copyManifest = async () => {
    const text = byId("m-text");
    try { await navigator.clipboard.writeText(text.value); say("Copied."); }
    catch {
      text.focus();
      text.select();
      say(document.execCommand("copy") ? "Copied." : "The browser lets nothing be copied: it is selected, copy it by hand.");
    }
  };
  const saveManifest = () => {
    const url = URL.createObjectURL(new Blob([byId("m-text").value], { type: "application/yaml" }));
    make("a", { href: url, download: `${byId("m-campaign").value.trim()}.yaml` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  };

  /* ---- begin */

  const options = (select, chosenName) => {
    select.append(make("option", { value: "" }, "none"), ...varying.map((name) => make("option", { value: name }, name)));
    select.value = chosenName ?? "";
    select.addEventListener("change", lay);
  };
  const begin = () => {
    loadMarks();
    jobs.forEach(build);
    const across = [EVERY, ...varyingParams, "reference"].find((name) => values.has(name) && varies(name) && values.get(name).length <= MOST_COLUMNS);
    options(byId("rows"), varies("prompt") ? "prompt" : varyingParams.find((name) => name !== across));
    options(byId("columns"), across);
    buildFilters();
    showCounts();
    new ResizeObserver(fit).observe(matrix);
    lay();
    byId("search").addEventListener("input", filter);
    byId("size").addEventListener("change", (event) => matrix.style.setProperty("--card", `${event.target.value}px`));
    byId("clear").addEventListener("click", clear);
    byId("copy").addEventListener("click", showManifest);
    byId("help-open").addEventListener("click", () => byId("help").showModal());
    for (const id of ["m-campaign", "m-takes", "m-model"]) byId(id).addEventListener("input", writeManifest);
    byId("m-copy").addEventListener("click", copyManifest);
    byId("m-save").addEventListener("click", saveManifest);
    matrix.addEventListener("pointerover", (event) => {
      const card = event.target.closest(".card");
      if (event.pointerType === "mouse" && card && !card.contains(event.relatedTarget) && !still.matches) Films.play(card.job);
    });
    matrix.addEventListener("pointerout", (event) => {
      const card = event.target.closest(".card");
      if (event.pointerType === "mouse" && card && !card.contains(event.relatedTarget)) Films.pause(card.job);
    });
    matrix.addEventListener("focusin", (event) => {
      const card = event.target.closest(".card");
      if (!card) return;
      if (card !== current) become(card);
      if (event.target === card && card.matches(":focus-visible") && !still.matches) Films.play(card.job);
    });
    matrix.addEventListener("focusout", (event) => {
      const card = event.target.closest(".card");
      if (card && !card.contains(event.relatedTarget)) Films.pause(card.job);
    });
  };

  return { begin, mark, details, visible, showManifest, search: byId("search"), help: byId("help"), matrix };
})();
