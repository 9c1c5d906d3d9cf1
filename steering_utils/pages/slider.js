(() => {  // where scripts do not run, the table is all there is, and it is enough
  const box = document.getElementById("SLIDER"), table = box.querySelector("table");
  const heads = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  const rows = new Map([...table.tBodies[0].rows].map((row) => [row.dataset.setting, row]));
  const make = (tag, style, ...inside) => {
    const element = document.createElement(tag);
    element.style.cssText = style;
    element.append(...inside);
    return element;
  };
  const inputs = box.dataset.start.split(",").map((first, k) => {
    const texts = [];
    for (const [setting, row] of rows) texts[setting.split(",")[k]] = row.cells[k].textContent;
    const input = make(texts.some(isNaN) ? "select" : "input", "display: block; width: 100%");
    if (texts.some(isNaN)) input.append(...texts.map((text, i) => new Option(text, i)));
    else Object.assign(input, {type: "range", min: 0, max: texts.length - 1, step: 1});
    input.setAttribute("data-lm-suppress-shortcuts", "true");  // JupyterLab would eat the arrow keys
    input.value = first;
    input.oninput = show;
    return input;
  });
  const labels = inputs.map((input) => make("label", "display: block; margin: 0.5em 0", "", input));
  const output = make("output", "display: block; box-sizing: border-box");
  output.setAttribute("aria-live", "polite");
  function show() {
    const row = rows.get(inputs.map((input) => input.value).join());
    inputs.forEach((input, k) => {
      const said = `${heads[k]}: ${row.cells[k].textContent}`;
      labels[k].firstChild.textContent = input.type === "range" ? said : heads[k];
      if (input.type === "range") input.setAttribute("aria-valuetext", said);
    });
    output.replaceChildren(...[...row.cells].slice(inputs.length).map((cell, k) => make(
      "span", "display: block; margin-bottom: 0.4em",
      make("b", "", heads[inputs.length + k] + ": "), ...cell.cloneNode(true).childNodes)));
    output.style.minHeight = output.offsetHeight + "px";  // a shorter text does not pull the page up
  }
  const all = make("details", "", make("summary", "", "All settings as a table"), table.parentNode);
  addEventListener("beforeprint", () => { all.open = true; });
  box.append(make("b", "", table.caption.textContent), ...labels, output, all);
  show();
})()
