/**
 * Texts for builds with the small model.
 *
 * @module
 */
import { readFileSync } from "node:fs";

/** About 2,600 tokens of Newton. */
export const OPTICKS: string = readFileSync(new URL("../../../cli/assets/opticks.txt", import.meta.url), "utf8");

/** About 1,100 tokens: three chunks of reading. */
export const SOME_OPTICKS: string = OPTICKS.slice(0, 4400);

/** About 130 tokens: built in about a second. */
export const LETTER = `Dear Margaret, the boat will be ready on the ninth of May. Old Tobias painted it green last week,
because the harbour master asked for a colour that can be seen in fog. We take two anchors, eleven
lanterns and the small compass that your brother found near the lighthouse. If the wind turns to
the north we wait one more day at the mill; the miller has a room with three beds. Bring the letters
from the bank, a warm coat and the blue map. The map shows the sandbank that is not on any chart,
and without it nobody should try the passage at night. Yours, Henrik.
`;

/** A text nobody built before, so that a test does its own work. */
export function fresh(text: string, label: string): string {
  return `${label}\n${text}`;
}
