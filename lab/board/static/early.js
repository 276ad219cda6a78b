// Before the first paint, so that a dark room is not lit up by a white page. A classic script for that reason.
"use strict";
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("lab-board-theme");
  } catch {
    // Storage is switched off: the system's preference decides.
  }
  if (chosen !== "light" && chosen !== "dark") {
    chosen = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  }
  document.documentElement.dataset.theme = chosen;
})();
