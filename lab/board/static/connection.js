/** The stream of messages. The board knows at once when it is lost, and opens it again by itself. */

const KINDS = ["snapshot", "lab", "state", "requests", "event", "drill", "ping"];
// The server says something every 4 s. A tunnel that died without a word is noticed after three of them.
const SILENCE = 12_000;
const RETRY = 1_000;

/**
 * @param {string} url
 * @param {(kind: string, data: any) => void} onMessage
 * @param {(state: "live" | "lost", since: number) => void} onLink when it changes; since in milliseconds
 */
export function connect(url, onMessage, onLink) {
  let source = null;
  let watchdog = 0;
  let state = "";

  function told(next) {
    if (next === state) return;
    state = next;
    onLink(next, Date.now());
  }

  function heard() {
    clearTimeout(watchdog);
    watchdog = setTimeout(lost, SILENCE);
  }

  function lost() {
    clearTimeout(watchdog);
    source.close();
    source = null;
    told("lost");
    // Not left to the browser: each has its own ideas of how long to wait and when to give up.
    setTimeout(open, RETRY);
  }

  function open() {
    source = new EventSource(url);
    heard();
    const mine = source;
    for (const kind of KINDS) {
      mine.addEventListener(kind, (message) => {
        if (mine !== source) return;
        heard();
        // The snapshot replaces all that was stale.
        if (kind === "snapshot") told("live");
        onMessage(kind, JSON.parse(message.data));
      });
    }
    mine.addEventListener("error", () => mine === source && lost());
  }

  open();
}
