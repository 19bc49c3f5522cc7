/* Runs before the first paint: light or dark as chosen here, else as the system prefers. */
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try { chosen = localStorage.getItem("bfc.theme"); } catch { /* storage may be refused */ }
  const set = () => { document.documentElement.dataset.theme = chosen ?? (system.matches ? "dark" : "light"); };
  system.addEventListener("change", () => { set(); dispatchEvent(new Event("bfc:theme")); });
  set();
})();
