// A canvas for three tools: "brush" (a mask over a picture), "sketch" (lines) and "pose" (a head to be moved).
// Streamlit calls the function below at every run with the same parentElement, so what was drawn lives in `sheets`.

const sheets = new WeakMap();
const STEP = 0.03, INK = "#1c1c20", MASK = "#d23a63";

export default function (component) {
  const { parentElement, data } = component;
  let sheet = sheets.get(parentElement);
  if (!sheet) sheets.set(parentElement, (sheet = new Sheet(parentElement.querySelector(".k-canvas"))));
  sheet.tell = component.setStateValue;
  sheet.show(data);
}

class Sheet {
  constructor(root) {
    this.root = root;
    this.strokes = [];
    this.erasing = false;
    this.cursor = [0.5, 0.5];
    this.offset = [0, 0];
    this.make();
  }

  make() {
    const add = (parent, tag, values = {}) => Object.assign(parent.appendChild(document.createElement(tag)), values);
    this.bar = add(this.root, "div", { className: "k-bar" });
    const button = (act) => add(this.bar, "button", { type: "button", onclick: act });
    this.pen = button(() => this.choose(false));
    this.eraser = button(() => this.choose(true));
    this.back = button(() => { this.strokes.pop(); this.changed(); });
    this.clear = button(() => { this.strokes = []; this.changed(); });
    this.sizes = add(this.bar, "label");
    this.sizeText = add(this.sizes, "span");
    this.size = add(this.sizes, "input", { type: "range", min: 1, max: 20, value: 6 });
    this.paper = add(this.root, "div", { className: "k-sheet" });
    this.picture = add(this.paper, "img", { alt: "" });
    this.canvas = add(this.paper, "canvas", { tabIndex: 0 });
    this.canvas.setAttribute("role", "application");
    this.mark = add(this.paper, "div", { className: "k-cursor", hidden: true });
    this.help = add(this.root, "p", { className: "k-help" });
    this.canvas.onpointerdown = (event) => this.begin(event);
    this.canvas.onpointermove = (event) => this.go(event);
    this.canvas.onpointerup = this.canvas.onpointercancel = () => this.end();
    this.canvas.onkeydown = (event) => this.key(event);
    this.canvas.onblur = () => { this.mark.hidden = true; };
  }

  show(data) {
    const { tool, width, height, background, labels } = data;
    const page = JSON.stringify([tool, width, height, background]);
    if (page !== this.page) Object.assign(this, { page, strokes: [], canvasSize: null });
    if (JSON.stringify(data) === this.shown) return;
    this.shown = JSON.stringify(data);
    this.data = data;
    this.offset = [0, 0];
    this.paper.dataset.tool = tool;
    this.paper.style.aspectRatio = `${width} / ${height}`;
    this.picture.hidden = !background;
    if (background) this.picture.src = background;
    for (const [part, name] of [[this.pen, "pen"], [this.eraser, "eraser"], [this.back, "undo"], [this.clear, "clear"], [this.sizeText, "size"]]) part.textContent = labels[name];
    this.help.textContent = labels.help;
    this.canvas.setAttribute("aria-label", `${labels.canvas}. ${labels.help}`);
    this.bar.hidden = tool === "pose";
    const scale = Math.max(1, 768 / Math.max(width, height));
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    this.choose(this.erasing);
    this.paint();
  }

  choose(erasing) {
    this.erasing = erasing;
    this.pen.setAttribute("aria-pressed", String(!erasing));
    this.eraser.setAttribute("aria-pressed", String(erasing));
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  begin(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.from = this.at(event);
    this.held = true;
    this.mark.hidden = true;
    if (this.data.tool !== "pose") this.stroke([this.from]);
  }

  go(event) {
    if (!this.held) return;
    const place = this.at(event);
    if (this.data.tool === "pose") this.offset = [place[0] - this.from[0], place[1] - this.from[1]];
    else this.strokes.at(-1).points.push(place);
    this.paint();
  }

  end() {
    if (!this.held) return;
    this.held = false;
    this.changed();
  }

  stroke(points) {
    this.strokes.push({ points, erases: this.erasing, width: Number(this.size.value) / 100 });
    this.paint();
  }

  key(event) {
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const way = ways[event.key];
    if (way) {
      event.preventDefault();
      this.walk(way[0] * STEP, way[1] * STEP, event.shiftKey);
    } else if (event.key === " " && this.data.tool !== "pose") {
      event.preventDefault();
      this.stroke([[...this.cursor]]);
      this.changed();
    }
  }

  walk(x, y, drawing) {
    if (this.data.tool === "pose") {
      this.offset = [x, y];
      this.paint();
      this.changed();
      return;
    }
    const from = [...this.cursor];
    this.cursor = [Math.min(1, Math.max(0, from[0] + x)), Math.min(1, Math.max(0, from[1] + y))];
    this.mark.hidden = false;
    this.mark.style.left = `${100 * this.cursor[0]}%`;
    this.mark.style.top = `${100 * this.cursor[1]}%`;
    if (drawing) {
      this.stroke([from, [...this.cursor]]);
      this.changed();
    }
  }

  changed() {
    this.paint();
    if (this.data.tool === "pose") {
      const head = this.data.points.at(-1);
      if (this.offset.some((each) => each !== 0)) this.tell("position", [head[0] + this.offset[0], head[1] + this.offset[1]]);
    } else {
      this.tell("drawing", this.strokes.length ? this.drawn() : null);
    }
  }

  paint() {
    const pen = this.canvas.getContext("2d");
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (this.data.tool === "pose") this.face(pen);
    else this.lines(pen, this.data.tool === "brush" ? MASK : INK);
  }

  lines(pen, colour) {
    const { width, height } = pen.canvas;
    Object.assign(pen, { lineCap: "round", lineJoin: "round", strokeStyle: colour });
    for (const { points, erases, width: share } of this.strokes) {
      pen.globalCompositeOperation = erases ? "destination-out" : "source-over";
      pen.lineWidth = share * Math.min(width, height) * (this.data.tool === "brush" ? 2 : 0.5);
      pen.beginPath();
      points.forEach(([x, y], place) => (place ? pen.lineTo(x * width, y * height) : pen.moveTo(x * width, y * height)));
      if (points.length === 1) pen.lineTo(points[0][0] * width + 0.01, points[0][1] * height);
      pen.stroke();
    }
    pen.globalCompositeOperation = "source-over";
  }

  // White on black for a mask, black on white for lines, at the size that is asked for.
  drawn() {
    const brush = this.data.tool === "brush";
    const size = { width: this.data.width, height: this.data.height };
    const strokes = Object.assign(document.createElement("canvas"), size);
    this.lines(strokes.getContext("2d"), brush ? "#fff" : "#000");
    const sheet = Object.assign(document.createElement("canvas"), size);
    const pen = sheet.getContext("2d");
    pen.fillStyle = brush ? "#000" : "#fff";
    pen.fillRect(0, 0, size.width, size.height);
    pen.drawImage(strokes, 0, 0);
    return sheet.toDataURL("image/png");
  }

  // The eye on the side to which the face looks is coloured.
  face(pen) {
    const { width, height } = pen.canvas;
    const { points, radii, tilt } = this.data;
    const [leading, trailing, one, other, head] = points.map(([x, y]) => [(x + this.offset[0]) * width, (y + this.offset[1]) * height]);
    Object.assign(pen, { lineWidth: 0.012 * Math.min(width, height), strokeStyle: INK, lineCap: "round" });
    pen.beginPath();
    pen.ellipse(head[0], head[1], radii[0] * width, radii[1] * height, (tilt * Math.PI) / 180, 0, 2 * Math.PI);
    pen.stroke();
    for (const [eye, colour] of [[leading, MASK], [trailing, INK]]) {
      pen.fillStyle = colour;
      pen.beginPath();
      pen.arc(eye[0], eye[1], 0.022 * Math.min(width, height), 0, 2 * Math.PI);
      pen.fill();
    }
    pen.beginPath();
    pen.moveTo(...one);
    pen.lineTo(...other);
    pen.stroke();
  }
}
