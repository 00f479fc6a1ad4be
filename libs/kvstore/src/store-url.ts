/**
 * Settings in the query of a store URL: known names only, whole numbers in range, no secrets
 * in error messages.
 *
 * @module
 */
import { invalidArgument } from "@kvault/core";

/** `url` parsed; INVALID_ARGUMENT when it is none or its query holds anything but `names`. */
export function parseStoreUrl(url: string, names: readonly string[]): URL {
  const scheme = /^[a-z0-9+.-]*:/.exec(url)?.[0] ?? "";
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed === undefined)
    throw invalidArgument("storeUrl", `Cannot open store of scheme "${scheme}": the URL cannot be parsed`);
  for (const name of parsed.searchParams.keys()) {
    if (names.includes(name)) continue;
    throw invalidArgument(
      "storeUrl",
      `Cannot open store of scheme "${scheme}": unknown setting "${name}", known are ${names.join(" ")}`,
    );
  }
  return parsed;
}

/** Setting `name` of `url`, a whole number within `[min, max]`. */
export function numberSetting(url: URL, name: string, fallback: number, [min, max]: readonly [number, number]): number {
  const text = url.searchParams.get(name);
  if (text === null) return fallback;
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw invalidArgument(
    "storeUrl",
    `Cannot open store: setting "${name}" is "${text.slice(0, 80)}", not a number from ${min} to ${max}`,
  );
}
