import { openArchive } from "../archives/archive-input.ts";
import { loadArchive } from "../archives/load-archive.ts";
import type { Call, Command } from "../command-line/command.ts";
import { type Server, withServer } from "../server/session.ts";

/** `davit import`. */
export const importRoot: Command = {
  name: "import",
  section: "Images",
  summary: "Make an image of a root file system",
  details:
    "FILE is a tar archive of the files, also compressed with gzip or zstd, a directory, or - for stdin. The\n" +
    "image has one layer. Only with davit.",
  operands: [{ name: "FILE", complete: "file" }, { name: "NAME" }],
  options: {
    cmd: { value: "WORD", many: true, doc: "A word of the image's default command" },
    entrypoint: { value: "WORD", many: true, doc: "A word of the image's entrypoint" },
    env: { short: "e", value: "KEY=VALUE", many: true, doc: "An environment variable" },
    workdir: { value: "PATH", doc: "The working directory" },
    user: { value: "USER", doc: "The user, with or without a group: app, 1000:1000" },
    quiet: { short: "q", doc: "Print only the image id" },
  },
  examples: [
    { line: "davit import rootfs.tar.gz app:1", does: "Make docker.io/library/app:1" },
    {
      line: "tar -C rootfs -c . | davit import --cmd /bin/sh - app:1",
      does: "Pack a directory, and set the command",
    },
  ],
  client: true,
  run: (call) => withServer(call, (server) => run(call, server)),
};

async function run(call: Call, server: Server): Promise<number> {
  const { options } = call;
  const [path, name = ""] = call.operands;
  options.pairs("env"); // reports what is not KEY=VALUE
  const rootFs = {
    cmd: [...options.texts("cmd")],
    entrypoint: [...options.texts("entrypoint")],
    env: [...options.texts("env")],
    workingDir: options.text("workdir") ?? "",
    user: options.text("user") ?? "",
  };
  const input = await openArchive(path, importRoot);
  return await loadArchive(call, server, input, { name, rootFs });
}
