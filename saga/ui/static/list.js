// The list of orders: as long as one scrolls, pages come from the server; only the rows that can be seen are elements.
import { $, ago, ahead, ask, element, fill, span } from "/static/dom.js";

const PAGE = 200;
const AROUND = 8;

export class OrderList {
  constructor(box, rows, open) {
    Object.assign(this, { box, rows, open, orders: [], after: null, wanted: {}, turn: 0, selected: "", last: "", loading: false, loaded: false, at: -1 });
    box.addEventListener("scroll", () => { this.draw(); this.more(); }, { passive: true });
    new ResizeObserver(() => this.draw()).observe(box);
  }

  // The height of a row: cards on a narrow screen are higher.
  get row() {
    return parseFloat(getComputedStyle(this.box).getPropertyValue("--row")) || 64;
  }

  // Begin anew with other orders.
  want(wanted) {
    this.wanted = wanted;
    this.last = this.selected;
    this.box.scrollTop = 0;
    return this.load();
  }

  // Ask for the first page again where it can be seen, else only for the rows that can be seen.
  refresh() {
    const first = Math.floor(this.box.scrollTop / this.row);
    return first < AROUND ? this.load() : this.update(first);
  }

  async load() {
    const turn = ++this.turn;
    const told = await ask("orders", { ...this.wanted, limit: PAGE });
    if (turn !== this.turn) return;
    const known = new Set(this.orders.map((order) => order.order_id));
    const fresh = known.size ? told.orders.filter((order) => !known.has(order.order_id)) : [];
    this.fresh = new Set(fresh.map((order) => order.order_id));
    this.orders = told.orders;
    this.after = told.after;
    this.loading = false;
    this.loaded = true;
    this.place();
    this.draw();
    this.more();
  }

  async update(first) {
    const turn = this.turn;
    const before = this.orders[first - 1];
    const count = Math.ceil(this.box.clientHeight / this.row) + AROUND;
    const told = await ask("orders", { ...this.wanted, limit: count, ...this.key(before) });
    if (turn !== this.turn) return;
    const now = new Map(told.orders.map((order) => [order.order_id, order]));
    for (let i = first; i < first + count && i < this.orders.length; i++) this.orders[i] = now.get(this.orders[i].order_id) ?? this.orders[i];
    this.draw();
  }

  key(order) {
    return { after_at: this.wanted.stuck ? Date.parse(order.updated_at) : order.at, after_id: order.order_id };
  }

  async more() {
    const below = this.orders.length * this.row - this.box.scrollTop - this.box.clientHeight;
    if (!this.after || this.loading || below > PAGE * this.row / 2) return;
    this.loading = true;
    const turn = this.turn;
    try {
      const told = await ask("orders", { ...this.wanted, limit: PAGE, ...this.after });
      if (turn !== this.turn) return;
      this.orders.push(...told.orders);
      this.after = told.after;
    } finally {
      if (turn === this.turn) this.loading = false;
    }
    this.draw();
    this.more();
  }

  draw() {
    const height = this.row;
    const first = Math.max(0, Math.floor(this.box.scrollTop / height) - AROUND);
    const last = Math.min(this.orders.length, first + Math.ceil(this.box.clientHeight / height) + 2 * AROUND);
    this.rows.style.height = `${this.orders.length * height}px`;
    const drawn = [];
    for (let i = first; i < last; i++) drawn.push(this.drawnRow(this.orders[i], i, height));
    fill(this.rows, drawn);
    const empty = this.loaded && !this.orders.length;
    this.box.hidden = empty;
    $("none").hidden = !empty;
    if (this.orders[this.at] && this.at >= first && this.at < last) this.box.setAttribute("aria-activedescendant", `row-${this.at}`);
    else this.box.removeAttribute("aria-activedescendant");
  }

  drawnRow(order, i, height) {
    const row = element("div", this.fresh?.has(order.order_id) ? "row fresh" : "row");
    row.style.top = `${i * height}px`;
    row.id = `row-${i}`;
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", String(order.order_id === this.selected));
    row.setAttribute("aria-posinset", String(i + 1));
    row.setAttribute("aria-setsize", this.after ? "-1" : String(this.orders.length));
    const waits = order.waiting_on.length ? `waits for ${order.waiting_on.join(", ")}` : "";
    const deadline = order.cancel_at && element("span", "pending", "", ahead(order.cancel_at));
    const wrong = order.violations ? `${order.violations} not as declared` : "";
    const notes = [wrong && element("span", "bad", wrong), waits && element("span", "pending", waits), deadline, order.reason && element("span", "", order.reason),
      !order.reason && !wrong && !waits && order.ended_at && element("span", "quiet", `ended after ${span(Date.parse(order.ended_at) - order.at)}`)];
    const note = element("span", "note");
    for (const each of notes.filter(Boolean)) note.append(...(note.childNodes.length ? [" · "] : []), each);
    row.append(
      element("span", "id", order.order_id), element("span", `status ${order.status}`, order.status),
      element("span", "more", [order.customer_id ?? "unknown", order.money, ...order.undone].filter(Boolean).join(" · ")),
      element("span", "time", "", ago(order.at)), note,
    );
    row.addEventListener("click", () => this.open(order.order_id));
    return row;
  }

  select(id) {
    this.selected = id;
    this.last = id || this.last;
    this.place();
    this.draw();
  }

  // The arrow keys go on from the order that was chosen last, though it was put away.
  place() {
    this.at = this.orders.findIndex((order) => order.order_id === this.last);
  }

  // Returns whether the key moved the choice.
  keyed(key) {
    const height = this.row;
    const page = Math.max(1, Math.floor(this.box.clientHeight / height) - 1);
    const step = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[key];
    if (!step || !this.orders.length) return false;
    this.at = Math.min(this.orders.length - 1, Math.max(0, this.at + step));
    const top = this.at * height;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    if (top + height > this.box.scrollTop + this.box.clientHeight) this.box.scrollTop = top + height - this.box.clientHeight;
    this.open(this.orders[this.at].order_id);
    return true;
  }
}
