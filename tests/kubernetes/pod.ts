/**
 * A pod as processes of this machine: its init containers one after the other, then its container,
 * with exactly the command, environment, files and probes of the manifest.
 *
 * What a container has of its own is rewritten, and nothing else: `0.0.0.0` is the pod's address (one
 * of 127.0.0.0/8), a mount path is a folder, the name of a Service is the address of a pod behind it.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, symlink, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type HealthStatus, probeHealth } from "@kvault/rpc/testing";
import type { Secrets } from "./certificates.ts";
import type { Stage } from "./image.ts";
import type { Container, EnvVar, Manifest, PodSpec, Probe, Volume } from "./manifests.ts";

export interface World {
  readonly manifests: readonly Manifest[];
  /** Image of a container → what it holds. */
  readonly imageOf: (image: string) => Stage;
  readonly secrets: Secrets;
  /** Folder of everything. */
  readonly folder: string;
  /** Service name → address of the pod behind it. */
  readonly services: Map<string, string>;
  /** Variables that every pod of a cluster has. */
  readonly clusterEnv: Readonly<Record<string, string>>;
  /** Put into a volume before it is used: what an earlier start left there. */
  readonly fillVolume?: (name: string, folder: string) => Promise<void>;
}

/** How long a container may take to end beyond what its manifest gives it. */
const SLACK_MS = 1_000;
const INIT_MS = 120_000;

export class Pod {
  readonly name: string;
  readonly address: string;
  readonly graceMs: number;
  readonly container: Container;
  readonly #world: World;
  readonly #spec: PodSpec;
  readonly #folders = new Map<string, string>();
  #child: ChildProcess | undefined;
  #output = "";

  private constructor(world: World, spec: PodSpec, name: string, address: string) {
    const [container] = spec.containers;
    if (container === undefined || spec.containers.length > 1) throw new Error(`${name}: not one container`);
    this.name = name;
    this.address = address;
    this.container = container;
    this.graceMs = spec.terminationGracePeriodSeconds * 1_000;
    this.#world = world;
    this.#spec = spec;
  }

  /** Runs init containers and starts the container; resolves when its startup probe passes. */
  static async start(world: World, owner: Manifest, name: string, address: string): Promise<Pod> {
    const pod = new Pod(world, owner.spec.template.spec as PodSpec, name, address);
    await pod.#mount(owner);
    for (const init of pod.#spec.initContainers ?? []) {
      const child = await pod.#launch(init);
      const late = setTimeout(() => child.kill("SIGKILL"), INIT_MS);
      const [code] = (await once(child, "close")) as [number | null];
      clearTimeout(late);
      if (code !== 0) throw new Error(`${name}: init container ${init.name} ended with ${code}\n${pod.#output}`);
    }
    pod.#child = await pod.#launch(pod.container);
    const { startupProbe } = pod.container;
    await pod.until(startupProbe, startupProbe.failureThreshold ?? 3);
    return pod;
  }

  /** What it wrote, last part. */
  get log(): string {
    return this.#output;
  }

  get pid(): number {
    return this.#child?.pid ?? -1;
  }

  get hasEnded(): boolean {
    return this.#child === undefined || this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** One probe, as the kubelet does it: an answer in time that says yes. */
  async probe({ grpc, exec, tcpSocket, timeoutSeconds = 1 }: Probe): Promise<boolean> {
    // Two cores here do what a node does for one pod.
    const timeoutMs = timeoutSeconds * 1_000 + 4_000;
    if (grpc !== undefined) {
      const status: HealthStatus = await probeHealth(`${this.address}:${grpc.port}`, grpc.service, timeoutMs);
      return status === "SERVING";
    }
    if (exec !== undefined) {
      const child = await this.#launch({ ...this.container, command: exec.command });
      const late = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
      const [code] = (await once(child, "close")) as [number | null];
      clearTimeout(late);
      return code === 0;
    }
    const port = this.container.ports?.find(({ name }) => name === tcpSocket?.port)?.containerPort ?? Number(tcpSocket?.port);
    return new Promise((resolve) => {
      const socket = connect(port, this.address, () => resolve(true));
      socket.once("error", () => resolve(false));
      socket.setTimeout(timeoutMs, () => resolve(false));
      socket.once("close", () => resolve(false));
      socket.once("connect", () => socket.destroy());
    });
  }

  /** Resolves when `probe` says yes; fails when it did not for as often as it may. */
  async until(probe: Probe, failures: number): Promise<void> {
    const deadlineMs = Date.now() + failures * (probe.periodSeconds ?? 10) * 1_000;
    while (!(await this.probe(probe))) {
      if (this.hasEnded) throw new Error(`${this.name} ended with ${this.#child?.exitCode}\n${this.#output}`);
      if (Date.now() > deadlineMs) throw new Error(`${this.name}: a probe failed ${failures} times\n${this.#output}`);
      await sleep(100);
    }
  }

  /** SIGTERM, and SIGKILL after the grace time; the exit code, undefined when it had to be killed. */
  async stop(): Promise<number | undefined> {
    const child = this.#child;
    if (child === undefined) return 0;
    if (this.hasEnded) return child.exitCode ?? undefined;
    const closed = once(child, "close") as Promise<[number | null]>;
    child.kill("SIGTERM");
    const late = setTimeout(() => child.kill("SIGKILL"), this.graceMs + SLACK_MS);
    const [code] = await closed;
    clearTimeout(late);
    return code ?? undefined;
  }

  async #mount(owner: Manifest): Promise<void> {
    const claims = (owner.spec.volumeClaimTemplates ?? []) as { metadata: { name: string } }[];
    const own: Volume[] = claims.map(({ metadata }) => ({ name: metadata.name }));
    for (const volume of [...own, ...(this.#spec.volumes ?? [])]) {
      const shared = volume.persistentVolumeClaim?.claimName;
      const folder = join(this.#world.folder, ...(shared === undefined ? [this.name, volume.name] : [shared]));
      await mkdir(folder, { recursive: true });
      this.#folders.set(volume.name, folder);
    }
    for (const volume of this.#spec.volumes ?? []) {
      const folder = this.#folders.get(volume.name) ?? "";
      for (const [path, content] of Object.entries(this.#filesOf(volume))) {
        await mkdir(dirname(join(folder, path)), { recursive: true });
        await writeFile(join(folder, path), this.#rewrite(content, this.container));
      }
      if (volume.emptyDir !== undefined) await this.#world.fillVolume?.(volume.name, folder);
    }
  }

  #filesOf({ secret, configMap }: Volume): Record<string, string> {
    if (configMap !== undefined) {
      const found = this.#world.manifests.find(({ kind, metadata }) => kind === "ConfigMap" && metadata.name === configMap.name);
      return { ...found?.data };
    }
    if (secret === undefined) return {};
    const all = this.#secret(secret.secretName);
    if (secret.items === undefined) return all;
    return Object.fromEntries(secret.items.map(({ key, path }) => [path, all[key] ?? missing(`${secret.secretName}/${key}`)]));
  }

  #secret(name: string): Record<string, string> {
    return this.#world.secrets[name] ?? missing(name);
  }

  /** Environment of a container, in order, with `$(NAME)` replaced by what came before. */
  #environment(container: Container): Record<string, string> {
    const env: Record<string, string> = {};
    const expand = (text: string): string => text.replace(/\$\(([A-Z_]+)\)/g, (whole, name: string) => env[name] ?? whole);
    const resolve = ({ value, valueFrom }: EnvVar): string => {
      const ref = valueFrom?.secretKeyRef;
      if (ref !== undefined) return this.#secret(ref.name)[ref.key] ?? missing(`${ref.name}/${ref.key}`);
      if (valueFrom?.fieldRef?.fieldPath === "status.podIP") return this.address;
      const resource = valueFrom?.resourceFieldRef?.resource.replace("requests.", "");
      if (resource !== undefined) return String(Math.ceil(Number(container.resources.requests[resource])));
      return expand(value ?? "");
    };
    for (const variable of container.env ?? []) env[variable.name] = this.#rewrite(resolve(variable), container);
    return env;
  }

  #rewrite(text: string, container: Container): string {
    let out = text.replaceAll("0.0.0.0:", `${this.address}:`).replace("bind * -::*", `bind ${this.address}`);
    const mounts = new Map(
      (container.volumeMounts ?? []).map(({ name, mountPath }) => [mountPath, this.#folders.get(name) ?? mountPath]),
    );
    // All at once: the folder of one mount may hold the path of another.
    const paths = [...mounts.keys()].sort((x, y) => y.length - x.length);
    if (paths.length > 0) out = out.replace(new RegExp(paths.join("|"), "g"), (path) => mounts.get(path) ?? path);
    for (const [name, address] of this.#world.services) out = out.replaceAll(`@${name}:`, `@${address}:`);
    return out;
  }

  async #launch(container: Container): Promise<ChildProcess> {
    const image = this.#world.imageOf(container.image);
    const environment = this.#environment(container);
    const words = container.command.map((word) =>
      this.#rewrite(word, container).replace(/\$\(([A-Z_]+)\)/g, (whole, name: string) => environment[name] ?? whole),
    );
    const [command = "", ...args] = words;
    const home = join(this.#world.folder, this.name, "home");
    await mkdir(home, { recursive: true });
    const env = {
      PATH: process.env["PATH"] ?? "",
      ...this.#world.clusterEnv,
      ...image.env,
      HOME: home,
      POD_ADDRESS: this.address,
      ...environment,
    };
    const child = spawn(command, args, {
      cwd: join(image.root, image.workdir),
      env: { ...env, PATH: image.env["PATH"] ?? env.PATH },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const keep = (data: Buffer): void => {
      this.#output = (this.#output + data.toString()).slice(-8_000);
    };
    child.stdout?.on("data", keep);
    child.stderr?.on("data", keep);
    child.on("error", (error) => keep(Buffer.from(String(error))));
    const reap = (): void => void child.kill("SIGKILL");
    process.once("exit", reap);
    child.once("close", () => process.off("exit", reap));
    return child;
  }
}

/** An image that is only `redis-server` and `redis-cli`, each speaking on the pod's address. */
export async function redisImage(folder: string, server: string): Promise<Stage> {
  const bin = join(folder, "bin");
  await mkdir(bin, { recursive: true });
  await symlink(server, join(bin, "redis-server"));
  await writeFile(join(bin, "redis-cli"), '#!/bin/sh\nexec /usr/bin/redis-cli -h "$POD_ADDRESS" "$@"\n', { mode: 0o755 });
  return { root: folder, workdir: "/", env: { PATH: `${bin}:/usr/bin:/bin` }, user: "redis", cmd: [] };
}

function missing(what: string): never {
  throw new Error(`the cluster has no secret ${what}`);
}
