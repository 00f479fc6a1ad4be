import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { isCorrect, makeNeedles, plantNeedles } from "./needles.ts";

const OPTICKS = readFileSync(new URL("../../assets/opticks.txt", import.meta.url), "utf8");

describe("makeNeedles()", () => {
  test("draws different six-digit numbers, the same for the same seed", () => {
    const needles = makeNeedles(7);
    expect(new Set(needles.map((needle) => needle.expected)).size).toBe(8);
    expect(needles.every((needle) => /^[1-9]\d{5}$/.test(needle.expected))).toBe(true);
    expect(makeNeedles(7)).toEqual(needles);
    expect(makeNeedles(8)).not.toEqual(needles);
  });
});

describe("plantNeedles()", () => {
  test("adds every sentence once, in order, and changes nothing else", () => {
    const needles = makeNeedles(7);
    const planted = plantNeedles(OPTICKS, needles);
    const places = needles.map((needle) => planted.indexOf(needle.sentence));
    expect(places.every((place) => place > 0)).toBe(true);
    expect([...places].sort((a, b) => a - b)).toEqual(places);
    expect(needles.reduce((text, needle) => text.replace(` ${needle.sentence}`, ""), planted)).toBe(OPTICKS);
  });
  test("spreads them: no gap is more than a quarter of the text", () => {
    const planted = plantNeedles(OPTICKS, makeNeedles(7));
    const places = [0, ...makeNeedles(7).map((needle) => planted.indexOf(needle.sentence)), planted.length];
    const gaps = places.slice(1).map((place, index) => place - (places[index] ?? 0));
    expect(Math.max(...gaps)).toBeLessThan(planted.length / 4);
  });
  test("refuses a text with fewer sentences than needles", () => {
    expect(() => plantNeedles("One sentence. Two.", makeNeedles(7))).toThrow(RangeError);
  });
  test("uses words that the text does not have", () => {
    for (const needle of makeNeedles(7)) {
      const word = /number of (\w+) is/.exec(needle.sentence)?.[1] ?? "";
      expect(word).not.toBe("");
      expect(OPTICKS.toLowerCase()).not.toContain(word);
    }
  });
});

describe("isCorrect()", () => {
  test("wants the digits and no others", () => {
    expect(isCorrect(" 240891.", "240891")).toBe(true);
    expect(isCorrect("240891 or 240892", "240891")).toBe(false);
    expect(isCorrect("", "240891")).toBe(false);
  });
});
