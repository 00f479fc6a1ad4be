import type { TokenDecoder } from "@kvault/model";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { GREEDY } from "../sampling/sampler.ts";
import { type AnswerOptions, type AnswerStep, createAnswer } from "./answer.ts";

const END = 256;

/** Token i is byte i; token 256 ends the answer. */
const byteTokens: TokenDecoder = {
  bytesOf: (tokenId) => (tokenId < END ? Uint8Array.of(tokenId) : new Uint8Array()),
  endIds: new Set([END]),
};

/** Logits whose likeliest token is `token`. */
function logitsFor(token: number): Float32Array {
  const logits_V = new Float32Array(END + 1);
  logits_V[token] = 1;
  return logits_V;
}

/** Feeds the tokens until the answer ends. */
function answer(tokens: readonly number[], options: Partial<AnswerOptions> = {}) {
  const growing = createAnswer({ tokens: byteTokens, sampling: GREEDY, stop: [], maxTokens: 1_000, ...options });
  const steps: AnswerStep[] = [];
  for (const token of tokens) {
    steps.push(growing.step(logitsFor(token)));
    if (steps.at(-1)?.finishReason !== undefined) break;
  }
  return { growing, steps, finishReason: steps.at(-1)?.finishReason };
}

const bytes = (text: string): number[] => [...Buffer.from(text, "utf8")];

describe("createAnswer()", () => {
  test("ends at an end token, which is neither text nor counted", () => {
    const { growing, steps, finishReason } = answer([...bytes("hi"), END, ...bytes("never")]);
    expect(finishReason).toBe("end");
    expect(growing.text).toBe("hi");
    expect(growing.newTokens).toBe(2);
    expect(steps.flatMap((step) => step.tokenIds)).toEqual(bytes("hi"));
  });

  test("ends after maxTokens and shows what a stop string could still have been", () => {
    const { growing, finishReason } = answer(bytes("one two"), { stop: ["\n"], maxTokens: 3 });
    expect(finishReason).toBe("max-tokens");
    expect(growing.text).toBe("one");
    const held = answer(bytes("<|en"), { stop: ["<|end|>"], maxTokens: 4 });
    expect(held.growing.text).toBe("<|en");
  });

  test("ends before a stop string", () => {
    const { growing, steps, finishReason } = answer(bytes("answer.\n\nQ: more"), { stop: ["\n\n"] });
    expect(finishReason).toBe("stop");
    expect(growing.text).toBe("answer.");
    expect(steps.map((step) => step.text).join("")).toBe("answer.");
  });

  test("sends the ids of held tokens together with their text", () => {
    const { steps } = answer([...bytes("é!"), END]);
    expect(steps.map((step) => [step.text, step.tokenIds])).toEqual([
      ["", []],
      ["é", bytes("é")],
      ["!", bytes("!")],
      ["", []],
    ]);
  });

  test("shows a replacement character for an unfinished one at the end", () => {
    const { growing } = answer([0xe2, 0x82, END]);
    expect(growing.text).toBe("\uFFFD");
  });

  test("names the token to feed next until it is over", () => {
    const { steps } = answer([65, 66, END]);
    expect(steps.map((step) => step.nextToken)).toEqual([65, 66, -1]);
  });

  test("resumed after any of its steps, goes on as if it had never stopped", () => {
    const alphabet = [...bytes("aé漢🙂."), 0xff, END];
    const token = fc.constantFrom(...alphabet);
    const stop = fc.array(fc.constantFrom("a.", "é漢", "..", "\uFFFD", "🙂a🙂"), { maxLength: 3 });
    const options = fc.record({ stop, maxTokens: fc.integer({ min: 1, max: 30 }) });
    fc.assert(
      fc.property(fc.array(token, { maxLength: 40 }), options, (drawn, changes) => {
        const whole = answer([...drawn, END], changes);
        let text = "";
        const tokenIds: number[] = [];
        for (const step of whole.steps) {
          text += step.text;
          tokenIds.push(...step.tokenIds);
          if (tokenIds.length === 0) continue;
          const resume = { tokenIds, textUnits: text.length };
          const rest = createAnswer({ tokens: byteTokens, sampling: GREEDY, ...changes, resume });
          let finishReason = rest.finishReason;
          let sent = text;
          for (const next of [...drawn, END].slice(tokenIds.length)) {
            if (finishReason !== undefined) break;
            const later = rest.step(logitsFor(next));
            sent += later.text;
            finishReason = later.finishReason;
          }
          expect([sent, finishReason, rest.newTokens]).toEqual([whole.growing.text, whole.finishReason, whole.growing.newTokens]);
          expect(rest.text).toBe(whole.growing.text);
        }
      }),
      { numRuns: 1_000 },
    );
  });

  test.each<[string, { tokenIds: number[]; textUnits: number }, Partial<AnswerOptions>]>([
    ["less text than its tokens show", { tokenIds: bytes("abc"), textUnits: 2 }, {}],
    ["more text than its tokens show", { tokenIds: bytes("abc"), textUnits: 4 }, {}],
    ["tokens after the end", { tokenIds: [...bytes("a"), END], textUnits: 1 }, {}],
    ["tokens after a stop string", { tokenIds: bytes("a.b"), textUnits: 3 }, { stop: ["."] }],
    ["tokens after the last one allowed", { tokenIds: bytes("abc"), textUnits: 3 }, { maxTokens: 2 }],
  ])("refuses to go on after %s", (_, resume, changes) => {
    const resumed = () => answer([], { resume, ...changes });
    expect(resumed).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT", details: { field: "resume" } }));
  });
});
