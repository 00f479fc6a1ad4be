/**
 * Arithmetic over what was kept: shares of rows, of bins, of words.
 *
 * @module
 */
import type { Kept, Piece } from "./messages.ts";

/** Which rows are looked at; undefined: all. */
export interface Chosen {
  readonly layer: number | undefined;
  readonly kvHead: number | undefined;
}

type Row = Kept["rows"][number];

function isChosen({ layer, kv_head: kvHead }: Row, chosen: Chosen): boolean {
  return (chosen.layer ?? layer) === layer && (chosen.kvHead ?? kvHead) === kvHead;
}

/** Positions that a bin has: the last one may have fewer. */
export function binSize({ prefix_tokens: prefix, context_tokens: context, bin_tokens: size }: Kept, bin: number): number {
  return Math.min(size, prefix + context - bin * size);
}

/** Kept share of a whole row. */
export function rowShare({ prefix_tokens: prefix, context_tokens: context }: Kept, { kept_per_bin: counts }: Row): number {
  return counts.reduce((sum, count) => sum + count, 0) / (prefix + context);
}

/** Kept share along the context, over the chosen rows. */
export function alongContext(kept: Kept, chosen: Chosen): number[] {
  const rows = kept.rows.filter((row) => isChosen(row, chosen));
  const bins = rows[0]?.kept_per_bin.length ?? 0;
  return Array.from({ length: bins }, (_, bin) => {
    const total = rows.reduce((sum, { kept_per_bin: counts }) => sum + (counts[bin] ?? 0), 0);
    return total / (binSize(kept, bin) * Math.max(1, rows.length));
  });
}

export function pieceShare({ tokens, kept_pairs: keptPairs }: Piece, textRows: number): number {
  return keptPairs / Math.max(1, tokens * textRows);
}

export interface Word {
  readonly word: string;
  readonly share: number;
}

/** Pieces joined to words: a word begins where a piece begins with white space, or follows one that ends with it. */
export function words(pieces: readonly Piece[], textRows: number): Word[] {
  const found: Word[] = [];
  let [text, tokens, keptPairs] = ["", 0, 0];
  const end = (): void => {
    const word = text.trim();
    if (/[\p{L}\p{N}]/u.test(word)) found.push({ word, share: keptPairs / (tokens * textRows) });
    [text, tokens, keptPairs] = ["", 0, 0];
  };
  for (const piece of pieces) {
    if (text !== "" && (/^\s/.test(piece.text) || /\s$/.test(text))) end();
    text += piece.text;
    tokens += piece.tokens;
    keptPairs += piece.kept_pairs;
  }
  if (text !== "") end();
  return found;
}
