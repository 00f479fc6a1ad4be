import { describe, expect, test } from "vitest";
import { metadataOf } from "../testing/tokenizer-metadata.ts";
import { createTokenDecoder } from "./token-decoder.ts";
import { readVocabulary } from "./vocabulary.ts";

const VALUES = {
  "tokenizer.ggml.model": "gpt2",
  "tokenizer.ggml.pre": "smollm",
  "tokenizer.ggml.tokens": ["a", "Ġb", "Ã", "©", "<|im_end|>", "<tool>", "[PAD]", "<|endoftext|>", "不"],
  "tokenizer.ggml.token_type": [1, 1, 1, 1, 3, 4, 5, 3, 1],
  "tokenizer.ggml.merges": [],
  "tokenizer.ggml.eos_token_id": 4,
};
const decoder = createTokenDecoder(readVocabulary(metadataOf(VALUES)));

describe("bytesOf()", () => {
  test("undoes the byte alphabet, also for part of a character", () => {
    expect([...decoder.bytesOf(1)]).toEqual([0x20, 0x62]);
    expect([...decoder.bytesOf(2)]).toEqual([0xc3]);
    expect(Buffer.concat([decoder.bytesOf(2), decoder.bytesOf(3)]).toString()).toBe("é");
  });

  test("is empty for control and unused tokens, and the text of user-defined ones", () => {
    expect(decoder.bytesOf(4)).toHaveLength(0);
    expect(decoder.bytesOf(6)).toHaveLength(0);
    expect(Buffer.from(decoder.bytesOf(5)).toString()).toBe("<tool>");
  });

  test("refuses an id outside the vocabulary, and a token outside the alphabet", () => {
    expect(() => decoder.bytesOf(9)).toThrow(RangeError);
    expect(() => decoder.bytesOf(8)).toThrow(/"不" is not byte-level/);
  });
});

describe("endIds", () => {
  test("hold the file's end of text and the names that end a turn", () => {
    expect([...decoder.endIds].sort()).toEqual([4, 7]);
  });

  test("hold the file's end of turn", () => {
    const values = { ...VALUES, "tokenizer.ggml.eot_token_id": 5 };
    expect(createTokenDecoder(readVocabulary(metadataOf(values))).endIds).toContain(5);
  });
});

describe("readVocabulary()", () => {
  test.each([
    ["types of another count", { "tokenizer.ggml.token_type": [1] }, /1 types for 9 tokens/],
    ["a special id outside the vocabulary", { "tokenizer.ggml.eos_token_id": 9 }, /"tokenizer.ggml.eos_token_id": 9 of 9 tokens/],
    ["a tokenizer of another kind", { "tokenizer.ggml.model": "bert" }, /tokenizer "bert", supported are gpt2/],
  ])("refuses %s", (_, change, message) => {
    expect(() => readVocabulary(metadataOf({ ...VALUES, ...change }))).toThrow(message);
  });
});
