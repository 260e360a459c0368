// @ts-check
/** What happened between two snapshots of the server's counts (see /v1/watch). */

/**
 * @typedef {{labels: string[], bounds?: string[], rows: any[][]}} Family
 * @typedef {{time: number} & Record<string, any>} Snapshot
 * @typedef {{time: number, perSecond: number, errors: number, images: number, p50: number | null, p90: number | null,
 *   p99: number | null, batch: number | null, waiting: number, inFlight: number, decode: number, queue: number,
 *   compute: number, cpu: number, memory: number}} Moment times in milliseconds; decode, queue, compute: per request
 */

/** @param {Family | undefined} family @param {string} name @returns {number} */
const column = (family, name) => family?.labels.indexOf(name) ?? -1;

/**
 * @param {Snapshot} snapshot @param {string} name @param {Record<string, string>} [only] labels @returns {number}
 */
export function sum(snapshot, name, only = {}) {
  /** @type {Family | undefined} */
  const family = snapshot[name];
  return rows(family, only).reduce((total, row) => total + row[row.length - 1], 0);
}

/** @param {Family | undefined} family @param {Record<string, string>} only @returns {any[][]} */
function rows(family, only) {
  if (!family) return [];
  const wanted = Object.entries(only).filter(([name]) => column(family, name) >= 0);
  return family.rows.filter((row) => wanted.every(([name, value]) => row[column(family, name)] === value));
}

/**
 * A histogram of all children together. @param {Snapshot} snapshot @param {string} name @param {Record<string, string>} only
 * @returns {{bounds: number[], counts: number[], sum: number, count: number}} counts by bucket
 */
function histogram(snapshot, name, only) {
  /** @type {Family | undefined} */
  const family = snapshot[name];
  const bounds = (family?.bounds ?? []).map((each) => (each === "+Inf" ? Infinity : Number(each)));
  const total = bounds.map(() => 0);
  let sum = 0;
  for (const row of rows(family, only)) {
    row[row.length - 2].forEach((/** @type {number} */ each, /** @type {number} */ place) => (total[place] += each));
    sum += row[row.length - 1];
  }
  const counts = total.map((each, place) => each - (place ? total[place - 1] : 0));
  return { bounds, counts, sum, count: total[total.length - 1] ?? 0 };
}

/** @param {Snapshot} before @param {Snapshot} after @param {string} name @param {Record<string, string>} only */
function between(before, after, name, only) {
  const [from, to] = [histogram(before, name, only), histogram(after, name, only)];
  const counts = to.counts.map((each, place) => Math.max(0, each - (from.counts[place] ?? 0)));
  return { bounds: to.bounds, counts, sum: Math.max(0, to.sum - from.sum), count: counts.reduce((a, b) => a + b, 0) };
}

/** @param {{bounds: number[], counts: number[], count: number}} found @param {number} share @returns {number | null} */
function quantile(found, share) {
  if (!found.count) return null;
  let passed = 0;
  for (let place = 0; place < found.counts.length; place++) {
    const count = found.counts[place];
    if (passed + count >= share * found.count && count) {
      const low = place ? found.bounds[place - 1] : 0;
      const high = found.bounds[place];
      return high === Infinity ? low : low + (high - low) * ((share * found.count - passed) / count);
    }
    passed += count;
  }
  return null;
}

/**
 * @param {Snapshot} before @param {Snapshot} after @param {Record<string, string>} [only] a model and its version
 * @returns {Moment}
 */
export function moment(before, after, only = {}) {
  const seconds = Math.max(0.001, after.time - before.time);
  const rate = (/** @type {string} */ name, /** @type {Record<string, string>} */ labels = only) =>
    Math.max(0, sum(after, name, labels) - sum(before, name, labels)) / seconds;
  const ok = rate("covey_requests", { ...only, code: "OK" });
  const all = rate("covey_requests");
  const requests = between(before, after, "covey_request_seconds", only);
  const batches = between(before, after, "covey_batch_size", only);
  const part = (/** @type {string} */ name) => {
    const found = between(before, after, `covey_${name}_seconds`, only);
    return found.count ? (found.sum / found.count) * 1000 : 0;
  };
  const ms = (/** @type {number} */ share) => {
    const found = quantile(requests, share);
    return found === null ? null : found * 1000;
  };
  return {
    time: after.time,
    perSecond: all,
    errors: all - ok + rate("covey_invalid_images") + (Object.keys(only).length ? 0 : rate("covey_refused", {})),
    images: rate("covey_images"),
    p50: ms(0.5), p90: ms(0.9), p99: ms(0.99),
    batch: batches.count ? batches.sum / batches.count : null,
    waiting: sum(after, "covey_waiting_images", only),
    inFlight: sum(after, "covey_calls_in_flight"),
    decode: part("decode"), queue: part("queue"), compute: part("compute"),
    cpu: rate("process_cpu_seconds", {}),
    memory: sum(after, "process_resident_memory_bytes"),
  };
}

/** How many batches had each size. @param {Snapshot} before @param {Snapshot} after @param {Record<string, string>} only */
export const batchSizes = (before, after, only) => between(before, after, "covey_batch_size", only);

/**
 * Loads and unloads between two snapshots. @param {Snapshot} before @param {Snapshot} after
 * @returns {{model: string, result: string}[]}
 */
export function reloads(before, after) {
  const known = new Map(rows(before.covey_model_loads, {}).map((row) => [`${row[0]} ${row[1]}`, row[2]]));
  return rows(after.covey_model_loads, {})
    .filter((row) => row[2] > (known.get(`${row[0]} ${row[1]}`) ?? 0))
    .map((row) => ({ model: row[0], result: row[1] }));
}

/** @param {Snapshot} snapshot @returns {{model: string, version: string, device: string}[]} */
export const servedModels = (snapshot) =>
  rows(snapshot.covey_model_served, {}).map(([model, version, device]) => ({ model, version, device }));
