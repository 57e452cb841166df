"use strict";
const at = (id) => document.getElementById(id);
let token = "", files = 1, shown = null;

const add = (parent, kind, text, values) => {
  const one = Object.assign(document.createElement(kind), values || {});
  if (text !== undefined) one.textContent = text;
  parent.append(one);
  return one;
};

const say = (text, wrong) => { at("state").textContent = text; at("state").className = wrong ? "error" : ""; };

async function ask(path, options) {
  const response = await fetch(path, {...options, headers: token ? {authorization: `Bearer ${token}`} : {}});
  if (response.status === 401) at("access").hidden = false;
  const found = await response.json();
  if (!response.ok) throw new Error(found.detail);
  return found;
}

async function introduce() {
  try {
    const about = await ask("/about");
    at("access").hidden = true;
    at("name").textContent = about.name;
    at("about").textContent = about.targets.map((one) => `${one.name}: ${one.classes.length ? one.classes.join(", ").slice(0, 200) : "a number"}`).join("; ");
    files = about.files;
    say(files > 1 ? `Each row has ${files} files: choose them together.` : "");
  } catch (error) { say(error.message, true); }
}

function form(chosen) {
  const body = new FormData();
  for (const one of chosen) body.append("image", one, one.name);
  return body;
}

function showAnswers(place, entry) {
  place.replaceChildren();
  shown && URL.revokeObjectURL(shown);
  shown = URL.createObjectURL(entry.file);
  add(place, "img", undefined, {src: shown, alt: entry.id}).addEventListener("error", (event) => event.target.remove());
  for (const [target, one] of Object.entries(entry.answers)) {
    const label = Array.isArray(one.answer) ? one.answer.join(", ") || "no label" : one.answer;
    add(place, "h2", `${target}: ${label}`);
    for (const [name, p] of Object.entries(one.p || {})) {
      const row = add(place, "div", undefined, {className: "row"});
      add(row, "span", name, {title: name});
      add(row, "meter", undefined, {value: p, min: 0, max: 1});
      add(row, "span", p.toFixed(3));
    }
  }
}

function showWhy(place, found) {
  place.replaceChildren();
  if (found.saliency) {
    add(place, "h2", "Pixels that the answer came from");
    add(place, "img", undefined, {src: found.saliency, alt: "saliency map"});
  }
  if (found.neighbours.length) {
    add(place, "h2", "Nearest training images");
    for (const one of found.neighbours) {
      const figure = add(place, "figure");
      if (one.image) add(figure, "img", undefined, {src: one.image, alt: one.id});
      add(figure, "figcaption", `${one.label ?? ""} (${one.cosine.toFixed(2)}) ${one.id}`);
    }
  }
  if (found.why) add(place, "p", found.why);
}

async function send(chosen) {
  if (!chosen.length) return;
  say("Working …");
  at("why").replaceChildren();
  const row = [...chosen].slice(0, files);
  try {
    const found = await ask(`/predict?top=10&files=${files}`, {method: "POST", body: form(row)});
    showAnswers(at("answers"), {...found.answers[0], file: row[0]});
    say("");
    showWhy(at("why"), await ask(`/explain?files=${files}`, {method: "POST", body: form(row)}));
  } catch (error) { say(error.message, true); }
}

const drop = at("drop");
for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
for (const name of ["dragleave", "drop"]) drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.remove("over"); });
drop.addEventListener("drop", (event) => send(event.dataTransfer.files));
at("file").addEventListener("change", (event) => send(event.target.files));
at("access").addEventListener("submit", (event) => { event.preventDefault(); token = at("token").value; introduce(); });
introduce();
