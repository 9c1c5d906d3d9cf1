// Every page has this script. It mends what docutils and MyST-NB write for screen readers (tests/test_browser.py).
document.addEventListener("DOMContentLoaded", () => {
  // the words on the handle, "Show the solution", are its name; a label that says something else would hide them
  for (const handle of document.querySelectorAll("summary[aria-label]")) handle.removeAttribute("aria-label");
  // a list has items; doc-biblioentry is deprecated
  for (const entry of document.querySelectorAll("[role=doc-biblioentry]")) entry.setAttribute("role", "listitem");
});
