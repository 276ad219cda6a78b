/**
 * Colours and shapes of servers. Colours are Okabe and Ito's, which people with any colour vision can tell
 * apart; the shape says the same once more. Vermillion is kept for what went wrong.
 */

const COLOURS = ["#56b4e9", "#009e73", "#cc79a7", "#e69f00", "#0072b2", "#f0e442"];

function polygon(corners, turn = 0, inner = 1) {
  const steps = inner === 1 ? corners : corners * 2;
  const points = Array.from({ length: steps }, (_, step) => {
    const radius = step % 2 && inner !== 1 ? inner : 1;
    const angle = turn - Math.PI / 2 + (2 * Math.PI * step) / steps;
    return `${(radius * Math.cos(angle)).toFixed(3)} ${(radius * Math.sin(angle)).toFixed(3)}`;
  });
  return `M${points.join("L")}Z`;
}

// All within a circle of radius 1.1 and of about the same area.
const SHAPES = [
  "M.95 0A.95 .95 0 1 1 -.95 0A.95 .95 0 1 1 .95 0Z",
  "M-.82 -.82H.82V.82H-.82Z",
  "M0 -1.05L1.05 .85H-1.05Z",
  "M0 -1.15L1.15 0L0 1.15L-1.15 0Z",
  "M0 1.05L-1.05 -.85H1.05Z",
  polygon(5, 0, 0.45),
  polygon(6),
  "M-.36 -1H.36V-.36H1V.36H.36V1H-.36V.36H-1V-.36H-.36Z",
  "M-1.05 -.5H1.05V.5H-1.05Z",
  polygon(5),
];

/** Outline of the cross that stands for a request without an answer. */
export const CROSS = "M-1 -1L1 1M1 -1L-1 1";

/**
 * @typedef {{colour: string, path: string}} Mark
 * @param {number} place of the server in the lab; -1 for a stranger
 * @returns {Mark} its colour and its outline around 0,0 with radius 1
 */
export function markOf(place) {
  if (place < 0) return { colour: "#8a94a0", path: SHAPES[0] };
  return { colour: COLOURS[place % COLOURS.length], path: SHAPES[place % SHAPES.length] };
}

const SVG = "http://www.w3.org/2000/svg";

/**
 * @param {string} tag an SVG element's name
 * @param {Record<string, string | number>} attributes
 * @param {string} [text]
 * @returns {SVGElement}
 */
export function svg(tag, attributes = {}, text = undefined) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  if (text !== undefined) element.textContent = text;
  return element;
}

/**
 * @param {string} tag
 * @param {string} [className]
 * @param {string} [text]
 * @returns {HTMLElement}
 */
export function html(tag, className = "", text = undefined) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

/**
 * @param {Mark} mark
 * @returns {SVGElement} a little picture of it for lists
 */
export function swatch(mark) {
  const picture = svg("svg", { viewBox: "-1.4 -1.4 2.8 2.8", class: "swatch", "aria-hidden": "true" });
  picture.append(svg("path", { d: mark.path, fill: mark.colour, class: "mark" }));
  return picture;
}
