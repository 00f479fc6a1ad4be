/**
 * How busy the machine was with other people's work while something was measured: the processor
 * time that neither this process nor its descendants used, as cores. A timing taken beside others
 * says little; whoever measures repeats it.
 *
 * @module
 */
import { readdirSync, readFileSync } from "node:fs";

/** Linux' clock ticks a second in /proc. */
const TICKS_PER_SECOND = 100;

export interface LoadMeter {
  /** Cores used by others since the meter was started. */
  othersCores(): number;
}

export function startLoadMeter(): LoadMeter {
  const startMs = performance.now();
  const busy = busyTicks();
  const own = ownTicks();
  return {
    othersCores() {
      const seconds = (performance.now() - startMs) / 1_000;
      return Math.max(0, busyTicks() - busy - (ownTicks() - own)) / TICKS_PER_SECOND / seconds;
    },
  };
}

/** user, nice, system, irq, softirq and stolen time of all cores. */
function busyTicks(): number {
  const [line = ""] = readFileSync("/proc/stat", "utf8").split("\n");
  const [user, nice, system, , , irq, softIrq, stolen] = line.split(/\s+/).slice(1).map(Number);
  return user + nice + system + irq + softIrq + stolen;
}

/** Of this process and all that descend from it; children that ended and were waited for included. */
function ownTicks(): number {
  const parents = new Map<number, number>();
  const ticks = new Map<number, number>();
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    let stat: string;
    try {
      stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    } catch {
      continue; // it ended meanwhile
    }
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    parents.set(pid, Number(fields[1]));
    ticks.set(
      pid,
      [11, 12, 13, 14].reduce((sum, field) => sum + Number(fields[field]), 0),
    );
  }
  let sum = 0;
  for (const [pid, own] of ticks) {
    let ancestor: number | undefined = pid;
    while (ancestor !== undefined && ancestor !== process.pid) ancestor = parents.get(ancestor);
    if (ancestor === process.pid) sum += own;
  }
  return sum;
}
