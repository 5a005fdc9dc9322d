import { setTimeout as delay } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/**
 * Bytes of the buffers that something still holds, without garbage. V8 frees the memory of buffers on another thread, some
 * time after a collection, so this collects until nothing more is freed.
 */
export async function heldBytes(): Promise<number> {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  setFlagsFromString("--no-expose-gc");
  let held = Number.POSITIVE_INFINITY;
  for (let unchanged = 0; unchanged < 3; ) {
    collect();
    await delay(10);
    const now = process.memoryUsage().arrayBuffers;
    unchanged = now < held ? 0 : unchanged + 1;
    held = Math.min(held, now);
  }
  return held;
}
