import { describe, expect, it } from "vitest";
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
});
