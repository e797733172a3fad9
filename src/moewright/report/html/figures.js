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

async function drawFigure(place, figure) {
  const drawn = await window.vegaEmbed(place, figure.spec, {
    renderer: "svg", actions: false, tooltip: { theme: "custom", disableDefaultStyle: true },
  });
  const panel = place.parentElement.querySelector(".panel");
  if (panel && Object.keys(figure.panel).length) {
    drawn.view.addEventListener("click", (event, item) => {
      if (!item || !item.datum || item.datum.name === undefined) return;
      panel.hidden = false;
      panel.replaceChildren(facts(Object.entries(figure.panel).map(([field, label]) => [label || "is", item.datum[field]])));
    });
  }
  place.dataset.drawn = "yes";
  return drawn;
}
