/**
 * The ground that crash tests of shims stand on: containers run by containerd's runc shim, in pods of
 * the podsandbox controller and in pods whose sandboxes a sandboxer makes.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { type CrashSites, type PodKind, sandboxerHandler } from "./sites.ts";
import { containerSites } from "./containers.ts";
import { makeSandboxer, removeSandboxer } from "../sandboxer.ts";

/** Where containerd's shims have their sockets. */
const sockets = "/run/containerd";

/** The kinds of pods that have shims: all that a sample needs. */
export const shimKinds: readonly PodKind[] = [
  "by a sandboxer",
  "without a holder",
  "with a holder",
];

/** Sites whose default handler is a shim's. The file must import suites/by-shim.ts first. */
export function shimSites(): CrashSites {
  return containerSites(() => {
    const { directory, program } = makeSandboxer();
    const handler = { controller: "shim", runtime_type: program };
    // A file system of this test, so that a socket that is left is ours.
    mkdirSync(sockets, { recursive: true });
    execFileSync("mount", ["-t", "tmpfs", "tmpfs", sockets]);
    return {
      config: { runtime: { handlers: { [sandboxerHandler]: handler } } },
      kinds: shimKinds,
      directories: [directory, sockets],
      end: () => {
        execFileSync("umount", [sockets]);
        removeSandboxer(directory);
      },
    };
  });
}
