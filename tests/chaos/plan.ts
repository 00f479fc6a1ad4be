/**
 * What happens to a cluster and when: all of it follows from a seed, so that a run can be had again.
 * (What the cluster is doing at that moment does not: processes keep their own time.)
 *
 * @module
 */
import { createRng, type Rng } from "@kvault/core";

/** A process that is killed or paused, and comes back. */
export type Role = "gateway" | "prefill" | "decode" | "queue" | "shared" | "s3";

/** Processes of each role. */
export const NUM_PROCESSES: Readonly<Record<Role, number>> = { gateway: 2, prefill: 2, decode: 3, queue: 1, shared: 1, s3: 1 };

export type S3Effect = "unavailable" | "slow-down" | "slow" | "truncate" | "wrong-length" | "lose-answer" | "hang" | "full";

export type Fault =
  /** SIGKILL; back after `ms`. */
  | { readonly kind: "kill"; readonly role: Role; readonly index: number; readonly ms: number }
  /** SIGKILL to the worker's engine alone; its supervisor starts another. */
  | { readonly kind: "kill-engine"; readonly role: "prefill" | "decode"; readonly index: number }
  /** SIGSTOP for `ms`. */
  | { readonly kind: "pause"; readonly role: Role; readonly index: number; readonly ms: number }
  /** Wires of a process, for `ms`: nothing passes, everything is late, or all connections are dropped once. */
  | {
      readonly kind: "cut" | "slow" | "drop";
      readonly role: Role;
      readonly index: number;
      readonly pick: number;
      readonly ms: number;
    }
  /** The S3 server's answers are spoilt for `ms`. */
  | { readonly kind: "s3"; readonly effect: S3Effect; readonly ms: number }
  /** Bytes at rest are changed: a part of a record, or a row of the catalogue in Redis. */
  | { readonly kind: "damage-part" | "damage-row"; readonly pick: number };

export type PlannedFault = Fault & { readonly atMs: number };

/** Nothing happens before and after, so that the cluster is seen whole. */
const LEAD_MS = 3_000;
const TAIL_MS = 8_000;
/** Between two faults; they may overlap. */
const GAP_MS = [800, 3_400] as const;

/** How often each is drawn; kills are more than half. */
const KILLS: Readonly<Record<Role, number>> = { gateway: 3, prefill: 4, decode: 4, queue: 1, shared: 1, s3: 1 };
const WEIGHTS = { kill: 44, engine: 16, pause: 10, cut: 8, slow: 4, drop: 4, s3: 8, part: 4, row: 2 } as const;
const S3_EFFECTS: readonly S3Effect[] = [
  ...(["unavailable", "slow-down", "slow", "truncate", "wrong-length", "lose-answer", "hang", "full"] as const),
];

/** The faults of a run of `seconds`, in order. */
export function planFaults(seed: number, seconds: number): readonly PlannedFault[] {
  const rng = createRng(seed);
  const faults: PlannedFault[] = [];
  const once = everyKindOnce(rng);
  for (let atMs = LEAD_MS; atMs < seconds * 1_000 - TAIL_MS; atMs += between(rng, GAP_MS)) {
    faults.push({ ...(once.pop() ?? drawFault(rng)), atMs: Math.round(atMs) });
  }
  return faults;
}

/** One fault of every kind, and a kill in every role, in a drawn order: also a short run meets them all. */
function everyKindOnce(rng: Rng): Fault[] {
  const faults: Fault[] = [
    ...(Object.keys(KILLS) as Role[]).map((role) => kill(rng, role)),
    ...(["prefill", "decode"] as const).map((role) => killEngine(rng, role)),
    ...(["pause", "cut", "slow", "drop", "s3", "part", "row"] as const).map((what) => drawOf(rng, what)),
  ];
  for (let i = faults.length - 1; i > 0; i--) {
    const j = rng.below(i + 1);
    [faults[i], faults[j]] = [faults[j] as Fault, faults[i] as Fault];
  }
  return faults;
}

function drawFault(rng: Rng): Fault {
  return drawOf(rng, weighted(rng, WEIGHTS));
}

function drawOf(rng: Rng, what: keyof typeof WEIGHTS): Fault {
  switch (what) {
    case "kill":
      return kill(rng, weighted(rng, KILLS));
    case "engine":
      return killEngine(rng, rng.below(2) === 0 ? "prefill" : "decode");
    case "pause":
      // Longer than a lease now and then: whoever wakes up must find out that its work was given away.
      return { kind: "pause", ...anyProcess(rng), ms: between(rng, rng.below(4) === 0 ? [16_000, 20_000] : [500, 5_000]) };
    case "cut":
    case "slow":
    case "drop":
      return { kind: what, ...anyProcess(rng), pick: rng.below(1_000), ms: between(rng, [500, 6_000]) };
    case "s3":
      return { kind: "s3", effect: S3_EFFECTS[rng.below(S3_EFFECTS.length)] as S3Effect, ms: between(rng, [500, 4_000]) };
    case "part":
    case "row":
      return { kind: `damage-${what}`, pick: rng.below(2 ** 31) };
  }
}

function kill(rng: Rng, role: Role): Fault {
  return { kind: "kill", role, index: rng.below(NUM_PROCESSES[role]), ms: between(rng, [200, 2_500]) };
}

function killEngine(rng: Rng, role: "prefill" | "decode"): Fault {
  return { kind: "kill-engine", role, index: rng.below(NUM_PROCESSES[role]) };
}

function anyProcess(rng: Rng): { readonly role: Role; readonly index: number } {
  const role = weighted(rng, KILLS);
  return { role, index: rng.below(NUM_PROCESSES[role]) };
}

function weighted<Name extends string>(rng: Rng, weights: Readonly<Record<Name, number>>): Name {
  const entries = Object.entries(weights) as [Name, number][];
  let left = rng.next() * entries.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [name, weight] of entries) {
    left -= weight;
    if (left < 0) return name;
  }
  return entries[0]?.[0] as Name;
}

function between(rng: Rng, [low, high]: readonly [number, number]): number {
  return Math.round(low + rng.next() * (high - low));
}

/** One line about a fault. */
export function describeFault(fault: Fault): string {
  switch (fault.kind) {
    case "s3":
      return `s3 answers: ${fault.effect} for ${fault.ms} ms`;
    case "damage-part":
      return "a stored part is damaged";
    case "damage-row":
      return "a row of the catalogue is damaged";
    case "kill-engine":
      return `kill -9 the engine of ${fault.role} ${fault.index}`;
    case "kill":
      return `kill -9 ${fault.role} ${fault.index}, back after ${fault.ms} ms`;
    default:
      return `${fault.kind} ${fault.role} ${fault.index} for ${fault.ms} ms`;
  }
}
