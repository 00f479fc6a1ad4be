/**
 * Where figures were measured.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism, cpus, totalmem } from "node:os";

export interface Environment {
  readonly cpu: string;
  readonly cores: number;
  /** Instruction sets that decide which kernels run. */
  readonly vectorUnits: readonly string[];
  readonly memoryGiB: number;
  readonly node: string;
  readonly onnxRuntime: string;
  readonly nodeLlamaCpp: string;
  readonly threads: number;
}

const UNITS = ["avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8"];

export function environment(threads: number): Environment {
  const [, flags = ""] = /^flags\s*:\s*(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8")) ?? [];
  const has = new Set(flags.split(" "));
  return {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: availableParallelism(),
    vectorUnits: UNITS.filter((unit) => has.has(unit)),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    onnxRuntime: versionOf("../../../libs/runtime/package.json", "onnxruntime-node"),
    nodeLlamaCpp: versionOf("../../package.json", "node-llama-cpp"),
    threads,
  };
}

function versionOf(manifest: string, dependency: string): string {
  const { dependencies } = createRequire(import.meta.url)(manifest) as { dependencies: Record<string, string> };
  return dependencies[dependency] ?? "unknown";
}
