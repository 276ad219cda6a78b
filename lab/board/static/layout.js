/**
 * Where everything of the picture is, worked out from the number of machines and the room there is.
 * Client and directors stand on the segment, servers hang from it, in two rows if there are many.
 */

/**
 * @typedef {{x: number, y: number, w: number, h: number, cx: number, cy: number}} Box
 * @param {{directors: any[], servers: any[], client: any}} lab
 * @param {{width: number, height: number, u: number}} room in pixels; u is one rem
 */
export function layOut({ directors, servers, client }, { width, height, u }) {
  const pad = 0.3 * u;
  const rows = splitInRows(servers);
  const two = rows.length > 1;
  const pitch = (width - 2 * pad) / Math.max(rows[0].length, two ? 0 : 3);
  const serverW = Math.min(pitch - (two ? 1.5 : 1.9) * u, 12.5 * u);
  const serverH = (two ? 4.1 : 7.2) * u;
  const rowGap = 1.2 * u;
  const serversTop = height - pad - rows.length * serverH - (rows.length - 1) * rowGap;

  const directorsTop = 1.4 * u;
  const directorH = (two ? 5.7 : 6.9) * u;
  const bus = (directorsTop + directorH + serversTop) / 2;
  const boxes = new Map();

  const clientW = (directors.length > 2 ? 9.6 : 11) * u;
  if (client) boxes.set(client.name, box(pad, directorsTop, clientW, directorH));
  const left = pad + clientW + 1 * u;
  const each = (width - pad - left) / Math.max(directors.length, 1);
  const directorW = Math.min(each - 1 * u, 16.5 * u);
  directors.forEach((director, place) => {
    const x = left + (place + 0.5) * each - directorW / 2;
    boxes.set(director.name, box(x, directorsTop, directorW, directorH));
  });

  rows.forEach((row, level) => {
    // A second row hangs from the gaps of the first.
    const skipped = Math.floor((rows[0].length - 1 - row.length) / 2);
    const begin = level === 0 ? (width - row.length * pitch) / 2 : pad + (skipped + 0.5) * pitch;
    row.forEach((server, place) => {
      const x = begin + (place + 0.5) * pitch - serverW / 2;
      boxes.set(server.name, box(x, serversTop + level * (serverH + rowGap), serverW, serverH));
    });
  });

  return {
    boxes,
    two,
    bus: {
      y: bus,
      x1: pad,
      x2: width - pad,
      thick: 1.7 * u,
      drop: (two ? 1.2 : 1.5) * u,
      /** Requests go this far above the middle, answers as far below. */
      lane: (two ? 0.34 : 0.42) * u,
    },
    /** Where the VIP waits when no director holds it. */
    nowhere: { x: (left + width - pad) / 2, y: bus },
  };
}

/** Servers of a second row hang between those of the first, which must therefore have one more. */
function splitInRows(servers) {
  if (servers.length <= 5) return [servers];
  const first = Math.ceil((servers.length + 1) / 2);
  return [servers.slice(0, first), servers.slice(first)];
}

function box(x, y, w, h) {
  return { x, y, w, h, cx: x + w / 2, cy: y + h / 2 };
}

/**
 * The way of one request: from the client through the director to the server.
 *
 * @returns {{x: number, y: number}[]} corners of the line; the director is the fifth of them
 */
export function requestPath(layout, client, director, server) {
  const { bus } = layout;
  const from = layout.boxes.get(client);
  const over = layout.boxes.get(director);
  const to = layout.boxes.get(server);
  const y = bus.y - bus.lane;
  const first = from && [
    { x: from.cx - bus.lane, y: from.y + from.h },
    { x: from.cx - bus.lane, y },
  ];
  if (!first) return [];
  if (!over) return [...first, { x: layout.nowhere.x, y }];
  const up = [
    { x: over.cx - bus.lane, y },
    { x: over.cx - bus.lane, y: over.y + over.h },
    { x: over.cx + bus.lane, y: over.y + over.h },
  ];
  if (!to) return [...first, ...up];
  return [
    ...first,
    ...up,
    { x: over.cx + bus.lane, y },
    { x: to.cx - bus.lane, y },
    { x: to.cx - bus.lane, y: to.y },
  ];
}

/** The way of one answer: from the server to the client, past the director. */
export function answerPath(layout, client, server) {
  const { bus } = layout;
  const from = layout.boxes.get(server);
  const to = layout.boxes.get(client);
  if (!from || !to) return [];
  const y = bus.y + bus.lane;
  return [
    { x: from.cx + bus.lane, y: from.y },
    { x: from.cx + bus.lane, y },
    { x: to.cx + bus.lane, y },
    { x: to.cx + bus.lane, y: to.y + to.h },
  ];
}
