/**
 * Few models for many contexts: columns that look alike share one.
 *
 * A model of its own for every channel of every head would save more bits than one for all,
 * and its table would take them back. Contexts are put in groups by k-means on their counts,
 * the distance being the bits that a group's model spends on them (so every round takes at
 * most as many bits as the one before), from groups of equal size in order of their spread.
 * Deterministic: ties to the lower group. Cost: `contexts · groups · symbols · rounds`.
 *
 * @module
 */

const ROUNDS = 6;
/** Of a symbol that a group has not: it stays possible and is dear. */
const UNSEEN = 0.01;

/** `count[c]` `[symbols]` of each context → the group of each, and the groups' summed counts; empty groups are dropped. */
export function groupContexts(
  count: readonly Uint32Array[],
  numGroups: number,
): { readonly group: Uint8Array; readonly summed: readonly Uint32Array[] } {
  const group = bySpread(count, numGroups);
  for (let round = 0; round < ROUNDS && numGroups > 1; round++) {
    const bits = sumGroups(count, group, numGroups).map(symbolBits);
    for (let c = 0; c < count.length; c++) group[c] = cheapest(count[c], bits);
  }
  const used = [...new Set(group)].sort((a, b) => a - b);
  const renamed = group.map((g) => used.indexOf(g));
  return { group: renamed, summed: sumGroups(count, renamed, used.length) };
}

function bySpread(count: readonly Uint32Array[], numGroups: number): Uint8Array {
  const spread = count.map(varianceOf);
  const order = [...count.keys()].sort((a, b) => spread[a] - spread[b] || a - b);
  const group = new Uint8Array(count.length);
  for (const [i, c] of order.entries()) group[c] = Math.floor((i * numGroups) / count.length);
  return group;
}

function varianceOf(count: Uint32Array): number {
  let total = 0;
  let sum = 0;
  let squares = 0;
  for (let s = 0; s < count.length; s++) {
    total += count[s];
    sum += s * count[s];
    squares += s * s * count[s];
  }
  return total === 0 ? 0 : squares / total - (sum / total) ** 2;
}

function sumGroups(count: readonly Uint32Array[], group: Uint8Array, numGroups: number): Uint32Array[] {
  const summed = Array.from({ length: numGroups }, () => new Uint32Array(count[0]?.length ?? 0));
  for (const [c, counts] of count.entries()) {
    const into = summed[group[c]];
    for (let s = 0; s < counts.length; s++) into[s] += counts[s];
  }
  return summed;
}

/** Bits that each symbol takes in the model of `count`. */
function symbolBits(count: Uint32Array): Float64Array {
  let total = 0;
  for (const n of count) total += n + UNSEEN;
  return Float64Array.from(count, (n) => -Math.log2((n + UNSEEN) / total));
}

function cheapest(count: Uint32Array, bits: readonly Float64Array[]): number {
  let best = 0;
  let least = Number.POSITIVE_INFINITY;
  for (const [g, symbol] of bits.entries()) {
    let cost = 0;
    for (let s = 0; s < count.length; s++) cost += count[s] * symbol[s];
    if (cost < least) {
      least = cost;
      best = g;
    }
  }
  return best;
}
