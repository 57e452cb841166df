// Keys: a key for each class, commands, and a field in which the beginning of a class's name finds it.
const list = document.querySelector("#classes");
const field = document.querySelector("#class-input");
const options = list ? [...list.children] : [];
const byKey = new Map(options.filter((one) => one.dataset.key).map((one) => [one.dataset.key, one.dataset.label]));

const visible = () => options.filter((one) => !one.hidden);
const marked = () => visible().find((one) => one.classList.contains("marked"));

function mark(option) {
  options.forEach((one) => one.classList.toggle("marked", one === option));
  options.forEach((one) => one.setAttribute("aria-selected", one === option || chosen.has(one.dataset.label)));
  if (option) field.setAttribute("aria-activedescendant", option.id);
  else field?.removeAttribute("aria-activedescendant");
  option?.scrollIntoView({ block: "nearest" });
}

export const chosen = new Set();

export function show(labels) {
  chosen.clear();
  labels.forEach((label) => chosen.add(label));
  mark(undefined);
}

function narrow() {
  const text = field.value.toLowerCase();
  const found = (one) => one.dataset.label.toLowerCase();
  options.forEach((one) => { one.hidden = !found(one).includes(text); });
  mark(text ? visible().find((one) => found(one).startsWith(text)) ?? visible()[0] : undefined);
}

export function leaveField() {
  if (!field) return;
  field.value = "";
  narrow();
  field.blur();
}

// Enter and the space bar belong to what has the focus; every other key is free there.
const isOwnKey = (event) => event.target.matches("input, select, textarea")
  || (event.target.matches("button, summary, a") && (event.key === "Enter" || event.key === " "));

export function listen({ onClass, onAction }) {
  const commands = { k: "keep", x: "exclude", u: "undo", n: "next", c: "channel", 0: "none", Enter: "accept" };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target === field || isOwnKey(event)) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key; // with Caps Lock too
    if (event.repeat && commands[key] !== "undo") return; // a key that is held down decides one image, not all of them
    if (key === "/" && field) {
      event.preventDefault();
      field.focus();
    } else if (byKey.has(key)) {
      onClass(byKey.get(key));
    } else if (key in commands) {
      event.preventDefault();
      onAction(commands[key]);
    }
  });
  field?.addEventListener("input", narrow);
  field?.addEventListener("keydown", (event) => {
    const there = visible();
    const at = there.indexOf(marked());
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      mark(there[(at + (event.key === "ArrowDown" ? 1 : there.length - 1)) % there.length]);
    } else if (event.key === "Enter" && marked()) {
      event.preventDefault();
      const label = marked().dataset.label;
      leaveField();
      onClass(label);
    } else if (event.key === "Escape") leaveField();
  });
  options.forEach((one) => one.addEventListener("click", () => onClass(one.dataset.label)));
}
