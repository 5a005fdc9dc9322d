import { native } from "./native.ts";

/**
 * Gives back to the kernel what only the start of the program needed: garbage, free memory of
 * malloc, and pages of Node.js's own code and constants, of which a rest needs a fifth. Blocks the
 * event loop for 10 to 30 ms; what is used again comes back by itself, a minor fault each 64 KiB.
 */
export function releaseMemory(): void {
  // There with --expose-gc, which bin/davit gives.
  void globalThis.gc?.({ type: "major", flavor: "last-resort" });
  native().releaseMemory();
}
