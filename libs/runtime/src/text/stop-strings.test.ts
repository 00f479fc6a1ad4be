import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createStopMatcher, MAX_STOP_CHARS, MAX_STOP_STRINGS } from "./stop-strings.ts";

/** The obvious definition: grow the text a character at a time until it ends in a stop string. */
function answerReference(text: string, stops: readonly string[]): { answer: string; stopped: boolean } {
  for (let end = 1; end <= text.length; end++) {
    const found = stops.filter((stop) => text.slice(0, end).endsWith(stop)).map((stop) => stop.length);
    if (found.length > 0) return { answer: text.slice(0, end - Math.max(...found)), stopped: true };
  }
  return { answer: text, stopped: false };
}

function run(pieces: readonly string[], stops: readonly string[]): { deltas: string[]; stopped: boolean } {
  const matcher = createStopMatcher(stops);
  const deltas: string[] = [];
  for (const piece of pieces) {
    const { text, stopped } = matcher.push(piece);
    deltas.push(text);
    if (stopped) return { deltas, stopped };
  }
  return { deltas: [...deltas, matcher.end()], stopped: false };
}

const letters = (maxLength: number, minLength = 0): fc.Arbitrary<string> =>
  fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength, maxLength });
const pieces = fc.array(letters(5), { maxLength: 20 });
const stops = fc.array(letters(5, 1), { maxLength: 4 });

describe("createStopMatcher()", () => {
  test("ends where the definition says, however the text is cut into tokens", () => {
    fc.assert(
      fc.property(pieces, stops, (tokens, stopStrings) => {
        const expected = answerReference(tokens.join(""), stopStrings);
        const { deltas, stopped } = run(tokens, stopStrings);
        expect({ answer: deltas.join(""), stopped }).toEqual(expected);
      }),
      { numRuns: 2_000 },
    );
  });

  test("never shows text that a later character could make part of a stop string", () => {
    fc.assert(
      fc.property(pieces, stops, letters(8), (tokens, stopStrings, future) => {
        const matcher = createStopMatcher(stopStrings);
        let shown = "";
        let whole = "";
        for (const token of tokens) {
          const { text, stopped } = matcher.push(token);
          shown += text;
          whole += token;
          if (stopped) return;
          expect(answerReference(whole + future, stopStrings).answer.startsWith(shown)).toBe(true);
        }
      }),
      { numRuns: 1_000 },
    );
  });

  test("holds back no more than it must", () => {
    const matcher = createStopMatcher(["\n\n"]);
    expect(matcher.push("one\n")).toEqual({ text: "one", stopped: false });
    expect(matcher.push("two")).toEqual({ text: "\ntwo", stopped: false });
    expect(matcher.end()).toBe("");
  });

  test("shows a held suffix when the answer ends without a stop string", () => {
    const matcher = createStopMatcher(["<|end|>"]);
    expect(matcher.push("x <|en")).toEqual({ text: "x ", stopped: false });
    expect(matcher.end()).toBe("<|en");
  });

  test("says nothing more once stopped", () => {
    const matcher = createStopMatcher(["b"]);
    expect(matcher.push("abc")).toEqual({ text: "a", stopped: true });
    expect(matcher.push("more")).toEqual({ text: "", stopped: true });
    expect(matcher.end()).toBe("");
  });

  test("takes the stop string that began first when two end on one character", () => {
    const matcher = createStopMatcher(["c", "abc"]);
    expect(matcher.push("xabc")).toEqual({ text: "x", stopped: true });
  });

  test.each([
    ["an empty string", [""]],
    ["a string over the limit", ["x".repeat(MAX_STOP_CHARS + 1)]],
    ["too many strings", Array.from({ length: MAX_STOP_STRINGS + 1 }, (_, i) => `stop ${i}`)],
  ])("refuses %s", (_, stopStrings) => {
    expect(() => createStopMatcher(stopStrings)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });
});
