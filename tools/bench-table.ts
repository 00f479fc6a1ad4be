/**
 * The table of measured figures, from bench/results.json.
 *
 * @module
 */
import { type BenchResult, readBenchResults, threeDigits } from "./bench-results.ts";

/** Others using more than this of the machine is told in the table. */
const QUIET_CORES = 0.15;

/** One row a figure, and a line on where they were measured. */
export function benchTable(results: readonly BenchResult[] = readBenchResults()): string {
  const rows = results.map(({ name, summary, unit, ours, rival, rivalName, kind, ratio, target, othersCores }) => {
    const word = kind === "gain" ? "×" : "of it";
    const promise = target === undefined ? "" : `${kind === "gain" ? "≥" : "≤"} ${threeDigits(target)}`;
    const busy = othersCores > QUIET_CORES ? `${othersCores.toFixed(1)} cores` : "";
    return [
      `\`${name}\``,
      summary,
      `${threeDigits(ours)} ${unit}`,
      `${threeDigits(rival)} ${unit}, ${rivalName}`,
      `**${threeDigits(ratio)}** ${word}`,
      promise,
      busy,
    ];
  });
  const heads = ["name", "what", "ours", "beside it", "ratio", "aim", "others used"];
  const line = (cells: readonly string[]): string => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  const machines = new Set(results.map(({ environment: e }) => describeMachine(e)));
  return [line(heads), line(heads.map(() => "---")), ...rows.map(line), "", [...machines].join("; ")].join("\n");
}

function describeMachine({
  cpu,
  cores,
  vectorUnits,
  node,
  onnxRuntime,
  nodeLlamaCpp,
  threads,
}: BenchResult["environment"]): string {
  return `Measured on ${cores} cores (${cpu}; ${vectorUnits.join(", ")}), ${threads} threads each, Node ${node}, onnxruntime-node ${onnxRuntime}, node-llama-cpp ${nodeLlamaCpp}.`;
}
