/**
 * Stop strings: an answer ends before the first one, and no part of one is ever shown.
 *
 * "First" is the stop string completed earliest, so the result does not depend on how the
 * text was cut into tokens; of several completed by the same character the one that began
 * first counts. A suffix that could still grow into a stop string is held back.
 *
 * One Knuth-Morris-Pratt automaton per stop string: amortised O(1) per character each.
 *
 * @module
 */
import { invalidArgument } from "@kvault/core";

/** Enough for any protocol's list of turn markers; each costs an automaton step per character. */
export const MAX_STOP_STRINGS = 16;
export const MAX_STOP_CHARS = 256;

export interface StopMatcher {
  /** Text that may be shown now. Once `stopped`, the answer is over and nothing more comes. */
  push(text: string): { readonly text: string; readonly stopped: boolean };
  /** What was held back and turned out not to be a stop string. */
  end(): string;
}

/** Throws INVALID_ARGUMENT when there are too many stop strings, or an empty or too long one. */
export function checkStopStrings(stops: readonly string[]): void {
  if (stops.length > MAX_STOP_STRINGS) {
    throw invalidArgument("stop", `Cannot use ${stops.length} stop strings: at most ${MAX_STOP_STRINGS} are allowed`);
  }
  for (const stop of stops) {
    if (stop.length === 0 || stop.length > MAX_STOP_CHARS) {
      throw invalidArgument("stop", `Cannot use a stop string of ${stop.length} characters: 1 to ${MAX_STOP_CHARS} are allowed`);
    }
  }
}

export function createStopMatcher(stops: readonly string[]): StopMatcher {
  checkStopStrings(stops);
  const automata = stops.map((stop) => ({ stop, failure: failureTable(stop), matched: 0 }));
  let held = "";
  let stopped = false;

  return {
    push(text) {
      if (stopped) return { text: "", stopped };
      const buffer = held + text;
      for (let i = held.length; i < buffer.length; i++) {
        const unit = buffer.charCodeAt(i);
        let longest = 0;
        for (const automaton of automata) {
          advance(automaton, unit);
          if (automaton.matched === automaton.stop.length) longest = Math.max(longest, automaton.matched);
        }
        if (longest > 0) {
          stopped = true;
          held = "";
          return { text: buffer.slice(0, i + 1 - longest), stopped };
        }
      }
      const keep = Math.max(0, ...automata.map((automaton) => automaton.matched));
      held = buffer.slice(buffer.length - keep);
      return { text: buffer.slice(0, buffer.length - keep), stopped };
    },
    end() {
      const rest = held;
      held = "";
      stopped = true;
      return rest;
    },
  };
}

interface Automaton {
  readonly stop: string;
  readonly failure: Uint16Array;
  /** Length of the longest prefix of `stop` that the text ends in. */
  matched: number;
}

function advance(automaton: Automaton, unit: number): void {
  const { stop, failure } = automaton;
  while (automaton.matched > 0 && stop.charCodeAt(automaton.matched) !== unit) automaton.matched = failure[automaton.matched];
  if (stop.charCodeAt(automaton.matched) === unit) automaton.matched++;
}

/** `failure[n]`: the longest proper prefix of `stop` that ends its first `n` characters. */
function failureTable(stop: string): Uint16Array {
  const failure = new Uint16Array(stop.length + 1);
  let prefix = 0;
  for (let i = 1; i < stop.length; i++) {
    while (prefix > 0 && stop.charCodeAt(i) !== stop.charCodeAt(prefix)) prefix = failure[prefix];
    if (stop.charCodeAt(i) === stop.charCodeAt(prefix)) prefix++;
    failure[i + 1] = prefix;
  }
  return failure;
}
