// Every page has this script. It mends what screen readers and keyboards are given (tests/test_browser.py).
document.addEventListener("DOMContentLoaded", () => {
  // the words on the handle, "Show the code", are its name; a label that says something else would hide them
  for (const handle of document.querySelectorAll("summary[aria-label]")) handle.removeAttribute("aria-label");
  for (const words of document.querySelectorAll(".tag_solution summary p"))
    words.textContent = words.textContent.replace("code", "solution");
  // a list has items; doc-biblioentry is deprecated
  for (const entry of document.querySelectorAll("[role=doc-biblioentry]")) entry.setAttribute("role", "listitem");
  // a formula that is wider than a phone scrolls, and then the keyboard must reach it
  window.MathJax?.startup?.promise.then(() => {
    for (const formula of document.querySelectorAll("mjx-container[display=true]"))
      if (formula.scrollWidth > formula.clientWidth) formula.tabIndex = 0;
  });
});
