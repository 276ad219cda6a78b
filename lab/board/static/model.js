/** What the board knows, from messages alone. Nothing here touches the page. */

const MINUTE = 60;
const MOST_EVENTS = 200;
const MOST_DRILL_REQUESTS = 12_000;
const MOST_REQUESTS = 20_000;

/** A machine may be called `constructor`, which every object has. */
function own(object, key) {
  return object && Object.hasOwn(object, key) ? object[key] : undefined;
}

/** The state of the lab as far as it has been told. Times are seconds on the operator's clock. */
export class Model {
  constructor() {
    /** Operator's clock minus this browser's: they differ when the board is watched through a tunnel. */
    this.ahead = 0;
    this.known = false;
    this.clear();
  }

  clear() {
    this.lab = null;
    this.state = null;
    this.requests = [];
    this.events = [];
    this.vrrp = [];
    this.answered = new Map();
    this.failed = 0;
    this.drill = null;
    this.drillRequests = [];
    this.drillEvents = [];
    this.moves = [];
  }

  /** @returns {number} the operator's clock now */
  now() {
    return Date.now() / 1000 + this.ahead;
  }

  /**
   * @param {string} kind of message
   * @param {any} data
   */
  apply(kind, data) {
    switch (kind) {
      case "snapshot":
        this.#replace(data);
        break;
      case "lab":
        this.#newLab(data);
        break;
      case "state":
        this.#newState(data);
        break;
      case "requests":
        for (const request of data.requests) this.#newRequest(request);
        break;
      case "event":
        this.#newEvent(data);
        break;
      case "drill":
        this.#newDrill(data.drill);
        break;
    }
  }

  #replace(data) {
    const moves = this.moves;
    this.clear();
    this.moves = moves;
    this.known = true;
    this.ahead = data.at - Date.now() / 1000;
    this.lab = data.lab;
    this.state = data.state;
    this.requests = data.requests;
    this.events = data.events;
    this.vrrp = data.vrrp;
    this.answered = new Map(Object.entries(data.counts.answered));
    this.failed = data.counts.failed;
    this.drill = data.drill;
    this.drillRequests = data.drill_requests;
    this.drillEvents = data.drill_events;
  }

  #newLab(lab) {
    if (this.lab && JSON.stringify(this.lab) !== JSON.stringify(lab)) {
      this.answered.clear();
      this.failed = 0;
    }
    this.lab = lab;
  }

  #newState(state) {
    this.state = state;
    for (const [name, machine] of Object.entries(state.machines)) {
      const vrrp = machine.reachable ? machine.vrrp : null;
      if (vrrp !== null || this.#lastChange(name)) this.#change(state.at, name, vrrp);
    }
  }

  #newRequest(request) {
    this.requests.push(request);
    if (request.server === null) this.failed += 1;
    else this.answered.set(request.server, (this.answered.get(request.server) ?? 0) + 1);
    if (this.drill?.phase === "running" && request.at >= this.drill.began) {
      this.drillRequests.push(request);
      if (this.drillRequests.length > MOST_DRILL_REQUESTS) this.drillRequests.shift();
    }
  }

  #newEvent(message) {
    this.events.push(message);
    if (this.events.length > MOST_EVENTS) this.events.shift();
    const { event } = message;
    if (event.kind === "vrrp") this.#change(event.at, event.machine, event.state);
    if (this.drill?.phase === "running" && event.at >= this.drill.began) this.drillEvents.push(event);
  }

  #newDrill(drill) {
    const same = drill && this.drill && drill.name === this.drill.name && drill.began === this.drill.began;
    if (!same) {
      this.drillRequests = drill ? this.requests.filter((request) => request.at >= drill.began) : [];
      this.drillEvents = drill
        ? this.events.map((message) => message.event).filter((event) => event.at >= drill.began)
        : [];
    }
    this.drill = drill;
  }

  #lastChange(machine) {
    return this.vrrp.findLast((change) => change.machine === machine);
  }

  #change(at, machine, state) {
    const last = this.#lastChange(machine);
    if (!last || (last.state !== state && last.at <= at)) this.vrrp.push({ at, machine, state });
    // The journal knows exactly when, but is sometimes read later than the machine was looked at.
    else if (last.state === state && at < last.at) last.at = at;
    if (this.vrrp.length > 400) this.vrrp.shift();
  }

  /** Forget requests that are older than a minute. */
  forget() {
    const begin = this.now() - MINUTE - 2;
    let old = 0;
    while (old < this.requests.length && this.requests[old].at < begin) old += 1;
    old = Math.max(old, this.requests.length - MOST_REQUESTS);
    if (old) this.requests.splice(0, old);
  }

  /** @returns {any[]} the machines of some roles, in the order of the configuration */
  machines(...roles) {
    return (this.lab?.machines ?? []).filter((machine) => roles.includes(machine.role));
  }

  /** @returns {any[]} */
  get directors() {
    return this.machines("director");
  }

  /** @returns {any[]} real servers, then the sorry server if there is one */
  get servers() {
    return [...this.machines("real-server"), ...this.machines("sorry-server")];
  }

  /** @returns {any} */
  get client() {
    return this.machines("client")[0];
  }

  /** @returns {any | undefined} how a machine is; undefined if nobody has looked yet */
  stateOf(name) {
    return own(this.state?.machines, name);
  }

  /** @returns {string[]} names of the directors that hold the VIP */
  get holders() {
    return this.directors.map((one) => one.name).filter((name) => this.stateOf(name)?.holds_vip);
  }

  /** @returns {number} place of a server in the lab, which decides its mark; -1 for a stranger */
  placeOf(server) {
    return this.servers.findIndex((one) => one.name === server);
  }

  /**
   * @returns {any[] | undefined} the IPVS table that traffic goes by, or while no director holds the VIP
   *   that of the first that can be asked
   */
  get table() {
    const [holder] = this.holders;
    return this.tableOf(holder ?? this.directors.find((one) => this.tableOf(one.name))?.name);
  }

  /** @returns {any[] | undefined} the IPVS table of a director, if it could be asked */
  tableOf(director) {
    return own(this.state?.tables, director);
  }

  /** @returns {number} requests a second over the last whole seconds */
  rate(now = this.now()) {
    const span = 4;
    let count = 0;
    for (let place = this.requests.length - 1; place >= 0; place -= 1) {
      const { at } = this.requests[place];
      if (at < now - span - 2) break;
      if (at > now - span && at <= now) count += 1;
    }
    return count / span;
  }

  /** @returns {{answered: Map<string, number>, failed: number}} the requests of the last minute, counted */
  lastMinute(now = this.now()) {
    const answered = new Map();
    let failed = 0;
    for (const request of this.requests) {
      if (request.at <= now - MINUTE) continue;
      if (request.server === null) failed += 1;
      else answered.set(request.server, (answered.get(request.server) ?? 0) + 1);
    }
    return { answered, failed };
  }
}
