import { releasePages } from "./native.ts";

/**
 * Gives memory back to the kernel that only the start of the program needed: collects garbage, then calls
 * {@link releaseFreeMemory}. Blocks the event loop for 10 to 30 ms.
 */
export function releaseMemory(): void {
  collectAll();
  releaseFreeMemory();
}

/**
 * Gives memory back to the kernel that an idle process does not need: free memory of malloc, and pages of Node.js's
 * code and constants, of which it needs a fifth. Blocks the event loop for 1 to 3 ms. The kernel maps pages again
 * when they are used, at the cost of a minor fault for each 64 KiB.
 */
export function releaseFreeMemory(): void {
  // With large pages the code is a copy in anonymous memory, which cannot be dropped (Node, cli.md).
  const flags = [...process.execArgv, process.env["NODE_OPTIONS"] ?? ""].join(" ");
  if (!/largepages[= ](on|silent)/.test(flags)) releasePages();
}

/**
 * NOTE(node): with the flag `--expose-gc` on the command line every start would take 20 ms longer, because code that
 * was compiled with other flags is not used from the cache. So the flag is set here for a moment only.
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
