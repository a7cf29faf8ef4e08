"use strict";
/* The jobs of the page, and what they can be told apart by. Nothing here draws. */
const Jobs = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const shown = (value) => (value === undefined || value === null ? "–" : String(value));
  const fileName = (url) => {
    const last = url.slice(url.lastIndexOf("/") + 1);
    try { return decodeURIComponent(last); } catch { return last; }
  };
  const last = (text) => text.slice(text.lastIndexOf("/") + 1);

  const all = data.rows.map((row) => {
    const job = {};
    data.columns.forEach((name, at) => {
      job[name] = name in data.shared ? data.shared[name][row[at]] : row[at];
    });
    job.all = { ...(data.defaults[job.model] ?? {}), ...job.params };
    const kept = [...Object.values(job.vars), ...Object.values(job.tags ?? {})].map(String);
    job.search = [job.name, job.prompt, job.id, job.task, ...kept, ...job.files.map(fileName)].join("\n").toLowerCase();
    return job;
  });
  /* A result that is not there yet is called by the prompt that makes it. */
  const byId = new Map(all.map((job) => [job.id, job]));
  const RESULT = "result:";
  const nameOf = ({ text }) => text.startsWith(RESULT) ? byId.get(text.slice(RESULT.length))?.name ?? "result" : last(text);
  for (const job of all) job.referenceName = job.references.map(nameOf).join(" + ") || null;

  /* What a grid can be laid out by, and filtered by: name, and the value of a job. As on the command line a bare name
     is the job's own, then a param, a variable, a tag. */
  const axes = new Map([
    ["prompt", (job) => job.name],
    ["campaign", (job) => job.campaign],
    ["model", (job) => job.model],
    ["reference", (job) => job.referenceName],
    ["take", (job) => job.take],
    ["status", (job) => job.status],
  ]);
  const kinds = { param: (job) => job.all, var: (job) => job.vars, tag: (job) => job.tags ?? {} };
  const kept = [];
  for (const [kind, of] of Object.entries(kinds))
    for (const key of new Set(all.flatMap((job) => Object.keys(of(job))))) {
      const name = axes.has(key) ? `${kind}.${key}` : key;
      axes.set(name, (job) => (Object.hasOwn(of(job), key) ? of(job)[key] : undefined));
      kept.push({ kind, name });
    }

  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : 0; /* texts stay in the manifest's order */
  const valuesOf = (name, of) => {
    const found = [...new Set(all.map((job) => of(job) ?? null))];
    return name === "prompt" ? found : found.sort(compare);
  };
  const values = new Map([...axes].map(([name, of]) => [name, valuesOf(name, of)]));
  /* What differs, and does not set every job apart from every other. */
  const groups = (name) => values.get(name)?.length > 1 && values.get(name).length <= Math.max(12, all.length / 2);
  const grouping = kept.filter(({ name }) => groups(name));

  /* Every param that differs, at once: the matrix as it was meant. */
  const EVERY = "all params";
  const params = grouping.filter(({ kind }) => kind === "param").map(({ name }) => name);
  if (params.length > 1) {
    axes.set(EVERY, (job) => params.map((name) => shown(axes.get(name)(job))).join(" · "));
    values.set(EVERY, valuesOf(EVERY, axes.get(EVERY)));
  }
  const axesToLayBy = [...axes.keys()].filter((name) => groups(name) || (name === "prompt" && values.get(name).length > 1));

  /* A spreadsheet makes a job or two a row: then a prompt a line would be mostly holes. */
  const isSheet = values.get("prompt").length * 2 > all.length;
  /* A chain stands in a row, if a variable tells it from others: what its films are made from comes before them. */
  const chained = all.filter((job) => job.sources.length);
  const threads = grouping.filter(({ kind, name }) => kind === "var" && chained.every((job) => axes.get(name)(job) !== undefined));
  const layout = () => {
    if (chained.length) return { rows: threads[0]?.name ?? (values.get("prompt").length > 1 && !isSheet ? "prompt" : ""), columns: "" };
    if (isSheet) return { rows: groups("campaign") ? "campaign" : "", columns: "" };
    const columns = [EVERY, ...params, "reference"].find((name) => groups(name) && values.get(name).length <= 6) ?? "";
    return { rows: values.get("prompt").length > 1 ? "prompt" : params.find((name) => name !== columns) ?? "", columns };
  };

  return { all, byId, data, axes, values, grouping, axesToLayBy, layout, EVERY, shown, fileName };
})();
