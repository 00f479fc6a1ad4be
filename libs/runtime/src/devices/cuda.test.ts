import { describe, expect, it } from "vitest";
import type { Tensor } from "../session.ts";
import { type NativeAddon, openCudaDevice } from "./cuda.ts";

describe("the cuda device", () => {
  it("says that the addon is not built, and what to do", () => {
    const absent = (path: string): never => {
      throw Object.assign(new Error(`Cannot find module '${path}'`), { code: "MODULE_NOT_FOUND" });
    };
    expect(() => openCudaDevice(absent)).toThrowError(
      expect.objectContaining({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(/the native addon is not built; run "make native".*or use device "cpu"/),
      }),
    );
  });

  it("says what the machine lacks where the addon is there", () => {
    const addon: NativeAddon = {
      missing: () => "the NVIDIA driver (libcuda.so)",
      CudaRuntime: { open: () => expect.unreachable("no driver, no runtime") },
    };
    expect(() => openCudaDevice(() => addon)).toThrowError(/this machine lacks the NVIDIA driver \(libcuda\.so\)/);
  });

  it("passes on why the runtime cannot be opened", () => {
    const open = (): never => {
      throw new Error("UNAVAILABLE: Cannot open CUDA device 0: no device");
    };
    expect(() => openCudaDevice(() => ({ missing: () => null, CudaRuntime: { open } }))).toThrowError(
      /no device; run "make native"/,
    );
  });

  it("replaces a device buffer that is too small, and never uses one that it freed", async () => {
    const tensor = (values: readonly number[]): Tensor =>
      ({ type: "float32", data: Float32Array.from(values), dims: [values.length] }) as unknown as Tensor;
    const session = await openCudaDevice(() => addingAddon()).openSession("graph.onnx", { numThreads: 1 });
    for (const values of [[1, 2], [3], [1, 2, 3, 4, 5]]) {
      const sum = tensor(values.map(() => 0));
      await session.run({ x: tensor(values) }, { sum });
      expect([...(sum.data as Float32Array)]).toEqual(values.map((value) => value + 1));
    }
    await session.close();
  });
});

/** An addon whose graphs add 1 to `x`; buffers refuse everything once they are freed. */
function addingAddon(): NativeAddon {
  const allocate = (size: number) => {
    let memory: Uint8Array | undefined = new Uint8Array(size);
    const live = (): Uint8Array => memory ?? expect.unreachable("used after it was freed");
    return {
      get bytes() {
        return live().byteLength;
      },
      upload: async (data: Uint8Array) => live().set(data),
      download: async (offset: number, bytes: number) => live().slice(offset, offset + bytes),
      free: () => {
        live();
        memory = undefined;
      },
    };
  };
  type Buffer = ReturnType<typeof allocate>;
  const bind = () => {
    const bound = new Map<string, { readonly buffer: Buffer; readonly bytes: number }>();
    const put = (name: string, _kind: string, [count = 0]: readonly number[], buffer: unknown): void => {
      bound.set(name, { buffer: buffer as Buffer, bytes: count * 4 });
    };
    return {
      input: put,
      output: put,
      run: async () => {
        const { buffer, bytes } = bound.get("x")!;
        const values = new Float32Array((await buffer.download(0, bytes)).buffer).map((value) => value + 1);
        await bound.get("sum")!.buffer.upload(new Uint8Array(values.buffer));
      },
      close: () => bound.clear(),
    };
  };
  const loadSession = async () => ({ bind, close: () => undefined });
  return { missing: () => null, CudaRuntime: { open: () => ({ allocate, loadSession }) } };
}
