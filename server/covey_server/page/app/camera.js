// @ts-check
/** Takes pictures by the visitor's camera. */
import { canvas, context } from "./digits.js";
import { button, h } from "./dom.js";
import { t } from "./text.js";

/**
 * @param {(image: Blob) => void} tell @param {AbortSignal} signal ends it @returns {HTMLElement}
 */
export function camera(tell, signal) {
  const video = h("video", { autoplay: true, muted: true, playsInline: true, "aria-label": t("camera.label") });
  const message = h("p", { class: "small muted" }, t("camera.starting"));
  const take = button(t("camera.take"), () => {
    const made = canvas(video.videoWidth, video.videoHeight);
    context(made).drawImage(video, 0, 0);
    made.toBlob((blob) => blob && tell(blob), "image/jpeg", 0.92);
  }, { class: "primary", disabled: true });
  start();
  return h("div", { class: "camera" }, video, h("div", { class: "stack" }, message, take));

  async function start() {
    if (!navigator.mediaDevices) {
      message.textContent = t("camera.insecure");
      return;
    }
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      const stop = () => stream.getTracks().forEach((track) => track.stop());
      if (signal.aborted) return stop();
      signal.addEventListener("abort", stop);
      video.srcObject = stream;
      video.addEventListener("loadeddata", () => {
        take.disabled = false;
        message.textContent = t("camera.ready");
      });
    } catch (error) {
      message.textContent = t("camera.none", { why: /** @type {Error} */ (error).message });
    }
  }
}
