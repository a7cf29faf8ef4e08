/* What only the ledger's owner gets to see: costs, decisions, and favourites as the manifest of another campaign. */
(() => {
  const { byId, make, marked, heard, count, more } = Gallery;
  const { data } = Jobs;

  const credits = (job) =>
    [
      job.settled || !job.held ? count(job.settled, "credit") : null,
      job.held ? `${job.held.toLocaleString("en")} held` : null,
    ].filter(Boolean).join(", ");
  const resolve = (job, words) => `batcher resolve${data.words} ${job.id.slice(0, 12)} ${words}`;
  more.said = (job) => [credits(job), ...(job.attempts > 1 ? [`bought ${job.attempts} times`] : [])];
  more.rows = (job) => [
    ["credits", credits(job)], ["purchases", job.attempts],
    ["waited", job.wait === null ? null : `${job.wait.toLocaleString("en")} s`],
    ["finished", job.finished && new Date(job.finished).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" })],
    ["task", job.task],
  ];
  const warning = (...words) => make("p", { class: "meta decide" }, ...words);
  more.card = (job) =>
    job.status === "doubtful" ? [warning("A person must decide: ", make("code", {}, resolve(job, "…")))]
      : job.status === "succeeded" && job.message ? [warning(job.message)] : [];
  more.body = (job) => job.status !== "doubtful" ? [] :
    [make("p", {}, "Nobody here can know whether the API charged it. Type one of:"),
      make("pre", { tabindex: "0" }, ["submitted --task ID", "failed", "again"].map((as) => resolve(job, `--as ${as}`)).join("\n"))];

  const written = document.querySelector("time").textContent;
  const copy = byId("copy");

  heard.push(() => {
    const n = marked("f").length;
    copy.disabled = n === 0;
    copy.textContent = n ? `Copy ${n.toLocaleString("en")} as manifest` : "Copy as manifest";
    copy.title = n ? "A manifest that makes new takes of the favourites (M)" : "Mark favourites first (★ or F)";
  });
  const show = () => {
    const favourites = marked("f");
    if (!favourites.length) return;
    const models = [...new Set(favourites.map((job) => job.model))];
    byId("m-model").replaceChildren(...models.map((model) => make("option", { value: model }, model)));
    byId("m-model-label").hidden = models.length < 2;
    byId("m-campaign").value = data.fresh[favourites[0].campaign];
    byId("m-said").textContent = "";
    write();
    byId("manifest").showModal();
  };
  const write = () => {
    const model = byId("m-model").value;
    const wanted = marked("f").filter((job) => job.model === model);
    const campaign = byId("m-campaign").value.trim();
    const takes = Math.min(100, Math.max(1, Math.trunc(Number(byId("m-takes").value)) || 1));
    const fine = Manifest.valid(campaign);
    byId("m-text").value = fine ? Manifest.text(wanted, { campaign, takes, rejects: marked("x"), written }) : "";
    for (const id of ["m-copy", "m-save"]) byId(id).disabled = !fine;
    byId("manifest-note").textContent = !fine ? "A campaign's name has 1 to 64 of a-z 0-9 . _ - and begins with a letter or digit."
      : campaign in data.fresh ? `The ledger has a campaign ${campaign} already: takes that it has are not made again.`
      : `${count(wanted.length * takes, "new take")} of ${count(wanted.length, "favourite")}, as a campaign of its own.`;
    byId("m-command").textContent = fine ? Manifest.command("plan", campaign, wanted, data.words) : "";
  };
  const say = (text) => { byId("m-said").textContent = text; };
  const toClipboard = async () => {
    const text = byId("m-text");
    try { await navigator.clipboard.writeText(text.value); say("Copied."); }
    catch {
      text.focus();
      text.select();
      say(document.execCommand("copy") ? "Copied." : "The browser lets nothing be copied: it is selected, copy it by hand.");
    }
  };
  const toFile = () => {
    const url = URL.createObjectURL(new Blob([byId("m-text").value], { type: "application/yaml" }));
    make("a", { href: url, download: `${byId("m-campaign").value.trim()}.yaml` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  };

  copy.addEventListener("click", show);
  for (const id of ["m-campaign", "m-takes", "m-model"]) byId(id).addEventListener("input", write);
  byId("m-copy").addEventListener("click", toClipboard);
  byId("m-save").addEventListener("click", toFile);
  Gallery.does.m = show;
})();
