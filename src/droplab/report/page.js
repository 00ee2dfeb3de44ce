"use strict";
(() => {
  // The charts are drawn with colours for light paper; each of these has another one on dark paper.
  const DARK = { "#333333": "#e8eaed", "#555555": "#a6adb5", "#cccccc": "#4a525c", "#e6e6e6": "#2b3138",
    "#eeeeee": "#2b3138", "#999999": "#8a939c", "#777777": "#a6adb5", "white": "#15181c", "black": "#ffffff",
    "#F6EAF2": "#33202d", "#E8F4EF": "#17322a", "#0072B2": "#3a9bdc" };
  const LEAST = 170, GAP = 14, NARROW = 560, LABELS = 112, VERDICT = 106; // pixels
  const dark = matchMedia("(prefers-color-scheme: dark)");

  function recoloured(spec) {
    const text = JSON.stringify(spec, (key, value) => (dark.matches && DARK[value]) || value);
    return { ...JSON.parse(text), background: "transparent" };
  }

  // As many panels in a line as there is room for; they share the width beside their labels (`usermeta`).
  function fitted(spec, width) {
    const { left, each } = spec.usermeta;
    const shared = (views) => Math.max(60, Math.floor((width - left - GAP * (views - 1)) / views - each));
    if (spec.facet) {
      spec.columns = Math.max(1, Math.min(spec.columns, Math.floor((width - left + GAP) / (LEAST + each + GAP))));
      spec.spec.width = shared(spec.columns);
    } else if (spec.hconcat?.some((view) => view.name === "verdict")) {
      if (width < NARROW) return narrow(spec, width);
      const [one, ...others] = spec.hconcat.slice(0, -1);
      one.width = (others.length ? 0.6 : 1) * (width - left);
      others.forEach((view) => { view.width = 0.4 * (width - left); });
    } else if (spec.hconcat) {
      const views = width < 2 * (LEAST + each) ? 1 : 2;
      spec.hconcat.forEach((view) => { view.width = shared(views); });
      if (views === 1) [spec.vconcat, spec.hconcat] = [spec.hconcat, undefined];
    } else {
      spec.width = Math.min(spec.width, width - left);
      spec.height = spec.width;
    }
    if (width < NARROW) spec.config.legend = { ...spec.config.legend, columns: 1 };
    return spec;
  }

  // Rows without the panel of intervals: short labels, and of what is said the difference and the verdict alone.
  function narrow(spec, width) {
    const short = { labelExpr: "split(split(datum.value, '\\t')[0], '\\n')[0]", labelLimit: LABELS, labelOffset: 0 };
    const views = JSON.parse(JSON.stringify(spec.hconcat, (key, value) => short[key] ?? value));
    const [one, said] = [views[0], views.at(-1)], [word] = said.layer;
    word.encoding = { ...word.encoding, x: { value: 0 }, text: { field: "short", type: "nominal" } };
    delete word.transform;
    Object.assign(said, { layer: [word], width: VERDICT });
    one.width = width - LABELS - VERDICT - 40;
    return { ...spec, hconcat: [one, said], config: { ...spec.config, legend: { ...spec.config.legend, columns: 1 } } };
  }

  async function draw(figure) {
    const spec = JSON.parse(figure.querySelector("script").textContent);
    const live = figure.querySelector(".live");
    let room = figure;
    while (!room.clientWidth) room = room.parentElement; // what is folded away has no width yet
    const shown = await vegaEmbed(live, fitted(recoloured(spec), room.clientWidth), {
      actions: false, renderer: "svg", tooltip: { theme: dark.matches ? "dark" : "light" },
    });
    figure.classList.add("drawn");
    return shown;
  }

  const drawn = new Map();
  async function drawAll() {
    for (const figure of document.querySelectorAll("figure.chart")) {
      drawn.get(figure)?.finalize();
      drawn.set(figure, await draw(figure));
    }
    document.documentElement.dataset.drawn = dark.matches ? "dark" : "light";
  }

  // What a cell is sorted by: a number, or the first of two ("97.1 ± 0.2", "0.1 to 0.3"); else its text; what is not
  // known comes last.
  const NUMBER = /^(< )?([+−]?[\d.,]+)( ±.*| to .*| %)?$/;
  function value(row, column) {
    const text = row.cells[column].textContent.trim();
    const found = NUMBER.exec(text);
    if (text === "–" || text === "") return null;
    return found ? parseFloat(found[2].replace("−", "-").replaceAll(",", "")) : text;
  }

  function sortable(table) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const rows = [...table.tBodies[0].rows];
        rows.sort((a, b) => {
          const [x, y] = [value(a, column), value(b, column)];
          if (x === null || y === null) return (x === null) - (y === null);
          const order = typeof x === typeof y && typeof x === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
          return up ? order : -order;
        });
        table.tBodies[0].append(...rows);
      });
    });
  }

  document.querySelectorAll("table.sortable").forEach(sortable);
  drawAll();
  dark.addEventListener("change", drawAll);
  let width = innerWidth, waiting;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(drawAll, 200);
  });
})();
