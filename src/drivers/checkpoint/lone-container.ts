import { mkdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { RuntimeError } from "../../base/errors.ts";
import { checkpointFiles, podCheckpointFiles } from "../../core/checkpoint/index.ts";
import { loneContainer } from "./extract.ts";
import { createFile, digestText, OpenDirectory } from "./files.ts";
import {
  containerDirectory,
  formatPodManifest,
  maxManifestBytes,
  noCode,
  type PodManifest,
  sealedPodText,
} from "./manifest.ts";
import { checkFiles, type CheckOptions, type OpenDeps, readSealed } from "./open-checkpoint.ts";

/**
 * Checks the checkpoint of one container, of which `names` are all files in {@link loneContainer}, and makes a pod's
 * checkpoint of it. Only one of this node gets a code of this node. Errors as `Checkpoints.openArchive`, and
 * `invalid-argument` for one of another runtime, which does not have the configs that a restored pod needs.
 */
export async function makePod(
  deps: Pick<OpenDeps, "seal">,
  directory: string,
  how: CheckOptions,
): Promise<void> {
  const { names, trust, signal } = how;
  const from = join(directory, loneContainer);
  const { name, pod, isOwn } = await read();
  const containers = join(directory, podCheckpointFiles.containers);
  await mkdir(containers, { mode: 0o700 });
  await rename(from, join(containers, name));
  const code = isOwn ? await deps.seal.codeOf(sealedPodText(pod)) : noCode;
  await using file = await createFile(join(directory, podCheckpointFiles.manifest));
  await file.writeFile(formatPodManifest(pod, code));

  async function read(): Promise<{
    readonly name: string;
    readonly pod: PodManifest;
    readonly isOwn: boolean;
  }> {
    await using opened = await OpenDirectory.open(from);
    const found = await readSealed(opened, { deps, trust });
    const text = await opened.text(checkpointFiles.manifest, maxManifestBytes);
    const { config, podConfig } = found?.manifest.facts ?? {};
    if (found === undefined || text === undefined || !config?.length || !podConfig?.length) {
      throw new RuntimeError(
        "invalid-argument",
        "it does not have the configuration of its pod, since another runtime has made it: make a container whose image is the path of the archive (checkpoint.restore_containers)",
      );
    }
    const { manifest, isOwn } = found;
    await checkFiles(opened, names, manifest, signal);
    const { facts } = manifest;
    const name = containerDirectory(facts.name);
    const { podName, podNamespace, runtimeHandler, capturedAtNs } = facts;
    const of = new Map([[name, await digestText(text)]]);
    const pod = { podName, podNamespace, runtimeHandler, capturedAtNs, config: podConfig };
    return { name, isOwn, pod: { ...pod, containers: of } };
  }
}
