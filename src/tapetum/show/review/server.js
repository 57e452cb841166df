// What the page asks of the server. A decision counts as made when the server has answered, not before.
const filters = () => new URLSearchParams(location.search);
export const pass = Number(document.body.dataset.pass);
const mark = document.body.dataset.mark; // a server that reviews other data now refuses this page
// The name of this window outlives a reload. It is stored only while no page is shown: a copy of the window begins with a copy of the storage.
const fresh = () => Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
export const own = sessionStorage.getItem("window") || fresh();
sessionStorage.removeItem("window");
addEventListener("pagehide", () => sessionStorage.setItem("window", own));
addEventListener("pageshow", () => sessionStorage.removeItem("window"));

async function answer(response) {
  const found = await response.json().catch(() => ({ detail: `the server answered ${response.status}` }));
  if (!response.ok) throw new Error(found.detail);
  return found;
}

async function post(path, value) {
  const reviewer = document.querySelector("#reviewer").value;
  const body = JSON.stringify({ ...value, pass, mark, window: own, reviewer });
  return answer(await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body }));
}

export async function following(skip, after) {
  const query = filters();
  query.set("mark", mark);
  query.set("skip", skip.join(","));
  if (after !== undefined) query.set("after", after);
  return answer(await fetch(`/next?${query}`));
}

export const decide = (row, action, labels, seen) => post("/decide", { row, action, labels, seen });
export const undo = (number) => post("/undo", { number, filter: Object.fromEntries(filters()) });
export const bulk = (action, count) => post("/bulk", { action, count, filter: Object.fromEntries(filters()) });
export const counted = async () => (await answer(await fetch(`/state?${filters()}`))).counts;
