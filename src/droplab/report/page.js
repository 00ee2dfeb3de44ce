"use strict";
(() => {
  // The charts are drawn with colours for light paper; each of these has another one on dark paper.
  const DARK = { "#333333": "#e8eaed", "#555555": "#a6adb5", "#cccccc": "#4a525c", "#e6e6e6": "#2b3138",
    "#eeeeee": "#2b3138", "#999999": "#8a939c", "#777777": "#a6adb5", "white": "#15181c", "black": "#ffffff",
    "#fdf1e3": "#3a2a10", "#0072B2": "#3a9bdc", "#E69F00": "#b87e00" };
  const LEAST = 200, MARGIN = 96; // pixels: the narrowest panel, and what stands beside one
  const dark = matchMedia("(prefers-color-scheme: dark)");

  function recoloured(spec) {
    const text = JSON.stringify(spec, (key, value) => (dark.matches && DARK[value]) || value);
    return { ...JSON.parse(text), background: "transparent" };
  }

  // As many panels in a line as there is room for, and a single one no wider than the page.
  function fitted(spec, width) {
    const narrow = (view) => {
      if (view.width <= width - MARGIN) return;
      view.width = Math.max(LEAST, width - MARGIN);
      for (const { mark } of view.layer ?? []) { // words that stood side by side have no room any more
        if (mark.lineBreak) Object.assign(mark, { lineBreak: "\n", angle: 270, align: "right", baseline: "middle", fontSize: 10 });
      }
    };
    if (spec.facet) {
      const { row, column } = spec.facet;
      if (row && column) {
        if (width > 700) return spec;
        const value = `datum[${JSON.stringify(row.field)}] + ", " + datum[${JSON.stringify(column.field)}]`;
        spec.transform = [{ calculate: value, as: "panel and column" }];
        spec.facet = { field: "panel and column", type: "nominal", sort: null, header: column.header };
      }
      const room = Math.max(1, Math.floor(width / (spec.spec.width + 40)));
      if (spec.facet.column) spec.facet = spec.facet.column;
      spec.columns = Math.min(3, room);
      narrow(spec.spec);
    } else if (spec.hconcat) {
      if (spec.hconcat.reduce((sum, view) => sum + view.width + MARGIN, 0) > width) {
        spec.vconcat = spec.hconcat;
        delete spec.hconcat;
        spec.vconcat.forEach(narrow);
      }
    } else narrow(spec);
    if (width < 520) spec.config.legend = { ...spec.config.legend, columns: 1 };
    return spec;
  }

  async function draw(figure) {
    const spec = JSON.parse(figure.querySelector("script").textContent);
    const live = figure.querySelector(".live");
    const shown = await vegaEmbed(live, fitted(recoloured(spec), figure.clientWidth), {
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
