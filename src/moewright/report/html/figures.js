// Draws the figures; what is clicked is told in the panel beneath.
const entered = (value) => (value === undefined || value === null ? "–" : String(value));

function facts(pairs) {
  const list = document.createElement("dl");
  for (const [name, value] of pairs) {
    const term = document.createElement("dt");
    const text = document.createElement("dd");
    term.textContent = name;
    text.textContent = entered(value);
    list.append(term, text);
  }
  return list;
}

// The points that have a part of their own (best, frontier, compared …), for those who choose by keyboard.
function namedPoints(figure) {
  const rows = Object.values(figure.spec.datasets ?? {}).flat();
  return rows.filter((row) => row.name !== undefined && row.kind !== undefined && row.kind !== "other strategies").reverse();
}

function chooser(list, told) {
  const label = document.createElement("label");
  const select = document.createElement("select");
  label.className = "chooser";
  label.append("figures of ", select);
  select.add(new Option("choose a strategy", ""));
  list.forEach((row, i) => select.add(new Option(`${row.kind}: ${row.name}`, i)));
  select.addEventListener("change", () => told(select.value === "" ? -1 : Number(select.value)));
  return label;
}

async function drawFigure(place, figure) {
  const drawn = await window.vegaEmbed(place, figure.spec, {
    renderer: "svg", actions: false, tooltip: { theme: "custom", disableDefaultStyle: true },
  });
  const panel = place.parentElement.querySelector(".panel");
  if (panel && Object.keys(figure.panel).length) {
    const list = namedPoints(figure);
    const tell = (datum) => {
      panel.hidden = false;
      panel.replaceChildren(facts(Object.entries(figure.panel).map(([field, label]) => [label || "is", datum[field]])));
    };
    drawn.view.addEventListener("click", (event, item) => {
      if (item && item.datum && item.datum.name !== undefined) tell(item.datum);
    });
    panel.before(chooser(list, (i) => { if (list[i]) tell(list[i]); else panel.hidden = true; }));
  }
  place.dataset.drawn = "yes";
  return drawn;
}
