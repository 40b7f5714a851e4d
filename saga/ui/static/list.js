// The list of orders: as long as one scrolls, pages come from the server; only the rows that can be seen are elements.
import { ask, element, fill } from "/static/dom.js";

const ROW = 44;
const PAGE = 200;
const AROUND = 8;

export class OrderList {
  constructor(box, rows, open) {
    Object.assign(this, { box, rows, open, orders: [], after: null, wanted: {}, turn: 0, selected: "", loading: false, at: -1 });
    box.addEventListener("scroll", () => { this.draw(); this.more(); }, { passive: true });
    box.addEventListener("keydown", (event) => this.keyed(event));
    new ResizeObserver(() => this.draw()).observe(box);
  }

  // Begin anew with other orders.
  want(wanted) {
    this.wanted = wanted;
    this.box.scrollTop = 0;
    return this.load();
  }

  // Ask for the first page again where it can be seen, else only for the rows that can be seen.
  refresh() {
    const first = Math.floor(this.box.scrollTop / ROW);
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
    this.at = this.orders.findIndex((order) => order.order_id === this.selected);
    this.draw();
    this.more();
  }

  async update(first) {
    const turn = this.turn;
    const before = this.orders[first - 1];
    const count = Math.ceil(this.box.clientHeight / ROW) + AROUND;
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
    const below = this.orders.length * ROW - this.box.scrollTop - this.box.clientHeight;
    if (!this.after || this.loading || below > PAGE * ROW / 2) return;
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
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW) - AROUND);
    const last = Math.min(this.orders.length, first + Math.ceil(this.box.clientHeight / ROW) + 2 * AROUND);
    this.rows.style.height = `${this.orders.length * ROW}px`;
    const drawn = [];
    for (let i = first; i < last; i++) drawn.push(this.row(this.orders[i], i));
    fill(this.rows, drawn.length ? drawn : [element("p", "quiet", " No order is like that.")]);
    this.box.setAttribute("aria-activedescendant", this.orders[this.at] ? `row-${this.at}` : "");
  }

  row(order, i) {
    const row = element("div", this.fresh?.has(order.order_id) ? "row fresh" : "row");
    const wait = order.waiting_on.length ? ` · waits for ${order.waiting_on.join(", ")}` : "";
    const wrong = order.violations ? ` · ${order.violations} not as declared` : "";
    row.style.top = `${i * ROW}px`;
    row.id = `row-${i}`;
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", String(order.order_id === this.selected));
    row.setAttribute("aria-posinset", String(i + 1));
    row.setAttribute("aria-setsize", this.after ? "-1" : String(this.orders.length));
    row.append(
      element("span", "id", order.order_id), element("span", `status ${order.status}`, [order.status, ...order.undone].join(", ")),
      element("span", "more", `${order.customer_id ?? "unknown"} · ${order.money}${wait}${wrong}`),
      element("span", "time", order.placed_at.slice(0, 19).replace("T", " ")),
    );
    row.addEventListener("click", () => this.open(order.order_id));
    return row;
  }

  select(id) {
    this.selected = id;
    this.at = this.orders.findIndex((order) => order.order_id === id);
    this.draw();
  }

  keyed(event) {
    const page = Math.floor(this.box.clientHeight / ROW) - 1;
    const step = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[event.key];
    if (event.key === "Enter" && this.orders[this.at]) document.getElementById("order").focus();
    if (!step || !this.orders.length) return;
    event.preventDefault();
    this.at = Math.min(this.orders.length - 1, Math.max(0, this.at + step));
    const top = this.at * ROW;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    if (top + ROW > this.box.scrollTop + this.box.clientHeight) this.box.scrollTop = top + ROW - this.box.clientHeight;
    this.open(this.orders[this.at].order_id);
  }
}
