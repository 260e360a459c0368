// @ts-check
/** A surface to draw on, by mouse, pen or finger. What is drawn is told as a PNG at the model's size. */
import { canvas, context, likeMnist, toPng } from "./digits.js";
import { button, h } from "./dom.js";
import { isOfDigits } from "./store.js";
import { t } from "./text.js";

const SIDE = 280;
const BRUSH = 22; // as wide as MNIST's strokes are, at this size

/**
 * @param {import("./api.js").Model} model @param {(image: Blob) => void} tell called after each stroke, and while drawing
 * @returns {HTMLElement}
 */
export function drawingBoard(model, tell) {
  const { height, width, channels, mean } = model.info.input;
  const centres = isOfDigits(model) || channels === 1;
  // Data sets of bright ink on black have a low mean; where the file says none, digits are taken for such.
  let isWhiteOnBlack = channels === 1 && (mean.length === 0 || mean[0] < 0.6);
  const ink = canvas(SIDE, SIDE); // white on black, whatever is shown
  const shown = h("canvas", { width: SIDE, height: SIDE, class: "board", tabIndex: 0, role: "img", "aria-label": t("draw.label") });
  const pen = context(ink);
  /** @type {{x: number, y: number} | null} */
  let last = null;
  let waits = false;
  let strokes = 0; // that are finished
  let [taken, told] = [0, 0]; // the numbers of the last drawings that were taken and told

  const clear = () => {
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, SIDE, SIDE);
    strokes = 0;
    told = taken;
    shown.dataset.sent = "0";
    show();
  };
  const show = () => {
    const face = /** @type {CanvasRenderingContext2D} */ (shown.getContext("2d"));
    face.filter = isWhiteOnBlack ? "none" : "invert(1)";
    face.drawImage(ink, 0, 0);
  };
  const at = (/** @type {PointerEvent} */ event) => {
    const frame = shown.getBoundingClientRect();
    return { x: ((event.clientX - frame.left) / frame.width) * SIDE, y: ((event.clientY - frame.top) / frame.height) * SIDE };
  };
  const line = (/** @type {PointerEvent} */ event) => {
    const to = at(event);
    const from = last ?? to;
    pen.strokeStyle = "#fff";
    pen.lineWidth = BRUSH;
    pen.lineCap = pen.lineJoin = "round";
    pen.beginPath();
    pen.moveTo(from.x, from.y);
    pen.lineTo(to.x + 0.01, to.y);
    pen.stroke();
    last = to;
    show();
  };
  const send = async () => {
    waits = false;
    const [done, number] = [strokes, ++taken];
    const made = centres ? likeMnist(ink, width, height, isWhiteOnBlack) : plain();
    const file = made && (await toPng(made));
    if (number <= told) return; // a later drawing was ready before this one, or the board was cleared
    told = number;
    if (file) tell(file);
    shown.dataset.sent = String(done); // strokes
  };
  const plain = () => {
    const made = canvas(width, height);
    context(made).drawImage(shown, 0, 0, width, height);
    return made;
  };
  const soon = () => {
    if (waits) return;
    waits = true;
    requestAnimationFrame(send);
  };

  shown.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
    shown.setPointerCapture(event.pointerId);
    last = null;
    line(event);
  });
  shown.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
    if (!event.buttons || !last) return;
    line(event);
    soon();
  });
  shown.addEventListener("pointerup", () => ((last = null), strokes++, soon()));
  shown.addEventListener("pointercancel", () => (last = null));
  clear();

  return h(
    "div", { class: "drawing" },
    shown,
    h("div", { class: "stack" },
      h("p", { class: "small muted" }, centres ? t("draw.centred", { width, height, box: Math.round((Math.min(width, height) * 20) / 28) }) : t("draw.plain", { width, height })),
      channels === 1
        ? h("label", { class: "check" }, h("input", {
          type: "checkbox", checked: isWhiteOnBlack,
          on: { change: (/** @type {any} */ event) => ((isWhiteOnBlack = event.target.checked), show(), soon()) },
        }), t("draw.inverted"))
        : null,
      button(t("draw.clear"), clear, { class: "ghost" }),
    ),
  );
}
