"use strict";
// Charts, flipbooks and tables of a page. Nothing here is needed to read the pictures and the tables.

const MILLISECONDS = 350; // of a frame

// --- Charts ----------------------------------------------------------------------------------------------------------

const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Plotly has no colours of the reader's own: they are those of the style sheet, and change with it.
function coloured(layout) {
  const look = { "font.color": colour("--text"), "hoverlabel.bgcolor": colour("--card"), "hoverlabel.bordercolor": colour("--line") };
  for (const key of Object.keys(layout)) {
    if (!/^[xy]axis\d*$/.test(key)) continue;
    for (const [part, name] of [["gridcolor", "--grid"], ["linecolor", "--line"], ["zerolinecolor", "--line"]]) {
      look[`${key}.${part}`] = colour(name);
    }
  }
  return look;
}

async function unpacked(element) {
  const bytes = Uint8Array.from(atob(element.textContent), letter => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

async function loadPlotly() {
  const script = document.createElement("script");
  script.textContent = await unpacked(document.getElementById("plotly"));
  document.head.append(script);
}

async function drawCharts() {
  const plots = [...document.querySelectorAll(".plot")];
  if (!plots.length) return;
  await loadPlotly();
  const narrow = matchMedia("(max-width: 40rem)").matches || matchMedia("(pointer: coarse)").matches;
  for (const plot of plots) {
    const figure = JSON.parse(plot.nextElementSibling.textContent);
    // A finger that is to scroll the page must not zoom into a chart.
    const layout = { ...figure.layout, dragmode: narrow ? false : "zoom" };
    await Plotly.newPlot(plot, figure.data, layout, { responsive: true, displayModeBar: false });
    await Plotly.relayout(plot, coloured(plot.layout));
    plot.firstElementChild.ariaHidden = "true"; // the sentence of the chart is read in its place
  }
  document.getElementById("js-plotly-tester")?.setAttribute("aria-hidden", "true"); // where plotly measures text
  const recolour = () => plots.forEach(plot => Plotly.relayout(plot, coloured(plot.layout)));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
  matchMedia("print").addEventListener("change", recolour);
  document.documentElement.dataset.charts = String(plots.length);
}

function withoutCharts(error) {
  for (const plot of document.querySelectorAll(".plot")) {
    plot.style.height = "auto";
    plot.textContent = `This browser cannot draw the chart (${error.message}).`;
  }
}

// --- Flipbooks -------------------------------------------------------------------------------------------------------

function flipbook(figure) {
  const slider = figure.querySelector("input");
  if (!slider) return;
  const frames = JSON.parse(figure.querySelector("script").textContent);
  const [image, output, button] = ["img", "output", ".play"].map(name => figure.querySelector(name));
  let timer = null;
  const show = () => {
    const [label, uri, alt] = frames[Number(slider.value)];
    image.src = uri;
    image.alt = alt;
    output.textContent = label;
    slider.setAttribute("aria-valuetext", label);
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    button.textContent = "Play";
    button.setAttribute("aria-pressed", "false");
  };
  const advance = () => {
    slider.value = Number(slider.value) + 1;
    show();
    if (Number(slider.value) === frames.length - 1) stop();
  };
  slider.addEventListener("input", () => { stop(); show(); });
  button.addEventListener("click", () => {
    if (timer !== null) return stop();
    if (Number(slider.value) === frames.length - 1) slider.value = 0;
    show();
    button.textContent = "Pause";
    button.setAttribute("aria-pressed", "true");
    timer = setInterval(advance, MILLISECONDS);
  });
}

// --- Tables ----------------------------------------------------------------------------------------------------------

function compare(a, b) {
  const [x, y] = [Number(a), Number(b)];
  return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, undefined, { numeric: true }) : x - y;
}

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = row => row.cells[column].dataset.key;
    const rows = [...body.rows].sort((a, b) => {
      if (!key(a) || !key(b)) return !key(a) - !key(b); // what is missing stays at the end
      return up ? compare(key(a), key(b)) : compare(key(b), key(a));
    });
    body.append(...rows);
  }));
}

document.querySelectorAll(".flipbook").forEach(flipbook);
document.querySelectorAll("table.sortable").forEach(sortable);
drawCharts().catch(withoutCharts);
