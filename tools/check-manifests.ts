/**
 * The manifests and Dockerfiles are what their readers will take: every overlay builds, is valid
 * under the strict schemas of Kubernetes and of the operators' resources, and breaks no rule of
 * kube-score but the ones named here; every image of ours is a target of the Dockerfile; hadolint finds
 * nothing in it. That these checks catch something is checked too, with a field that does not exist.
 *
 *     tsx tools/check-manifests.ts
 *
 * @module
 */
import { execFileSync, spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/** Rules that we do not follow, and why. */
const NOT_OURS = [
  // Images are pinned to a version, which does not change.
  "container-image-pull-policy",
  // topologySpreadConstraints say the same with a choice.
  "deployment-has-host-podantiaffinity",
  "statefulset-has-host-podantiaffinity",
  // One node, one replica: that is what `single` is. KEDA counts the pools of the others.
  "deployment-replicas",
] as const;

const home = join(
  process.env["KVAULT_CACHE_DIR"] ?? join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "kvault"),
  "kubernetes",
);
const tool = (name: string): string => join(home, "bin", name);
const problems: string[] = [];

function check(what: string, name: string, args: readonly string[], input?: string): void {
  const { status, stdout, stderr, error } = spawnSync(tool(name), args, { input, encoding: "utf8", maxBuffer: 64 * 2 ** 20 });
  if (status !== 0) problems.push(`${what}: ${name} says\n${stdout}${stderr}${error?.message ?? ""}`.trimEnd());
}

const conforms = (what: string, text: string): void => {
  const location = join(home, "schemas", "{{.ResourceKind}}{{.KindSuffix}}.json");
  check(what, "kubeconform", ["-strict", "-schema-location", location], text);
};

const targets = new Set([...readFileSync("docker/Dockerfile", "utf8").matchAll(/^FROM \S+ AS (\S+)$/gm)].map(([, name]) => name));
for (const overlay of readdirSync("k8s/overlays").sort()) {
  const text = execFileSync(tool("kustomize"), ["build", join("k8s", "overlays", overlay)], { encoding: "utf8" });
  conforms(overlay, text);
  for (const [image, name] of text.matchAll(/registry\.example\.com\/kvault\/([^:\s]+)/g))
    if (!targets.has(name)) problems.push(`${overlay}: docker/Dockerfile has no target for ${image}`);
  const ignored = NOT_OURS.flatMap((rule) => ["--ignore-test", rule]);
  // A limit of CPU throttles while the node idles: requests divide what there is, KVAULT_THREADS keeps to them.
  const flags = ["--output-format", "ci", "--exit-one-on-warning", "--ignore-container-cpu-limit", ...ignored];
  check(overlay, "kube-score", ["score", ...flags, "-"], text);
}
for (const name of readdirSync("docker").filter((file) => /^Dockerfile(\.[a-z]+)?$/.test(file) && !file.endsWith("ignore"))) {
  check(name, "hadolint", [join("docker", name)]);
}

const before = problems.length;
conforms("a field that does not exist", "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {porst: []}\n");
if (problems.length === before) problems.push("kubeconform took a field that does not exist");
else problems.length = before;

for (const problem of problems) console.error(problem);
process.exitCode = problems.length === 0 ? 0 : 1;
