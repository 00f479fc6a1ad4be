/**
 * `kvault doctor`: is this set-up in order, and what to do where it is not.
 *
 * @module
 */
import type { Command } from "commander";
import { type Check, look, type NamedFinding } from "../doctor/check.ts";
import { type ConnectionFlags, withConnectionFlags } from "../options.ts";
import { defaultCacheDir, defaultDataDir, type Environment, storeUrlOf } from "../settings.ts";
import { ReportedFailure } from "../terminal/failure.ts";
import { table } from "../terminal/table.ts";
import { define, type Host, runs } from "./command.ts";

export function addDoctor(program: Command, host: Host): void {
  const doctor = define(program, {
    usage: "doctor",
    summary: "Check a set-up, and say what to do where it is not in order",
    description: `Looks at the Node version, the models, the store (write, read, conditional create, clock), the queue's
eviction policy, the registry, the certificate, the gateway and its workers. Takes what a service would take from the
KVAULT_* variables, so run it where a service runs. Ends with 1 when anything fails.`,
    examples: [
      ["kvault doctor", "of this machine, with the defaults"],
      ["KVAULT_STORE_URL=s3://contexts/kvault … kvault doctor --json", "of a service's environment, as one JSON object"],
    ],
  });
  withConnectionFlags(doctor);
  runs<ConnectionFlags>(doctor, host, async ({ terminal, env }, flags) => {
    const findings = await Promise.all((await checksOf(flags, env)).map((check) => look(check)));
    const isOk = findings.every(({ status }) => status !== "failed");
    terminal.result({ ok: isOk, checks: findings }, () => describe(findings));
    if (!isOk) throw new ReportedFailure("The set-up is not in order.");
  });
}

async function checksOf(flags: ConnectionFlags, env: Environment): Promise<Check[]> {
  const checks = await import("../doctor/checks.ts");
  const { gatewayCheck, modelsCheck, nodeCheck, queueCheck, registryCheck, storeCheck, tlsCheck } = checks;
  return [
    nodeCheck(process.version),
    modelsCheck(defaultCacheDir(env)),
    storeCheck(env["KVAULT_STORE_URL"] ?? storeUrlOf(defaultDataDir(env))),
    queueCheck(env["KVAULT_QUEUE_URL"] ?? "local:"),
    registryCheck(env["KVAULT_REGISTRY_URL"] ?? "memory:"),
    tlsCheck({ certFile: env["KVAULT_TLS_CERT_FILE"], keyFile: env["KVAULT_TLS_KEY_FILE"] }, Date.now()),
    gatewayCheck(flags),
  ];
}

function describe(findings: readonly NamedFinding[]): string {
  const rows = findings.map(({ name, status, found }) => [name, status, found]);
  const todo = findings.filter((finding) => finding.todo !== "").map(({ name, todo: what }) => `${name}: ${what}`);
  return [
    table(["check", "state", "found"], rows),
    ...(todo.length === 0 ? [] : ["", "To do:", ...todo.map((line) => `  ${line}`)]),
  ].join("\n");
}
