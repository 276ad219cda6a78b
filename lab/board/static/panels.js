/** Header, counters, events and measures: everything that is not drawn. */

import { html, markOf, svg, swatch, CROSS } from "./marks.js";
import { promiseOf, tagOf, valueOf, whereTheVipIs } from "./words.js";

const byId = (id) => document.getElementById(id);

/** Set a text only if it changes: assistive technology reads what is set. */
function say(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

/**
 * The header: lab, holder of the VIP, figures.
 *
 * @param {import("./model.js").Model} model
 */
export function showHeader(model) {
  const { lab } = model;
  say(byId("stack"), lab ? lab.stack : "");
  say(
    byId("facts"),
    lab ? `scheduler ${lab.lb_algo} · VRID ${lab.virtual_router_id} · advert ${lab.advert_int} s` : "",
  );
  say(byId("topology-title"), lab ? `Segment ${lab.cidr}` : "Segment");
  const where = whereTheVipIs(model);
  byId("headline").dataset.level = where.level;
  const holder = byId("holder");
  if (holder.textContent !== where.before + where.who + where.after) {
    holder.replaceChildren(where.before, html("strong", "", where.who), where.after);
  }
  document.title = lab ? `${where.before}${where.who}${where.after}` : "LVS Direct Routing lab";
}

/**
 * Figures that change by the second.
 *
 * @param {import("./model.js").Model} model
 */
export function showFigures(model) {
  const rate = model.rate();
  say(byId("rate"), rate < 9.95 ? rate.toFixed(1) : String(Math.round(rate)));
  say(byId("failures"), String(model.failed));
  byId("failures-box").dataset.level = model.failed ? "bad" : "idle";
}

/** A bar for each server and one for what was not answered. */
export class Counters {
  /** @param {HTMLElement} list */
  constructor(list) {
    this.list = list;
    this.rows = new Map();
    this.shape = "";
  }

  /** @param {import("./model.js").Model} model */
  show(model) {
    const names = model.servers.map((server) => server.name);
    const strangers = [...model.answered.keys()].filter((name) => !names.includes(name));
    const shape = JSON.stringify([names, strangers]);
    if (shape !== this.shape) {
      this.shape = shape;
      this.#build([...names, ...strangers], names.length);
    }
    const recent = model.lastMinute();
    const most = Math.max(1, recent.failed, ...recent.answered.values());
    for (const [name, row] of this.rows) {
      const count = name === null ? recent.failed : (recent.answered.get(name) ?? 0);
      const all = name === null ? model.failed : (model.answered.get(name) ?? 0);
      row.bar.style.width = `${(100 * count) / most}%`;
      say(row.recent, String(count));
      say(row.all, String(all));
    }
  }

  #build(names, known) {
    this.rows.clear();
    this.list.replaceChildren();
    this.list.style.setProperty("--rows", String(names.length + 1));
    names.forEach((name, place) => this.#row(name, name, markOf(place < known ? place : -1)));
    this.#row(null, "no answer", null);
  }

  #row(key, words, mark) {
    const item = html("li", mark ? "" : "failed");
    const label = html("span", "label");
    label.append(mark ? swatch(mark) : crossSwatch(), html("span", "words", words));
    const track = html("span", "track");
    const bar = html("span", "bar");
    bar.style.backgroundColor = mark ? mark.colour : "";
    track.append(bar);
    const recent = html("span", "number", "0");
    const all = html("span", "number all", "0");
    item.append(label, recent, all, track);
    this.list.append(item);
    this.rows.set(key, { bar, recent, all });
  }
}

function crossSwatch() {
  const picture = svg("svg", { viewBox: "-1.4 -1.4 2.8 2.8", class: "swatch", "aria-hidden": "true" });
  picture.append(svg("path", { d: CROSS, class: "cross" }));
  return picture;
}

/** The log, newest first. */
export class Events {
  /** @param {HTMLElement} list */
  constructor(list) {
    this.list = list;
    this.shown = new Set();
  }

  /** @param {import("./model.js").Model} model */
  show(model) {
    const there = new Set(model.events);
    if ([...this.shown].some((message) => !there.has(message))) {
      if (model.events.length < 200 || !this.shown.has(model.events[0])) {
        this.shown.clear();
        this.list.replaceChildren();
      }
    }
    for (const message of model.events) {
      if (this.shown.has(message)) continue;
      this.shown.add(message);
      this.list.prepend(this.#item(message));
    }
    while (this.list.childElementCount > 200) this.list.lastElementChild.remove();
    for (const message of this.shown) if (!there.has(message)) this.shown.delete(message);
    this.list.classList.toggle("empty", model.events.length === 0);
  }

  #item({ event, clock }) {
    const item = html("li");
    item.dataset.kind = event.kind;
    if (event.state) item.dataset.state = event.state;
    const head = html("span", "who");
    head.append(html("time", "", clock), html("strong", "", event.machine));
    head.append(html("span", event.state ? "state" : "kind", tagOf(event)));
    item.append(head, html("span", "text", event.text));
    return item;
  }
}

/**
 * The heading of the timeline, and the measures once there are some.
 *
 * @param {import("./model.js").Model} model
 * @param {boolean} ofDrill
 */
export function showTimeHead(model, ofDrill) {
  const { drill } = model;
  const toggle = byId("time-toggle");
  toggle.hidden = !drill;
  say(toggle, ofDrill ? "minute" : "drill");
  const shown = ofDrill && drill;
  say(byId("time-title"), shown ? drill.title : "The last minute");
  byId("time-panel").dataset.phase = shown ? drill.phase : "";
  const rate = model.rate();
  let note = rate > 20 ? `only 20 of ${Math.round(rate)} requests/s are drawn` : "";
  if (shown) {
    const lost = model.drillRequests.filter((request) => request.server === null).length;
    const seconds = Math.max(0, Math.floor(model.now() - drill.began));
    const phase = { running: `${seconds} s`, done: "done", failed: "broken off" }[drill.phase];
    note = `${phase}: ${lost} of ${model.drillRequests.length} unanswered`;
  }
  say(byId("time-note"), note);
  showMeasures(shown ? drill : null);
}

let measuresShown = "";

function showMeasures(drill) {
  const list = byId("measures");
  const shape = JSON.stringify(drill?.measures ?? []);
  if (shape === measuresShown) return;
  measuresShown = shape;
  const items = (drill?.measures ?? []).map((measure, place) => {
    const kept = drill.kept[place];
    const item = html("li", kept ? "kept" : "broken");
    item.append(
      html("span", "verdict", kept ? "✓ kept" : "✕ broken"),
      html("strong", "", valueOf(measure)),
      html("span", "quantity", measure.bound.quantity),
      html("span", "promise", `promised: ${promiseOf(measure.bound)}`),
    );
    item.title = `${measure.bound.formula} (${measure.bound.source})`;
    return item;
  });
  list.replaceChildren(...items);
  list.hidden = items.length === 0;
}
