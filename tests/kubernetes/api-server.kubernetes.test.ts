import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KubernetesApi, ReadyEndpoints } from "@kvault/gateway/testing";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { fences } from "../../tools/markdown.ts";
import { type ApiServer, startApiServer } from "./api-server.ts";
import { buildOverlay, OVERLAYS } from "./manifests.ts";
import { KUBERNETES_HOME, ROOT, run } from "./tools.ts";

const NAMESPACE = "kvault";
const APPLY = ["apply", "--server-side", "--validate=strict", "--force-conflicts"];

let server: ApiServer;

beforeAll(async () => {
  server = await startApiServer();
  const folder = join(KUBERNETES_HOME, "crds");
  for (const name of await readdir(folder)) {
    await server.kubectl(["apply", "--server-side"], await readFile(join(folder, name), "utf8"));
  }
  await server.kubectl(["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"]);
});
afterAll(() => server.stop());

describe("a real API server", () => {
  test.each(OVERLAYS)("takes every object of %s, with strict fields and admission of its own", async (overlay) => {
    const { text, manifests } = await buildOverlay(overlay);
    const [namespace] = manifests.filter(({ kind }) => kind === "Namespace");
    expect(namespace?.metadata.name).toBe(NAMESPACE);
    await server.kubectl([...APPLY], text);
    const taken = await server.kubectl([...APPLY, "--dry-run=server", "-o", "name"], text);
    expect(taken.trim().split("\n")).toHaveLength(manifests.length);
  });

  test("refuses a field that does not exist", async () => {
    const { text } = await buildOverlay("single");
    await expect(server.kubectl(APPLY, text.replace("revisionHistoryLimit:", "revisionHistroyLimit:"))).rejects.toThrow(
      "field not declared in schema",
    );
  });

  test("every pod that a Deployment or StatefulSet would make meets the restricted standard", async () => {
    const { manifests } = await buildOverlay("prod-gpu");
    const owners = manifests.filter(({ kind }) => ["Deployment", "StatefulSet"].includes(kind));
    expect(owners).toHaveLength(5);
    for (const { metadata, spec } of owners) {
      const { labels } = spec.template.metadata;
      const volumes = [
        ...(spec.template.spec.volumes ?? []),
        ...((spec.volumeClaimTemplates ?? []) as { metadata: { name: string } }[]).map(({ metadata: { name } }) => ({
          name,
          emptyDir: {},
        })),
      ];
      const pod = {
        apiVersion: "v1",
        kind: "Pod",
        metadata: { name: metadata.name, namespace: NAMESPACE, labels },
        spec: { ...spec.template.spec, volumes },
      };
      await server.kubectl(["create", "--dry-run=server", "-o", "name"], JSON.stringify(pod));
      const { securityContext: _, ...open } = pod.spec;
      await expect(server.kubectl(["create", "--dry-run=server"], JSON.stringify({ ...pod, spec: open }))).rejects.toThrow(
        "violates PodSecurity",
      );
    }
  });

  test("the gateway's account reads EndpointSlices of its namespace, and may do nothing else", async () => {
    const can = async (account: string, verb: string, resource: string, namespace = NAMESPACE): Promise<boolean> => {
      const user = `system:serviceaccount:${NAMESPACE}:${account}`;
      const answer = await server
        .kubectl(["auth", "can-i", verb, resource, "-n", namespace, "--as", user, "--as-group", "system:authenticated"])
        .catch(() => "no");
      return answer.trim() === "yes";
    };
    const slices = "endpointslices.discovery.k8s.io";
    for (const verb of ["get", "list", "watch"]) expect([verb, await can("gateway", verb, slices)]).toEqual([verb, true]);
    for (const [verb, resource] of [
      ["create", slices],
      ["delete", slices],
      ["get", "secrets"],
      ["list", "pods"],
      ["create", "pods"],
      ["get", "configmaps"],
      ["patch", "deployments.apps"],
      ["escalate", "roles.rbac.authorization.k8s.io"],
      ["create", "serviceaccounts/token"],
    ] as const) {
      expect([verb, resource, await can("gateway", verb, resource)]).toEqual([verb, resource, false]);
    }
    expect(await can("gateway", "list", slices, "default")).toBe(false);
    for (const account of ["prefill", "decode", "redis", "default"]) {
      expect([account, await can(account, "list", slices), await can(account, "get", "secrets")]).toEqual([
        account,
        false,
        false,
      ]);
    }
  });
});

describe("docs/kubernetes.md, as printed", () => {
  let folder = "";
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "kvault-docs-"));
    await symlink(join(ROOT, "k8s"), join(folder, "k8s"));
    const program = (name: string, command: string): Promise<void> =>
      writeFile(join(folder, name), `#!/bin/sh\nexec ${command} "$@"\n`, { mode: 0o755 });
    await program("kvault", `"${process.execPath}" "${join(ROOT, "cli", "bin", "kvault.js")}"`);
    await program("kubectl", server.kubectlCommand);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test("every block that deploys", async () => {
    const blocks = fences(await readFile(join(ROOT, "docs", "kubernetes.md"), "utf8")).filter(
      ({ info, code }) => info === "sh" && code.includes("kubectl"),
    );
    expect(blocks).toHaveLength(3);
    for (const { code } of blocks) await run("bash", ["-euc", `PATH="${folder}:$PATH"\n${code}`], { cwd: folder });
    const secrets = await server.kubectl(["-n", NAMESPACE, "get", "secrets", "-o", "name"]);
    expect(secrets.trim().split("\n").sort()).toEqual(["secret/kvault-access", "secret/kvault-redis", "secret/kvault-store"]);
  });
});

describe("discovery over a real API server, with the gateway's own account", () => {
  const slice = (name: string, ready: Readonly<Record<string, boolean>>): string =>
    JSON.stringify({
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: { name, namespace: NAMESPACE, labels: { "kubernetes.io/service-name": "decode" } },
      addressType: "IPv4",
      ports: [{ name: "grpc", port: 7719 }],
      endpoints: Object.entries(ready).map(([address, isReady]) => ({ addresses: [address], conditions: { ready: isReady } })),
    });
  let endpoints: ReadyEndpoints;
  const errors: unknown[] = [];
  const known = (): readonly string[] => [...(endpoints.addresses ?? ["unknown"])].sort();
  const soon = { timeout: 10_000 };

  beforeAll(async () => {
    await server.kubectl(APPLY, slice("decode-a", { "10.244.0.1": true, "10.244.0.2": false }));
    endpoints = new ReadyEndpoints({
      access: { apiUrl: `https://127.0.0.1:${server.port}`, accountDir: await server.accountDir(NAMESPACE, "gateway") },
      service: "decode",
      onChange: () => undefined,
      onError: (error) => errors.push(error),
    });
  });
  afterAll(() => endpoints.close());

  test("lists what is ready", async () => {
    await vi.waitFor(() => expect(known()).toEqual(["10.244.0.1:7719"]), soon);
    expect(errors).toEqual([]);
  });

  test("follows pods that become ready, cease to be, come and go", async () => {
    await server.kubectl(APPLY, slice("decode-a", { "10.244.0.1": true, "10.244.0.2": true }));
    await vi.waitFor(() => expect(known()).toEqual(["10.244.0.1:7719", "10.244.0.2:7719"]), soon);
    await server.kubectl(APPLY, slice("decode-b", { "10.244.1.9": true }));
    await server.kubectl(APPLY, slice("decode-a", { "10.244.0.1": false, "10.244.0.2": true }));
    await vi.waitFor(() => expect(known()).toEqual(["10.244.0.2:7719", "10.244.1.9:7719"]), soon);
    await server.kubectl(["-n", NAMESPACE, "delete", "endpointslice", "decode-a"]);
    await vi.waitFor(() => expect(known()).toEqual(["10.244.1.9:7719"]), soon);
    expect(errors).toEqual([]);
  });

  test("of other Services nothing is seen", async () => {
    const other = slice("other", { "10.244.7.7": true }).replace('"decode"', '"other"');
    await server.kubectl(APPLY, other);
    await server.kubectl(APPLY, slice("decode-b", { "10.244.1.10": true }));
    await vi.waitFor(() => expect(known()).toEqual(["10.244.1.10:7719"]), soon);
  });

  test("an account without rights is refused, and says so", async () => {
    const api = new KubernetesApi({
      apiUrl: `https://127.0.0.1:${server.port}`,
      accountDir: await server.accountDir(NAMESPACE, "decode"),
    });
    // The account without rights: what a server really says to it.
    const path = `/apis/discovery.k8s.io/v1/namespaces/${NAMESPACE}/endpointslices`;
    await expect(api.get(path, new AbortController().signal)).rejects.toMatchObject({ code: 403 });
  });
});
