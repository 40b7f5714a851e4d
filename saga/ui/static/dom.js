// Small things: elements with text, SVG of the server's, questions to it, and not too often.
export function element(name, kind, text = "") {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  made.textContent = text;
  return made;
}

export function fill(parent, children) {
  parent.replaceChildren(...children);
}

export function drawn(picture) {
  return document.importNode(new DOMParser().parseFromString(picture, "image/svg+xml").documentElement, true);
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
