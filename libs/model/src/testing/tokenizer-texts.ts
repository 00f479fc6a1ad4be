/**
 * Texts that tokenizers disagree on, if on any.
 *
 * @module
 */
export const TEXTS: Readonly<Record<string, string>> = {
  prose: "At two holes made near one another in my Window-shut I\nplaced two Prisms, one at each.",
  code: "export function f<T>(xs: readonly T[]): T {\n\treturn xs.at(-1)!; // \u00a7 0xFF\n}\r\n\r\n#include <stdio.h>\n\tif(a&&b||!c){x+=1e-5;}",
  contractions: "I'm we've they'LL he'D it's don'T 'tis rock'n'roll o'clock ''s",
  numbers: "3.14159 1,234,567 0x1f 1e10 12345678901234567890 ½ ² Ⅷ ٣٤٥ 一二三",
  whitespace: "a  b   c\t\td\n\n\ne \n f\r\n\r\n  g    \n",
  trailingSpaces: "end   ",
  onlyNewlines: "\n\n\n",
  cjk: "你好，世界。これは日本語の文章です。한국어 텍스트도 있습니다。",
  scripts: "Привет мир! Γειά σου Κόσμε. مرحبا بالعالم שלום עולם नमस्ते दुनिया สวัสดี",
  emoji: "👍🏽 👨‍👩‍👧‍👦 🇩🇪 ☕️ e\u0301 \u{1F9FF}",
  combining: "Cafe\u0301 vs Caf\u00e9, A\u030A vs \u00c5, \u1112\u1161\u11ab",
  symbols: "«quotes» — dash… ™ © ∀x∈ℝ: ⌈x⌉ ≥ x ~~~ ### $$$ <<<>>> \\n \\u0041",
  odd: "\u0000\u0001\u007f \u00a0\u2003\u200b\ufeff zero\u200dwidth",
  markup: "<|im_sta rt|> <im_start> <| im_end |> [INST] </s> <tool _call>",
};
