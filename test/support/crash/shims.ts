/**
 * Sites for crash tests of shims: containerd's runc shim runs the containers, in pods of the podsandbox
 * controller and in pods whose sandboxes a sandboxer makes.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { type CrashSites, type PodKind, sandboxerHandler } from "./sites.ts";
import { containerSites } from "./containers.ts";
import { makeSandboxer, removeSandboxer } from "../sandboxer.ts";

/** The directory of the sockets of containerd's shims. */
const sockets = "/run/containerd";

/** The kinds of pods with shims that `npm test` covers. */
export const shimKinds: readonly PodKind[] = [
  "by a sandboxer",
  "without a holder",
  "with a holder",
];

/** Sites whose default handler uses a shim. The file must import suites/by-shim.ts first. */
export function shimSites(): CrashSites {
  return containerSites(() => {
    const { directory, program } = makeSandboxer();
    const handler = { controller: "shim", runtime_type: program };
    // A file system of this test: a socket that is left in it belongs to the test.
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
