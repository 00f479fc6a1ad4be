/**
 * What cert-manager makes of the Certificates of an overlay, made with openssl: Secret → its files.
 *
 * @module
 */
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Manifest } from "./manifests.ts";
import { run } from "./tools.ts";

export type Secrets = Record<string, Record<string, string>>;

export async function certificateSecrets(manifests: readonly Manifest[], folder: string): Promise<Secrets> {
  await mkdir(folder, { recursive: true });
  const at = (name: string): string => join(folder, name);
  const days = ["-days", "2"];
  const key = (name: string): string[] => [
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:prime256v1",
    "-nodes",
    "-keyout",
    at(`${name}.key`),
  ];
  const certificates = manifests.filter(({ kind }) => kind === "Certificate");
  const authority = certificates.find(({ spec }) => spec.isCA === true);
  if (authority === undefined) return {};
  await run("openssl", [
    "req",
    "-x509",
    ...key("ca"),
    "-out",
    at("ca.crt"),
    ...days,
    "-subj",
    `/CN=${authority.spec.commonName}`,
  ]);
  const secrets: Secrets = {};
  for (const { metadata, spec } of certificates) {
    if (spec.isCA === true) continue;
    const names = (spec.dnsNames as string[]).map((name) => `DNS:${name}`).join();
    const usages = (spec.usages as string[]).map((usage) => (usage === "server auth" ? "serverAuth" : "clientAuth")).join();
    const extensions = ["-addext", `subjectAltName=${names}`, "-addext", `extendedKeyUsage=${usages}`];
    const signer = ["-CA", at("ca.crt"), "-CAkey", at("ca.key")];
    const { name } = metadata;
    await run("openssl", [
      "req",
      "-x509",
      ...key(name),
      "-out",
      at(`${name}.crt`),
      ...days,
      "-subj",
      `/CN=${name}`,
      ...extensions,
      ...signer,
    ]);
    secrets[spec.secretName] = {
      "tls.crt": await readFile(at(`${name}.crt`), "utf8"),
      "tls.key": await readFile(at(`${name}.key`), "utf8"),
      "ca.crt": await readFile(at("ca.crt"), "utf8"),
    };
  }
  return secrets;
}
