import { RuntimeError } from "../../../base/errors.ts";
import type { ContainerFreezer } from "../../../core/container/index.ts";

/** Pauses containers by the task API of their shim. */
export class ShimFreezer implements ContainerFreezer {
  async pause(id: string): Promise<void> {
    throw new RuntimeError("unimplemented", `pause container "${id}"`);
  }

  async resume(id: string): Promise<void> {
    throw new RuntimeError("unimplemented", `resume container "${id}"`);
  }

  async isPaused(): Promise<boolean> {
    return false;
  }
}
