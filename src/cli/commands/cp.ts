import process from "node:process";
import type { Call, Command } from "../command-line/command.ts";
import { UsageError } from "../command-line/usage-error.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { containerPath } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { pickContainer } from "../objects/pick.ts";
import { printable } from "../output/printable.ts";
import { type Server, withServer } from "../server/session.ts";
import { type CopyPlace, parseCopyPlace } from "../streams/copy-place.ts";

/** `davit cp`. */
export const cp: Command = {
  name: "cp",
  section: "Look inside",
  summary: "Copy files and directories to a container, or from one",
  details:
    "By tar, which the container must have. What is copied to a directory goes into it. A path of this\n" +
    "machine that has a colon begins with / or a dot. From a container only files and directories are taken,\n" +
    "and nothing is written outside of the target; links and devices are left out, with a note.\n" +
    "- is stdout or stdin, and a tar archive, which has links and devices, too; a file of that name is ./-.",
  operands: [
    { name: "SOURCE", complete: "file" },
    { name: "TARGET", complete: "file" },
  ],
  options: {},
  examples: [
    { line: "davit cp web:/etc/nginx ./nginx", does: "A directory of a container" },
    { line: "davit cp page.html web/nginx:/usr/share/nginx/html", does: "A file into one" },
    { line: "davit cp web:/etc - | tar -t", does: "As a tar archive, for another program" },
    { line: "tar -c site | davit cp - web:/srv", does: "Unpack a tar archive in a container" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => run(call, server)),
};

async function run(call: Call, server: Server): Promise<number> {
  const [source, target] = [placeOf(call.operands[0] ?? ""), placeOf(call.operands[1] ?? "")];
  const word = source.container ?? target.container;
  if (word === undefined || (source.container !== undefined && target.container !== undefined)) {
    throw new UsageError("one of SOURCE and TARGET is CONTAINER:PATH, the other one a path", cp);
  }
  const streams = source.container === undefined ? isStdin(source) : isStdout(target);
  const { copyFrom, copyFromStream, copyTo, copyToStream } = await import("../streams/copy.ts");
  const found = await pickContainer(word, new Objects(server));
  const onSkipped = (path: string): void => {
    call.terminal.err(`left out: ${printable(path)} is neither a file nor a directory\n`);
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

function isStdin({ path }: CopyPlace): boolean {
  if (path !== "-") return false;
  if (!process.stdin.isTTY) return true;
  throw new UsageError("- as SOURCE is a tar archive on stdin, which is a terminal", cp);
}

function isStdout({ path }: CopyPlace): boolean {
  if (path !== "-") return false;
  if (!process.stdout.isTTY) return true;
  throw new UsageError("- as TARGET is a tar archive on stdout, which is a terminal", cp);
}

function placeOf(text: string): CopyPlace {
  const place = parseCopyPlace(text);
  if (place !== undefined) return place;
  throw new UsageError(`"${text}" names no file: want CONTAINER:PATH or a path`, cp);
}
