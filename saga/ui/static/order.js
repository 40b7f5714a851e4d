// One order: what it means for the customer, what was ordered, why it is as it is, each event as it is on the log.
import { $, ago, ahead, ask, clickable, copied, drawn, element, fill, link, local, number, ordersHash, plural, span, state } from "/static/dom.js";

let shown = "";
let last = "";
const opened = new Set();

export async function showOrder(id, stillWanted) {
  let told;
  try {
    told = await ask("order", { id });
  } catch (error) {
    if (stillWanted()) { last = ""; fill($("order"), [back(), element("p", "bad", error.message)]); }
    return;
  }
  if (!stillWanted()) return;
  if (shown !== id) { opened.clear(); last = ""; shown = id; }
  const { why, ...rest } = told;
  const said = JSON.stringify(rest);
  if (said === last) { $("why").textContent = why; return; }
  last = said;
  const top = $("order").scrollTop;
  fill($("order"), parts(told));
  $("order").scrollTop = top;
}

export function forget() {
  shown = last = "";
}

function parts(told) {
  const { order, verdict } = told;
  const picture = element("div", "wide");
  picture.tabIndex = 0;
  picture.setAttribute("role", "group");
  picture.setAttribute("aria-label", "The order's events");
  const svg = drawn(told.picture);
  const known = new Map(told.steps.map((step) => [step.address, step]));
  clickable(svg, (address) => known.has(address) && "show the event", openStep);
  picture.append(svg);
  const why = element("p", "why", told.why);
  why.id = "why";
  return [
    back(),
    element("p", `verdict ${verdict.tone}`, verdict.text),
    element("h2", "", "", copied("", order.order_id, "the order id")),
    facts(order, told.late), why,
    ...told.due.map((due) => element("p", "pending", `Due: ${due.service} answers ${due.event || "first"} with ${due.answers.join(" or ")}`)),
    ...told.violations.map((v) => element("p", "bad", `${v.kind}: ${v.address}: ${v.detail}`)),
    picture,
    element("h3", "", "Events"),
    element("div", "steps", "", ...told.chain.map((each) => event(each, known.get(each.address), told))),
    element("p", "quiet", `Can still happen: ${told.possible.join(", ") || "nothing; this is final"}`),
    ...others(order, told.others),
  ];
}

function back() {
  const button = element("button", "back", "‹ Back to the list");
  button.type = "button";
  button.addEventListener("click", () => { location.hash = location.hash.replace(/^#\/orders\/[^?]*/, "#/orders"); });
  return button;
}

function facts(order, late) {
  const list = element("dl", "facts");
  const add = (name, ...values) => list.append(element("dt", "", name), element("dd", "", "", ...values));
  add("status", element("span", `status ${order.status}`, state(order)));
  add("customer", order.customer_id ? link(order.customer_id, ordersHash("", { customer: order.customer_id })) : "unknown");
  if (order.money) add("total", order.money);
  if (order.items.length) {
    add("items", element("ul", "items", "", ...order.items.map((item) => element("li", "", `${number(item.quantity)} × ${item.sku}`))));
  }
  if (order.reason) add("reason", order.reason);
  add("placed", `${local(order.placed_at)}, `, ago(order.placed_at));
  if (order.cancel_at) add("deadline", `${local(order.cancel_at)}, order `, ahead(order.cancel_at), late ? element("span", "bad", ", and no worker has cancelled it") : "");
  if (order.ended_at) add("ended", `${local(order.ended_at)}, `, ago(order.ended_at));
  if (order.request_id) add("request", copied("", order.request_id, "the request id"));
  return list;
}

function event(each, step, told) {
  const made = element("details", "step");
  made.dataset.address = each.address;
  made.open = opened.has(each.address);
  made.addEventListener("toggle", () => opened[made.open ? "add" : "delete"](each.address));
  made.append(element("summary", "", "", element("span", "since", `+${span(each.since_placed_ms)}`),
    element("span", "", `${each.service || "unknown"}: ${each.sentence}`)));
  if (!step) return made;
  const list = element("dl", "facts");
  const add = (name, value) => list.append(element("dt", "", name), element("dd", "", value));
  add("event", `${step.event}, ${step.schema}`);
  add("address", step.address);
  add("at", local(step.at));
  if (told.why_ended && step.event === told.order.ending) add("because", told.why_ended);
  else if (step.cause) add("answers", step.cause);
  if (step.waited_ms !== null) add("waited", `${span(step.waited_ms)} for its turn, then handled in ${span(step.handled_ms)}`);
  if (step.undoes) add("undoes", step.undoes);
  if (step.undone_by) add("undone by", step.undone_by);
  const raw = element("pre", "", JSON.stringify(step.fields, null, 2));
  raw.tabIndex = 0;
  made.append(list, raw);
  return made;
}

function openStep(address) {
  const step = [...document.querySelectorAll(".step")].find((each) => each.dataset.address === address);
  step.open = true;
  step.scrollIntoView({ block: "nearest" });
  step.querySelector("summary").focus();
}

function others(order, found) {
  if (!found.length) return [];
  const rows = found.map((other) => element("li", "", "", link(other.order_id, ordersHash(other.order_id)), " ",
    element("span", `status ${other.status}`, state(other)), ` ${other.money} `, element("span", "quiet", "", ago(other.at))));
  const all = link("all of this customer", ordersHash("", { customer: order.customer_id }));
  return [element("h3", "", `${plural(found.length, "other order")} of this customer`), element("ul", "others", "", ...rows), element("p", "", "", all)];
}
