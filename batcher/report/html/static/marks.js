/* Marks as a file: for batcher (`--marked`), or for whoever sent this page. What is read is not believed. */
(() => {
  const { byId, make, marked, replaceMarks, heard, count } = Gallery;
  const say = (text) => { byId("marks-said").textContent = text; };
  const ids = (which) => marked(which).map((job) => job.id);

  heard.push(() => {
    const [favourites, rejects] = [ids("f"), ids("x")];
    byId("marks-save").disabled = !favourites.length && !rejects.length;
  });
  byId("marks-save").addEventListener("click", () => {
    const found = { batcher_marks: 1, favourites: ids("f"), rejects: ids("x") };
    const url = URL.createObjectURL(new Blob([JSON.stringify(found, null, 1) + "\n"], { type: "application/json" }));
    make("a", { href: url, download: "marks.json" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
    say(`Saved ${count(found.favourites.length, "favourite")} and ${count(found.rejects.length, "reject")} as marks.json.`);
  });
  byId("marks-open").addEventListener("click", () => byId("marks-file").click());
  byId("marks-file").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    event.target.value = "";
    if (!file) return;
    let found;
    try { found = JSON.parse(await file.text()); } catch { found = null; }
    const lists = [found?.favourites ?? [], found?.rejects ?? []];
    if (found?.batcher_marks !== 1 || !lists.every(Array.isArray)) return say(`${file.name} is no file of marks.`);
    const here = new Set(Jobs.all.map((job) => job.id));
    const marks = new Map([...lists[1].map((id) => [id, "x"]), ...lists[0].map((id) => [id, "f"])]);
    const known = new Map([...marks].filter(([id]) => here.has(id)));
    replaceMarks(known);
    const strange = marks.size - known.size;
    say(`Marks of ${file.name}: ${count(marked("f").length, "favourite")}, ${count(marked("x").length, "reject")}`
      + (strange ? `; ${count(strange, "other job")} not on this page.` : "."));
  });
})();
