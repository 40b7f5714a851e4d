// The views beside the list: the flow, violations, parked orders and dead letters, the strip of services, the overview.
import { $, ago, ask, clickable, coarse, copied, drawn, element, fill, link, local, number, orderLink, ordersHash, plural } from "/static/dom.js";

export async function showFlow() {
  const told = await ask("flow", { window: $("window").value });
  $("flow-told").textContent = `${plural(told.orders, "order")}.`;
  const svg = drawn(told.picture);
  clickable(svg, (name) => !name.startsWith("publisher/") && "list its orders", (event) => { location.hash = ordersHash("", { event }); });
  const focused = document.activeElement?.closest?.("#flow-picture .node")?.dataset.name;
  fill($("flow-picture"), [svg]);
  if (focused) [...svg.querySelectorAll(".node")].find((node) => node.dataset.name === focused)?.focus();
  fill($("undeclared"), told.undeclared.map((r) => element("li", "",
    `${number(r.times)} x ${r.event} by ${r.service || "an unknown service"}${r.cause ? ` in answer to ${r.cause}` : ""}: ${r.kinds.join(", ")}`)));
}

export async function showViolations() {
  const found = await ask("violations");
  $("no-violations").hidden = found.length > 0;
  $("violation-table").hidden = !found.length;
  fill($("violation-rows"), found.map((v) => row({ kind: element("span", "bad", v.kind), order: orderLink(v.order_id), what: v.detail, where: element("code", "", v.address), when: ago(v.at) })));
}

function row(cells) {
  const line = element("tr", "");
  for (const [name, cell] of Object.entries(cells)) {
    const td = element("td", "", "", cell);
    td.dataset.name = name;
    line.append(td);
  }
  return line;
}

// How many orders are in trouble; `known` if everything could be read.
export const counted = { orders: 0, known: false };

export async function showTrouble(whole) {
  const told = await ask("trouble");
  const count = told.parked.length + told.dead_letters.length;
  Object.assign(counted, { orders: count, known: !told.errors.length });
  $("n-trouble").textContent = count ? number(count) : "";
  $("n-trouble").className = count ? "bad" : "";
  if (!whole) return;
  $("trouble-errors").hidden = !told.errors.length;
  $("trouble-errors").textContent = told.errors.join("; ");
  $("n-parked").textContent = told.parked.length || "";
  $("n-letters").textContent = told.dead_letters.length || "";
  cards("parked", told.parked, parkedCard, told.unread.includes("parked"));
  cards("letters", told.dead_letters, letterCard, told.unread.includes("dead_letters"));
}

const before = {};

// Cards are made anew only if something changed: what somebody has opened stays open.
function cards(id, found, card, unread) {
  const said = JSON.stringify([found, unread]);
  if (before[id] === said) return;
  before[id] = said;
  const none = unread ? element("p", "quiet", "None that could be read.") : element("p", "well", "None, all well.");
  fill($(id), found.length ? found.map(card) : [none]);
}

function parkedCard(p) {
  const facts = {
    since: [local(p.since), ", ", ago(p.since)],
    records: [`${plural(p.records, "event")}; the first is ${p.record ?? `on ${p.partition}`}`],
    tried: [`${plural(p.attempts, "time")}, again at ${local(p.retry_at)}`],
  };
  return card([orderLink(p.order_id), ` in ${p.service}`], p.error || "waiting for a retry", facts, p);
}

function letterCard(l) {
  const facts = {
    record: [l.record], letter: [l.letter],
    refused: [`${plural(l.attempts, "time")}, last `, ...(l.last ? [ago(l.last)] : ["unknown"])],
  };
  return card([l.key ? orderLink(l.key) : "a record without a key", `: ${l.reason}`], l.error, facts, l);
}

function card(head, error, facts, about) {
  const list = element("dl", "facts");
  for (const [name, values] of Object.entries(facts)) list.append(element("dt", "", name), element("dd", "", "", ...values));
  const value = element("pre", "", about.value ? JSON.stringify(about.value, null, 2) : about.value_error ? `${about.value_error}\n${about.value_base64}` : "not shown: too many, see the first command");
  value.tabIndex = 0;
  const raw = element("details", "", "", element("summary", "", "the record"), value);
  const headers = Object.entries(about.headers ?? {}).map(([name, content]) => `${name}: ${content}`).join("\n");
  if (headers) raw.append(element("pre", "quiet", headers));
  return element("article", "card", "", element("h3", "", "", ...head), element("p", "bad", error), list, raw,
    element("div", "commands", "", ...about.commands.map((command) => copied("command", command, "the command"))));
}

export async function showHealth() {
  const told = await ask("health");
  if ($("health").contains(document.activeElement)) return; // somebody is about to follow a link
  fill($("health"), told.services.map((service) => healthCard(service, told.now)));
}

function healthCard(s, now) {
  const made = element("li", `service ${s.tone}`);
  const workers = s.workers.length ? plural(s.workers.length, "worker") : "";
  const lag = s.lag_events ? `${number(s.lag_events)} behind${s.lag_since ? ` (${coarse(now - s.lag_since)})` : ""}` : s.lag_events === 0 ? "0 behind" : "";
  const facts = [workers, lag, s.last_event ? "last event " : ""].filter(Boolean);
  const line = element("span", "line quiet", facts.join(" · "), ...(s.last_event ? [ago(s.last_event)] : []));
  made.append(element("strong", "", s.service), " ", element("span", s.tone === "bad" ? "bad" : "quiet", s.says), line);
  if (s.overdue) made.append(link(`${plural(s.overdue, "order")} past the deadline, not cancelled`, ordersHash("", { overdue: "1" })));
  made.title = s.error || s.workers.map((w) => `${w.name}: host ${w.host}, pid ${w.pid}, since ${local(w.started_at_ms)}`).join("\n");
  if (s.waiting) {
    made.append(link(`${waits(s.waiting.orders)} for ${s.service}, oldest ${coarse(now - s.waiting.since)}`, ordersHash("", { waiting_on: s.service })));
  }
  return made;
}

function waits(count) {
  return `${number(count)} ${count === 1 ? "waits" : "wait"}`;
}

function inTrouble() {
  if (counted.orders) return element("p", "", "", link(`${plural(counted.orders, "parked order or dead letter", "parked orders and dead letters")}`, "#/trouble"));
  if (!counted.known) return element("p", "quiet", "Parked orders and dead letters: not read yet.");
  return element("p", "well", "No parked order and no dead letter, all well.");
}

const ENDED_BY = { deadline: "by deadline", request: "on request" };

// What the pane beside the list shows while no order is chosen.
export function overview(state) {
  const counts = Object.entries(state.by_status ?? {});
  if (!counts.length) return [element("p", "quiet", "Orders appear here as soon as one is placed.")];
  const lines = counts.map(([status, count]) => element("li", "", "", link(`${number(count)} ${status}`, ordersHash("", { status }))));
  const undone = Object.entries(state.undone ?? {}).map(([what, count]) => element("li", "", "", link(`${number(count)} ${what}`, ordersHash("", { undone: what }))));
  const failed = Object.entries(state.ended_by ?? {}).map(([what, count]) => element("li", "", "", link(`${number(count)} ${ENDED_BY[what] ?? `after ${what}`}`, ordersHash("", { ended_by: what }))));
  const waiting = Object.entries(state.waiting_on ?? {}).map(([name, count]) =>
    element("li", "", "", link(`${waits(count)} for ${name}`, ordersHash("", { waiting_on: name }))));
  const wrong = state.violations
    ? element("p", "", "", link(`${plural(state.violations, "violation")} of what the services declare`, "#/violations"))
    : element("p", "well", "No violation, all well.");
  return [
    element("h2", "", plural(state.orders, "order")), element("ul", "", "", ...lines),
    ...(undone.length ? [element("h3", "", "Of these"), element("ul", "", "", ...undone)] : []),
    ...(failed.length ? [element("h3", "", "Cancelled"), element("ul", "", "", ...failed)] : []),
    element("h3", "", "Waiting"),
    waiting.length ? element("ul", "", "", ...waiting) : element("p", "well", "No order waits for a service."),
    element("h3", "", "Trouble"), wrong,
    inTrouble(),
    element("p", "quiet", "Choose an order to read it: click, or arrow keys."),
  ];
}
