/**
 * The table of measured figures, from bench/results.json.
 *
 * @module
 */
import { readFileSync } from "node:fs";

/** What is read of a result; bench/src/harness/figure.ts says what the fields mean. */
interface Result {
  readonly name: string;
  readonly summary: string;
  readonly unit: string;
  readonly ours: number;
  readonly rival: number;
  readonly rivalName: string;
  readonly kind: "gain" | "cost";
  readonly ratio: number;
  readonly target?: number;
  readonly othersCores: number;
  readonly environment: {
    readonly cpu: string;
    readonly cores: number;
    readonly vectorUnits: readonly string[];
    readonly node: string;
    readonly onnxRuntime: string;
    readonly nodeLlamaCpp: string;
    readonly threads: number;
  };
}

const PATH = new URL("../bench/results.json", import.meta.url);
/** Others using more than this of the machine is told in the table. */
const QUIET_CORES = 0.15;

function readBenchResults(): Result[] {
  return JSON.parse(readFileSync(PATH, "utf8")) as Result[];
}

/** One row a figure, and a line on where they were measured. */
export function benchTable(results: readonly Result[] = readBenchResults()): string {
  const rows = results.map(({ name, summary, unit, ours, rival, rivalName, kind, ratio, target, othersCores }) => {
    const word = kind === "gain" ? "×" : "of it";
    const promise = target === undefined ? "" : `${kind === "gain" ? "≥" : "≤"} ${number(target)}`;
    const busy = othersCores > QUIET_CORES ? `${othersCores.toFixed(1)} cores` : "";
    return [
      `\`${name}\``,
      summary,
      `${number(ours)} ${unit}`,
      `${number(rival)} ${unit}, ${rivalName}`,
      `**${number(ratio)}** ${word}`,
      promise,
      busy,
    ];
  });
  const heads = ["name", "what", "ours", "beside it", "ratio", "aim", "others used"];
  const line = (cells: readonly string[]): string => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  const machines = new Set(results.map(({ environment: e }) => describeMachine(e)));
  return [line(heads), line(heads.map(() => "---")), ...rows.map(line), "", [...machines].join("; ")].join("\n");
}

function describeMachine({ cpu, cores, vectorUnits, node, onnxRuntime, nodeLlamaCpp, threads }: Result["environment"]): string {
  return `Measured on ${cores} cores (${cpu}; ${vectorUnits.join(", ")}), ${threads} threads each, Node ${node}, onnxruntime-node ${onnxRuntime}, node-llama-cpp ${nodeLlamaCpp}.`;
}

/** Three digits that count, thousands separated. */
function number(value: number): string {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 1 ? 2 : 3;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
