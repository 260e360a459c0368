// @ts-check
/** Numbers as pictures: what a model saw, and maps of values. */
import { canvas, context } from "./digits.js";

/** @param {string} text base64 @returns {Uint8Array} */
export function bytes(text) {
  const binary = atob(text);
  const found = new Uint8Array(binary.length);
  for (let place = 0; place < binary.length; place++) found[place] = binary.charCodeAt(place);
  return found;
}

/** @param {string} text base64 of float32, little-endian @returns {Float32Array} */
export const floats = (text) => new Float32Array(bytes(text).buffer);

/**
 * @param {{height: number, width: number, channels: number, pixels: string}} image
 * @returns {HTMLCanvasElement}
 */
export function seen(image) {
  const { width, height, channels } = image;
  const values = bytes(image.pixels);
  const made = canvas(width, height);
  const pixels = new ImageData(width, height);
  for (let place = 0; place < width * height; place++) {
    for (let channel = 0; channel < 3; channel++)
      pixels.data[place * 4 + channel] = values[place * channels + (channels >= 3 ? channel : 0)];
    pixels.data[place * 4 + 3] = 255;
  }
  context(made).putImageData(pixels, 0, 0);
  return made;
}

/**
 * The colour of a value: dark at 0, through amber to white above, through blue to white below.
 * @param {number} share -1 to 1 @returns {[number, number, number]}
 */
export function colour(share) {
  const size = Math.min(1, Math.abs(share));
  const stops = share >= 0 ? WARM : COLD;
  const place = size * (stops.length - 1);
  const from = stops[Math.floor(place)];
  const to = stops[Math.min(stops.length - 1, Math.floor(place) + 1)];
  const part = place - Math.floor(place);
  const mixed = (/** @type {number} */ channel) => Math.round(from[channel] + (to[channel] - from[channel]) * part);
  return [mixed(0), mixed(1), mixed(2)];
}

const WARM = [[20, 24, 30], [112, 58, 26], [204, 112, 32], [246, 178, 82], [255, 240, 214]];
const COLD = [[20, 24, 30], [26, 62, 104], [40, 112, 178], [104, 172, 226], [222, 240, 255]];

/**
 * Draws values as colours. @param {CanvasRenderingContext2D} pen
 * @param {ArrayLike<number>} values height x width @param {number} width @param {number} height
 * @param {number} largest what is shown as the brightest
 */
export function paint(pen, values, width, height, largest) {
  const pixels = pen.createImageData(width, height);
  for (let place = 0; place < width * height; place++) {
    const [red, green, blue] = colour(largest ? values[place] / largest : 0);
    pixels.data.set([red, green, blue, 255], place * 4);
  }
  pen.putImageData(pixels, 0, 0);
}
