// The page of `tai-dpt app`. Photos stay in the browser and go to this computer's server with each
// question; what comes back is shown as text, never as HTML.
"use strict";

const SHOWN = 5; // classes of a photo where nothing is decided, and of those below the threshold
const find = (id) => document.getElementById(id);
const slider = find("threshold");
const own = find("own");
const cards = new Set();
let tagger;

async function ask(question, fields, body) {
  const query = new URLSearchParams(fields);
  if (body instanceof File) await readable(body);
  const answer = await fetch(`${question}?${query}`, body === undefined ? {} : { method: "POST", body });
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error);
  return content;
}

// a folder that was dropped, and a file that is no longer as it was chosen, fail like a dead server
async function readable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    throw new Error("it is a folder, or was changed or moved since; choose the photo again");
  }
}

function make(tag, text, properties = {}) {
  return Object.assign(document.createElement(tag), { textContent: text }, properties);
}

function say(place, text, alert = false) {
  place.textContent = text;
  place.classList.toggle("alert", alert);
}

const whatFailed = (error) => (error instanceof TypeError ? "the server does not answer; is it still running?" : error.message);

function limitOf(name) {
  if (own && own.checked) return tagger.thresholds[tagger.classes.indexOf(name)];
  return Number(slider.value);
}

class Card {
  constructor(file) {
    this.file = file;
    this.labels = []; // [class, probability or score], the likeliest first
    this.marks = new Map(); // class -> true (is there) or false
    this.drawnClass = null;
    this.root = find("card").content.firstElementChild.cloneNode(true);
    const part = (selector) => this.root.querySelector(selector);
    this.image = part("img");
    this.caption = part("figcaption");
    this.said = part(".said");
    [this.shown, this.further] = this.root.querySelectorAll(".labels");
    this.summary = part("summary");
    this.all = part(".all");
    this.marking = part(".marking");
    const title = part("h3");
    title.textContent = file.name;
    title.id = `photo-${Card.count++}`;
    this.root.setAttribute("aria-labelledby", title.id);
    part(".missing").addEventListener("submit", (event) => this.add(event));
    part(".agree").addEventListener("click", () => this.agree());
    part(".save").addEventListener("click", () => this.save());
    part(".remove").addEventListener("click", () => this.remove());
    cards.add(this);
  }

  async load() {
    say(this.said, "looking …");
    try {
      if (this.file.size > tagger.most_bytes) throw new Error(`more than ${tagger.most_bytes / 1e6} MB`);
      const seen = await ask("labels", { name: this.file.name }, this.file);
      this.labels = seen.labels;
      this.plain = seen.image;
      this.showPlain();
      this.marking.hidden = false;
      say(this.said, "");
      this.draw();
    } catch (error) {
      this.root.classList.add("broken");
      say(this.said, whatFailed(error), true);
    }
  }

  // the classes that count as labels now, and those that follow
  parted() {
    const chosen = ([name, value], place) =>
      this.marks.get(name) === true || (tagger.calibrated ? value >= limitOf(name) : place < SHOWN);
    const above = this.labels.filter(chosen);
    return [above, this.labels.filter((label) => !above.includes(label)).slice(0, SHOWN)];
  }

  draw() {
    const [above, below] = this.parted();
    this.shown.replaceChildren(...above.map((label) => this.row(label)));
    this.further.replaceChildren(...below.map((label) => this.row(label)));
    this.summary.textContent = tagger.calibrated ? "Next, below the threshold" : "Next in order";
    if (!above.length) this.shown.append(make("li", "no class reaches the threshold", { className: "soft" }));
  }

  row([name, value]) {
    const row = make("li", "");
    const where = make(tagger.heat ? "button" : "span", name, { className: "where" });
    if (tagger.heat) {
      where.type = "button";
      where.setAttribute("aria-pressed", this.drawnClass === name);
      where.addEventListener("click", () => this.heat(name, where));
    }
    const shown = make("span", value === null ? "" : value.toFixed(2), { className: "number" });
    const marks = make("span", "", { className: "marks" });
    marks.setAttribute("role", "group");
    marks.setAttribute("aria-label", `Is ${name} in the photo?`);
    for (const [text, mark] of [["right", true], ["wrong", false]]) {
      const button = make("button", text, { type: "button" });
      button.setAttribute("aria-pressed", this.marks.get(name) === mark);
      button.addEventListener("click", () => {
        if (this.marks.get(name) === mark) this.marks.delete(name);
        else this.marks.set(name, mark);
        say(this.said, "");
        for (const [place, other] of [...marks.children].entries())
          other.setAttribute("aria-pressed", this.marks.get(name) === (place === 0));
      });
      marks.append(button);
    }
    row.append(where, shown, marks);
    return row;
  }

  showPlain() {
    this.drawnClass = null;
    this.image.src = this.plain;
    this.image.alt = this.file.name;
    this.caption.textContent = "";
  }

  async heat(name, button) {
    const again = this.drawnClass === name;
    for (const other of this.root.querySelectorAll(".where")) other.setAttribute("aria-pressed", false);
    this.showPlain();
    if (again) return;
    button.setAttribute("aria-pressed", true);
    this.drawnClass = name;
    this.caption.textContent = `looking for ${name} …`;
    try {
      const others = this.labels.map(([other]) => other).filter((other) => other !== name).slice(0, 3);
      const fields = [["name", this.file.name], ...[name, ...others].map((each) => ["class", each])];
      const seen = await ask("heat", fields, this.file);
      if (this.drawnClass !== name) return; // another was clicked meanwhile
      this.image.src = seen.image;
      this.image.alt = `heat map of ${name} over ${this.file.name}`;
      const scale = make("span", "", { className: "scale heat" });
      scale.setAttribute("aria-hidden", "true");
      this.caption.replaceChildren(
        `where “${name}” is: ${seen.unit} ${seen.low} `, scale, ` ${seen.high}`,
        others.length ? `, one scale with ${others.join(", ")}` : "",
      );
    } catch (error) {
      button.setAttribute("aria-pressed", false);
      this.showPlain();
      say(this.said, whatFailed(error), true);
    }
  }

  add(event) {
    event.preventDefault();
    const field = event.target.querySelector("input");
    const wanted = field.value.trim().toLowerCase();
    const name = tagger.classes.find((each) => each.toLowerCase() === wanted);
    if (!wanted) return;
    if (name === undefined) {
      say(this.said, `the tagger has no class “${field.value.trim()}”`, true);
      return;
    }
    if (!this.labels.some(([each]) => each === name)) this.labels.push([name, null]);
    this.marks.set(name, true);
    field.value = "";
    say(this.said, `${name} is marked as in the photo`);
    this.draw();
    field.focus();
  }

  // what was decided is taken for right; where nothing is, a rank speaks for nothing
  agree() {
    const there = tagger.calibrated;
    say(this.said, "");
    for (const [name] of this.parted()[0]) if (!this.marks.has(name)) this.marks.set(name, there);
    this.draw();
  }

  async save() {
    const unmarked = this.parted()[0].map(([name]) => name).filter((name) => !this.marks.has(name));
    if (this.all.checked && unmarked.length) {
      say(this.said, `right or wrong? ${unmarked.join(", ")}`, true);
      return;
    }
    const fields = [["name", this.file.name], ...(this.all.checked ? [["all", "1"]] : [])];
    for (const [name, there] of this.marks) fields.push([there ? "present" : "absent", name]);
    try {
      showCount((await ask("corrections", fields, this.file)).corrected);
      say(this.said, "saved");
    } catch (error) {
      say(this.said, whatFailed(error), true);
    }
  }

  remove() {
    const next = this.root.nextElementSibling ?? this.root.previousElementSibling;
    cards.delete(this);
    this.root.remove();
    (next?.querySelector(".remove") ?? find("files")).focus();
  }
}
Card.count = 0;

function showCount(count) {
  const photos = count === 1 ? "1 corrected photo" : `${count} corrected photos`;
  say(find("status"), count ? `${photos} in ${tagger.folder}` : "");
}

function moved() {
  find("threshold-shown").textContent = own && own.checked ? "own" : Number(slider.value).toFixed(2);
  for (const card of cards) if (!card.marking.hidden) card.draw();
}

async function showWords(event) {
  event.preventDefault();
  const place = find("words");
  const wanted = find("caption-class").value.trim();
  try {
    const read = await ask("words", wanted ? { class: wanted } : {}, find("caption").value);
    const scale = make("span", "", { className: "scale shade" });
    scale.setAttribute("aria-hidden", "true");
    const legend = make("p", "");
    legend.append(
      `For each word the ${read.unit} of the class: ${read.low} `, scale, ` ${read.high}. `,
      "CLIP reads from left to right, so a word knows those before it.",
    );
    const classes = read.classes.flatMap((each) => {
      const sentence = make("p", "", { className: "sentence" });
      for (const { text, color, ink, value } of each.words) {
        const word = make("span", "", { className: "word" });
        const shaded = make("b", text);
        Object.assign(shaded.style, { background: color, color: ink });
        word.append(shaded, make("small", value));
        sentence.append(word, " ");
      }
      return [make("h3", `${each.name}: whole caption ${each.whole}`), sentence];
    });
    place.replaceChildren(legend, ...classes);
  } catch (error) {
    place.replaceChildren(make("p", whatFailed(error), { className: "alert" }));
  }
}

// everything below listens before the tagger is known: a quick hand finds the page ready
const known = ask("tagger").then((about) => {
  tagger = about;
  showCount(tagger.corrected);
});
known.catch((error) => say(find("status"), whatFailed(error), true));

let turn = known; // one photo after the other
function take(files) {
  const chosen = [...files].map((file) => new Card(file));
  find("cards").prepend(...chosen.map((card) => card.root)); // in their order, above earlier ones
  for (const card of chosen) turn = turn.then(() => card.load());
}

find("files").addEventListener("change", (event) => {
  take(event.target.files);
  event.target.value = "";
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  take(event.dataTransfer.files);
});
find("caption-form")?.addEventListener("submit", showWords);
if (slider) {
  slider.addEventListener("input", () => {
    if (own) own.checked = false;
    moved();
  });
  own?.addEventListener("change", moved);
  moved();
}
