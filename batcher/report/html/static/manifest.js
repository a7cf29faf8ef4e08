/* From jobs to the text of a manifest. Pure: nothing here knows the page. */
const Manifest = (() => {
  /* Characters that YAML, or whoever reads the manifest, would not take as they are: controls, marks that turn the
     order of what is read around, line ends of Unicode. JSON has escaped the rest. */
  const ODD = /[^\x20-\x7e\xa0-\u061b\u061d-\u200d\u2010-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\ufefe\uff00-\ufffd\u{10000}-\u{10ffff}]/gu;
  const CAMPAIGN = /^[a-z0-9][a-z0-9._-]{0,63}$/;
  const BRACES = /(?:\{[{%#])+/g;

  /* A text in double quotes, which YAML reads as JSON does. */
  const quoted = (text) =>
    JSON.stringify(text).replace(ODD, (c) => "\\u" + c.codePointAt(0).toString(16).padStart(4, "0"));

  /* A template that comes to this text: braces that a template would obey stand in it as constants. */
  const template = (text) => {
    const found = text.match(BRACES);
    if (!found) return text;
    /* A template has a thousand parts at most. */
    if (found.length > 200) return '{{ "' + text.replace(/[\\"]/g, "\\$&") + '" }}';
    return text.replace(BRACES, (braces) => `{{ "${braces}" }}`);
  };

  const value = (it) => (typeof it === "string" ? quoted(it) : JSON.stringify(it));
  const mapping = (it) =>
    "{" + Object.keys(it).map((name) => `${quoted(name)}: ${value(it[name])}`).join(", ") + "}";
  /* Several references of one job are one variant, in a list of their own. */
  const variant = (references) => {
    const texts = references.map((it) => quoted(template(it.text))).join(", ");
    return references.length > 1 ? `[${texts}]` : texts;
  };
  const named = (name) => name && name.length <= 100 && !/[\n\t]|\{\{|\{%/.test(name);

  const folderOf = (path) => path.slice(0, Math.max(1, path.lastIndexOf("/")));
  const foldersOf = (jobs) =>
    [...new Set(jobs.flatMap((job) => job.references).filter((it) => !it.url).map((it) => folderOf(it.text)))];
  const shell = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : "'" + word.replaceAll("'", "'\"'\"'") + "'");

  const command = (verb, campaign, jobs, words) =>
    [`batcher ${verb} ${campaign}.yaml${words}`, ...foldersOf(jobs).map((folder) => `--allow-path ${shell(folder)}`)]
      .join(" ");

  /* The manifest that makes `takes` new takes of each of these jobs, all of one model. */
  const text = (jobs, { campaign, takes, rejects, written }) => {
    const entries = new Map();
    for (const job of jobs) {
      const key = JSON.stringify([job.name, job.prompt, job.params, job.references]);
      const entry = entries.get(key) ?? { job, repeat: 0 };
      entry.repeat = Math.min(1000, entry.repeat + takes);
      entries.set(key, entry);
    }
    const ids = (them) => them.map((job) => job.id.slice(0, 12)).join(" ");
    const lines = [
      `# New takes of ${jobs.length} job${jobs.length === 1 ? "" : "s"}, marked in batcher's report of ${written}.`,
      `# favourites: ${ids(jobs)}`,
      ...(rejects.length ? [`# rejects: ${ids(rejects)}`] : []),
      `campaign: ${quoted(campaign)}`,
      `model: ${quoted(jobs[0].model)}`,
      "prompts:",
    ];
    for (const { job, repeat } of entries.values()) {
      const parts = [
        ...(named(job.name) ? [`name: ${quoted(job.name)}`] : []),
        `prompt: ${quoted(template(job.prompt))}`,
        ...(Object.keys(job.params).length ? [`params: ${mapping(job.params)}`] : []),
        ...(job.references.length ? [`references: [${variant(job.references)}]`] : []),
        ...(repeat > 1 ? [`repeat: ${repeat}`] : []),
      ];
      parts.forEach((part, at) => lines.push((at ? "    " : "  - ") + part));
    }
    return lines.join("\n") + "\n";
  };

  return { text, command, valid: (name) => CAMPAIGN.test(name) };
})();
