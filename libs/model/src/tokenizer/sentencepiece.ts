/**
 * SentencePiece BPE: text → pieces by merging neighbours, best score first.
 *
 * Spaces become U+2581. Text is cut where no piece of the vocabulary crosses (before most runs of
 * spaces), each cut is taken apart into characters, and of all neighbouring pairs that make a piece
 * the one with the highest score is joined, the leftmost of equals, until none is left. Characters
 * without a piece become byte pieces. What the vocabulary defines beside that (runs of newlines,
 * tabs and spaces, tags such as `<table>`) is matched first, longest first.
 *
 * Only pieces that are white space or tags are matched in text: names with a meaning to the
 * model, `<start_of_turn>` or `<start_of_image>`, are never made from what somebody wrote.
 *
 * Cost: n log n in the length of a cut.
 *
 * Kudo and Richardson, SentencePiece (arXiv:1808.06226).
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import type { Vocabulary } from "./vocabulary.ts";

/** How SentencePiece writes a space. */
export const SPACE_MARK = "\u2581";

/** White space or a tag without attributes. */
const HARMLESS = /^(?:\s+|<\/?[a-z][a-z0-9]*>)$/;

interface Pair {
  readonly score: number;
  /** Indices of the two symbols; `length` is theirs together when the pair was seen. */
  readonly left: number;
  readonly right: number;
  readonly length: number;
}

/** Ids of text without control pieces. */
export function createSentencePieceEncoder(vocabulary: Vocabulary): (text: string) => number[] {
  const { tokens, scores } = vocabulary;
  if (vocabulary.addSpacePrefix) {
    throw new KvaultError("MODEL_UNSUPPORTED", "Cannot tokenise for this model: its tokenizer puts a space before every text");
  }
  const pieces = new Map<string, number>();
  const byteIds = new Array<number | undefined>(256);
  const matched = new Map<string, number>();
  for (let id = 0; id < tokens.length; id++) {
    const token = tokens[id] as string;
    if (vocabulary.isNormal(id)) pieces.set(token, id);
    else if (vocabulary.isByte(id)) byteIds[Number.parseInt(token.slice(3, 5), 16)] = id;
    else if (vocabulary.isUserDefined(id)) {
      const written = token.replaceAll(SPACE_MARK, " ");
      if (HARMLESS.test(written)) matched.set(written, id);
    }
  }
  const cuts = cutPattern(pieces.keys());
  const verbatim = longestFirst([...matched.keys()]);

  const encodePiece = (text: string, out: number[]): void => {
    for (const word of text.replaceAll(" ", SPACE_MARK).split(cuts)) {
      for (const piece of mergeSymbols(word, pieces, scores)) {
        const id = pieces.get(piece);
        if (id === undefined) for (const byte of Buffer.from(piece, "utf8")) out.push(byteIdOf(byteIds, byte));
        else out.push(id);
      }
    }
  };
  return (text) => {
    const out: number[] = [];
    for (const part of verbatim === undefined ? [text] : text.split(verbatim)) {
      const id = matched.get(part);
      if (id !== undefined) out.push(id);
      else if (part !== "") encodePiece(part, out);
    }
    return out;
  };
}

/** Joins neighbouring symbols of `text` until no pair makes a piece. */
function mergeSymbols(text: string, pieces: ReadonlyMap<string, number>, scores: readonly number[]): string[] {
  const symbols: (string | undefined)[] = Array.from(text);
  const next = symbols.map((_, i) => i + 1);
  const previous = symbols.map((_, i) => i - 1);
  const heap: Pair[] = [];
  const offer = (left: number, right: number): void => {
    if (left < 0 || right >= symbols.length) return;
    const joined = `${symbols[left]}${symbols[right]}`;
    const id = pieces.get(joined);
    if (id !== undefined) push(heap, { score: scores[id] as number, left, right, length: joined.length });
  };
  for (let i = 0; i + 1 < symbols.length; i++) offer(i, i + 1);
  for (let pair = pop(heap); pair !== undefined; pair = pop(heap)) {
    const { left, right, length } = pair;
    const [a, b] = [symbols[left], symbols[right]];
    // one of the two was joined with another meanwhile
    if (a === undefined || b === undefined || a.length + b.length !== length) continue;
    symbols[left] = a + b;
    symbols[right] = undefined;
    next[left] = next[right] as number;
    if ((next[left] as number) < symbols.length) previous[next[left] as number] = left;
    offer(previous[left] as number, left);
    offer(left, next[left] as number);
  }
  return symbols.filter((symbol) => symbol !== undefined);
}

/** Where text may be cut: before a space mark whose predecessor no piece has inside it. */
function cutPattern(pieces: Iterable<string>): RegExp {
  const joined = new Set<string>([SPACE_MARK]);
  for (const piece of pieces) {
    for (let at = piece.indexOf(SPACE_MARK, 1); at > 0; at = piece.indexOf(SPACE_MARK, at + 1)) {
      joined.add(Array.from(piece.slice(0, at)).at(-1) as string);
    }
  }
  return new RegExp(`(?<=[^${[...joined].map(escaped).join("")}])(?=${SPACE_MARK})`, "u");
}

function longestFirst(names: readonly string[]): RegExp | undefined {
  if (names.length === 0) return undefined;
  const sorted = [...names].sort((a, b) => b.length - a.length || (a < b ? -1 : 1));
  return new RegExp(`(${sorted.map(escaped).join("|")})`, "u");
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/gu, (mark) => `\\${mark}`);
}

function byteIdOf(byteIds: readonly (number | undefined)[], byte: number): number {
  const id = byteIds[byte];
  if (id === undefined) throw new KvaultError("MODEL_CORRUPT", `Cannot tokenise: the vocabulary has no piece for byte ${byte}`);
  return id;
}

function isBefore(a: Pair, b: Pair): boolean {
  return a.score > b.score || (a.score === b.score && a.left < b.left);
}

/** A binary heap, the best pair first. */
function push(heap: Pair[], pair: Pair): void {
  let at = heap.length;
  heap.push(pair);
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!isBefore(pair, heap[parent] as Pair)) break;
    heap[at] = heap[parent] as Pair;
    at = parent;
  }
  heap[at] = pair;
}

function pop(heap: Pair[]): Pair | undefined {
  const best = heap[0];
  const last = heap.pop();
  if (best === undefined || last === undefined || heap.length === 0) return best;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && isBefore(heap[child + 1] as Pair, heap[child] as Pair)) child++;
    if (!isBefore(heap[child] as Pair, last)) break;
    heap[at] = heap[child] as Pair;
    at = child;
  }
  heap[at] = last;
  return best;
}
