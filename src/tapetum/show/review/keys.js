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
  visible().sort((a, b) => found(b).startsWith(text) - found(a).startsWith(text));
  mark(text ? visible().find((one) => found(one).startsWith(text)) ?? visible()[0] : undefined);
}

export function leaveField() {
  if (!field) return;
  field.value = "";
  narrow();
  field.blur();
}

export function listen({ onClass, onAction }) {
  const commands = { k: "keep", x: "exclude", u: "undo", n: "next", c: "channel", Enter: "accept" };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target === field) return;
    if (event.target.matches("input, select, textarea, summary, a") || (event.target.matches("button") && event.key === "Enter")) return;
    if (event.key === "/" && field) {
      event.preventDefault();
      field.focus();
    } else if (byKey.has(event.key)) {
      onClass(byKey.get(event.key));
    } else if (event.key in commands) {
      event.preventDefault();
      onAction(commands[event.key]);
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
