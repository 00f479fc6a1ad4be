import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { link, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { openHub } from "@kvault/model";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freePort } from "../e2e/support/kvault.ts";
import { LETTER } from "../e2e/support/texts.ts";
import { s3Url, startS3 } from "../servers/s3-server.ts";
import type { TestProcess } from "../servers/test-process.ts";
import { certificateSecrets, type Secrets } from "./certificates.ts";
import { buildImages, type Stage } from "./image.ts";
import { buildOverlay, find, type Manifest } from "./manifests.ts";
import { Pod, redisImage, type World } from "./pod.ts";
import { KUBERNETES_HOME, run } from "./tools.ts";

/**
 * What the manifests start is what was tested: the images' contents are made by the Dockerfile's own
 * commands, and each pod runs from them with the command, environment, files and probes of its
 * manifest (tests/kubernetes/pod.ts says what is rewritten).
 */

const MODEL = "qwen2.5-coder-0.5b";
const CACHE = join(KUBERNETES_HOME, "..");
const QUESTION = "What colour is the boat?";

let scratch = "";
let images: Map<string, Stage>;
let redis: Stage;
let s3: TestProcess;

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), "kvault-k8s-"));
  images = await buildImages("docker/Dockerfile", ["gateway", "worker"], join(scratch, "images"));
  redis = await redisImage(join(scratch, "images", "redis"), join(CACHE, "test-servers", "bin", "redis-server"));
  s3 = await startS3();
}, 600_000);
afterAll(async () => {
  await s3.remove();
  await rm(scratch, { recursive: true, force: true });
});

test("the gateway's image has no engine, no image has sources or tests", async () => {
  const files = async (target: string): Promise<readonly string[]> =>
    (await run("find", ["app", "-type", "f"], { cwd: images.get(target)?.root ?? "" })).split("\n");
  const [gateway, worker] = await Promise.all([files("gateway"), files("worker")]);
  expect(gateway.filter((path) => path.includes("onnxruntime"))).toEqual([]);
  expect(worker.filter((path) => path.endsWith("/onnxruntime_binding.node"))).not.toEqual([]);
  const unwanted = /^app\/(libs|services|cli)\/.*(\.test\.js$|\/src\/(?!gen\/))|\/node_modules\/(vitest|typescript)\//;
  expect([...gateway, ...worker].filter((path) => unwanted.test(path))).toEqual([]);
  expect(images.get("gateway")?.user).toBe("10001:10001");
  expect(images.get("worker")?.user).toBe("10001:10001");
});

test("prod-gpu starts what prod-cpu starts, on other nodes and from another image", async () => {
  const [cpu, gpu] = await Promise.all([buildOverlay("prod-cpu"), buildOverlay("prod-gpu")]);
  for (const name of ["gateway", "prefill", "decode"]) {
    const [before, after] = [cpu, gpu].map(({ manifests }) => find(manifests, "Deployment", name).spec.template.spec);
    const { resources, image, env, ...container } = after.containers[0];
    const { resources: _, image: __, env: cpuEnv, ...same } = before.containers[0];
    expect(container).toEqual(same);
    expect(env.slice(0, cpuEnv.length)).toEqual(cpuEnv);
    if (name === "gateway") continue;
    expect(resources.limits["nvidia.com/gpu"]).toBe("1");
    expect(image).toContain("cuda");
    expect(after.tolerations).toContainEqual({ key: "nvidia.com/gpu", operator: "Exists", effect: "NoSchedule" });
  }
});

describe.each(["single", "prod-cpu"] as const)("overlay %s as processes", (overlay) => {
  let manifests: readonly Manifest[];
  let world: World;
  let pods: Pod[] = [];
  let clientEnv: Record<string, string>;
  const pod = (name: string): Pod => pods.find((each) => each.name === name) as Pod;

  beforeAll(async () => {
    ({ manifests } = await buildOverlay(overlay));
    const folder = join(scratch, overlay);
    await mkdir(folder);
    const secrets = await makeSecrets(folder);
    world = {
      manifests,
      secrets,
      folder,
      imageOf: (name) => (name.includes("/redis:") ? redis : (images.get(/\/(gateway|worker):/.exec(name)?.[1] ?? "") as Stage)),
      services: new Map(),
      // No API behind it: gateways go by the registry alone then. A real one is asked by `make k8s-test`.
      clusterEnv: { KUBERNETES_SERVICE_HOST: "127.0.0.1", KUBERNETES_SERVICE_PORT: String(await freePort()) },
      fillVolume: async (name, into) => {
        if (name !== "cache") return;
        const path = (await openHub({ cacheDir: CACHE })).pathOf(MODEL);
        await link(path, join(into, basename(path))).catch(() => symlink(path, join(into, basename(path))));
      },
    };
  }, 60_000);
  afterAll(async () => {
    for (const each of pods.reverse()) await each.stop();
  });

  /** What docs/kubernetes.md has an operator make. */
  async function makeSecrets(folder: string): Promise<Secrets> {
    const access = join(folder, "access");
    await mkdir(access);
    const cli = join(images.get("worker")?.root ?? "", "app", "cli", "bin", "kvault.js");
    const token = (file: string, ...more: string[]): Promise<string> =>
      run(process.execPath, [cli, "token", "create", "--tokens-file", join(access, file), ...more]);
    const [mine, service] = await Promise.all([
      token("gateway.json", "--tenant", "demo"),
      token("worker.json", "--tenant", "cluster", "--service"),
    ]);
    const tokenFile = join(folder, "my.token");
    await writeFile(tokenFile, mine, { mode: 0o600 });
    const content = (name: string): Promise<string> => readFile(join(access, name), "utf8");
    const certificates = await certificateSecrets(manifests, join(folder, "certificates"));
    clientEnv = { KVAULT_TOKEN_FILE: tokenFile };
    if (overlay !== "single") clientEnv["KVAULT_TLS_CA_FILE"] = join(folder, "certificates", "ca.crt");
    return {
      ...certificates,
      "kvault-access": {
        "gateway.json": await content("gateway.json"),
        "worker.json": await content("worker.json"),
        "service.token": service,
      },
      "kvault-redis": { password: "0123456789abcdef" },
      "kvault-store": {
        url: s3Url(s3.port, overlay),
        "access-key-id": process.env["AWS_ACCESS_KEY_ID"] ?? "",
        "secret-access-key": process.env["AWS_SECRET_ACCESS_KEY"] ?? "",
      },
    };
  }

  /** `kvault …args` as a client of this overlay's gateway, from the worker's image. */
  function spawnKvault(...args: string[]): ChildProcessByStdio<null, Readable, Readable> {
    const { root } = images.get("worker") as Stage;
    const address = clientEnv["KVAULT_TLS_CA_FILE"] === undefined ? `${pod("gateway").address}:7717` : "localhost:7717";
    const env = { PATH: process.env["PATH"] ?? "", HOME: world.folder, ...clientEnv, KVAULT_ADDRESS: address };
    return spawn(process.execPath, [join(root, "app", "cli", "bin", "kvault.js"), ...args], {
      env,
      stdio: ["ignore", "pipe", "pipe"],
    });
  }

  async function kvault(...args: string[]): Promise<string> {
    const child = spawnKvault(...args);
    const [out, errors] = [await text(child.stdout), await text(child.stderr)];
    if (child.exitCode === null) await once(child, "close");
    if (child.exitCode !== 0)
      throw new Error(`kvault ${args.join(" ")}: ended with ${child.exitCode}\n${errors}\n${pod("gateway").log}`);
    return out;
  }

  /** The same question through the gateway's HTTP port. */
  async function chat(context: string, question: string): Promise<string> {
    const { KVAULT_TOKEN_FILE: tokenFile = "", KVAULT_TLS_CA_FILE: authority } = clientEnv;
    const ca = authority === undefined ? [] : ["--cacert", authority];
    const url = authority === undefined ? `http://${pod("gateway").address}:7718` : "https://localhost:7718";
    const body = {
      model: MODEL,
      context: `contexts/${context}`,
      messages: [{ role: "user", content: question }],
      max_tokens: 24,
    };
    const token = (await readFile(tokenFile, "utf8")).trim();
    const headers = ["-H", "content-type: application/json", "-H", `authorization: Bearer ${token}`];
    return run("curl", ["-sSf", ...ca, `${url}/v1/chat/completions`, ...headers, "-d", JSON.stringify(body)]);
  }

  test("every pod passes its probes; a worker's model is verified and open by then", async () => {
    const start = async (kind: string, name: string, address: string): Promise<void> => {
      const started = await Pod.start(world, find(manifests, kind, name), name, address);
      pods = [...pods, started];
      world.services.set(name, address);
      const { readinessProbe, livenessProbe } = started.container;
      expect(await started.probe(readinessProbe)).toBe(true);
      expect(await started.probe(livenessProbe)).toBe(true);
    };
    await Promise.all([start("StatefulSet", "redis-queue", "127.0.7.1"), start("StatefulSet", "redis-catalogue", "127.0.7.2")]);
    await start("Deployment", "prefill", "127.0.7.3");
    await start("Deployment", "decode", "127.0.7.4");
    // Certificates name it localhost, which is 127.0.0.1.
    await start("Deployment", "gateway", overlay === "single" ? "127.0.7.5" : "127.0.0.1");
    expect(pod("decode").log).toContain("engine ready");
  }, 300_000);

  test("a context is built and a question answered", async () => {
    const file = join(world.folder, "letter.txt");
    await writeFile(file, LETTER);
    const created = await kvault("context", "create", "--file", file, "--model", MODEL, "--keep", "0.5");
    const id = /contexts\/(c[0-9a-f]{32})/.exec(created)?.[1] ?? "";
    expect(await kvault("query", id, QUESTION)).toMatch(/green/i);
    expect(await chat(id, QUESTION)).toMatch(/green/i);
  }, 120_000);

  test("a decode worker that is told to stop during an answer: not ready, alive, and done within its grace", async () => {
    const [id = ""] = (await kvault("context", "list")).match(/c[0-9a-f]{32}/) ?? [];
    const { readinessProbe, livenessProbe } = pod("decode").container;
    const answering = spawnKvault("query", id, "Tell everything the letter says, in the order in which it says it.");
    let answer = "";
    const begun = new Promise<void>((resolve) => {
      answering.stdout.on("data", (data: Buffer) => {
        answer += data.toString();
        resolve();
      });
    });
    const ended = once(answering, "close") as Promise<[number | null]>;
    await begun;
    const startedMs = Date.now();
    const stopped = pod("decode").stop();
    expect([await pod("decode").probe(readinessProbe), pod("decode").hasEnded]).toEqual([false, false]);
    expect(await pod("decode").probe(livenessProbe)).toBe(true);
    expect((await ended)[0]).toBe(0);
    expect(answer.length).toBeGreaterThan(40);
    expect(await stopped).toBe(0);
    expect(Date.now() - startedMs).toBeLessThan(pod("decode").graceMs);
  }, 180_000);

  test("every other pod ends by itself within its grace", async () => {
    for (const name of ["gateway", "prefill", "redis-queue", "redis-catalogue"])
      expect([name, await pod(name).stop()]).toEqual([name, 0]);
  }, 120_000);
});
