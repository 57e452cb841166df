// The page of a review: shows an image, takes a decision, waits until it is on the disk, shows the next one, which is ready by then.
import * as keys from "./keys.js";
import * as server from "./server.js";

const place = document.querySelector("#item");
const message = document.querySelector("#message");
const several = document.body.dataset.several === "yes";
const ready = []; // the images that come next, loaded
const times = []; // when decisions were made, for the rate
let seen = Number(document.body.dataset.seen);
let busy = false;
let loading = null;
let now = null; // how many images there are, how many are decided, open, and open with a suggestion
let earlier = 0; // a decision of another window that the next undo takes back

const article = () => place.querySelector("article");
const row = () => (article() ? Number(article().dataset.row) : null);
const labels = (name) => JSON.parse(article()?.dataset[name] || "null"); // null: unknown; an empty list: none of the classes
const say = (text) => { message.textContent = text; };

function preload(item) {
  const holder = document.createElement("template");
  holder.innerHTML = item.html;
  item.images = [...holder.content.querySelectorAll("img")].map((one) => {
    const image = new Image();
    image.src = one.getAttribute("src");
    return image;
  });
  return item;
}

async function load() {
  if (loading) return loading;
  const have = ready.map((item) => item.row);
  if (row() !== null) have.unshift(row());
  loading = server.following(have, have.at(-1)).then((found) => {
    ready.push(...found.items.map(preload));
    count(found.counts);
  }).catch((error) => say(error.message)).finally(() => { loading = null; });
  return loading;
}

function count(counts) {
  now = counts;
  document.querySelector("#progress progress").max = counts.total;
  document.querySelector("#progress progress").value = counts.decided;
  document.querySelector("#count").textContent = `${counts.decided} of ${counts.total} decided`;
  for (const [name, value] of [["#bulk-count", counts.open], ["#bulk-suggested", counts.suggested]]) {
    const place = document.querySelector(name); // the blind pass has none
    if (place) place.textContent = value;
  }
  const recent = times.filter((time) => time > Date.now() - 300000);
  const minutes = recent.length > 1 ? (recent[recent.length - 1] - recent[0]) / 60000 : 0;
  const rate = minutes > 0 ? (recent.length - 1) / minutes : 0;
  const left = rate ? Math.ceil(counts.open / rate) : 0;
  const time = left < 120 ? `${left} min` : `${Math.round(left / 60)} h`;
  document.querySelector("#rate").textContent = rate ? `${Math.round(rate)} a minute, ${time} left` : "";
}

function show(item) {
  place.innerHTML = item ? item.html : '<p class="done">Nothing is left to decide here.</p>';
  const skipped = new URLSearchParams(location.search).get("state") === "all" ? 0 : now?.open;
  if (!item && skipped) place.firstChild.textContent = `The end of the queue is reached. Still open: ${skipped}. Reload the page to see them.`;
  seen = item ? item.seen : 0;
  keys.show(several ? labels("given") ?? [] : []);
  document.body.dataset.shown = String(Number(document.body.dataset.shown || 0) + 1);
}

async function advance() {
  if (!ready.length) await load();
  show(ready.shift());
  if (ready.length < 10) load();
}

async function decide(action, given = []) {
  if (row() === null || busy) return;
  busy = true;
  earlier = 0;
  try {
    const done = await server.decide(row(), action, given, seen);
    times.push(Date.now());
    say(done.also ? `${done.also.reviewer} had decided ${outcome(done.also)}; both are kept, yours holds` : "");
    const isNew = now && !seen && !done.also;
    const had = isNew && labels("suggested") ? 1 : 0;
    if (isNew) count({ total: now.total, decided: now.decided + 1, open: now.open - 1, suggested: now.suggested - had });
    else if (now) count(now);
    await advance();
  } catch (error) {
    say(`not kept: ${error.message}`);
  } finally {
    busy = false;
  }
}

const outcome = (one) => one.action + (one.action === "relabel" ? ` as ${one.labels.join(" + ") || "no label"}` : "");

async function undo() {
  if (busy) return;
  busy = true;
  try {
    const found = await server.undo(earlier);
    earlier = 0;
    if (!found.undone) {
      const last = found.earlier;
      earlier = last?.number ?? 0;
      const about = last?.row_id ? ` of ${last.row_id}` : "";
      say(`nothing of this window is left to undo${last ? `; u again undoes what ${last.reviewer} decided${about}: ${outcome(last)}` : ""}`);
      return;
    }
    const current = article() ? [preload({ row: row(), seen, html: place.innerHTML })] : [];
    ready.unshift(...current.filter((item) => item.row !== found.items[0].row));
    show(found.items[0]);
    say(found.undone > 1 ? `${found.undone} decisions undone` : "undone");
    count(found.counts);
  } catch (error) {
    say(error.message);
  } finally {
    busy = false;
  }
}

function onClass(label) {
  if (several) {
    if (keys.chosen.has(label)) keys.chosen.delete(label);
    else keys.chosen.add(label);
    keys.show([...keys.chosen]);
    return;
  }
  const same = labels("given")?.length === 1 && labels("given")[0] === label;
  decide(same ? "keep" : "relabel", same ? [] : [label]);
}

function channel(value) {
  const buttons = [...place.querySelectorAll(".channels button")];
  if (!buttons.length) return;
  const at = buttons.findIndex((one) => one.getAttribute("aria-pressed") === "true");
  const next = value === undefined ? buttons[(at + 1) % buttons.length] : value;
  buttons.forEach((one) => one.setAttribute("aria-pressed", one === next));
  const image = place.querySelector("figure.main img");
  if (!image) return;
  const address = new URL(image.src);
  address.searchParams.set("channel", next.dataset.channel);
  image.src = address.href;
}

function act(action) {
  if (action === "keep" || action === "exclude") decide(action);
  else if (action === "undo") undo();
  else if (action === "channel") channel();
  else if (action === "next" && !busy && row() !== null) advance();
  else if (action === "none" && several) decide("relabel", []);
  else if (action === "accept") {
    const wanted = several ? [...keys.chosen] : labels("suggested");
    if (wanted?.length) decide("relabel", wanted);
    else say(several ? "no label is marked; 0 gives none of the classes" : "no model suggests a label here");
  }
}

async function bulk(action) {
  const given = Number(document.querySelector("#bulk-number").value);
  const expected = Number(document.querySelector(action === "accept" ? "#bulk-suggested" : "#bulk-count").textContent);
  if (given !== expected) {
    say(`type ${expected} to confirm`);
    return;
  }
  earlier = 0;
  try {
    const done = await server.bulk(action, given);
    ready.length = 0;
    place.innerHTML = "";
    document.querySelector("#bulk-number").value = "";
    await advance();
    say(`${done.decided} ${done.decided === 1 ? "image" : "images"} decided at once; u undoes the whole`);
  } catch (error) {
    say(error.message);
    recount();
  }
}

// How many images are open, with what other windows decided meanwhile: before somebody types the number.
const recount = () => server.counted().then(count).catch((error) => say(error.message));

const reviewer = document.querySelector("#reviewer");
reviewer.value = localStorage.getItem("reviewer") || "";
reviewer.addEventListener("change", () => localStorage.setItem("reviewer", reviewer.value));
document.querySelectorAll("button[data-action]").forEach((one) => one.addEventListener("click", (event) => {
  if (event.detail) one.blur(); // of a mouse: the next Enter is about the next image, and no second click of this button
  act(one.dataset.action);
}));
document.querySelectorAll("button[data-bulk]").forEach((one) => one.addEventListener("click", () => bulk(one.dataset.bulk)));
document.querySelector("#all")?.addEventListener("toggle", recount);
place.addEventListener("click", (event) => { if (event.target.matches(".channels button")) channel(event.target); });
document.querySelector("#filters").addEventListener("submit", (event) => {
  event.preventDefault(); // a form of its own may not be sent; the address says the filter
  location.search = new URLSearchParams(new FormData(event.target)).toString();
});
keys.listen({ onClass, onAction: act });
keys.show(several ? labels("given") ?? [] : []);
load().then(() => { document.body.dataset.ready = "yes"; });
