import { loadArchive } from "../archives/load-archive.ts";
import { openArchive } from "../archives/archive-input.ts";
import type { Call, Command } from "../command-line/command.ts";
import { UsageError } from "../command-line/usage-error.ts";
import { type Server, withServer } from "../server/session.ts";

/** `davit load`. */
export const load: Command = {
  name: "load",
  section: "Images",
  summary: "Load images from an archive",
  details:
    "FILE is an archive of docker save, podman save, skopeo, buildah or davit save: a docker archive or an\n" +
    "OCI layout, also as a directory, and also compressed with gzip or zstd. Without FILE it is read from\n" +
    "stdin. Of an image for several platforms, the one for this node is loaded. Only with davit.",
  operands: [{ name: "FILE", optional: true, complete: "file" }],
  options: {
    input: { short: "i", value: "FILE", doc: "The same as FILE, as in docker", complete: "file" },
    name: { value: "NAME", doc: "Name of the only image of the archive, instead of those in it" },
    quiet: { short: "q", doc: "Print only image ids" },
  },
  examples: [
    { line: "davit load app.tar", does: "Load the images of an archive" },
    { line: "docker save app:1 | davit load", does: "Load an image from docker" },
    { line: "davit load --name app:1 ./layout", does: "Load an OCI layout and name its image" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => run(call, server)),
};

async function run(call: Call, server: Server): Promise<number> {
  const option = call.options.text("input");
  const [operand] = call.operands;
  if (option !== undefined && operand !== undefined) {
    throw new UsageError("--input must not be combined with FILE", load);
  }
  const input = await openArchive(option ?? operand, load);
  return await loadArchive(call, server, input, { name: call.options.text("name") ?? "" });
}
