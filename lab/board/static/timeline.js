/**
 * Who answered when: a lane for each director's VRRP state, one for each server, one for what went
 * unanswered. Lanes have names and marks have shapes, so that it can be read without colours.
 */

import { fitted } from "./flow.js";
import { CROSS, markOf } from "./marks.js";
import { colour, unit } from "./theme.js";

const MINUTE = 60;
// Radius in rem below which single marks would only be a smear: then lanes show density.
const LEAST_RADIUS = 0.14;
const FILLS = new Map([
  ["MASTER", "vip"],
  ["BACKUP", "quiet"],
  ["FAULT", "bad"],
  ["STOP", "stopped"],
]);

/**
 * @typedef {{
 *   begin: number, end: number, now: number, origin: number | null,
 *   directors: any[], servers: any[], requests: any[], events: any[], vrrp: any[], bands: any[]
 * }} Span
 */

/**
 * @param {import("./model.js").Model} model
 * @param {boolean} ofDrill whether the drill is to be shown, not the last minute
 * @returns {Span} what belongs into the picture
 */
export function spanOf(model, ofDrill) {
  const now = model.now();
  const { directors, servers, vrrp, drill } = model;
  if (!ofDrill || !drill) {
    const events = model.events.map((message) => message.event);
    const { requests } = model;
    const begin = now - MINUTE;
    return { begin, end: now, now, origin: null, directors, servers, requests, events, vrrp, bands: [] };
  }
  const { drillRequests: requests, drillEvents: events } = model;
  const ends = drill.bands.map((band) => band.end);
  const last = Math.max(requests.at(-1)?.at ?? 0, events.at(-1)?.at ?? 0, ...ends);
  const reached = drill.phase === "running" ? Math.max(now, last) : last;
  const least = drill.phase === "running" ? (drill.seconds ?? 20) : 5;
  // In steps, so that the scale does not creep while somebody points at it.
  const seconds = Math.max(least, Math.ceil((reached - drill.began + 0.5) / 5) * 5);
  return {
    begin: drill.began,
    end: drill.began + seconds,
    now: Math.min(now, reached),
    origin: drill.began,
    directors,
    servers,
    requests,
    events,
    vrrp,
    bands: drill.bands,
  };
}

/** Draws a span of time. */
export class Timeline {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.cross = new Path2D(CROSS);
    this.shapes = new Map();
  }

  /** @param {Span} span */
  show(span) {
    const context = fitted(this.canvas);
    const { width, height } = this.canvas.getBoundingClientRect();
    if (width < 50 || height < 50) return;
    this.context = context;
    this.span = span;
    this.u = unit();
    this.font = getComputedStyle(this.canvas).fontFamily;
    this.ink = colour("ink");
    this.muted = colour("muted");
    this.line = colour("line");
    this.#plan(width, height);
    this.#drawBands();
    this.#drawScale();
    this.#drawStates();
    this.#drawActions();
    this.#drawLabels();
    this.#drawRequests();
    this.#drawNow();
  }

  #plan(width, height) {
    const { directors, servers, requests, begin, end, bands, events } = this.span;
    const u = this.u;
    const known = new Set(servers.map((server) => server.name));
    const shown = requests.filter((request) => request.at >= begin && request.at <= end);
    const strangers = shown.some((request) => request.server !== null && !known.has(request.server));
    const lanes = [
      ...directors.map((one) => ({ kind: "director", name: one.name, weight: 1.25 })),
      ...servers.map((one, place) => ({ kind: "server", name: one.name, mark: markOf(place), weight: 1 })),
      ...(strangers ? [{ kind: "server", name: "others", mark: markOf(-1), weight: 1 }] : []),
      { kind: "failed", name: "no answer", weight: 1 },
    ];
    const labelled = bands.length > 0 || events.some((event) => isAction(event) && event.at >= begin);
    const top = (labelled ? 1.5 : 0.3) * u;
    const bottom = height - 1.4 * u;
    const each = Math.min(2 * u, (bottom - top) / lanes.reduce((sum, lane) => sum + lane.weight, 0));
    let y = top;
    this.byName = new Map();
    for (const lane of lanes) {
      lane.y = y + (each * lane.weight) / 2;
      lane.h = each * lane.weight;
      y += lane.h;
      this.byName.set(`${lane.kind} ${lane.name}`, lane);
    }
    this.lanes = lanes;
    this.shown = shown;
    this.known = known;
    this.top = top;
    this.bottom = y;
    this.left = 9.6 * u;
    this.right = width - 1.7 * u;
    this.#drawLanes(each);
  }

  #x(at) {
    const { begin, end } = this.span;
    return this.left + ((at - begin) / (end - begin)) * (this.right - this.left);
  }

  #say(words, x, y, size, fill, align = "left", bold = false) {
    const { context } = this;
    context.font = `${bold ? "700 " : ""}${size * this.u}px ${this.font}`;
    context.textAlign = align;
    context.textBaseline = "middle";
    context.fillStyle = fill;
    context.fillText(words, x, y);
  }

  #shorten(words, room) {
    const { context } = this;
    let short = words;
    while (short.length > 1 && context.measureText(short).width > room) short = `${short.slice(0, -2)}…`;
    return short;
  }

  #drawLanes(each) {
    const { context, u } = this;
    const size = Math.min(1.05, each / u);
    context.lineWidth = 1;
    for (const lane of this.lanes) {
      context.font = `600 ${size * u}px ${this.font}`;
      const words = this.#shorten(lane.name, this.left - 2.1 * u);
      this.#say(words, this.left - 1.9 * u, lane.y, size, this.ink, "right", true);
      const radius = Math.min(0.45 * u, each * 0.36);
      if (lane.kind === "server") this.#mark(lane.mark, this.left - 1.1 * u, lane.y, radius);
      if (lane.kind === "failed") this.#crossAt(this.left - 1.1 * u, lane.y, radius * 0.9);
      if (lane.kind === "director") continue;
      context.strokeStyle = this.line;
      context.beginPath();
      context.moveTo(this.left, lane.y);
      context.lineTo(this.right, lane.y);
      context.stroke();
    }
  }

  #drawScale() {
    const { context, u, span } = this;
    const seconds = span.end - span.begin;
    const step = [1, 2, 5, 10, 15, 30, 60, 120].find((one) => seconds / one <= 13) ?? 300;
    context.strokeStyle = this.line;
    context.lineWidth = 1;
    const first = span.origin ?? span.end;
    for (let offset = 0; offset <= seconds + 0.01; offset += step) {
      const at = span.origin === null ? first - offset : first + offset;
      const x = this.#x(at);
      context.beginPath();
      context.moveTo(x, this.bottom);
      context.lineTo(x, this.bottom + 0.3 * u);
      context.stroke();
      let words = `${offset} s`;
      if (span.origin === null) words = offset === 0 ? "now" : `−${offset} s`;
      const align = offset === 0 && span.origin === null ? "right" : "center";
      this.#say(words, align === "right" ? x + 0.5 * u : x, this.bottom + 0.95 * u, 0.9, this.muted, align);
    }
  }

  #drawBands() {
    const { context, u } = this;
    for (const band of this.span.bands) {
      const x1 = this.#x(band.begin);
      const x2 = Math.min(this.#x(band.end), this.right);
      context.fillStyle = colour("band");
      context.fillRect(x1, this.top - 0.2 * u, x2 - x1, this.bottom - this.top + 0.2 * u);
      context.strokeStyle = colour("band-edge");
      context.lineWidth = 0.12 * u;
      context.setLineDash([0.4 * u, 0.3 * u]);
      for (const x of [x1, x2]) {
        context.beginPath();
        context.moveTo(x, this.top - 0.2 * u);
        context.lineTo(x, this.bottom);
        context.stroke();
      }
      context.setLineDash([]);
    }
  }

  /** What bands and steps are called, as far as there is room: bands first. */
  #drawLabels() {
    const { span, u, context } = this;
    context.font = `700 ${0.95 * u}px ${this.font}`;
    const taken = [];
    for (const band of span.bands) {
      const wide = context.measureText(band.label).width;
      const x = Math.max(this.left, Math.min(this.#x(band.begin), this.right - wide));
      if (taken.some((one) => x < one.end + u && x + wide > one.begin - u)) continue;
      this.#say(band.label, x, 0.65 * u, 0.95, this.ink, "left", true);
      taken.push({ begin: x, end: x + wide });
    }
    for (const event of span.events) {
      if (!isAction(event) || event.at < span.begin || event.at > span.end) continue;
      const x = this.#x(event.at);
      const words = this.#shorten(event.text, 26 * u);
      const wide = context.measureText(words).width;
      // To the right of its line, or else to the left, or else the log must do.
      const free = [x, x - wide].find(
        (begin) =>
          begin >= 0.5 * u &&
          begin + wide <= this.right &&
          taken.every((one) => begin + wide < one.begin - u || begin > one.end + u),
      );
      if (free === undefined) continue;
      this.#say(words, free, 0.65 * u, 0.95, this.ink, "left", true);
      taken.push({ begin: free, end: free + wide });
    }
  }

  #drawStates() {
    const { span, context, u } = this;
    const until = Math.min(span.now, span.end);
    for (const lane of this.lanes) {
      if (lane.kind !== "director") continue;
      const changes = span.vrrp.filter((change) => change.machine === lane.name);
      changes.forEach((change, place) => {
        const from = Math.max(change.at, span.begin);
        const to = Math.min(changes[place + 1]?.at ?? until, until);
        if (to <= from) return;
        const [x1, x2] = [this.#x(from), this.#x(to)];
        const h = lane.h * 0.78;
        this.#stateBar(change.state, x1, lane.y - h / 2, x2 - x1, h);
        const words = change.state ?? "unreachable";
        const size = Math.min(0.95, (h / u) * 0.95);
        context.font = `700 ${size * u}px ${this.font}`;
        if (context.measureText(words).width + 0.8 * u > x2 - x1) return;
        this.#say(words, x1 + 0.5 * u, lane.y, size, stateInk(change.state, this.ink), "left", true);
      });
    }
  }

  #stateBar(state, x, y, w, h) {
    const { context, u } = this;
    context.lineWidth = 0.1 * u;
    context.strokeStyle = state === "MASTER" ? colour("vip-edge") : this.muted;
    context.fillStyle = FILLS.has(state) ? colour(FILLS.get(state)) : "transparent";
    if (state === null) context.setLineDash([0.35 * u, 0.3 * u]);
    context.beginPath();
    context.roundRect(x, y, w, h, 0.25 * u);
    context.fill();
    context.stroke();
    context.setLineDash([]);
  }

  #drawActions() {
    const { context, u, span } = this;
    for (const event of span.events) {
      if (!isAction(event) || event.at < span.begin || event.at > span.end) continue;
      const x = this.#x(event.at);
      context.strokeStyle = this.ink;
      context.lineWidth = 0.13 * u;
      context.beginPath();
      context.moveTo(x, this.top - 0.2 * u);
      context.lineTo(x, this.bottom);
      context.stroke();
    }
  }

  #drawRequests() {
    const fitting = this.#fittingRadius();
    if (fitting < LEAST_RADIUS * this.u) {
      this.#drawDensity();
      return;
    }
    for (const request of this.shown) {
      const lane = this.#laneOf(request);
      if (!lane) continue;
      const radius = Math.min(fitting, lane.h * 0.36);
      const x = this.#x(request.at);
      if (lane.kind === "failed") this.#crossAt(x, lane.y, Math.min(0.3 * this.u, lane.h * 0.34));
      else this.#mark(lane.mark, x, lane.y, radius);
    }
  }

  /** So large that marks of one lane touch but do not bury each other. */
  #fittingRadius() {
    const counts = new Map();
    for (const request of this.shown) {
      const lane = this.#laneOf(request);
      counts.set(lane, (counts.get(lane) ?? 0) + 1);
    }
    // Failures come in bursts; their lane alone does not decide.
    counts.delete(this.byName.get("failed no answer"));
    const [first, last] = [this.shown[0]?.at ?? 0, this.shown.at(-1)?.at ?? 0];
    const wide = Math.max(2 * this.u, this.#x(last) - this.#x(first));
    return Math.min(0.42 * this.u, (0.56 * wide) / Math.max(1, ...counts.values()));
  }

  #laneOf(request) {
    if (request.server === null) return this.byName.get("failed no answer");
    return this.byName.get(`server ${this.known.has(request.server) ? request.server : "others"}`);
  }

  /** Bars whose height says how many requests fell into that moment. */
  #drawDensity() {
    const { context, u } = this;
    const wide = 0.4 * u;
    const counts = new Map();
    let most = 1;
    for (const request of this.shown) {
      const lane = this.#laneOf(request);
      if (!lane) continue;
      if (!counts.has(lane)) counts.set(lane, new Map());
      const place = Math.floor((this.#x(request.at) - this.left) / wide);
      const count = (counts.get(lane).get(place) ?? 0) + 1;
      counts.get(lane).set(place, count);
      most = Math.max(most, count);
    }
    for (const [lane, bins] of counts) {
      context.fillStyle = lane.kind === "failed" ? colour("bad") : lane.mark.colour;
      for (const [place, count] of bins) {
        const h = Math.max(2, lane.h * 0.9 * Math.sqrt(count / most));
        context.fillRect(this.left + place * wide, lane.y - h / 2, wide * 0.86, h);
      }
    }
  }

  #drawNow() {
    const { context, u, span } = this;
    if (span.origin === null || span.now >= span.end) return;
    const x = this.#x(span.now);
    context.strokeStyle = this.muted;
    context.lineWidth = 0.1 * u;
    context.beginPath();
    context.moveTo(x, this.top);
    context.lineTo(x, this.bottom);
    context.stroke();
  }

  #mark(mark, x, y, radius) {
    const { context } = this;
    if (!this.shapes.has(mark.path)) this.shapes.set(mark.path, new Path2D(mark.path));
    context.save();
    context.translate(x, y);
    context.scale(radius, radius);
    context.fillStyle = mark.colour;
    context.strokeStyle = this.ink;
    context.lineWidth = 0.22;
    context.fill(this.shapes.get(mark.path));
    context.stroke(this.shapes.get(mark.path));
    context.restore();
  }

  #crossAt(x, y, radius) {
    const { context } = this;
    context.save();
    context.translate(x, y);
    context.scale(radius, radius);
    context.strokeStyle = colour("bad");
    context.lineWidth = 0.62;
    context.stroke(this.cross);
    context.restore();
  }
}

function isAction(event) {
  return event.kind === "action" || event.kind === "restore";
}

function stateInk(state, ink) {
  if (state === "MASTER") return "#14181f";
  if (state === "FAULT") return colour("on-bad");
  return ink;
}
