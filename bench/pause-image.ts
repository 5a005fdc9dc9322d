/** The image of containerd's pause processes, made without a registry. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** What containerd's configuration calls the image. */
export const pauseImageName = "davit.bench/pause:1";

/** Writes a docker archive of one layer that holds nothing but the static program `pause`. */
export async function writePauseImage(archive: string, pause: string): Promise<void> {
  const directory = await mkdtemp(`${archive}-`);
  const tar = (file: string, ...names: string[]): Promise<unknown> =>
    run("tar", ["--create", "--owner=0", "--group=0", "-C", directory, "-f", file, ...names]);
  await copyFile(pause, path.join(directory, "pause"));
  const layer = path.join(directory, "layer.tar");
  await tar(layer, "pause");
  const digest = createHash("sha256")
    .update(await readFile(layer))
    .digest("hex");
  const config = {
    architecture: process.arch === "x64" ? "amd64" : process.arch,
    os: "linux",
    config: { Entrypoint: ["/pause"] },
    rootfs: { type: "layers", diff_ids: [`sha256:${digest}`] },
  };
  const manifest = [{ Config: "config.json", RepoTags: [pauseImageName], Layers: ["layer.tar"] }];
  await writeFile(path.join(directory, "config.json"), JSON.stringify(config));
  await writeFile(path.join(directory, "manifest.json"), JSON.stringify(manifest));
  await tar(archive, "manifest.json", "config.json", "layer.tar");
  await rm(directory, { recursive: true });
}
