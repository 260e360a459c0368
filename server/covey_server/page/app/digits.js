// @ts-check
/**
 * Brings a drawing to the form that digits have in MNIST: scaled to fit 20 x 20, then placed on 28 x 28 so that its centre
 * of mass is in the middle (LeCun et al., http://yann.lecun.com/exdb/mnist). Other sizes keep the proportion.
 */

const BOX = 20 / 28;
const INK = 24; // a pixel with less is taken for empty

/**
 * @param {HTMLCanvasElement} drawing white ink on black @param {number} width @param {number} height of the model's images
 * @param {boolean} isWhiteOnBlack what the model expects
 * @returns {HTMLCanvasElement | null} null if nothing is drawn
 */
export function likeMnist(drawing, width, height, isWhiteOnBlack) {
  const box = inkBox(drawing);
  if (!box) return null;
  const scale = (Math.min(width, height) * BOX) / Math.max(box.width, box.height);
  const drawnWidth = Math.max(1, box.width * scale);
  const drawnHeight = Math.max(1, box.height * scale);
  const scaled = canvas(Math.ceil(drawnWidth), Math.ceil(drawnHeight));
  drawSmooth(drawing, box, scaled, drawnWidth, drawnHeight);
  const mass = massCentre(scaled);
  const result = canvas(width, height);
  const pen = context(result);
  pen.fillStyle = "#000";
  pen.fillRect(0, 0, width, height);
  pen.drawImage(scaled, Math.round(width / 2 - mass.x), Math.round(height / 2 - mass.y));
  if (!isWhiteOnBlack) invert(pen, width, height);
  return result;
}

/** @param {number} width @param {number} height @returns {HTMLCanvasElement} */
export function canvas(width, height) {
  const made = document.createElement("canvas");
  made.width = width;
  made.height = height;
  return made;
}

/** @param {HTMLCanvasElement} of @returns {CanvasRenderingContext2D} */
export const context = (of) => /** @type {CanvasRenderingContext2D} */ (of.getContext("2d", { willReadFrequently: true }));

/** @param {HTMLCanvasElement} drawing */
function inkBox(drawing) {
  const { width, height } = drawing;
  const { data } = context(drawing).getImageData(0, 0, width, height);
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      if (data[(y * width + x) * 4] > INK) {
        left = Math.min(left, x);
        right = Math.max(right, x);
        top = Math.min(top, y);
        bottom = Math.max(bottom, y);
      }
  return right < 0 ? null : { x: left, y: top, width: right - left + 1, height: bottom - top + 1 };
}

/**
 * Halves the drawing until the rest is less than a half: one step would skip pixels.
 * @param {HTMLCanvasElement} from @param {{x: number, y: number, width: number, height: number}} box
 * @param {HTMLCanvasElement} to @param {number} width @param {number} height
 */
function drawSmooth(from, box, to, width, height) {
  let source = canvas(box.width, box.height);
  context(source).drawImage(from, box.x, box.y, box.width, box.height, 0, 0, box.width, box.height);
  while (source.width > 2 * width && source.height > 2 * height) {
    const half = canvas(Math.ceil(source.width / 2), Math.ceil(source.height / 2));
    context(half).drawImage(source, 0, 0, half.width, half.height);
    source = half;
  }
  const pen = context(to);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(source, 0, 0, width, height);
}

/** @param {HTMLCanvasElement} of */
function massCentre(of) {
  const { width, height } = of;
  const { data } = context(of).getImageData(0, 0, width, height);
  let [sum, x, y] = [0, 0, 0];
  for (let place = 0; place < width * height; place++) {
    const ink = (data[place * 4] * data[place * 4 + 3]) / 255;
    sum += ink;
    x += ink * ((place % width) + 0.5);
    y += ink * (Math.floor(place / width) + 0.5);
  }
  return sum ? { x: x / sum, y: y / sum } : { x: width / 2, y: height / 2 };
}

/** @param {CanvasRenderingContext2D} pen @param {number} width @param {number} height */
function invert(pen, width, height) {
  const pixels = pen.getImageData(0, 0, width, height);
  for (let place = 0; place < pixels.data.length; place += 4)
    for (let channel = 0; channel < 3; channel++) pixels.data[place + channel] = 255 - pixels.data[place + channel];
  pen.putImageData(pixels, 0, 0);
}

/** @param {HTMLCanvasElement} of @returns {Promise<Blob>} a PNG */
export const toPng = (of) =>
  new Promise((resolve, reject) => of.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no PNG"))), "image/png"));
