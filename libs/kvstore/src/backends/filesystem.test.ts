import fs from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { BlobStore } from "../blob-store.ts";
import { blobStoreConformance } from "../testing/conformance.ts";
import { openFilesystemStore } from "./filesystem.ts";

let root = "";

async function makeRoot(): Promise<void> {
  root = await fs.mkdtemp(path.join(tmpdir(), "kvault-store-"));
}

async function removeRoot(): Promise<void> {
  vi.restoreAllMocks();
  await fs.rm(root, { recursive: true, force: true });
}

for (const fsync of [false, true]) {
  blobStoreConformance(`filesystem (fsync ${fsync})`, {
    open: async () => {
      await makeRoot();
      return openFilesystemStore(root, { fsync });
    },
    openAgain: () => openFilesystemStore(root, { fsync }),
    clean: removeRoot,
  });
}

describe("openFilesystemStore()", () => {
  let store: BlobStore;
  const value = Uint8Array.of(1, 2, 3);

  beforeEach(async () => {
    await makeRoot();
    store = await openFilesystemStore(root);
  });
  afterEach(async () => {
    await store.close();
    await removeRoot();
  });

  async function strayFiles(): Promise<string[]> {
    return fs.readdir(path.join(root, ".tmp"));
  }

  function systemError(code: string): Error {
    return Object.assign(new Error(`${code}: planned`), { code });
  }

  test("lays values out as plain files below the directory", async () => {
    await store.put("v1/contexts/manifest.json", value);
    expect([...(await fs.readFile(path.join(root, "v1/contexts/manifest.json")))]).toEqual([1, 2, 3]);
    expect(await strayFiles()).toEqual([]);
  });

  test("removes folders with their last value, and its own never", async () => {
    await store.put("a/b/c.bin", value);
    await store.put("a/d.bin", value);
    await store.delete("a/b/c.bin");
    expect(await fs.readdir(path.join(root, "a"))).toEqual(["d.bin"]);
    await store.delete("a/d.bin");
    expect(await fs.readdir(root)).toEqual([".tmp"]);
  });

  test("does not list what a killed writer or anybody else left in the directory", async () => {
    await fs.writeFile(path.join(root, ".tmp", "1-stray"), value);
    await fs.writeFile(path.join(root, ".DS_Store"), value);
    await fs.writeFile(path.join(root, "README.md"), value);
    await fs.mkdir(path.join(root, "lost+found"));
    await fs.writeFile(path.join(root, "lost+found", "a.bin"), value);
    await fs.symlink(path.join(root, "README.md"), path.join(root, "link.bin"));
    const keys: string[] = [];
    for await (const key of store.list("")) keys.push(key);
    expect(keys).toEqual([]);
  });

  test("sweeps stray files when they are old, and leaves young ones to their writer", async () => {
    const [old, young] = [path.join(root, ".tmp", "1-old"), path.join(root, ".tmp", "2-young")];
    await fs.writeFile(old, value);
    await fs.writeFile(young, value);
    const twoHoursAgo = new Date(Date.now() - 7_200_000);
    await fs.utimes(old, twoHoursAgo, twoHoursAgo);
    await (await openFilesystemStore(root)).close();
    expect(await strayFiles()).toEqual(["2-young"]);
  });

  test.each([
    ["ENOSPC", "STORE_FULL"],
    ["EDQUOT", "STORE_FULL"],
    ["EACCES", "STORE_FORBIDDEN"],
    ["EPERM", "STORE_FORBIDDEN"],
    ["EIO", "STORE_UNAVAILABLE"],
    ["EMFILE", "STORE_UNAVAILABLE"],
  ])("reports %s while writing as %s and leaves nothing behind", async (errno, code) => {
    const open = fs.open;
    vi.spyOn(fs, "open").mockImplementation(async (...args) => {
      const handle = await open(...args);
      vi.spyOn(handle, "writeFile").mockImplementation(async () => {
        await handle.write(value, 0, 2); // the disk fills half way
        throw systemError(errno);
      });
      return handle;
    });
    await expect(store.put("a.bin", value)).rejects.toMatchObject({ code, details: { key: "a.bin", errno } });
    vi.restoreAllMocks();
    expect(await store.stat("a.bin")).toBeUndefined();
    expect(await strayFiles()).toEqual([]);
  });

  test("reports a failure to read or look as a failure, never as missing", async () => {
    await store.put("a.bin", value);
    for (const [errno, code] of [
      ["EACCES", "STORE_FORBIDDEN"],
      ["EIO", "STORE_UNAVAILABLE"],
    ]) {
      for (const method of ["open", "stat", "unlink", "readdir"] as const) {
        vi.spyOn(fs, method).mockRejectedValue(systemError(errno as string));
      }
      await expect(store.get("a.bin")).rejects.toMatchObject({ code });
      await expect(store.stat("a.bin")).rejects.toMatchObject({ code });
      await expect(store.delete("a.bin")).rejects.toMatchObject({ code });
      await expect(store.list("")[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code });
      vi.restoreAllMocks();
    }
    expect(await store.get("a.bin")).toEqual(value);
  });

  test("keeps the cause of what it cannot name", async () => {
    const cause = systemError("EIO");
    vi.spyOn(fs, "rename").mockRejectedValue(cause);
    await expect(store.put("a.bin", value)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE", retryable: true, cause });
  });

  test("counts a link whose reply was lost as made", async () => {
    const link = fs.link;
    vi.spyOn(fs, "link").mockImplementationOnce(async (from, to) => {
      await link(from, to);
      throw systemError("EEXIST");
    });
    await store.put("a.bin", value, { ifAbsent: true });
    expect(await store.get("a.bin")).toEqual(value);
  });

  test("makes the folder again when a deleter prunes it before the value has its name", async () => {
    const rename = fs.rename;
    let pruned = 0;
    vi.spyOn(fs, "rename").mockImplementation(async (from, to) => {
      if (pruned++ < 3) await fs.rmdir(path.join(root, "a"));
      return rename(from, to);
    });
    await store.put("a/b.bin", value);
    expect(pruned).toBe(4);
    expect(await store.get("a/b.bin")).toEqual(value);
  });

  test("gives up when the folder goes every time", async () => {
    vi.spyOn(fs, "rename").mockRejectedValue(systemError("ENOENT"));
    await expect(store.put("a/b.bin", value)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    expect(fs.rename).toHaveBeenCalledTimes(16);
  });

  test("reports a directory removed under it as unavailable, not as a missing key", async () => {
    await fs.rm(root, { recursive: true });
    await expect(store.put("a.bin", value)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  });

  test("refuses a file that shrinks while it is read", async () => {
    await store.put("a.bin", value);
    const open = fs.open;
    vi.spyOn(fs, "open").mockImplementation(async (...args) => {
      const handle = await open(...args);
      await fs.truncate(path.join(root, "a.bin"), 3);
      const stat = handle.stat.bind(handle);
      vi.spyOn(handle, "stat").mockImplementation(async () => Object.assign(await stat(), { size: 5 }));
      return handle;
    });
    await expect(store.get("a.bin")).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  });

  test("refuses a directory that cannot be one", async () => {
    await store.put("a.bin", value);
    await expect(openFilesystemStore(path.join(root, "a.bin"))).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  });
});
