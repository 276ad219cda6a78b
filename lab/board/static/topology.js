/** The picture of the lab. Names go in as text nodes, never as markup. */

import { answerPath, layOut, requestPath } from "./layout.js";
import { markOf, svg } from "./marks.js";
import { unit } from "./theme.js";
import { clientStatus, directorStatus, serverStatus } from "./words.js";

// Seconds that a way stays drawn after the last request that took it.
const WARM = 4;
// Width in rem below which a box gets the shorter words.
const ROOMY = 11;

/** Draws machines, the segment, the VIP and the ways that packets take. */
export class Topology {
  /**
   * @param {SVGSVGElement} picture
   * @param {HTMLElement} detail says more of the machine that has the focus
   */
  constructor(picture, detail) {
    this.picture = picture;
    this.detail = detail;
    this.layout = null;
    this.shape = "";
    this.views = new Map();
    this.badges = new Map();
    this.used = new Map();
    // Not on the picture: an SVG that listens for focus would itself get it.
    const around = picture.parentElement;
    around.addEventListener("focusin", (event) => this.#tell(event.target));
    around.addEventListener("pointerover", (event) => this.#tell(event.target));
    around.addEventListener("focusout", () => this.#tell(null));
    around.addEventListener("pointerleave", () => this.#tell(document.activeElement));
  }

  /**
   * Show the lab as it is known now.
   *
   * @param {import("./model.js").Model} model
   */
  show(model) {
    this.model = model;
    if (!model.lab) return;
    const { width, height } = this.picture.getBoundingClientRect();
    const shape = JSON.stringify([model.lab, width, height, unit()]);
    if (shape !== this.shape) {
      this.shape = shape;
      this.#build(width, height);
    }
    this.#update();
  }

  /**
   * Remember that a request took a way, so that it is drawn.
   *
   * @param {string | null} server
   */
  markUsed(server) {
    this.used.set(server, performance.now());
  }

  #build(width, height) {
    const { model } = this;
    const u = unit();
    const { directors, servers, client } = model;
    this.u = u;
    this.layout = layOut({ directors, servers, client }, { width, height, u });
    this.picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.views.clear();
    this.badges.clear();
    this.routes = svg("g", { class: "routes" });
    this.badgeLayer = svg("g", { class: "badges" });
    const machines = svg("g", { class: "machines" });
    const drops = svg("g", { class: "pipes" });
    this.picture.replaceChildren(drops, this.routes, machines, this.badgeLayer);
    this.#drawBus(drops);
    for (const director of directors) machines.append(this.#director(director));
    if (client) machines.append(this.#client(client));
    servers.forEach((server, place) => machines.append(this.#server(server, place)));
    this.#drawDrops(drops);
    this.#drawRoutes();
    this.#writeNames();
  }

  /** Only what is in the document can be measured, so names are set last. */
  #writeNames() {
    for (const view of this.views.values()) {
      const { name, address } = view.machine;
      this.#fill(view, "name", name);
      const last = view.kind.startsWith("server") && this.layout.two;
      if (view.texts.address) this.#fill(view, "address", last ? `.${address.split(".").at(-1)}` : address);
    }
  }

  #drawBus(layer) {
    const { bus } = this.layout;
    const height = bus.thick;
    const width = bus.x2 - bus.x1;
    layer.append(svg("rect", { class: "bus", x: bus.x1, y: bus.y - height / 2, width, height, rx: height / 2 }));
  }

  #drawDrops(layer) {
    const { bus, boxes } = this.layout;
    for (const [name, box] of boxes) {
      const below = box.y > bus.y;
      const y1 = below ? bus.y : box.y + box.h;
      const y2 = below ? box.y : bus.y;
      const x = box.cx - bus.drop / 2;
      const drop = svg("rect", { class: "drop", x, y: y1, width: bus.drop, height: y2 - y1 });
      this.views.get(name).drop = drop;
      layer.append(drop);
    }
  }

  #text(words, x, y, className, { size = 1, ...attributes } = {}) {
    return svg("text", { x, y, class: className, "font-size": size * this.u, ...attributes }, words);
  }

  #frame(machine, kind) {
    const box = this.layout.boxes.get(machine.name);
    const group = svg("g", { class: `machine ${kind}`, tabindex: 0, role: "img" });
    group.dataset.machine = machine.name;
    const { x, y, w: width, h: height } = box;
    group.append(svg("rect", { class: "box", x, y, width, height, rx: 0.6 * this.u }));
    const view = { machine, kind, box, group, texts: {} };
    this.views.set(machine.name, view);
    return view;
  }

  #write(view, key, x, y, size, room, attributes = {}) {
    const node = this.#text("", x, y, key, { size, ...attributes });
    view.texts[key] = { node, room, size: size * this.u };
    view.group.append(node);
  }

  #director(director) {
    const u = this.u;
    const view = this.#frame(director, "director");
    const { x, y, w } = view.box;
    const pillW = Math.min(7.1 * u, w * 0.46);
    const { two } = this.layout;
    const [top, ...lines] = this.#standing();
    const right = x + w - 0.5 * u;
    const pill = svg("rect", {
      class: "pill",
      x: right - pillW,
      y: y + (top - 1.42) * u,
      width: pillW,
      height: (two ? 1.75 : 1.9) * u,
      rx: 0.4 * u,
    });
    view.group.append(pill);
    this.#write(view, "name", x + 0.9 * u, y + top * u, 1.5, w - pillW - 1.9 * u);
    const middle = { "text-anchor": "middle" };
    const wordY = y + (top - (two ? 0.17 : 0.1)) * u;
    this.#write(view, "word", right - pillW / 2, wordY, 1.1, pillW - 0.4 * u, middle);
    this.#write(view, "address", x + 0.9 * u, y + lines[0] * u, 1.05, w - 1.8 * u);
    this.#write(view, "more", x + 0.9 * u, y + lines[1] * u, 1.05, w - 1.8 * u);
    return view.group;
  }

  /** Where the lines are in a box that stands on the segment. */
  #standing() {
    return this.layout.two ? [2.6, 3.95, 5.15] : [2.9, 4.45, 5.95];
  }

  #client(client) {
    const u = this.u;
    const view = this.#frame(client, "client");
    const { x, y, w } = view.box;
    const [top, ...lines] = this.#standing();
    this.#write(view, "name", x + 0.9 * u, y + top * u, 1.5, w - 1.8 * u);
    this.#write(view, "address", x + 0.9 * u, y + lines[0] * u, 1.05, w - 1.8 * u);
    this.#write(view, "more", x + 0.9 * u, y + lines[1] * u, 1.05, w - 1.8 * u);
    return view.group;
  }

  #server(server, place) {
    const u = this.u;
    const view = this.#frame(server, server.role === "sorry-server" ? "server sorry" : "server");
    const { x, y, w, h } = view.box;
    const mark = markOf(place);
    const { two } = this.layout;
    const lines = two ? [1.42, 2.6, 3.62] : [1.9, 5.05, 6.5];
    const sizes = two ? [1.2, 1, 0.92] : [1.5, 1.2, 1.05];
    const scale = two ? 0.5 : 0.62;
    view.group.append(
      svg("rect", { class: "stripe", x, y, width: 0.55 * u, height: h, rx: 0.28 * u, fill: mark.colour }),
      svg("path", {
        class: "mark",
        d: mark.path,
        fill: mark.colour,
        transform: `translate(${x + 1.65 * u} ${y + (lines[0] - 0.42) * u}) scale(${scale * u})`,
      }),
    );
    const left = x + 1.1 * u;
    const room = w - 1.4 * u;
    // In a narrow box the last number of the address, beside the name, says enough; in a tiny one the name.
    const tail = two && w > 8.4 * u ? 2.1 * u : 0;
    this.#write(view, "name", x + 2.6 * u, y + lines[0] * u, sizes[0], w - 2.9 * u - tail);
    const beside = { "text-anchor": "end" };
    if (tail) this.#write(view, "address", x + w - 0.4 * u, y + lines[0] * u, 0.92, tail, beside);
    if (!two) this.#write(view, "address", left, y + 3.4 * u, 1.05, room);
    this.#write(view, "word", left, y + lines[1] * u, sizes[1], room);
    this.#write(view, "more", left, y + lines[2] * u, sizes[2], room);
    return view.group;
  }

  /** Put words into a line of a box, shortened if they do not fit. */
  #fill(view, key, words) {
    const line = view.texts[key];
    if (line.words === words) return;
    line.words = words;
    line.node.textContent = words;
    line.node.setAttribute("font-size", String(line.size));
    const wide = words ? line.node.getComputedTextLength() : 0;
    if (wide <= line.room) return;
    // Slightly too long is set smaller; much too long loses its end as well.
    line.node.setAttribute("font-size", String(line.size * Math.max(0.7, (line.room / wide) * 0.99)));
    let length = words.length;
    while (length > 1 && line.node.getComputedTextLength() > line.room) {
      length -= 1;
      line.node.textContent = `${words.slice(0, length).trimEnd()}…`;
    }
  }

  #update() {
    const { model } = this;
    for (const view of this.views.values()) {
      const status = this.#statusOf(view);
      view.group.dataset.level = status.level;
      const state = model.stateOf(view.machine.name);
      view.group.dataset.vrrp = state?.vrrp ?? "";
      view.group.classList.toggle("gone", status.level === "bad" && view.kind !== "director");
      view.group.classList.toggle("away", state?.reachable === false);
      view.drop.classList.toggle("away", state?.reachable === false);
      const narrow = view.box.w < ROOMY * this.u;
      const more = (narrow && status.shortMore) || status.more;
      if (view.texts.word) this.#fill(view, "word", (narrow && status.short) || status.word);
      this.#fill(view, "more", view.kind === "client" ? status.word || "asks the VIP" : more);
      view.group.setAttribute("aria-label", this.#sentence(view.machine, status));
    }
    this.#placeBadges();
    this.#showRoutes();
    if (this.told) this.#tell(this.told);
  }

  #statusOf(view) {
    if (view.kind === "director") return directorStatus(this.model, view.machine);
    if (view.kind === "client") return clientStatus(this.model);
    return serverStatus(this.model, view.machine);
  }

  #sentence(machine, status) {
    const parts = [machine.name, machine.role.replace("-", " "), machine.address];
    if (this.model.holders.includes(machine.name)) parts.push("holds the VIP");
    parts.push(status.word, status.more);
    return parts.filter(Boolean).join(", ");
  }

  #placeBadges() {
    const { holders, lab } = this.model;
    const places = holders.length ? holders : [""];
    // One badge moves; others exist only while several directors claim the VIP.
    places.forEach((holder, place) => {
      let badge = this.badges.get(place);
      if (!badge) {
        badge = this.#badge(place);
        this.badges.set(place, badge);
        this.badgeLayer.append(badge);
      }
      const box = this.layout.boxes.get(holder);
      const at = box ? { x: box.cx, y: box.y } : this.layout.nowhere;
      badge.style.transform = `translate(${at.x}px, ${at.y}px)`;
      badge.dataset.on = holder;
      badge.classList.toggle("nobody", !box && Boolean(this.model.state));
      badge.setAttribute("aria-label", box ? `VIP ${lab.vip} on ${holder}` : `VIP ${lab.vip} on no director`);
    });
    for (const [place, badge] of this.badges) {
      if (place >= places.length) {
        badge.remove();
        this.badges.delete(place);
      }
    }
  }

  #badge(place) {
    const u = this.u;
    const group = svg("g", { class: "vip", role: "img" });
    if (place === 0) group.id = "vip";
    const middle = { size: 1.2, "text-anchor": "middle" };
    const words = this.#text(`VIP ${this.model.lab.vip}`, 0, 0.42 * u, "", middle);
    group.append(words);
    this.badgeLayer.append(group);
    const width = words.getComputedTextLength() + 2 * u;
    group.prepend(svg("rect", { x: -width / 2, y: -1.05 * u, width, height: 2.1 * u, rx: 1.05 * u }));
    return group;
  }

  #drawRoutes() {
    this.routeViews = new Map();
    const { client, servers, directors } = this.model;
    if (!client) return;
    const u = this.u;
    for (const server of servers) {
      // From the client's end, so that the dashes of all answers fall together on the segment.
      const answer = this.#route(answerPath(this.layout, client.name, server.name).reverse(), "answer");
      const requests = new Map(
        directors.map((director) => [
          director.name,
          this.#route(requestPath(this.layout, client.name, director.name, server.name), "request"),
        ]),
      );
      this.routeViews.set(server.name, { answer, requests });
    }
    const { lane } = this.layout.bus;
    for (const { name } of servers) {
      const { cx, y } = this.layout.boxes.get(name);
      this.routeViews.get(name).tip = this.#tip(cx - lane, y - 0.1 * u, 1, "request");
    }
    this.directorTips = new Map(
      directors.map(({ name }) => {
        const { cx, y, h } = this.layout.boxes.get(name);
        return [name, this.#tip(cx - lane, y + h + 0.1 * u, -1, "request")];
      }),
    );
    const home = this.layout.boxes.get(client.name);
    this.clientTip = this.#tip(home.cx + lane, home.y + home.h + 0.1 * u, -1, "answer");
  }

  #route(points, kind) {
    const corners = points.map(({ x, y }) => `${x},${y}`).join(" ");
    const line = svg("polyline", { points: corners, class: `route ${kind}` });
    this.routes.append(line);
    return line;
  }

  /** An arrow's head that points down (1) or up (-1). */
  #tip(x, y, way, kind) {
    const u = this.u;
    const tip = svg("path", {
      d: `M${x} ${y}l${-0.36 * u} ${-0.72 * u * way}h${0.72 * u}z`,
      class: `tip ${kind}`,
    });
    this.routes.append(tip);
    return tip;
  }

  #showRoutes() {
    const now = performance.now();
    const holder = this.model.holders[0];
    let any = false;
    for (const [name, { answer, requests, tip }] of this.routeViews ?? []) {
      const warm = now - (this.used.get(name) ?? -1e9) < WARM * 1000;
      any ||= warm;
      answer.classList.toggle("warm", warm);
      tip?.classList.toggle("warm", warm && Boolean(holder));
      for (const [director, line] of requests) line.classList.toggle("warm", warm && director === holder);
    }
    this.clientTip?.classList.toggle("warm", any);
    for (const [director, tip] of this.directorTips ?? []) {
      tip.classList.toggle("warm", any && director === holder);
    }
  }

  #tell(target) {
    const name = target?.closest?.(".machine")?.dataset.machine;
    const view = name === undefined ? null : this.views.get(name);
    this.told = view ? view.group : null;
    this.detail.hidden = !view;
    if (!view) return;
    const { machine } = view;
    const state = this.model.stateOf(machine.name);
    const parts = [this.#sentence(machine, this.#statusOf(view)), machine.mac];
    if (machine.weight !== null) parts.push(`configured weight ${machine.weight}`);
    if (state?.note) parts.push(state.note);
    this.detail.textContent = [...new Set(parts)].join(" · ");
  }
}
