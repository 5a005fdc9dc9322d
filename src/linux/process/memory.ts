import { native } from "../native.ts";

/**
 * Gives back to the kernel what only the start of the program needed: garbage, and what
 * {@link releaseFreeMemory} does. Blocks the event loop for 10 to 30 ms.
 */
export function releaseMemory(): void {
  collectAll();
  releaseFreeMemory();
}

/**
 * Gives back to the kernel what a rest does not need: free memory of malloc, and pages of Node.js's own code
 * and constants, of which it needs a fifth. Blocks the event loop for 1 to 3 ms; what is used again comes back
 * by itself, a minor fault each 64 KiB.
 */
export function releaseFreeMemory(): void {
  // With large pages the code is a copy in anonymous memory, which would be lost (Node, cli.md).
  const flags = [...process.execArgv, process.env["NODE_OPTIONS"] ?? ""].join(" ");
  if (!/largepages[= ](on|silent)/.test(flags)) native().releaseMemory();
}

/**
 * NOTE(node): the flag `--expose-gc` on the command line would cost every start 20 ms, as code that
 * was compiled under other flags is not taken from the cache; hence for this moment only.
 */
function collectAll(): void {
  const v8 = process.getBuiltinModule("node:v8");
  const vm = process.getBuiltinModule("node:vm");
  v8.setFlagsFromString("--expose-gc");
  try {
    vm.runInNewContext('gc({ type: "major", flavor: "last-resort" })');
  } finally {
    v8.setFlagsFromString("--no-expose-gc");
  }
}
