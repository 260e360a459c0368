// @ts-check
/** The image as the model saw it, with a heat map over it and a unit's receptive field; it can be dragged. */
import { canvas, context } from "./digits.js";
import { fill, h } from "./dom.js";
import { colour, floats, seen } from "./pixels.js";
import { t } from "./text.js";

/**
 * @param {(aside: number, down: number, ended: boolean) => void} drag shares of the image's size by which it is moved
 */
export function picture(drag) {
  const base = h("div", { class: "base" });
  const heat = canvas(1, 1);
  heat.className = "heat";
  const field = h("div", { class: "field-box", hidden: true });
  const element = h("div", { class: "picture", tabIndex: 0, role: "img", "aria-label": t("inside.picture") }, base, heat, field);
  let size = { width: 1, height: 1, channels: 1 };
  /** @type {{x: number, y: number} | null} */
  let from = null;

  element.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
    element.setPointerCapture(event.pointerId);
    from = { x: event.clientX, y: event.clientY };
    event.preventDefault();
  });
  element.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
    if (!from) return;
    drag((event.clientX - from.x) / element.clientWidth, (event.clientY - from.y) / element.clientHeight, false);
    from = { x: event.clientX, y: event.clientY };
  });
  const end = () => {
    if (from) drag(0, 0, true);
    from = null;
  };
  element.addEventListener("pointerup", end);
  element.addEventListener("pointercancel", end);
  element.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const step = /** @type {Record<string, [number, number]>} */ ({ ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] })[event.key];
    if (!step) return;
    event.preventDefault();
    drag(step[0] / Math.min(28, size.width), step[1] / Math.min(28, size.height), true);
  });

  return {
    element,
    /** @param {any} image of an explanation */
    show(image) {
      size = image;
      const shown = seen(image);
      element.style.aspectRatio = `${image.width} / ${image.height}`;
      base.classList.toggle("pixelated", image.width < 100);
      fill(base, shown);
    },
    /** @param {any} map of an explanation; undefined: none @param {number} strength 0 to 1 */
    heat(map, strength) {
      heat.hidden = !map || !strength;
      // Amber and blue are to be seen on photographs, which have these colours too.
      base.style.filter = heat.hidden || size.channels < 3 ? "" : `grayscale(${strength}) brightness(${1 - 0.25 * strength})`;
      heat.style.opacity = String(strength);
      if (!map) return;
      const values = floats(map.values);
      const most = Math.max(1e-12, Math.abs(map.low), Math.abs(map.high));
      if (heat.width !== map.width || heat.height !== map.height) [heat.width, heat.height] = [map.width, map.height];
      const pen = context(heat);
      const pixels = pen.createImageData(map.width, map.height);
      values.forEach((each, place) => {
        const share = each / most;
        pixels.data.set([...colour(Math.sign(share) * (0.25 + 0.5 * Math.abs(share))), Math.min(255, 30 + 220 * Math.abs(share))], place * 4);
      });
      pen.putImageData(pixels, 0, 0);
    },
    /** @param {{top: number, left: number, bottom: number, right: number} | null} box */
    field(box) {
      field.hidden = !box;
      if (!box) return;
      const { width, height } = size;
      field.style.left = `${(Math.max(0, box.left) / width) * 100}%`;
      field.style.top = `${(Math.max(0, box.top) / height) * 100}%`;
      field.style.width = `${((Math.min(width, box.right) - Math.max(0, box.left)) / width) * 100}%`;
      field.style.height = `${((Math.min(height, box.bottom) - Math.max(0, box.top)) / height) * 100}%`;
    },
  };
}

const MOST_SIDE = 512; // of an image that is moved: larger ones would take long to send

/** An image that can be moved. @param {Blob} blob @returns {Promise<(aside: number, down: number) => Promise<Blob>>} */
export async function movable(blob) {
  const bitmap = await createImageBitmap(blob);
  const scale = Math.min(1, MOST_SIDE / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [Math.max(1, Math.round(bitmap.width * scale)), Math.max(1, Math.round(bitmap.height * scale))];
  const base = canvas(width, height);
  context(base).drawImage(bitmap, 0, 0, width, height);
  const edge = context(base).getImageData(0, 0, 1, 1).data;
  const moved = canvas(width, height);
  return (aside, down) => {
    const pen = context(moved);
    pen.fillStyle = `rgb(${edge[0]} ${edge[1]} ${edge[2]})`;
    pen.fillRect(0, 0, width, height);
    pen.drawImage(base, Math.round(aside * width), Math.round(down * height));
    return new Promise((resolve) => moved.toBlob((made) => resolve(/** @type {Blob} */ (made)), width * height > 40_000 ? "image/jpeg" : "image/png", 0.9));
  };
}
