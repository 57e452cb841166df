// The page of a review: shows an image, takes a decision, waits until it is on the disk, shows the next one, which is ready by then.
import * as keys from "./keys.js";
import * as server from "./server.js";

const place = document.querySelector("#item");
const message = document.querySelector("#message");
const several = document.body.dataset.several === "yes";
const ready = []; // the images that come next, loaded
const passed = new Set(); // rows that were skipped
const times = []; // when decisions were made, for the rate
let seen = Number(document.body.dataset.seen);
let busy = false;
let loading = null;
let open = 0;

const article = () => place.querySelector("article");
const row = () => (article() ? Number(article().dataset.row) : null);
const labels = (name) => JSON.parse(article()?.dataset[name] || "[]");
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

async function load(after) {
  if (loading) return loading;
  const have = [...passed, ...ready.map((item) => item.row)];
  if (row() !== null) have.push(row());
  loading = server.following(have, after).then((found) => {
    ready.push(...found.items.map(preload));
    count(found.counts);
  }).catch((error) => say(error.message)).finally(() => { loading = null; });
  return loading;
}

function count(counts) {
  open = counts.open;
  document.querySelector("#progress progress").max = counts.total;
  document.querySelector("#progress progress").value = counts.decided;
  document.querySelector("#count").textContent = `${counts.decided} of ${counts.total} decided`;
  document.querySelector("#bulk-count").textContent = counts.open;
  document.querySelector("#bulk-suggested").textContent = counts.suggested;
  const recent = times.filter((time) => time > Date.now() - 300000);
  const minutes = recent.length > 1 ? (recent[recent.length - 1] - recent[0]) / 60000 : 0;
  const rate = minutes > 0 ? (recent.length - 1) / minutes : 0;
  const left = rate ? Math.ceil(counts.open / rate) : 0;
  const time = left < 120 ? `${left} min` : `${Math.round(left / 60)} h`;
  document.querySelector("#rate").textContent = rate ? `${Math.round(rate)} a minute, ${time} left` : "";
}

function show(item) {
  place.innerHTML = item ? item.html : '<p class="done">Nothing is left to decide here.</p>';
  seen = item ? item.seen : 0;
  keys.show(several ? labels("given") : []);
  document.body.dataset.shown = String(Number(document.body.dataset.shown || 0) + 1);
}

async function advance() {
  if (!ready.length) await load();
  show(ready.shift());
  if (ready.length < 10) load(filterAll() && ready.length ? ready[ready.length - 1].row : undefined);
}

const filterAll = () => new URLSearchParams(location.search).get("state") === "all";

async function decide(action, given = []) {
  if (row() === null || busy) return;
  busy = true;
  try {
    const done = await server.decide(row(), action, given, seen);
    times.push(Date.now());
    const as = done.also?.labels.length ? ` as ${done.also.labels.join(" + ")}` : "";
    say(done.also ? `${done.also.reviewer} had decided ${done.also.action}${as}; both are kept, yours holds` : "");
    const bar = document.querySelector("#progress progress");
    count({ total: bar.max, decided: bar.value + 1, open: Math.max(open - 1, 0), suggested: document.querySelector("#bulk-suggested").textContent });
    await advance();
  } catch (error) {
    say(`not kept: ${error.message}`);
  } finally {
    busy = false;
  }
}

async function undo() {
  if (busy) return;
  busy = true;
  try {
    const found = await server.undo();
    if (!found.undone) {
      say("nothing of this window is left to undo");
      return;
    }
    const current = article() ? [preload({ row: row(), seen, html: place.innerHTML })] : [];
    ready.unshift(...current.filter((item) => item.row !== found.items[0].row));
    show(found.items[0]);
    say(found.undone > 1 ? `${found.undone} decisions undone` : "undone");
    const bar = document.querySelector("#progress progress");
    count({ total: bar.max, decided: bar.value - found.undone, open: open + found.undone, suggested: document.querySelector("#bulk-suggested").textContent });
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
  const same = labels("given").length === 1 && labels("given")[0] === label;
  decide(same ? "keep" : "relabel", same ? [] : [label]);
}

function channel(value) {
  const buttons = [...place.querySelectorAll(".channels button")];
  if (!buttons.length) return;
  const at = buttons.findIndex((one) => one.getAttribute("aria-pressed") === "true");
  const next = value === undefined ? buttons[(at + 1) % buttons.length] : value;
  buttons.forEach((one) => one.setAttribute("aria-pressed", one === next));
  const image = place.querySelector("figure.main img");
  if (image) image.src = `/image/${row()}${next.dataset.channel === "" ? "" : `?channel=${next.dataset.channel}`}`;
}

function act(action) {
  if (action === "keep" || action === "exclude") decide(action);
  else if (action === "undo") undo();
  else if (action === "channel") channel();
  else if (action === "next" && !busy && row() !== null) {
    passed.add(row());
    advance();
  }
  else if (action === "accept") {
    const wanted = several && keys.chosen.size ? [...keys.chosen] : labels("suggested");
    if (wanted.length) decide("relabel", wanted);
    else say("no model suggests a label here");
  }
}

async function bulk(action) {
  const given = Number(document.querySelector("#bulk-number").value);
  const expected = Number(document.querySelector(action === "accept" ? "#bulk-suggested" : "#bulk-count").textContent);
  if (given !== expected) {
    say(`type ${expected} to confirm`);
    return;
  }
  try {
    const done = await server.bulk(action, given);
    ready.length = 0;
    place.innerHTML = "";
    document.querySelector("#bulk-number").value = "";
    await advance();
    say(`${done.decided} ${done.decided === 1 ? "image" : "images"} decided at once; u undoes the whole`);
  } catch (error) {
    say(error.message);
  }
}

const reviewer = document.querySelector("#reviewer");
reviewer.value = localStorage.getItem("reviewer") || "";
reviewer.addEventListener("change", () => localStorage.setItem("reviewer", reviewer.value));
document.querySelectorAll("button[data-action]").forEach((one) => one.addEventListener("click", () => act(one.dataset.action)));
document.querySelectorAll("button[data-bulk]").forEach((one) => one.addEventListener("click", () => bulk(one.dataset.bulk)));
place.addEventListener("click", (event) => { if (event.target.matches(".channels button")) channel(event.target); });
document.querySelector("#filters").addEventListener("submit", (event) => {
  event.preventDefault(); // a form of its own may not be sent; the address says the filter
  location.search = new URLSearchParams(new FormData(event.target)).toString();
});
keys.listen({ onClass, onAction: act });
keys.show(several ? labels("given") : []);
load().then(() => { document.body.dataset.ready = "yes"; });
