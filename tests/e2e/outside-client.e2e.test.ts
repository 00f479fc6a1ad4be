import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type RunningProcess, SMALL_MODEL, start } from "./support/kvault.ts";
import { python, pythonWith } from "./support/python.ts";
import { LETTER } from "./support/texts.ts";
import { expectTranscript } from "./support/transcript.ts";

const FOLDER = fileURLToPath(new URL("../../examples/python/", import.meta.url));

describe("a gRPC client that nobody here wrote", () => {
  let dataDir = "";
  let up: RunningProcess;

  beforeAll(async () => {
    dataDir = await mkdtemp(join(tmpdir(), "kvault-e2e-"));
    up = await start(["up", "--json", "--address", "127.0.0.1:0", "--data-dir", dataDir]);
  });
  afterAll(async () => {
    await up.stop();
    await rm(dataDir, { recursive: true, force: true });
  });

  test("lists the services by reflection, creates a context and streams an answer", async () => {
    const interpreter = await pythonWith(join(FOLDER, "requirements.txt"));
    const file = join(dataDir, "letter.txt");
    await writeFile(file, LETTER);
    const question = "What colour is the boat?";
    const args = [join(FOLDER, "grpc_client.py"), String(up.ready["address"]), SMALL_MODEL, file, question];
    const printed = await python(interpreter, args);
    for (const service of ["kvault.v1.Contexts", "kvault.v1.Inference", "kvault.v1.Models", "grpc.health.v1.Health"]) {
      expect(printed).toContain(service);
    }
    expect(printed).toContain("STATE_ACTIVE");
    const command = `$ python grpc_client.py 127.0.0.1:7717 ${SMALL_MODEL} letter.txt "${question}"\n${printed}`;
    // Words of a small model may differ between processors; all else may not.
    const normalise = (text: string): string =>
      text
        .replace(/^answer .*(\n(?!```).*)*/m, "answer …")
        .replace(/c[0-9a-f]{32}/g, "<id>")
        .replace(/\d+/g, "#");
    expectTranscript("docs/grpc.md", "outside-client", command, normalise);
  });
});
