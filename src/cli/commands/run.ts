import { messageOf } from "../../base/errors.ts";
import type { Call, Command } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { UsageError } from "../command-line/usage-error.ts";
import {
  fileOption,
  filesOf,
  podsDirectoryOption,
  podsRootOf,
  readPods,
  thisNode,
} from "../lifecycle/read-manifests.ts";
import type { RunningPod } from "../lifecycle/run-pod.ts";
import { runPods } from "../lifecycle/run-pods.ts";
import type { PodManifest } from "../../manifest/index.ts";
import { shortId } from "../output/figures.ts";
import { type Column, formatTable } from "../output/table.ts";
import { imageOptions, refusals } from "../run-image/options.ts";
import { imageOptionsOf } from "../run-image/request.ts";
import { pathKind, targetOf } from "../run-image/target.ts";
import { type Server, withServer } from "../server/session.ts";

/** `davit run`. */
export const run: Command = {
  name: "run",
  section: "Pods and containers",
  summary: "Run a container of an image, or the Pods of Kubernetes manifests",
  details:
    "An operand that is an existing file, ends in .yaml, .yml or .json, begins with / ./ ../ or ~, or is - for\n" +
    "stdin, is a manifest, and so are all operands with -f; another first operand is an IMAGE, and all words\n" +
    "after it are its COMMAND. If an image has the name of a file, add its tag: nginx:latest.\n" +
    "IMAGE runs in a pod of one container, with the options of docker, in the foreground: the output and the\n" +
    "exit code are those of the container. Ctrl-C sends SIGINT to it, and the second one kills it; with -it\n" +
    "all keys are sent to it, and Ctrl-P Ctrl-Q detaches. The exit code is 125 if davit run failed itself, 126\n" +
    "if the program cannot be executed, and 127 if it was not found. Without --rm, the pod is kept. COMMAND\n" +
    "replaces that of the image, but not its entrypoint.\n" +
    "Manifests: runs the Pods of all files concurrently: pulls their images, runs init containers one after another,\n" +
    "then starts the containers. Unsupported fields are reported with file and line before anything is\n" +
    "created, and so are host ports that are in use. If a container fails right after its start, its error and\n" +
    "the end of its log are printed and the exit code is 1, but the pod is kept; the same with -d.\n" +
    "On a failure of davit run or Ctrl-C before the containers run, everything that was created is\n" +
    "removed, except images.\n" +
    "Unlike kubelet, davit run does not restart containers, whatever restartPolicy is. The default seccomp\n" +
    "profile is RuntimeDefault.",
  operands: [
    {
      name: "IMAGE|FILE",
      optional: true,
      complete: "file-or-image",
      restAfter: (word, options) => !options.has("file") && targetOf(word) === "image",
    },
    { name: "COMMAND|FILE", many: true, optional: true, complete: "file" },
  ],
  options: {
    ...imageOptions,
    file: fileOption,
    wait: { doc: "Wait until all containers run or have exited with 0, else remove the pods" },
    replace: { doc: "Remove existing pods of the same names first" },
    quiet: { short: "q", doc: "Print only pod ids, and no notes" },
    "dry-run": { doc: "Print the manifest of IMAGE, or check FILE, and create nothing" },
    output: {
      short: "o",
      value: "FORMAT",
      doc: "Format of --dry-run",
      complete: ["yaml", "json"],
    },
    "pods-directory": podsDirectoryOption,
  },
  refusals,
  examples: [
    { line: "davit run -it --rm alpine sh", does: "Run a shell in a new container" },
    {
      line: "davit run -d --name web -p 8080:80 -v ./site:/usr/share/nginx/html:ro nginx",
      does: "Serve a directory on port 8080",
    },
    {
      line: "davit run --dry-run -o yaml -m 64m nginx >nginx.yaml",
      does: "Write the manifest for options",
    },
    { line: "davit run examples/hello.yaml", does: "Run a pod" },
    {
      line: "davit run --wait --replace web.yaml db.yaml",
      does: "Replace pods and wait until they run",
    },
    { line: "generate-pods | davit run -", does: "Read a manifest from stdin" },
  ],
  client: true,
  run: async (call) => {
    const { operands, options } = call;
    if (options.has("output") && !options.has("dry-run")) {
      throw new UsageError('"--output" requires --dry-run', run);
    }
    const [first] = operands;
    if (first !== undefined && !options.has("file") && targetOf(first) === "image") {
      // The code for images is not loaded for manifests.
      const { runImage } = await import("../run-image/run.ts");
      return runImage(call, run);
    }
    const pods = readManifests(call);
    if (options.has("dry-run")) return check(call, pods);
    return withServer(call, (server) => runManifests(call, server, pods));
  },
};

function readManifests(call: Call): readonly PodManifest[] {
  if (call.operands.length + call.options.texts("file").length === 0) {
    const workdir = call.options.text("workdir");
    const wait = workdir === undefined ? "" : `; -w is --workdir "${workdir}", not --wait`;
    throw new UsageError(`IMAGE or FILE is missing${wait}`, run);
  }
  const files = filesOf(call, run);
  const [other] = imageOptionsOf(call);
  if (other !== undefined) {
    const hint = `"${files[0] ?? ""}" is a manifest, which has fields for it`;
    throw new UsageError(`option "--${other}" is for images, but ${hint}`, run);
  }
  try {
    return readPods(files, thisNode(podsRootOf(call)));
  } catch (error) {
    throw withOtherMeaning(error, call.operands);
  }
}

/** Adds to the error of a manifest what to write for an image. */
function withOtherMeaning(error: unknown, words: readonly string[]): unknown {
  const word = words.find((each) => each !== "-" && !/\.(ya?ml|json)$/.test(each));
  if (!(error instanceof CommandFailure) || word === undefined) return error;
  const hint =
    pathKind(word) === "file"
      ? `"${word}" is a file here; for the image of this name, write "${word}:latest" or its full name`
      : /^[./~]/.test(word)
        ? `"${word}" is a path, not an image`
        : "with -f, all operands are manifests";
  return new CommandFailure(error.exitCode, `${messageOf(error)}\n${hint}`, { cause: error });
}

function check({ options, terminal }: Call, pods: readonly PodManifest[]): number {
  if (options.has("output")) {
    throw new UsageError('"--output" is for images: a manifest is printed by cat', run);
  }
  terminal.out(pods.map(({ namespace, name }) => `${namespace}/${name}: valid\n`).join(""));
  return exitCode.done;
}

async function runManifests(
  call: Call,
  server: Server,
  pods: readonly PodManifest[],
): Promise<number> {
  const { terminal } = call;
  const { style } = terminal;
  const files = filesOf(call, run);
  // By file, which also covers removed pods, unless it was stdin.
  const names = pods.map(({ namespace, name }) => `${namespace}/${name}`);
  const downWords = files.includes("-") ? names : files;
  const { running, hasFailed } = await runPods(call, server, pods, { downWords });
  terminal.out(
    call.options.has("quiet")
      ? running.map(({ id }) => `${id}\n`).join("")
      : formatTable(running, podColumns, { style, width: terminal.width() }),
  );
  return hasFailed ? exitCode.failed : exitCode.done;
}

const podColumns: readonly Column<RunningPod>[] = [
  { title: "POD ID", of: ({ id }) => shortId(id) },
  { title: "NAMESPACE", of: ({ manifest }) => manifest.namespace },
  { title: "NAME", of: ({ manifest }) => manifest.name },
  { title: "ADDRESS", of: ({ ips }) => ips.join(", ") || "the host's" },
  { title: "CONTAINERS", of: ({ containers }) => [...containers.keys()].join(", ") },
];
