import process from "node:process";
import { CriClient } from "../../client/cri-client.ts";
import type { Config } from "../../config/config.ts";
import { silentLogger } from "../../base/logger.ts";
import { RuntimeError } from "../../base/errors.ts";
import { removeOwnDirectory } from "../lifecycle/volumes.ts";
import { paths } from "./layout.ts";

/** A stop may take the grace period of a container, and a removal that of a slow CNI plugin. */
const callMs = 120_000;
const graceSeconds = 10n;
const statusMs = 5_000;

/** The davit at a socket, if one answers there. */
export interface ServingDavit {
  readonly version: string;
  readonly pods: number;
}

/** Asks the server at `socket`; undefined if none answers. `failed-precondition` if it is another runtime. */
export async function askServer(socket: string): Promise<ServingDavit | undefined> {
  using client = new CriClient(`unix://${socket}`);
  const options = { timeoutMs: statusMs };
  let answer: Awaited<ReturnType<typeof client.runtime.version>>;
  try {
    answer = await client.runtime.version({}, options);
  } catch {
    return undefined;
  }
  if (answer.runtimeName !== "davit") {
    throw new RuntimeError(
      "failed-precondition",
      `uninstall davit: "${socket}" is served by ${answer.runtimeName}, not by davit; see server.listen in davit.toml`,
    );
  }
  const { items } = await client.runtime.listPodSandbox({}, options);
  return { version: answer.runtimeVersion, pods: items.length };
}

/**
 * Stops and removes all pods with their containers, and all images, by the daemon at the configured socket. If none
 * serves, by a daemon of this process, which begins with the records of the last one.
 */
export async function removePodsAndImages(
  config: Config,
  { serving, version }: { readonly serving: boolean; readonly version: string },
): Promise<void> {
  if (serving) {
    await removeAll(config.server.listen);
    return;
  }
  // As davit serve does: the users of a user namespace must reach the roots of their containers.
  process.umask(0o022);
  const { runDaemon } = await import("../../daemon/process/run.ts");
  const daemon = await runDaemon(config, { version, log: silentLogger });
  try {
    await daemon.ready;
    await removeAll(daemon.socket);
  } finally {
    await daemon.close("davit uninstall");
  }
}

async function removeAll(socket: string): Promise<void> {
  using client = new CriClient(`unix://${socket}`, { maxMessageBytes: 64 * 1024 * 1024 });
  const options = { timeoutMs: callMs };
  const { containers } = await client.runtime.listContainers({}, options);
  await Promise.all(
    containers.map(({ id: containerId }) =>
      client.runtime.stopContainer({ containerId, timeout: graceSeconds }, options),
    ),
  );
  const { items } = await client.runtime.listPodSandbox({}, options);
  for (const { id: podSandboxId, metadata } of items) {
    await client.runtime.stopPodSandbox({ podSandboxId }, options);
    await client.runtime.removePodSandbox({ podSandboxId }, options);
    if (metadata !== undefined) await removeOwnDirectory(paths.pods, metadata);
  }
  const { images } = await client.image.listImages({}, options);
  for (const { id } of images) await client.image.removeImage({ image: { image: id } }, options);
}
