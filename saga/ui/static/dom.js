// Small things: elements with text, SVG of the server's, questions to it, times as people read them.
export const $ = (id) => document.getElementById(id);

export function element(name, kind, text = "", ...children) {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  if (text !== "") made.textContent = text;
  made.append(...children);
  return made;
}

export function fill(parent, children) {
  parent.replaceChildren(...children);
}

export function link(text, hash) {
  const made = element("a", "", text);
  made.href = hash;
  return made;
}

// The hash of the orders' view: an order, if any, and what the list is narrowed to.
export function ordersHash(id, wanted = {}) {
  const given = Object.entries(wanted).filter(([, value]) => value !== undefined && value !== "");
  const query = new URLSearchParams(given).toString();
  return `#/orders${id ? `/${encodeURIComponent(id)}` : ""}${query ? `?${query}` : ""}`;
}

export function orderLink(id) {
  return id ? link(id, ordersHash(id)) : element("span", "quiet", "unknown");
}

export function copier(text, what) {
  const button = element("button", "copy", "copy");
  button.type = "button";
  button.setAttribute("aria-label", `copy ${what}`);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "copied";
    } catch {
      button.textContent = "press Ctrl-C";
      select(button.parentElement.querySelector("[data-copied]"));
    }
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  });
  return button;
}

// Without a clipboard (a page over plain HTTP has none) the text is selected.
function select(node) {
  if (node) getSelection().selectAllChildren(node);
}

export function copied(kind, text, what) {
  const code = element("code", "", text);
  code.dataset.copied = "";
  return element("span", kind, "", code, " ", copier(text, what));
}

export function drawn(picture) {
  const svg = document.importNode(new DOMParser().parseFromString(picture, "image/svg+xml").documentElement, true);
  svg.setAttribute("aria-label", svg.querySelector("title").textContent);
  svg.style.minWidth = `min(620px, ${svg.getAttribute("width")}px)`; // a small picture is not made larger
  return svg;
}

// Makes the boxes of a picture work as buttons.
export function clickable(svg, told, act) {
  svg.setAttribute("role", "group");
  for (const box of svg.querySelectorAll(".node[data-name]")) {
    const name = box.dataset.name;
    const does = told(name);
    if (!does) continue;
    const label = `${box.textContent.replace(/\s+/g, " ").trim()}: ${does}`;
    box.setAttribute("role", "button");
    box.setAttribute("tabindex", "0");
    box.setAttribute("aria-label", label);
    box.addEventListener("click", () => act(name));
    box.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); act(name); }
    });
  }
}

export async function ask(what, parameters = {}) {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== "");
  const response = await fetch(`/api/${what}?${new URLSearchParams(given)}`);
  if (response.status === 401) location.reload();
  const told = await response.json();
  if (!response.ok) throw new Error(told.error ?? response.statusText);
  return told;
}

// Calls `work` at most every so many ms, once more for what came meanwhile, and never twice at once.
export function shortly(ms, work) {
  let running = false;
  let again = false;
  return async function call() {
    if (running) { again = true; return; }
    running = true;
    await new Promise((go) => setTimeout(go, ms));
    again = false;
    try { await work(); } catch (error) { console.warn(error.message); }
    running = false;
    if (again) call();
  };
}

export function number(count) {
  return (count ?? 0).toLocaleString("en");
}

export function plural(count, one, many = `${one}s`) {
  return `${number(count)} ${count === 1 ? one : many}`;
}

// Where an order stands, and what of it was undone: "cancelled, refunded".
export function state(order) {
  return [order.status, ...order.undone].join(", ");
}

export function span(ms) {
  const size = Math.abs(ms);
  if (size < 1000) return `${Math.round(ms)} ms`;
  if (size < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  return coarse(ms);
}

export function coarse(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.round(s / 60)} min`;
  if (s < 172_800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86_400)} days`;
}

const PARTS = new Intl.DateTimeFormat("en-GB", {
  year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short", hourCycle: "h23",
});

// The time where the browser is, with its zone: 2026-01-31 13:00:00 CET.
export function local(at) {
  const part = Object.fromEntries(PARTS.formatToParts(new Date(at)).map(({ type, value }) => [type, value]));
  return `${part.year}-${part.month}-${part.day} ${part.hour}:${part.minute}:${part.second} ${part.timeZoneName}`;
}

// "3 min ago", kept true while it is shown; the whole time is its tooltip.
export function ago(at) {
  const made = element("time", "", since(at));
  made.dateTime = new Date(at).toISOString();
  made.title = local(at);
  return made;
}

// "cancels itself in 12 min", kept true; when it is over, for how long it has been.
export function ahead(at) {
  const made = ago(at);
  made.dataset.ahead = "";
  made.textContent = since(at, true);
  return made;
}

function since(at, isAhead = false) {
  const ms = Date.now() - new Date(at).getTime();
  if (isAhead) return ms < 0 ? `cancels itself in ${coarse(-ms)}` : `overdue for ${coarse(ms)}`;
  return ms < 1000 ? "now" : `${coarse(ms)} ago`;
}

setInterval(() => {
  for (const time of document.querySelectorAll("time")) time.textContent = since(time.dateTime, "ahead" in time.dataset);
}, 5000);
