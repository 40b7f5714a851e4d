// The page: asks the server again whenever its stream says that something has changed. What comes from the log is only
// ever put in as text; the pictures are SVG that the server has escaped.
import { OrderList } from "/static/list.js";
import { $, ask, element, fill, link, number, ordersHash, shortly } from "/static/dom.js";
import { forget, showOrder } from "/static/order.js";
import { counted, overview, showFlow, showHealth, showTrouble, showViolations } from "/static/views.js";

const quietly = (work) => () => work().catch((error) => console.warn(error.message));
const VIEWS = ["orders", "flow", "violations", "trouble"];
const CHIPS = { undone: "was", waiting_on: "waits for", event: "has", customer: "customer", ended_by: "ended by", overdue: "pending past the deadline" };
let view = "orders";
let chosen = "";
let narrowed = {};
let state = {};
let connected = true;
let before = null; // the query of the address that the list was narrowed by
let summed = "";

const list = new OrderList($("list"), $("rows"), (id) => open(id));
const refresh = shortly(300, async () => {
  if (view !== "orders") await new Promise((go) => setTimeout(go, 700)); // dearer questions, less often
  await Promise.all([view === "orders" && list.refresh(), view === "orders" && readOrder(), show(), showHealth()]);
});

// What the list shows is in the address: links narrow it, and it can be shared.
function filter() {
  const wanted = { ...narrowed, search: $("search").value.trim(), status: $("status").value, stuck: $("stuck").checked ? $("older").value : "" };
  const hash = ordersHash(chosen, wanted);
  before = hash.split("?")[1] ?? "";
  history.replaceState(null, "", hash);
  narrow(wanted);
}

function narrow(wanted) {
  narrowed = Object.fromEntries(Object.entries(wanted).filter(([name, value]) => name in CHIPS && value));
  fill($("chips"), Object.entries(narrowed).map(([name, value]) => chip(name, value, wanted)));
  const some = Object.values(wanted).some(Boolean);
  fill($("none"), some
    ? [element("p", "quiet", "No order matches. Texts (SKU, reason, request) are searched in the latest 10,000 orders."), element("p", "", "", link("show all orders", "#/orders"))]
    : [element("p", "quiet", "No order was read from the log yet.")]);
  return list.want(wanted);
}

function chip(name, value, wanted) {
  const said = name === "overdue" ? CHIPS[name] : `${CHIPS[name]} ${value}`;
  const made = link(`${said} ✕`, ordersHash(chosen, { ...wanted, [name]: "" }));
  made.className = "chip";
  made.setAttribute("aria-label", `remove the filter: ${said}`);
  return made;
}

function open(id) {
  go(ordersHash(id, list.wanted));
}

function turnTo(name) {
  go(name === "orders" ? ordersHash(chosen, list.wanted) : `#/${name}`);
}

// The browser's own notice of a new address comes later than the next key may.
function go(hash) {
  location.hash = hash;
  arrive();
}

async function route() {
  arrive();
  if (view === "orders") await readOrder();
  await show();
}

// Shows the view and the choice of the address; what is in them is asked for afterwards.
function arrive() {
  const [path, query = ""] = location.hash.split("?");
  const [, name, id] = path.split("/");
  view = VIEWS.includes(name) ? name : "orders";
  for (const each of VIEWS) {
    $(each).hidden = each !== view;
    $(`tab-${each}`).setAttribute("aria-selected", String(each === view));
    $(`tab-${each}`).tabIndex = each === view ? 0 : -1;
  }
  if (view === "orders") {
    let wanted = "";
    try { wanted = decodeURIComponent(id ?? ""); } catch { /* no id of ours */ }
    if (query !== before) {
      before = query;
      const filters = Object.fromEntries(new URLSearchParams(query));
      $("search").value = filters.search ?? "";
      $("status").value = filters.status ?? "";
      $("stuck").checked = Boolean(filters.stuck);
      if (filters.stuck) $("older").value = filters.stuck;
      narrow(filters).catch((error) => console.warn(error.message));
    }
    choose(wanted);
  }
  document.body.classList.toggle("reading", view === "orders" && Boolean(chosen));
}

function choose(wanted) {
  if (wanted === chosen && $("order").childNodes.length) return;
  chosen = wanted;
  forget();
  list.select(chosen);
  summed = "";
  fill($("order"), [element("p", "quiet", "…")]);
  $("order").scrollTop = 0;
}

async function readOrder() {
  const id = chosen;
  if (id) return showOrder(id, () => id === chosen);
  const said = JSON.stringify([state.by_status, state.undone, state.ended_by, state.waiting_on, state.violations, counted]);
  if (said !== summed) fill($("order"), overview(state));
  summed = said;
}

async function show() {
  try {
    if (view === "flow") await showFlow();
    if (view === "violations") await showViolations();
    if (view === "trouble") await showTrouble(true);
  } catch (error) {
    alarm(error.message);
  }
}

async function countTrouble() {
  await showTrouble(view === "trouble");
  setTimeout(quietly(countTrouble), counted.known ? 30_000 : 5000);
  if (view === "orders" && !chosen) await readOrder();
}

function alarm(text) {
  $("alarm").hidden = !text;
  $("alarm").textContent = text;
}

function tell(kind, text) {
  $("state").className = kind;
  $("state").textContent = text;
}

function heard(told) {
  const moved = !connected || told.writes !== state.writes || told.orders !== state.orders || told.error !== state.error;
  connected = true;
  state = told;
  const ails = [told.broker && `The broker is unavailable: ${told.broker}`, told.error, told.tracker && !told.broker && `Not following the log: ${told.tracker}`];
  alarm(ails.filter(Boolean).join(" · "));
  if (told.error) tell("bad", "no tracker");
  else if (told.broker) tell("bad", "broker away");
  else if (told.tracker) tell("bad", "not following");
  else if (told.behind) tell("late", `behind by ${number(told.behind)}`);
  else tell("", "live");
  $("state").title = told.reader ?? "";
  $("n-orders").textContent = told.orders === undefined ? "" : number(told.orders);
  $("n-violations").textContent = told.violations ? number(told.violations) : "";
  $("n-violations").className = told.violations ? "bad" : "";
  if (moved) refresh();
}

function listen() {
  const stream = new EventSource("/api/changes");
  stream.onmessage = (event) => heard(JSON.parse(event.data));
  stream.onerror = () => {
    connected = false;
    tell("bad", "the page's server does not answer");
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
  };
}

function escaped(typing, target) {
  if (typing) return target.blur();
  const reading = $("order").contains(target);
  if (chosen) open("");
  else if (Object.values(list.wanted).some(Boolean)) go("#/orders");
  if (reading) $("list").focus();
}

function search() {
  if (view !== "orders") turnTo("orders");
  if (!$("search").offsetParent) open(""); // a narrow screen shows the order alone
  $("search").focus();
}

function keyed(event) {
  const typing = event.target.matches("input:not([type=checkbox]), select");
  const at = VIEWS.indexOf(event.target.id?.replace("tab-", ""));
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (view === "orders" && event.key === "Escape") return escaped(typing, event.target);
  if (at >= 0 && ["ArrowRight", "ArrowLeft"].includes(event.key)) {
    const next = VIEWS[(at + (event.key === "ArrowRight" ? 1 : 3)) % 4];
    turnTo(next);
    $(`tab-${next}`).focus();
    return;
  }
  const reading = chosen && $("order").contains(event.target);
  const moves = !typing && !reading || event.target.id === "search" && event.key.startsWith("Arrow");
  if (view === "orders" && moves && list.keyed(event.key)) { event.preventDefault(); return; }
  if (typing) return;
  if (view === "orders" && event.key === "Enter" && chosen && event.target.matches("body, #list")) $("order").focus();
  if (event.key === "/") { search(); event.preventDefault(); }
  if (view === "orders" && event.key === "s") { $("stuck").checked = !$("stuck").checked; filter(); }
  if ("1234".includes(event.key)) turnTo(VIEWS[event.key - 1]);
}

for (const name of VIEWS) {
  $(`tab-${name}`).addEventListener("click", () => turnTo(name));
}
const typed = shortly(150, filter);
$("filter").addEventListener("submit", (event) => event.preventDefault());
$("filter").addEventListener("input", typed);
$("flow-filter").addEventListener("submit", (event) => event.preventDefault());
$("window").addEventListener("input", show);
addEventListener("keydown", keyed);
addEventListener("hashchange", route);
const choices = ask("choices").then((told) => {
  for (const status of told.statuses) $("status").append(new Option(status, status));
});
setInterval(() => { if ($("stuck").checked || view === "trouble") refresh(); }, 5000);
setInterval(quietly(showHealth), 5000);
listen();
choices.catch(() => {}).finally(route);
quietly(showHealth)();
quietly(countTrouble)();
