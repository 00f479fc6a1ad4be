/**
 * The printable alphabet of byte-level BPE: each byte is one character, so that token strings hold
 * no spaces or control characters. Printable Latin-1 bytes stand for themselves; the other 68
 * follow in order from U+0100.
 *
 * @module
 */

/** `[256]`: the character of each byte. */
export const CHARACTER_OF_BYTE: readonly string[] = buildAlphabet();

const BYTE_OF_CODE_UNIT: ReadonlyMap<number, number> = new Map(
  CHARACTER_OF_BYTE.map((character, byte) => [character.charCodeAt(0), byte] as const),
);

/** The bytes a token string stands for; undefined when it has a character outside the alphabet. */
export function bytesOfTokenText(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const byte = BYTE_OF_CODE_UNIT.get(text.charCodeAt(i));
    if (byte === undefined) return undefined;
    bytes[i] = byte;
  }
  return bytes;
}

function buildAlphabet(): string[] {
  const isPrintable = (byte: number): boolean =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++));
}
