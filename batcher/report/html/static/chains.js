/* What a job was made from, and what was made of it: small pictures on its card and in its details that lead there. */
(() => {
  const { make, more, details, PICTURE } = Gallery;
  const MOST = 6; /* on a card; its details have all */
  const { byId } = Jobs;
  for (const job of Jobs.all) job.makes = [];
  for (const job of Jobs.all) {
    /* the file that went along, whatever takes came later */
    job.madeFrom = job.sources.map(([id, file]) => ({ job: byId.get(id), file: file ?? byId.get(id)?.files[0] }))
      .filter((it) => it.job || it.file);
    for (const it of job.madeFrom) it.job?.makes.push({ job, file: job.files[0] });
  }

  const told = ({ job, file }) => job ? `${job.name}, take ${job.take}, ${job.status}` : Jobs.fileName(file);
  const differing = (job) => Jobs.grouping.map(({ name }) => Jobs.axes.get(name)(job))
    .filter((value) => value !== undefined && value !== null && String(value).length <= 24).join(" · ");
  const sign = ({ job, file }) => {
    if (file && PICTURE.test(file)) return make("img", { src: file, alt: "", loading: "lazy", decoding: "async" });
    if (file) return make("span", { class: "sign" }, Films.isSound(file) ? "♪" : "▶");
    return make("span", { class: "dot", "data-status": job.status });
  };
  const link = (it, ...words) => it.job
    ? make("button", { type: "button", class: "link", tabindex: words.length ? null : "-1", title: told(it), "aria-label": told(it),
      onclick: () => details(it.job) }, sign(it), ...words)
    : make("a", { href: it.file, class: "link", tabindex: words.length ? null : "-1", title: told(it), "aria-label": told(it) }, sign(it), ...words);
  const row = (word, found) => found.length === 0 ? [] : [make("p", { class: "chain" }, make("span", {}, word),
    ...found.slice(0, MOST).map((it) => link(it)), found.length > MOST ? make("span", {}, `+${found.length - MOST}`) : null)];
  const list = (word, found) => found.length === 0 ? [] : [[word, make("div", { class: "chain" }, ...found.map((it) =>
    link(it, make("bdi", {}, it.job ? it.job.name : Jobs.fileName(it.file)),
      make("span", { class: "dim" }, it.job ? [differing(it.job), it.job.status].filter(Boolean).join(" · ") : ""))))]];

  more.chain = (job) => [...row("from", job.madeFrom), ...row("used in", job.makes)];
  more.chained = (job) => [...list("made from", job.madeFrom), ...list("used in", job.makes)];
})();
