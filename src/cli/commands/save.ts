import process from "node:process";
import { checkArchiveOutput, writeArchive } from "../archives/archive-output.ts";
import { davitOnly } from "../archives/load-archive.ts";
import type { Call, Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { UsageError } from "../command-line/usage-error.ts";
import { formatBytes, formatDuration } from "../output/figures.ts";
import { LiveLines, spinnerAt } from "../output/live-lines.ts";
import { progressOutput } from "../output/progress-output.ts";
import { doing } from "../server/explain.ts";
import { type Server, withServer } from "../server/session.ts";

/** `davit save`. */
export const save: Command = {
  name: "save",
  section: "Images",
  summary: "Write images to an archive",
  details:
    "The archive is a docker archive and an OCI layout at once, which davit, docker, podman, skopeo and ctr\n" +
    "read. An image that is given by its id has no name in it. davit keeps the files of layers and not\n" +
    "their blobs, so the image in the archive has another id than the one that was pulled. Only with davit.",
  operands: [{ name: "IMAGE", many: true, complete: "image" }],
  options: {
    output: { short: "o", value: "FILE", doc: "File to write instead of stdout", complete: "file" },
    quiet: { short: "q", doc: "Show no progress" },
  },
  examples: [
    { line: "davit save -o app.tar app:1", does: "Save an image" },
    { line: "davit save app:1 db:2 | gzip >images.tar.gz", does: "Save two images, compressed" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => run(call, server)),
};

async function run(call: Call, server: Server): Promise<number> {
  const path = call.options.text("output");
  if (path === undefined && process.stdout.isTTY) {
    throw new UsageError("stdout is a terminal: set --output, or use a pipe", save);
  }
  let written = 0;
  using lines = new LiveLines(progressOutput(call.terminal, call.options.has("quiet")));
  const startedMs = performance.now();
  using _shown = lines.add((now) => [
    `${spinnerAt(now)} ${path ?? "stdout"}  ${written === 0 ? "reading" : formatBytes(written)}  ` +
      formatDuration(now - startedMs),
  ]);
  if (path !== undefined) await checkArchiveOutput(path);
  const images = [...new Set(call.operands)];
  async function* chunks(): AsyncGenerator<Uint8Array> {
    for await (const { chunk } of server.client.davit.save({ images }, server.unlimited())) {
      written += chunk.length;
      yield chunk;
    }
  }
  const what = `save ${images.map((name) => `"${name}"`).join(", ")}`;
  await doing(what, davitOnly(writeArchive(path, chunks(), { mode: 0o644 })));
  return exitCode.done;
}
