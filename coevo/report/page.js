// Draws the plots that Python described, and everything that follows the choice of a design.
// Text from the run only ever becomes a text node; what plotly.js gets as a label goes through label().
"use strict";
(() => {
  const run = JSON.parse(document.getElementById("data").textContent);
  const { ids, columns, rows, natural, tags } = run.front;
  const OPERANDS = ["weights", "inputs", "outputs"];
  // Named one by one: plotly.js offers by default to send a plot to its makers' cloud.
  const config = (...buttons) => ({ displaylogo: false, responsive: true, plotlyServerURL: "", modeBarButtons: [buttons] });
  const CONFIG = config("toImage", "zoom2d", "pan2d", "resetScale2d");
  const FONT = { family: getComputedStyle(document.body).fontFamily, size: 12.5 };
  const state = { chosen: -1, sort: { column: 0, down: false }, limits: new Map(), brushes: [] };

  const find = (id) => document.getElementById(id);
  const label = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (name === "style") Object.assign(node.style, value);
      else if (value !== null && value !== false) node.setAttribute(name, value);
    }
    node.append(...children.flat(Infinity).filter((child) => child !== null).map((c) => (c instanceof Node ? c : String(c))));
    return node;
  }

  function number(value) {
    if (value === null || value === undefined) return "";
    if (typeof value !== "number") return String(value);
    if (Math.abs(value) >= 1e4) return value.toLocaleString("en", { maximumFractionDigits: 0 });
    return String(Number(value.toPrecision(4)));
  }

  // The unit, out of [factor, name] in rising order, in which the largest value reads as a small number.
  const unit = (largest, units) => units.filter(([factor]) => largest >= factor).pop() || units[0];
  const ENERGY = [[1, "pJ"], [1e3, "nJ"], [1e6, "µJ"], [1e9, "mJ"], [1e12, "J"]];
  const TIME = [[1e-9, "ns"], [1e-6, "µs"], [1e-3, "ms"], [1, "s"]];
  const sum = (values) => values.reduce((total, value) => total + value, 0);

  // -- which designs are kept -----------------------------------------------------------------------------------

  function meets(row) {
    for (const [column, limit] of state.limits) {
      const value = rows[row][column];
      if (value === null || (columns[column].maximise ? value < limit : value > limit)) return false;
    }
    return state.brushes.every(({ values, ranges }) => ranges.some(([low, high]) => values[row] >= low && values[row] <= high));
  }

  function filter() {
    const kept = ids.map((_, row) => meets(row));
    const count = kept.filter(Boolean).length;
    find("kept").textContent = count < ids.length ? `${count} of ${ids.length} designs kept` : "";
    fillTable(kept);
    const plot = find("pareto");
    const fronts = plot.data ? plot.data.flatMap((trace, i) => (trace.meta.role === "front" ? [i] : [])) : [];
    if (fronts.length) Plotly.restyle(plot, { "marker.opacity": [kept.map((on) => (on ? 1 : 0.12))] }, fronts);
  }

  // -- table ----------------------------------------------------------------------------------------------------

  const shown = () => columns.map((_, i) => i).filter((i) => columns[i].kind !== "gene" || find("show-genes").checked);

  function buildTable() {
    const head = shown().map((i) => {
      const { title, unit: name, kind, maximise } = columns[i];
      const arrow = state.sort.column === i ? (state.sort.down ? " ▾" : " ▴") : "";
      const limit = kind === "gene" ? null : make("input", {
        type: "number", step: "any", placeholder: maximise ? "at least" : "at most", value: state.limits.get(i) ?? "",
        "aria-label": `limit of ${title}`, onclick: (event) => event.stopPropagation(),
        oninput: (event) => {
          if (event.target.value === "") state.limits.delete(i);
          else state.limits.set(i, Number(event.target.value));
          filter();
        },
      });
      const text = kind === "gene" ? "text" : kind;
      return make("th", { class: text, onclick: () => sortBy(i) }, title + arrow, make("span", { class: "unit" }, name ? `[${name}]` : "\u00a0"), limit);
    });
    find("front").tHead.replaceChildren(make("tr", {}, make("th", { class: "text" }, "Design"), make("th"), head));
  }

  function fillTable(kept = ids.map((_, row) => meets(row))) {
    const { column, down } = state.sort;
    const order = ids.map((_, row) => row).filter((row) => kept[row]);
    order.sort((a, b) => compare(rows[a][column], rows[b][column]) * (down ? -1 : 1));
    find("front").tBodies[0].replaceChildren(...order.map((row) => make("tr",
      { "data-id": ids[row], class: row === state.chosen ? "chosen" : null, onclick: () => choose(row) },
      make("td", { class: "id text" }, ids[row]),
      make("td", { class: "mark" }, tags[row].includes("knee") ? "★" : ""),
      shown().map((i) => make("td", { class: columns[i].kind === "gene" ? "text" : null }, number(rows[row][i]))))));
  }

  function compare(a, b) {
    if (a === null || b === null) return (a === null) - (b === null);
    return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  }

  function sortBy(column) {
    state.sort = { column, down: state.sort.column === column && !state.sort.down };
    buildTable();
    fillTable();
  }

  // -- plots of the run -----------------------------------------------------------------------------------------

  function drawRun() {
    for (const name of ["pareto", "parallel", "history", "drivers"]) {
      const figure = run.figures[name];
      if (figure) Plotly.newPlot(name, figure.data, figure.layout, name === "parallel" ? config("toImage") : CONFIG);
      else find(`section-${name}`).hidden = true;
    }
    if (run.figures.pareto) {
      find("pareto").on("plotly_click", (event) => {
        const row = ids.indexOf((event.points[0].customdata || [])[0]);
        if (row >= 0) choose(row);
      });
    }
    if (run.figures.parallel) find("parallel").on("plotly_restyle", brush);
    // With one objective its course is the main figure.
    if (!run.figures.pareto) find("section-table").before(find("section-history"));
  }

  function brush() {
    const before = JSON.stringify(state.brushes);
    state.brushes = find("parallel").data[0].dimensions.filter((axis) => axis.constraintrange).map((axis) => ({
      values: axis.values,
      ranges: Array.isArray(axis.constraintrange[0]) ? axis.constraintrange : [axis.constraintrange],
    }));
    if (JSON.stringify(state.brushes) !== before) filter();
  }

  function clear() {
    state.limits.clear();
    const dimensions = run.figures.parallel ? find("parallel").data[0].dimensions : [];
    const ranges = dimensions.map((_, i) => [`dimensions[${i}].constraintrange`, null]);
    if (ranges.length) Plotly.restyle("parallel", Object.fromEntries(ranges), [0]);
    buildTable();
    filter();
  }

  // -- the chosen design ----------------------------------------------------------------------------------------

  function choose(row) {
    state.chosen = row;
    find("choice").value = String(row);
    for (const line of document.querySelectorAll("tr[data-id]")) line.classList.toggle("chosen", line.dataset.id === ids[row]);
    find("tags").replaceChildren(...tags[row].map((tag) => make("span", { class: "tag" }, tag)));
    find("file").replaceChildren("complete in ", make("a", { href: `front/${ids[row]}.yaml` }, `front/${ids[row]}.yaml`));
    markPareto(row);
    showRow();
    if (run.figures.parallel) {
      Plotly.restyle("parallel", { "line.color": [colours.map((colour, i) => (i === row ? 2 : colour))] }, [0]);
    }
    drawDesign(row);
  }

  // Scrolls the table, not the page.
  function showRow() {
    const line = document.querySelector("#front tr.chosen");
    if (!line) return;
    const box = line.closest(".scroll");
    const top = line.offsetTop - find("front").tHead.offsetHeight;
    if (top < box.scrollTop || line.offsetTop + line.offsetHeight > box.scrollTop + box.clientHeight) box.scrollTop = top - 60;
  }

  const colours = run.figures.parallel ? [...run.figures.parallel.data[0].line.color] : [];

  function markPareto(row) {
    const plot = find("pareto");
    if (!plot.data) return;
    plot.data.forEach((trace, i) => {
      if (trace.meta.role === "chosen") {
        Plotly.restyle(plot, { x: [[natural[row][trace.meta.x]]], y: [[natural[row][trace.meta.y]]] }, [i]);
      }
    });
  }

  function drawDesign(row) {
    const design = run.details[ids[row]];
    const place = find("design");
    if (!design) {
      place.replaceChildren(make("p", {}, "The front is large: this page carries the layers of a part of it. All of this design stands in its file."));
      return;
    }
    const plots = { memories: make("div", { class: "plot" }), layers: make("div", { class: "plot" }) };
    const both = make("div", { class: "columns" },
      make("div", {}, make("h3", {}, "Figures"), figures(row, design), make("h3", {}, `Network: ${design.family}`), pairs(design.network)),
      make("div", {}, make("h3", {}, `Accelerator: ${design.machine.template}`), machine(design)));
    if (design.layers.length === 0) {
      place.replaceChildren(both, make("p", { class: "caption" }, "The cost model gives figures of the whole network: there is no breakdown by layer or memory."));
      return;
    }
    place.replaceChildren(
      both,
      make("h3", {}, "Energy by memory"),
      make("p", { class: "caption" }, "Of one inference, all layers together; which operand’s accesses cost it."),
      plots.memories,
      make("h3", {}, "Layer by layer"),
      make("p", { class: "caption" }, "In the order they run. Energy is coloured by where it is spent; latency by what sets it: the multipliers, or the memory whose bandwidth is the bottleneck (the black tick is what the multipliers alone would need). Utilisation is the share of the whole array that does useful work. Click a bar or a row for the layer’s loop nest."),
      key([...design.machine.memories.map((memory, i) => [memory.name, memoryColour(i)]), ["multipliers", run.colours.compute], ["leakage", run.colours.leakage]]),
      plots.layers,
      layerTable(design),
      make("h3", { id: "nest-title" }),
      make("p", { class: "caption" }, "Dims: n batch, g group, m output channel, c input channel, p q output row and column, r s filter row and column. A colour is a memory, DRAM outermost; loops inside a memory fetch tiles from it; parallel loops spread over the array."),
      make("div", { class: "columns", id: "nest" }));
    drawMemories(plots.memories, design);
    drawLayers(plots.layers, design);
    showLayer(design, slowest(design.layers));
  }

  const pairs = (items) => make("dl", { class: "pairs" }, items.map(([key, value]) => [make("dt", {}, key), make("dd", {}, value)]));

  function figures(row, design) {
    const items = columns.flatMap(({ title, unit: name, kind }, i) =>
      kind === "gene" || rows[row][i] === null ? [] : [[title, `${number(rows[row][i])} ${name}`]]);
    return pairs(design.fidelity ? [...items, ["Error measured by", design.fidelity]] : items);
  }

  const key = (items) => make("div", { class: "key" }, items.map(([name, background]) => make("span", {}, make("i", { style: { background } }), name)));

  // Beyond the last colour they come again, half as strong.
  const paler = (colour) => `#${[1, 3, 5].map((at) => Math.round((parseInt(colour.slice(at, at + 2), 16) + 255) / 2).toString(16)).join("")}`;
  const memoryColour = (i) => {
    const colour = run.colours.memories[i % run.colours.memories.length];
    return i < run.colours.memories.length ? colour : paler(colour);
  };

  function machine(design) {
    const { facts, choices, memories, parts, pes, area_mm2: total, area } = design.machine;
    const levels = memories.flatMap((memory, i) => {
      const [x, y] = memory.fanout;
      const copies = memory.instances > 1 ? ` × ${memory.instances.toLocaleString("en")}` : "";
      const holds = `holds ${memory.holds.join(", ")}${memory.double_buffered ? "; double-buffered" : ""}`;
      return [
        parts[memory.name] ? make("h3", {}, `Part ${parts[memory.name]}`) : null,
        make("div", { class: "level", style: { borderLeftColor: memoryColour(i) } },
          make("b", {}, memory.name), ` ${memory.size}${copies} `, make("span", {}, memory.kind), make("br"),
          make("span", {}, holds), make("br"), make("span", {}, `${memory.bandwidth}; ${memory.energy}`)),
        make("div", { class: "down" }, x * y > 1 ? `↓ array of ${x} columns × ${y} rows` : "↓"),
      ];
    });
    const fill = (name, i) => (name === "MACs" ? run.colours.compute : name === "other" ? run.colours.leakage : memoryColour(i));
    const order = memories.map((memory) => memory.name);
    return make("div", {},
      make("p", { class: "caption" }, facts), choices.length ? pairs(choices) : null, levels,
      make("div", { class: "level", style: { borderLeftColor: run.colours.compute } }, make("b", {}, "multipliers"), ` ${pes.toLocaleString("en")} MACs`),
      make("h3", {}, `Area: ${number(total)} mm²`),
      make("div", { class: "area" }, area.map(([name, mm2]) => make("div", {
        title: `${name} ${number(mm2)} mm²`, style: { width: `${(100 * mm2) / total}%`, background: fill(name, order.indexOf(name)) },
      }))),
      key(area.map(([name, mm2]) => [`${name} ${number(mm2)} mm² (${Math.round((100 * mm2) / total)} %)`, fill(name, order.indexOf(name))])));
  }

  // -- plots of the chosen design -------------------------------------------------------------------------------

  const AXIS = { gridcolor: "#ececec", linecolor: "#888", zeroline: false, automargin: true };
  const layout = (height, more) => ({ font: FONT, height, barmode: "stack", plot_bgcolor: "white", hovermode: "closest", ...more });

  function drawMemories(place, { layers, machine: { memories } }) {
    const names = [...memories.map((memory) => memory.name), "MACs", "leakage"];
    const byOperand = OPERANDS.map((_, o) => memories.map((_, m) => sum(layers.map((layer) => layer.energy_pj[m][o]))));
    const macs = sum(layers.map((layer) => layer.mac_pj));
    const leakage = sum(layers.map((layer) => layer.leakage_pj));
    const perMemory = memories.map((_, m) => sum(byOperand.map((energies) => energies[m])));
    const total = sum(perMemory) + macs + leakage;
    const [factor, name] = unit(Math.max(...perMemory, macs, leakage), ENERGY);
    const bar = (title, colour, values) => ({
      type: "bar", orientation: "h", name: title, y: names.map(label), x: values.map((v) => v / factor), marker: { color: colour },
      customdata: values.map((v) => v / total), hovertemplate: `%{y}, ${title}: %{x:.4g} ${name} (%{customdata:.1%} of all)<extra></extra>`,
    });
    const zeros = memories.map(() => 0);
    const data = OPERANDS.map((operand, o) => bar(operand, run.colours.operands[o], [...byOperand[o], 0, 0]));
    data.push(bar("multiply-accumulates", run.colours.compute, [...zeros, macs, 0]));
    data.push(bar("leakage", run.colours.leakage, [...zeros, 0, leakage]));
    const share = [...perMemory, macs, leakage].map((v) => ({
      x: v / factor, y: 0, xanchor: "left", xshift: 4, showarrow: false, text: `${((100 * v) / total).toFixed(1)} %`, font: { size: 12, color: "#5b6670" },
    })).map((note, i) => ({ ...note, y: label(names[i]) }));
    Plotly.newPlot(place, data.filter((trace) => trace.x.some((x) => x > 0)), layout(110 + 30 * names.length, {
      margin: { l: 90, r: 40, t: 30, b: 45 }, annotations: share, bargap: 0.3,
      xaxis: { ...AXIS, title: { text: `Energy of one inference [${name}]`, standoff: 6 } }, yaxis: { ...AXIS, autorange: "reversed" },
      legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", traceorder: "normal" }, showlegend: true,
    }), CONFIG);
  }

  function drawLayers(place, { layers, machine: { memories, clock_mhz: clock } }) {
    const y = layers.map((layer) => label(layer.name));
    const seconds = layers.map((layer) => layer.cycles / (clock * 1e6));
    const energies = layers.map((layer) => sum(layer.energy_pj.flat()) + layer.mac_pj + layer.leakage_pj);
    const [picojoule, joule] = unit(Math.max(...energies), ENERGY);
    const [second, time] = unit(Math.max(...seconds), TIME);
    const bar = (name, color, x, more) => ({ type: "bar", orientation: "h", name: label(name), y, x, marker: { color }, ...more });
    const energy = (name, color, pick) => bar(name, color, layers.map((layer) => pick(layer) / picojoule),
      { hovertemplate: `%{y}, ${label(name)}: %{x:.4g} ${joule}<extra></extra>` });
    const bounds = ["compute", ...memories.map((memory) => memory.name)];
    const latency = (bound, i) => bar(bound, i ? memoryColour(i - 1) : run.colours.compute,
      layers.map((layer, j) => (layer.bound_by === bound ? seconds[j] / second : null)),
      { xaxis: "x2", hovertemplate: `%{y}: %{x:.4g} ${time}, bound by ${label(bound)}<extra></extra>` });
    const data = [
      ...memories.map((memory, m) => energy(memory.name, memoryColour(m), (layer) => sum(layer.energy_pj[m]))),
      energy("MACs", run.colours.compute, (layer) => layer.mac_pj),
      energy("leakage", run.colours.leakage, (layer) => layer.leakage_pj),
      ...bounds.map(latency),
      { type: "scatter", mode: "markers", name: "compute alone", y, x: layers.map((layer) => layer.compute_cycles / (clock * 1e6) / second),
        xaxis: "x2", marker: { symbol: "line-ns-open", size: 13, color: "#000", line: { width: 2 } },
        hovertemplate: `%{y}: the multipliers alone would need %{x:.4g} ${time}<extra></extra>` },
      bar("utilisation", "#56B4E9", layers.map((layer) => layer.utilization), { xaxis: "x3", hovertemplate: "%{y}: %{x:.1%}<extra></extra>" }),
    ].filter((trace) => trace.x.some((x) => x > 0));
    const axis = (domain, text) => ({ ...AXIS, domain, title: { text, standoff: 6 }, rangemode: "tozero" });
    Plotly.newPlot(place, data, layout(105 + 21 * layers.length, {
      margin: { l: 90, r: 20, t: 30, b: 60 }, bargap: 0.25, showlegend: false,
      xaxis: axis([0, 0.38], `Energy [${joule}]`), xaxis2: axis([0.42, 0.8], `Latency [${time}]`),
      xaxis3: { ...axis([0.84, 1], "Utilisation"), tickformat: ".0%", range: [0, 1] },
      yaxis: { ...AXIS, autorange: "reversed", tickmode: "array", tickvals: y },
    }), CONFIG);
    place.on("plotly_click", (event) => showLayer(run.details[ids[state.chosen]], event.points[0].pointNumber));
  }

  // -- layers and loop nests ------------------------------------------------------------------------------------

  function layerTable(design) {
    const heads = ["Layer", "Kind", "Shape", "MACs", "Parameters", "Cycles", "Bound by", "Utilisation", "Energy [nJ]"];
    const several = design.layers.some((layer) => layer.part);
    if (several) heads.splice(1, 0, "Part");
    const text = new Set(several ? [0, 1, 2, 3, 7] : [0, 1, 2, 6]);
    const body = design.layers.map((layer, i) => {
      const energy = sum(layer.energy_pj.flat()) + layer.mac_pj + layer.leakage_pj;
      const cells = [layer.name, ...(several ? [layer.part] : []), layer.kind, layer.shape, number(layer.macs), number(layer.parameters), number(layer.cycles),
        layer.bound_by, `${(100 * layer.utilization).toFixed(1)} %`, number(energy / 1e3)];
      return make("tr", { "data-layer": i, style: { cursor: "pointer" }, onclick: () => showLayer(design, i) },
        cells.map((cell, c) => make("td", { class: text.has(c) ? "text" : null }, cell)));
    });
    const head = make("tr", {}, heads.map((name, c) => make("th", { class: text.has(c) ? "text" : null }, name)));
    return make("div", { class: "scroll" }, make("table", { id: "layers" }, make("thead", {}, head), make("tbody", {}, body)));
  }

  const slowest = (layers) => layers.reduce((best, layer, i) => (layer.cycles > layers[best].cycles ? i : best), 0);

  function showLayer(design, index) {
    const layer = design.layers[index];
    for (const line of document.querySelectorAll("tr[data-layer]")) line.classList.toggle("chosen", Number(line.dataset.layer) === index);
    find("nest-title").textContent = `Loop nest of ${layer.name} (${layer.kind}: ${layer.shape})`;
    find("nest").replaceChildren(nest(design, layer), traffic(design, layer));
  }

  function nest(design, layer) {
    const names = design.machine.memories.map((memory) => memory.name);
    const width = Math.max(...names.map((name) => name.length)) + 2;
    let depth = 0;
    const line = (borderLeftColor, memory, text, note = "") => make("div", { style: { borderLeftColor } },
      memory.padEnd(width), "  ".repeat(depth), text, make("em", {}, note));
    const lines = layer.mapping.flatMap(([memory, temporal, x, y]) => {
      const m = names.indexOf(memory);
      const loops = [["for", temporal, ""], ["parallel for", y, "  # rows"], ["parallel for", x, "  # columns"]]
        .flatMap(([word, pairs, note]) => pairs.map(([dim, bound]) => {
          const loop = line(memoryColour(m), memory, `${word} ${dim} in range(${bound}):`, note);
          depth += 1;
          return loop;
        }));
      return loops.length ? loops : [line(memoryColour(m), memory, "", "# no loops: one tile stays")];
    });
    return make("div", { class: "nest" }, lines, line(run.colours.compute, "", layer.macs ? "multiply-accumulate" : "combine"));
  }

  function traffic(design, layer) {
    const heads = [["Memory"], ["Operand"], ["Tile", "[word]"], ["Reads", "[word]"], ["Writes", "[word]"], ["Energy", "[nJ]"]];
    const body = design.machine.memories.flatMap((memory, m) => OPERANDS.flatMap((operand, o) =>
      layer.reads[m][o] + layer.writes[m][o] > 0 ? [make("tr", {},
        make("td", { class: "text" }, memory.name), make("td", { class: "text" }, operand),
        [layer.tile_words, layer.reads, layer.writes].map((table) => make("td", {}, number(table[m][o]))),
        make("td", {}, number(layer.energy_pj[m][o] / 1e3)))] : []));
    const head = make("tr", {}, heads.map(([name, of], c) => make("th", { class: c < 2 ? "text" : null }, name, of ? make("span", { class: "unit" }, of) : null)));
    return make("div", { class: "scroll" }, make("table", {}, make("thead", {}, head), make("tbody", {}, body)));
  }

  // -- start ----------------------------------------------------------------------------------------------------

  function start() {
    drawRun();
    if (!ids.length) {
      for (const name of ["table", "design"]) find(`section-${name}`).hidden = true;
      return;
    }
    find("choice").replaceChildren(...ids.map((id, row) => make("option", { value: row }, tags[row].length ? `${id} (${tags[row].join(", ")})` : id)));
    find("choice").addEventListener("change", (event) => choose(Number(event.target.value)));
    const step = (by) => choose((state.chosen + by + ids.length) % ids.length);
    find("previous").addEventListener("click", () => step(-1));
    find("next").addEventListener("click", () => step(1));
    find("show-genes").addEventListener("change", () => { buildTable(); fillTable(); });
    find("clear").addEventListener("click", clear);
    for (const line of document.querySelectorAll(".ends tr[data-id]")) {
      line.addEventListener("click", () => choose(ids.indexOf(line.dataset.id)));
    }
    buildTable();
    fillTable();
    choose(Math.max(0, tags.findIndex((names) => names.includes("knee"))));
  }

  start();
})();
