/** The board's sentences: what a state is called. Pure functions. */

/**
 * `short` and `shortMore` say the same in a narrow box.
 *
 * @typedef {{
 *   level: "ok" | "warn" | "bad" | "idle", word: string, more: string, short?: string, shortMore?: string
 * }} Status
 */

/**
 * @param {import("./model.js").Model} model
 * @param {any} server
 * @returns {Status} how a real server or the sorry server is
 */
export function serverStatus(model, server) {
  const state = model.stateOf(server.name);
  if (!state) return { level: "idle", word: "not looked at yet", more: "" };
  const { table } = model;
  const row = table?.find((one) => one.address === server.address);
  const connections = row ? `${row.active} active, ${row.inactive} closing` : "";
  const place = placeInTable(server, table, row);
  if (!state.reachable) {
    return { level: "bad", word: "unreachable", more: row ? "still in the table" : place.word };
  }
  if (row && state.service !== "active" && state.service !== "unknown") {
    const word = `web server ${state.service}`;
    return { level: "bad", word, short: `web ${state.service}`, more: state.note || "still in the table" };
  }
  if (state.note) return { ...place, level: "warn", more: state.note, shortMore: state.note };
  const more = connections || (state.service === "active" ? "" : `web server ${state.service}`);
  return { shortMore: row && `${row.active} active`, ...place, more };
}

function placeInTable(server, table, row) {
  if (!table) return { level: "idle", word: "table unknown" };
  if (server.role === "sorry-server") {
    if (!row) return { level: "idle", word: "standing by" };
    return { level: "warn", word: "answering for all", short: "answering" };
  }
  if (!row) {
    return { level: "bad", word: "removed from table", short: "removed", shortMore: "from the table" };
  }
  if (row.weight === 0) return { level: "warn", word: "weight 0: draining", short: "draining" };
  return { level: "ok", word: `up, weight ${row.weight}` };
}

/**
 * @param {import("./model.js").Model} model
 * @param {any} director
 * @returns {Status} how a director is
 */
export function directorStatus(model, director) {
  const state = model.stateOf(director.name);
  if (!state) return { level: "idle", word: "?", more: "not looked at yet" };
  if (!state.reachable) return { level: "bad", word: "unreachable", more: state.note };
  const table = model.tableOf(director.name);
  const count = `priority ${director.priority ?? "?"}, ${table ? `${table.length} in table` : "no table"}`;
  if (state.service !== "active" && state.service !== "unknown") {
    const more = state.note || `keepalived ${state.service}`;
    return { level: "bad", word: state.vrrp ?? state.service, more };
  }
  const level = { MASTER: "ok", BACKUP: "idle" }[state.vrrp] ?? "bad";
  return { level: state.note ? "warn" : level, word: state.vrrp ?? "no VRRP", more: state.note || count };
}

/**
 * @param {import("./model.js").Model} model
 * @returns {Status} how the client is
 */
export function clientStatus(model) {
  const state = model.client && model.stateOf(model.client.name);
  if (!state) return { level: "idle", word: "", more: "" };
  if (!state.reachable) return { level: "bad", word: "unreachable", more: "" };
  return { level: state.note ? "warn" : "ok", word: state.note, more: "" };
}

/**
 * @param {import("./model.js").Model} model
 * @returns {{level: string, before: string, who: string, after: string}} where the VIP is, as a sentence
 */
export function whereTheVipIs(model) {
  if (!model.lab) return { level: "idle", before: "Waiting for the lab", who: "", after: "" };
  const vip = `VIP ${model.lab.vip}`;
  if (!model.state) return { level: "idle", before: `${vip}: not looked at yet`, who: "", after: "" };
  const { holders } = model;
  if (holders.length === 0) return { level: "bad", before: `${vip} is on `, who: "no director", after: "" };
  if (holders.length === 1) return { level: "ok", before: `${vip} is on `, who: holders[0], after: "" };
  return { level: "bad", before: "Split brain: ", who: holders.join(" and "), after: "" };
}

// As a trainee calls them.
const EVENT_KINDS = new Map([
  ["vrrp", "VRRP"],
  ["check", "health check"],
  ["action", "drill step"],
  ["restore", "repair"],
]);

/**
 * @param {any} event
 * @returns {string} its state, or what kind it is of
 */
export function tagOf(event) {
  return event.state ?? EVENT_KINDS.get(event.kind) ?? event.kind;
}

/**
 * @param {any} measure
 * @returns {string} what was measured, with its unit
 */
export function valueOf(measure) {
  if (measure.value === null) return "never";
  const { unit } = measure.bound;
  const digits = unit || measure.value % 1 ? 2 : 0;
  return `${measure.value.toFixed(digits)} ${unit}`.trim();
}

/**
 * @param {any} bound
 * @returns {string} what was promised
 */
export function promiseOf({ low, high, unit }) {
  const said = (value) => (Number.isInteger(value) ? String(value) : value.toFixed(2));
  let words = `${low === null ? "" : said(low)} to ${high === null ? "" : said(high)}`;
  if (low === high && low !== null) words = said(low);
  else if (high === null) words = low === null ? "anything" : `at least ${said(low)}`;
  else if (!low) words = `at most ${said(high)}`;
  return `${words} ${unit}`.trim();
}
