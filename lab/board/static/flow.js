/**
 * Packets on their way. Slowed down so that they can be followed, and sampled above 20 requests a second:
 * a load test must not stop the browser.
 */

import { answerPath, requestPath } from "./layout.js";
import { CROSS, markOf } from "./marks.js";
import { colour, moving, unit } from "./theme.js";

const MOST_PER_SECOND = 20;
const MOST_IN_FLIGHT = 60;
// Rem a second, and milliseconds that a cross stays at the client.
const SPEED = 46;
const CROSS_STAYS = 1800;

/** Draws packets over the topology. */
export class Flow {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {import("./topology.js").Topology} topology
   */
  constructor(canvas, topology) {
    this.canvas = canvas;
    this.topology = topology;
    this.packets = [];
    this.allowance = MOST_PER_SECOND;
    this.refilled = performance.now();
    this.frame = 0;
    this.cross = new Path2D(CROSS);
    this.shapes = new Map();
  }

  /**
   * Let a request fly.
   *
   * @param {import("./model.js").Model} model
   * @param {any} request
   * @param {number} wait milliseconds before it starts: a batch is spread again
   */
  start(model, request, wait) {
    this.topology.markUsed(request.server);
    if (!moving() || document.hidden || !this.topology.layout || !model.client) return;
    if (!this.#allowed(request.server === null)) return;
    const { layout } = this.topology;
    const client = model.client.name;
    const director = model.holders[0];
    const there = requestPath(layout, client, director, request.server);
    const back = answerPath(layout, client, request.server);
    // Whoever answered was chosen by the director: until there the packet has no server's colour.
    const turn = director ? 4 : Infinity;
    this.packets.push({
      begin: performance.now() + wait,
      there: measured(there, turn),
      back: measured(back, Infinity),
      mark: request.server === null ? null : markOf(model.placeOf(request.server)),
      error: request.error ?? "no answer",
    });
    if (!this.frame) this.frame = requestAnimationFrame(() => this.#draw());
  }

  /** Take everything off, for instance because machines were moved. */
  clear() {
    this.packets = [];
  }

  #allowed(failed) {
    const now = performance.now();
    const fresh = ((now - this.refilled) / 1000) * MOST_PER_SECOND;
    this.allowance = Math.min(MOST_PER_SECOND, this.allowance + fresh);
    this.refilled = now;
    if (this.packets.length >= MOST_IN_FLIGHT && !failed) return false;
    if (this.allowance < 1) return false;
    this.allowance -= 1;
    return true;
  }

  #draw() {
    const context = fitted(this.canvas);
    this.u = unit();
    this.ink = colour("ink");
    this.paper = colour("panel");
    this.bad = colour("bad");
    const now = performance.now();
    this.packets = this.packets.filter((packet) => this.#drawOne(context, packet, now - packet.begin));
    this.frame = this.packets.length ? requestAnimationFrame(() => this.#draw()) : 0;
  }

  #drawOne(context, packet, age) {
    if (age < 0) return true;
    let way = (age / 1000) * SPEED * this.u;
    const total = packet.there.length;
    if (packet.mark === null) return this.#drawFailed(context, packet, age, way);
    if (way < total) {
      const { x, y } = along(packet.there, way);
      this.#dot(context, x, y, way >= packet.there.turnAt ? packet.mark : null);
      return true;
    }
    way -= total;
    if (way >= packet.back.length) return false;
    const { x, y } = along(packet.back, way);
    this.#dot(context, x, y, packet.mark);
    return true;
  }

  #drawFailed(context, packet, age, way) {
    const total = packet.there.length;
    if (way < total) {
      context.globalAlpha = 1 - 0.8 * (way / total);
      const { x, y } = along(packet.there, way);
      this.#dot(context, x, y, null);
      context.globalAlpha = 1;
      return true;
    }
    const rest = age - (total / (SPEED * this.u)) * 1000;
    if (rest > CROSS_STAYS) return false;
    const [start] = packet.there.points;
    if (!start) return false;
    context.save();
    context.translate(start.x + 2.2 * this.u, start.y + 1.1 * this.u);
    context.lineWidth = 0.5;
    context.strokeStyle = this.bad;
    context.scale(0.6 * this.u, 0.6 * this.u);
    context.stroke(this.cross);
    context.restore();
    return true;
  }

  #dot(context, x, y, mark) {
    const radius = 0.55 * this.u;
    context.save();
    context.translate(x, y);
    context.scale(radius, radius);
    context.lineWidth = 0.3;
    context.strokeStyle = this.ink;
    context.fillStyle = mark ? mark.colour : this.paper;
    const shape = this.#shape(mark ?? markOf(-1));
    context.fill(shape);
    context.stroke(shape);
    context.restore();
  }

  #shape({ path }) {
    if (!this.shapes.has(path)) this.shapes.set(path, new Path2D(path));
    return this.shapes.get(path);
  }
}

/**
 * Make a canvas as sharp as the screen and empty.
 *
 * @param {HTMLCanvasElement} canvas
 * @returns {CanvasRenderingContext2D} in CSS pixels
 */
export function fitted(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  const dots = window.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * dots), Math.round(height * dots)];
  if (canvas.width !== w) canvas.width = w;
  if (canvas.height !== h) canvas.height = h;
  const context = canvas.getContext("2d");
  context.setTransform(dots, 0, 0, dots, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

function measured(points, turn) {
  const lengths = [];
  let length = 0;
  let turnAt = Infinity;
  points.forEach((point, place) => {
    if (place > 0) {
      const before = points[place - 1];
      length += Math.hypot(point.x - before.x, point.y - before.y);
    }
    lengths.push(length);
    if (place === turn) turnAt = length;
  });
  return { points, lengths, length, turnAt };
}

function along({ points, lengths }, way) {
  let place = 1;
  while (place < points.length - 1 && lengths[place] < way) place += 1;
  const [a, b] = [points[place - 1], points[place]];
  const span = lengths[place] - lengths[place - 1] || 1;
  const part = Math.min(1, Math.max(0, (way - lengths[place - 1]) / span));
  return { x: a.x + (b.x - a.x) * part, y: a.y + (b.y - a.y) * part };
}
