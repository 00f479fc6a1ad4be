/**
 * What models are calibrated on: three texts of about 4,000 tokens (prose, encyclopaedia, code)
 * that come with the package, or a user's own. assets/calibration/README.md says where they are
 * from; none is used by the evaluation.
 *
 * @module
 */
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { invalidArgument, sha256Hex } from "@kvault/core";

const FOLDER = fileURLToPath(new URL("../../assets/calibration", import.meta.url));

export interface CalibrationText {
  /** Of its file, without the folder. */
  readonly name: string;
  readonly sha256: string;
  readonly text: string;
}

/** The texts at `paths`, in that order, or those of the package. INVALID_ARGUMENT for one that is empty or cannot be read. */
export function readCalibrationTexts(paths?: readonly string[]): CalibrationText[] {
  const files = paths ?? listTexts();
  return files.map((path) => {
    let bytes: Buffer;
    try {
      bytes = readFileSync(path);
    } catch (cause) {
      throw invalidArgument("text", `Cannot read text "${path}": ${(cause as Error).message}`, { found: path });
    }
    const text = bytes.toString("utf8");
    if (text.trim() === "") throw invalidArgument("text", `Cannot calibrate on text "${path}": it is empty`, { found: path });
    return { name: basename(path), sha256: sha256Hex(bytes), text };
  });
}

function listTexts(): string[] {
  return readdirSync(FOLDER)
    .filter((file) => file.endsWith(".txt"))
    .sort()
    .map((file) => join(FOLDER, file));
}
