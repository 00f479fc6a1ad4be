/**
 * Nine steps from nothing kept to all kept. Their colours are in console.css, with text that can be
 * read on each, light and dark; this says which step a share is, and what it looks like now.
 *
 * @module
 */
const STEPS = 8;

/** [0, 1] → 0 … 8; 0 is nothing, 8 more than seven eighths. */
export function step(share: number): number {
  return share <= 0 ? 0 : Math.min(STEPS, Math.max(1, Math.ceil(share * STEPS)));
}

/** What the steps mean, for a legend. */
export const LEGEND: readonly string[] = ["none", "≤ 1/8", "≤ 2/8", "≤ 3/8", "≤ 4/8", "≤ 5/8", "≤ 6/8", "≤ 7/8", "up to all"];

/** Red, green, blue of every step, as the page's theme has them. */
export function stepColours(): readonly (readonly [number, number, number])[] {
  const probe = document.createElement("span");
  document.body.append(probe);
  const colours = Array.from({ length: STEPS + 1 }, (_, i) => {
    probe.className = `heat-${i}`;
    const [red = 0, green = 0, blue = 0] = (getComputedStyle(probe).backgroundColor.match(/[\d.]+/g) ?? []).map(Number);
    return [red, green, blue] as const;
  });
  probe.remove();
  return colours;
}
