/**
 * Servers that are held beside containerd and davit: any CRI socket, such as that of a containerd 2.x or of CRI-O. Who
 * starts the bench starts them too, in the namespaces outside of the bench's own: scripts/bench.sh says where those are.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import path from "node:path";
import { podNamespace } from "./pods.ts";
import { processDirectories } from "./procfs.ts";
import type { Side } from "./row.ts";
import { Server } from "./server.ts";

/** The servers of the bench itself. */
const ownNames: readonly string[] = ["containerd", "davit", "other", "plugins", "observed"];

/** The process that started the bench: its directory in the /proc outside. Beside that /proc is the /run outside. */
export function outside(): string {
  const directory = process.env["DAVIT_BENCH_OUTSIDE"];
  if (directory === undefined) throw new Error("start the bench with npm run bench");
  return directory;
}

/** A server by the argument of `--peer`. Throws if no process listens on its socket. */
export function openRival(argument: string): Server {
  const [, name, socket] = /^([a-z0-9][a-z0-9.-]*)=(\/.+)$/.exec(argument) ?? [];
  if (name === undefined || socket === undefined || ownNames.includes(name)) {
    throw new Error(
      `--peer: want NAME=SOCKET with an absolute path and a name other than ${ownNames.join(", ")}, got "${argument}"`,
    );
  }
  const absolute = socket.replace(/^\/var\/run\//, "/run/");
  const directory = path.dirname(absolute);
  // The processes of the server are those whose command line names this directory.
  if (["/", "/run", "/tmp", "/var/tmp"].includes(directory)) {
    throw new Error(`--peer: ${socket} must be in a directory of its own`);
  }
  // The bench has a /run of its own.
  const run = path.resolve(outside(), "../../run");
  return new Server({
    name,
    socket: absolute.replace(/^\/run\//, `${run}/`),
    mark: `${directory}/`,
    run: listenerOf(absolute),
  });
}

/** Removes all pods of this bench and of interrupted ones; what else the server has stays. */
export async function removePods({ server }: Side): Promise<void> {
  const { runtime } = server.client;
  const labelSelector = { "io.kubernetes.pod.namespace": podNamespace };
  const { items } = await runtime.listPodSandbox({ filter: { labelSelector } });
  for (const { id: podSandboxId } of items) {
    await runtime.stopPodSandbox({ podSandboxId });
    await runtime.removePodSandbox({ podSandboxId });
  }
}

/** The process that listens on a socket of the network namespace outside; its directory in /proc. */
function listenerOf(socket: string): string {
  const isListening = "00010000"; // the flags of a line (proc_pid_net(5))
  const line = readFileSync(path.join(outside(), "net/unix"), "utf8")
    .split("\n")
    .map((text) => text.split(/\s+/))
    .find(
      ([, , , flags, , , , bound]) =>
        flags === isListening && bound?.replace(/^\/var\/run\//, "/run/") === socket,
    );
  const target = `socket:[${line?.[6] ?? ""}]`;
  const found = processDirectories(path.dirname(outside())).find((directory) =>
    descriptorsOf(directory).includes(target),
  );
  if (found === undefined) throw new Error(`--peer: no process listens on ${socket}`);
  return found;
}

function descriptorsOf(directory: string): readonly string[] {
  const target = (name: string): string => {
    try {
      return readlinkSync(path.join(directory, "fd", name));
    } catch {
      return ""; // It was closed meanwhile.
    }
  };
  try {
    return readdirSync(path.join(directory, "fd")).map(target);
  } catch {
    return []; // The process ended meanwhile.
  }
}
