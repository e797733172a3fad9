const specs = [...document.querySelectorAll("script.figure-spec")].map((x) => JSON.parse(x.textContent));
for (const place of document.querySelectorAll(".chart")) {
  drawFigure(place, specs[Number(place.dataset.figure)]).catch((error) => { place.textContent = String(error); });
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    field.style.position = "fixed";
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}
for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    const done = await copyText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = done ? "Copied" : "Select and copy by hand";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}

const why = document.getElementById("why");
function showWhy(event) {
  const mark = event.target.closest(".document mark[data-why]");
  if (!mark || !why) return;
  why.hidden = false;
  why.replaceChildren(...mark.dataset.why.split("\n").map((line) => {
    const text = document.createElement("p");
    text.textContent = line;
    return text;
  }));
}
document.addEventListener("pointerover", showWhy);
document.addEventListener("focusin", showWhy);
