import process from "node:process";
import type { Call, Command } from "../command-line/command.ts";
import { UsageError } from "../command-line/usage-error.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { containerPath } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { pickContainer } from "../objects/pick.ts";
import { printable } from "../output/printable.ts";
import { type Server, withServer } from "../server/session.ts";
import { type CopyPath, parseCopyPath } from "../streams/copy-path.ts";

/** `davit cp`. */
export const cp: Command = {
  name: "cp",
  section: "Inspection and debugging",
  summary: "Copy files and directories to or from a container",
  details:
    "Requires tar in the container. If TARGET is a directory, SOURCE is copied into it. A local path with a\n" +
    "colon must begin with / or a dot. From a container, only files and directories are copied, and nothing\n" +
    "is written outside of TARGET; links and devices are skipped with a note. - means stdin or stdout with a\n" +
    "tar archive, which includes links and devices; a file of that name is ./-.",
  operands: [
    { name: "SOURCE", complete: "file" },
    { name: "TARGET", complete: "file" },
  ],
  options: {},
  examples: [
    { line: "davit cp web:/etc/nginx ./nginx", does: "Copy a directory from a container" },
    {
      line: "davit cp page.html web/nginx:/usr/share/nginx/html",
      does: "Copy a file to a container",
    },
    { line: "davit cp web:/etc - | tar -t", does: "Write a tar archive to stdout" },
    { line: "tar -c site | davit cp - web:/srv", does: "Extract a tar archive in a container" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => run(call, server)),
};

async function run(call: Call, server: Server): Promise<number> {
  const [source, target] = [pathOf(call.operands[0] ?? ""), pathOf(call.operands[1] ?? "")];
  const word = source.container ?? target.container;
  if (word === undefined || (source.container !== undefined && target.container !== undefined)) {
    throw new UsageError(
      "one of SOURCE and TARGET must be CONTAINER:PATH, and the other one a local path",
      cp,
    );
  }
  const streams = source.container === undefined ? isStdin(source) : isStdout(target);
  const { copyFrom, copyFromStream, copyTo, copyToStream } = await import("../streams/copy.ts");
  const found = await pickContainer(word, new Objects(server));
  const onSkipped = (path: string): void => {
    call.terminal.err(`skipped ${printable(path)}: not a file or directory\n`);
  };
  const options = {
    server,
    containerId: found.container.id,
    container: containerPath(found),
    onSkipped,
  };
  if (source.container === undefined) {
    await (streams
      ? copyFromStream(options, process.stdin, target.path)
      : copyTo(options, source.path, target.path));
  } else {
    await (streams
      ? copyToStream(options, source.path, process.stdout)
      : copyFrom(options, source.path, target.path));
  }
  return exitCode.done;
}

function isStdin({ path }: CopyPath): boolean {
  if (path !== "-") return false;
  if (!process.stdin.isTTY) return true;
  throw new UsageError(
    "SOURCE is -, but stdin is a terminal: must be a pipe or a file with a tar archive",
    cp,
  );
}

function isStdout({ path }: CopyPath): boolean {
  if (path !== "-") return false;
  if (!process.stdout.isTTY) return true;
  throw new UsageError("TARGET is -, but stdout is a terminal: must be a pipe or a file", cp);
}

function pathOf(text: string): CopyPath {
  const path = parseCopyPath(text);
  if (path !== undefined) return path;
  throw new UsageError(`"${text}" is not a path: must be CONTAINER:PATH or a local path`, cp);
}
