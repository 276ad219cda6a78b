/** The board: puts together what is known, drawn and pressed. */

import { connect } from "./connection.js";
import { Flow } from "./flow.js";
import { html } from "./marks.js";
import { Model } from "./model.js";
import { Counters, Events, showFigures, showHeader, showTimeHead } from "./panels.js";
import { moving, onLook, toggleMotion, toggleTheme } from "./theme.js";
import { spanOf, Timeline } from "./timeline.js";
import { Topology } from "./topology.js";

// Milliseconds between two pictures of what moves with the clock; seconds until news count as old.
const TICK = 250;
const OLD_NEWS = 20;

const byId = (id) => document.getElementById(id);
const model = new Model();
const topology = new Topology(byId("topology"), byId("detail"));
const flow = new Flow(byId("flow"), topology);
const timeline = new Timeline(byId("timeline"));
const counters = new Counters(byId("counters"));
const events = new Events(byId("events"));

let link = "connecting";
let lostAt = 0;
let due = false;
let preferDrill = true;
let holderBefore = null;
let lastHolder = "";

function draw() {
  due = false;
  showHeader(model);
  topology.show(model);
  events.show(model);
  tick();
}

function redraw() {
  if (due) return;
  due = true;
  // A hidden page gets no frames; it is drawn when it is looked at again.
  requestAnimationFrame(draw);
}

function tick() {
  model.forget();
  showFigures(model);
  counters.show(model);
  const ofDrill = preferDrill && model.drill !== null;
  showTimeHead(model, ofDrill);
  timeline.show(spanOf(model, ofDrill));
  topology.show(model);
  showLink();
}

function showLink() {
  const box = byId("link");
  let [level, words, banner] = ["ok", "live", ""];
  if (link === "connecting") [level, words] = ["warn", "connecting"];
  else if (link === "lost") {
    const seconds = Math.floor((Date.now() - lostAt) / 1000);
    [level, words] = ["bad", "connection lost"];
    banner = `Connection lost ${seconds} s ago. What is shown is old. Trying again.`;
  } else if (model.state && model.now() - model.state.at > OLD_NEWS) {
    [level, words] = ["warn", "no news"];
    banner = `Nobody has looked at the lab for ${Math.floor(model.now() - model.state.at)} s.`;
  } else if (!model.lab) [level, words] = ["warn", "no lab yet"];
  box.dataset.level = level;
  document.documentElement.dataset.link = link;
  if (box.textContent !== words) box.textContent = words;
  byId("banner").hidden = !banner;
  byId("banner").dataset.level = level;
  byId("banner").textContent = banner;
}

/** Say aloud and in words that the VIP has moved. */
function noteHolder() {
  const now = model.state ? model.holders.join(" and ") : null;
  const before = holderBefore;
  if (now === before || now === null) return;
  holderBefore = now;
  if (model.holders.length > 1) {
    byId("announce").textContent = `Split brain: ${now} hold the VIP at the same time.`;
    byId("moved").textContent = "hold the VIP at the same time";
    return;
  }
  // While it is on its way nobody has it: what counts is who had it last. Whom it is found at first may have
  // had it for days.
  const from = lastHolder;
  if (now) lastHolder = now;
  if (before === null || !from || now === from) {
    byId("moved").textContent = "";
    return;
  }
  const clock = new Date(model.state.at * 1000).toLocaleTimeString("en-GB");
  byId("announce").textContent = now
    ? `The VIP moved from ${from} to ${now}.`
    : `The VIP has left ${from}. No director holds it.`;
  byId("moved").textContent = `${now ? "moved from" : "left"} ${from} at ${clock}`;
}

function onMessage(kind, data) {
  if (kind === "ping") return;
  const drillBefore = model.drill;
  model.apply(kind, data);
  if (kind === "requests") {
    launch(data.requests);
    return;
  }
  if (kind === "drill" && model.drill?.began !== drillBefore?.began) preferDrill = true;
  if (kind === "state" || kind === "snapshot") noteHolder();
  redraw();
}

/** Requests of one batch start as far apart as they did, but not all in one frame. */
function launch(requests) {
  const first = Math.min(...requests.map((request) => request.at));
  for (const request of requests) flow.start(model, request, Math.min(400, (request.at - first) * 1000));
}

function onLink(state, since) {
  link = state;
  if (state === "lost") {
    lostAt = since;
    byId("announce").textContent = "Connection lost. What is shown may be old.";
  } else if (lostAt) {
    lostAt = 0;
    byId("announce").textContent = "Connected again.";
  }
  redraw();
  showLink();
}

const actions = [
  ["?", "this list", () => openKeys()],
  ["d", "dark or light", toggleTheme],
  ["m", "moving requests on or off", toggleMotion],
  ["t", "timeline: the drill or the last minute", () => toggleTime()],
  ["e", "to the events", () => byId("events").focus()],
  ["f", "full screen", () => toggleFullScreen()],
];

function openKeys() {
  const dialog = byId("keys");
  if (!dialog.open) dialog.showModal();
}

function toggleTime() {
  preferDrill = !preferDrill;
  redraw();
}

function toggleFullScreen() {
  const full = document.fullscreenElement;
  const done = full ? document.exitFullscreen() : document.documentElement.requestFullscreen();
  done.catch(() => {
    // Not allowed here; the board works in a window as well.
  });
}

function listKeys() {
  const list = byId("keys-list");
  const others = [
    ["Tab", "next machine or button; a machine says more of itself"],
    ["Esc", "close this list"],
  ];
  for (const [key, words] of [...actions, ...others]) {
    const term = html("dt");
    term.append(html("kbd", "", key));
    list.append(term, html("dd", "", words));
  }
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const action = actions.find(([key]) => key === event.key.toLowerCase());
  if (!action || (byId("keys").open && action[0] !== "d")) return;
  event.preventDefault();
  action[2]();
}

function lookChanged() {
  byId("theme").textContent = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  byId("theme").setAttribute("aria-label", `switch to ${byId("theme").textContent}`);
  if (!moving()) flow.clear();
  redraw();
}

listKeys();
document.addEventListener("keydown", onKey);
byId("theme").addEventListener("click", toggleTheme);
byId("help").addEventListener("click", openKeys);
byId("time-toggle").addEventListener("click", toggleTime);
onLook(lookChanged);
lookChanged();
new ResizeObserver(() => {
  flow.clear();
  redraw();
}).observe(byId("stage"));
new ResizeObserver(redraw).observe(byId("time-box"));
setInterval(() => document.hidden || tick(), TICK);
connect("/api/events", onMessage, onLink);
