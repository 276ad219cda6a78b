/** Light, dark and motion: what the system prefers, unless somebody has chosen; choices are remembered. */

const THEME = "lab-board-theme";
const MOTION = "lab-board-motion";
const root = document.documentElement;
const darkPreferred = matchMedia("(prefers-color-scheme: dark)");
const stillPreferred = matchMedia("(prefers-reduced-motion: reduce)");
const listeners = new Set();

function remembered(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function remember(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // Storage is switched off: the choice lasts as long as the page.
  }
}

function changed() {
  for (const listener of listeners) listener();
}

/** @param {() => void} listener called when colours or motion change */
export function onLook(listener) {
  listeners.add(listener);
}

/** @returns {boolean} whether things may move */
export function moving() {
  return root.dataset.motion === "on";
}

/** Change between light and dark. */
export function toggleTheme() {
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  remember(THEME, root.dataset.theme);
  changed();
}

/** Change between moving and still. */
export function toggleMotion() {
  root.dataset.motion = moving() ? "off" : "on";
  remember(MOTION, root.dataset.motion);
  changed();
}

function follow() {
  if (!remembered(THEME)) root.dataset.theme = darkPreferred.matches ? "dark" : "light";
  root.dataset.motion = remembered(MOTION) ?? (stillPreferred.matches ? "off" : "on");
  changed();
}

darkPreferred.addEventListener("change", follow);
stillPreferred.addEventListener("change", follow);
follow();

/**
 * @param {string} name of a custom property, without the dashes
 * @returns {string} its value now, for canvases
 */
export function colour(name) {
  return getComputedStyle(root).getPropertyValue(`--${name}`).trim();
}

/** @returns {number} pixels of one rem: everything on the board is a multiple of it */
export function unit() {
  return parseFloat(getComputedStyle(root).fontSize);
}
