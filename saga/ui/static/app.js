// The page: asks the server again whenever its stream says that something has changed. What comes from the log is only
// ever put in as text; the pictures are SVG that the server has escaped.
import { OrderList } from "/static/list.js";
import { ask, drawn, element, fill, shortly } from "/static/dom.js";

const $ = (id) => document.getElementById(id);
const VIEWS = ["orders", "flow", "violations", "trouble"];
let view = "orders";
let chosen = "";
let state = {};

const list = new OrderList($("list"), $("rows"), (id) => open(id));
const refresh = shortly(300, async () => {
  if (view !== "orders") await new Promise((go) => setTimeout(go, 700)); // dearer questions, less often
  await Promise.all([view === "orders" && list.refresh(), view === "orders" && chosen && showOrder(), show()]);
});

function filter() {
  const wanted = { search: $("search").value.trim(), status: $("status").value };
  if ($("stuck").checked) wanted.stuck = $("older").value;
  list.want(wanted);
}

function open(id) {
  location.hash = id ? `#/orders/${encodeURIComponent(id)}` : "#/orders";
}

async function route() {
  const [, name, id] = location.hash.split("/");
  view = VIEWS.includes(name) ? name : "orders";
  for (const each of VIEWS) {
    $(each).hidden = each !== view;
    $(`tab-${each}`).setAttribute("aria-selected", String(each === view));
    $(`tab-${each}`).tabIndex = each === view ? 0 : -1;
  }
  if (view === "orders") {
    let wanted = "";
    try { wanted = decodeURIComponent(id ?? ""); } catch { /* no id of ours */ }
    if (wanted !== chosen) {
      chosen = wanted;
      list.select(chosen);
      fill($("order"), [element("p", "quiet", chosen ? "…" : "Choose an order: click, or arrow keys and Enter.")]);
    }
    if (chosen) await showOrder();
  }
  await show();
}

async function show() {
  try {
    if (view === "flow") await showFlow();
    if (view === "violations") await showViolations();
    if (view === "trouble") await showTrouble();
  } catch (error) {
    alarm(error.message);
  }
}

async function showOrder() {
  const id = chosen;
  let told;
  try {
    told = await ask("order", { id });
  } catch (error) {
    if (id === chosen) fill($("order"), [element("p", "bad", error.message)]);
    return;
  }
  if (id !== chosen) return;
  const order = told.order;
  const due = told.due.map((d) => element("p", "pending", `Due: ${d.service} answers ${d.event} with ${d.answers.join(" or ")}`));
  const chain = told.chain.map((link) => {
    const line = element("li", "");
    line.append(element("span", "since", `+${span(link.since_placed_ms)}`), element("span", "", `${link.service || "unknown"}: ${link.sentence}`),
      element("span", "where", link.address));
    return line;
  });
  const chained = element("ol", "chain");
  chained.append(...chain);
  const picture = element("div", "wide");
  picture.tabIndex = 0;
  picture.append(drawn(told.picture));
  fill($("order"), [
    element("h2", "", order.order_id),
    element("p", `status ${order.status}`, [order.status, ...order.undone].join(", ")),
    element("p", "quiet", `customer ${order.customer_id ?? "unknown"}, placed ${order.placed_at}`),
    element("p", "why", told.why), ...due, picture, chained,
    ...told.violations.map((v) => element("p", "bad", `${v.kind}: ${v.address}: ${v.detail}`)),
    element("p", "quiet", `Can still happen: ${told.possible.join(", ") || "nothing; this is final"}`),
  ]);
  $("order").querySelector(".status").style.textAlign = "left";
}

async function showFlow() {
  const told = await ask("flow");
  $("flow-told").textContent = `${told.orders.toLocaleString("en")} orders placed in the last 5 minutes; times are the median of these minutes, in the latest 5,000 orders at most. Dashed: undoes. Dotted: not seen. Red arrows: no declaration allows it.`;
  fill($("flow-picture"), [drawn(told.picture)]);
  fill($("undeclared"), told.undeclared.map((r) => element("li", "",
    `${r.times} x ${r.event} by ${r.service || "an unknown service"}${r.cause ? ` in answer to ${r.cause}` : ""}: ${r.kinds.join(", ")}`)));
}

async function showViolations() {
  const found = await ask("violations");
  fill($("violation-rows"), found.map((v) => row([v.kind, v.address, orderLink(v.order_id), v.at, v.detail])));
}

async function showTrouble() {
  const told = await ask("trouble");
  $("n-trouble").textContent = told.parked.length + told.dead_letters.length || "";
  $("trouble-errors").textContent = told.errors.join("; ");
  fill($("parked-rows"), told.parked.map((p) => row([orderLink(p.order_id), p.service, p.records, p.attempts, p.since, p.retry_at, p.error])));
  fill($("letter-rows"), told.dead_letters.map((l) => row([l.letter, l.record, orderLink(l.key), l.attempts, l.reason, l.last, l.error])));
}

function row(cells) {
  const line = element("tr", "");
  for (const cell of cells) {
    const td = element("td", "", cell instanceof Node ? "" : String(cell ?? ""));
    if (cell instanceof Node) td.append(cell);
    line.append(td);
  }
  return line;
}

function span(ms) {
  return ms < 1000 ? `${ms} ms` : ms < 60000 ? `${(ms / 1000).toFixed(1)} s` : `${(ms / 60000).toFixed(1)} min`;
}

function orderLink(id) {
  if (!id) return "unknown";
  const link = element("a", "", id);
  link.href = `#/orders/${encodeURIComponent(id)}`;
  return link;
}

function alarm(text) {
  $("alarm").hidden = !text;
  $("alarm").textContent = text;
}

function heard(told) {
  const moved = told.writes !== state.writes || told.orders !== state.orders || told.error !== state.error;
  state = told;
  const ails = [told.broker && `The broker is away: ${told.broker}`, told.error, told.tracker && !told.broker && `Not following the log: ${told.tracker}`];
  alarm(ails.filter(Boolean).join(" · "));
  $("state").className = told.broker || told.error ? "bad" : "";
  $("state").textContent = told.error ? "no tracker" : told.behind ? `behind by ${told.behind.toLocaleString("en")}` : "live";
  $("state").title = told.reader ?? "";
  $("n-orders").textContent = told.orders?.toLocaleString("en") ?? "";
  $("n-violations").textContent = told.violations || "";
  $("n-violations").className = told.violations ? "bad" : "";
  const counts = Object.entries(told.by_status ?? {}).map(([name, n]) => `${n.toLocaleString("en")} ${name}`);
  const waits = Object.entries(told.waiting_on ?? {}).map(([name, n]) => `${n.toLocaleString("en")} wait for ${name}`);
  $("counts").textContent = [...counts, ...waits].join(" · ");
  if (moved) refresh();
}

function listen() {
  const stream = new EventSource("/api/changes");
  stream.onmessage = (event) => heard(JSON.parse(event.data));
  stream.onerror = () => {
    $("state").className = "bad";
    $("state").textContent = "the page's server does not answer; trying again";
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
  };
}

function keyed(event) {
  const typing = event.target.matches("input, select");
  if (event.key === "Escape") { event.target.blur(); $("list").focus(); }
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") { if (view !== "orders") open(chosen); setTimeout(() => $("search").focus()); event.preventDefault(); }
  if (event.key === "s") { $("stuck").checked = !$("stuck").checked; filter(); }
  if ("1234".includes(event.key)) location.hash = `#/${VIEWS[event.key - 1]}`;
  const at = VIEWS.indexOf(event.target.id?.replace("tab-", ""));
  if (event.target.role === "tab" && at >= 0 && ["ArrowRight", "ArrowLeft"].includes(event.key)) {
    const next = VIEWS[(at + (event.key === "ArrowRight" ? 1 : 3)) % 4];
    location.hash = `#/${next}`;
    $(`tab-${next}`).focus();
  }
}

for (const name of VIEWS) $(`tab-${name}`).addEventListener("click", () => { location.hash = `#/${name}`; });
$("filter").addEventListener("submit", (event) => event.preventDefault());
$("filter").addEventListener("input", shortly(150, filter));
addEventListener("keydown", keyed);
addEventListener("hashchange", route);
ask("choices").then((told) => {
  for (const status of told.statuses) $("status").append(new Option(status, status));
});
setInterval(() => { if ($("stuck").checked || view === "trouble") refresh(); }, 5000);
listen();
route();
