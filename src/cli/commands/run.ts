import type { PodSandbox } from "../../gen/runtime/v1/api_pb.ts";
import type { Call, Command } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { GraceLines } from "../lifecycle/grace.ts";
import { checkHostPorts } from "../lifecycle/host-ports.ts";
import { giveIds } from "../lifecycle/pod-ids.ts";
import { PodRun } from "../lifecycle/pod-run.ts";
import { PullWatch } from "../lifecycle/pull-watch.ts";
import {
  fileOption,
  filesOf,
  podsDirectoryOption,
  podsRootOf,
  readPods,
  thisNode,
} from "../lifecycle/read-manifests.ts";
import type { RunContext, RunningPod } from "../lifecycle/run-pod.ts";
import { takeDown } from "../lifecycle/take-down.ts";
import { claimPodDirectory, removeOwnDirectory, removePodDirectory } from "../lifecycle/volumes.ts";
import { podDirectory, type PodManifest } from "../../manifest/pod.ts";
import { podPath } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { formatAge, shortId } from "../output/figures.ts";
import { LiveLines } from "../output/live-lines.ts";
import { progressOutput } from "../output/progress-output.ts";
import { type Column, formatTable } from "../output/table.ts";
import { type Server, withServer } from "../server/session.ts";
import { stateName } from "./pods.ts";

/** `davit run`. */
export const run: Command = {
  name: "run",
  section: "Pods and containers",
  summary: "Run the Pods of Kubernetes manifests",
  details:
    "Takes Pods as kubectl does, several in a file too, and runs them at the same time: images\n" +
    "are pulled, init containers run one after another, then the containers start. A field that\n" +
    "it does not do is refused by file and line before anything is made, and a host port that another\n" +
    "pod or a process has, too. When something fails, or on Ctrl-C, all that it made is removed, but\n" +
    "for pulled images. A container that ends with an error within the first moment is told, with the\n" +
    "end of its log and exit code 1; its pod stays.\n" +
    "It is no supervisor: whatever restartPolicy says, nothing restarts a container that ends\n" +
    "(kubelet would). seccomp is RuntimeDefault unless the manifest says another profile.",
  operands: [{ name: "FILE", many: true, optional: true, complete: "file" }],
  options: {
    wait: {
      short: "w",
      doc: "Wait until all containers run, or have ended well; else remove all",
    },
    replace: { doc: "Take down pods of the same names first" },
    quiet: { short: "q", doc: "Only the ids of the pods, one a line" },
    file: fileOption,
    "pods-directory": podsDirectoryOption,
  },
  examples: [
    { line: "davit run examples/hello.yaml", does: "Run a pod" },
    {
      line: "davit run --wait --replace web.yaml db.yaml",
      does: "Run pods again, and see them up",
    },
    { line: "generate-pods | davit run -", does: "From another program" },
  ],
  client: true,
  run: (call) => {
    const node = thisNode(podsRootOf(call));
    const pods = readPods(filesOf(call, run), node);
    return withServer(call, (server) => runAll(call, server, pods));
  },
};

async function runAll(call: Call, server: Server, pods: readonly PodManifest[]): Promise<number> {
  const { terminal } = call;
  // Before anything is made: whether there is a server at all.
  await new Objects(server).pods();
  using claims = new DisposableStack();
  const isNew = new Map<PodManifest, boolean>();
  for (const pod of pods) isNew.set(pod, claims.use(await claimPodDirectory(pod)).isNew);
  const quiet = call.options.has("quiet");
  using lines = new LiveLines(progressOutput(terminal, quiet));
  try {
    await makeRoom(call, server, pods, new GraceLines(terminal, { lines, quiet }));
  } catch (error) {
    for (const { directory } of pods.filter((pod) => isNew.get(pod)))
      await removePodDirectory(directory);
    throw error;
  }
  noteRestarts(call, pods);

  using watch = lines.live ? new PullWatch(server) : undefined;
  const failed = new AbortController();
  const context: RunContext = {
    server,
    node: thisNode(""),
    pulls: new Map(),
    signal: AbortSignal.any([server.signal, failed.signal]),
  };
  const runs = (await giveIds(context, pods)).map((pod) => new PodRun(pod, { lines, watch, call }));
  server.onLeave?.(() => leaving(call, runs));
  const results = await Promise.allSettled(
    runs.map((each) =>
      each.run(context).catch((error: unknown) => {
        // The first failure is the one to tell; the others only end because of it.
        failed.abort(error);
        throw error;
      }),
    ),
  );
  if (results.some(({ status }) => status === "rejected")) {
    const undone = await Promise.all(runs.map((each) => each.undo()));
    lines[Symbol.dispose]();
    if (!server.signal.aborted) throw failed.signal.reason as Error;
    const rest = undone.includes(false)
      ? `not all that was made is removed; ${downAgain(call, runs)}`
      : "what was made is removed";
    throw new CommandFailure(exitCode.interrupted, `interrupted; ${rest}`);
  }
  lines[Symbol.dispose]();
  const running = results.flatMap((result) =>
    result.status === "fulfilled" ? [result.value] : [],
  );
  const { style } = terminal;
  const width = terminal.width();
  terminal.out(
    quiet
      ? running.map(({ id }) => `${id}\n`).join("")
      : formatTable(running, podColumns, { style, width }),
  );
  return runs.some(({ hasFailed }) => hasFailed) ? exitCode.failed : exitCode.done;
}

/** What is true when a second Ctrl-C ends the command in the middle of taking everything back. */
function leaving(call: Call, runs: readonly PodRun[]): string {
  const names = runs.map(({ name }) => name).join(", ");
  return (
    `interrupted again; ${names} may be there, or may be made yet: the server goes on with what it ` +
    `is at, and takes a pod away that nobody asks for again; ${downAgain(call, runs)}`
  );
}

/** By the files, which know pods that are gone as well, unless they were read from stdin. */
function downAgain(call: Call, runs: readonly PodRun[]): string {
  const files = filesOf(call, run);
  const words = files.includes("-") ? runs.map(({ name }) => name) : files;
  return `"davit down ${words.join(" ")}" removes what is left`;
}

const podColumns: readonly Column<RunningPod>[] = [
  { title: "POD ID", of: ({ id }) => shortId(id) },
  { title: "NAMESPACE", of: ({ manifest }) => manifest.namespace },
  { title: "NAME", of: ({ manifest }) => manifest.name },
  { title: "ADDRESS", of: ({ ips }) => ips.join(", ") || "the host's" },
  { title: "CONTAINERS", of: ({ containers }) => [...containers.keys()].join(", ") },
];

/**
 * Sees that no pod of these names is there, nor anybody who has a host port of theirs; or takes the pods
 * down where that was asked for.
 */
async function makeRoom(
  call: Call,
  server: Server,
  pods: readonly PodManifest[],
  grace: GraceLines,
): Promise<void> {
  const objects = new Objects(server);
  const names = new Set(pods.map(({ namespace, name }) => `${namespace}/${name}`));
  const there = (await objects.pods()).filter((pod) => names.has(podPath(pod)));
  if (there.length > 0 && !call.options.has("replace")) throw inTheWay(there);
  await checkHostPorts(server, objects, { pods, leaving: there });
  if (there.length === 0) return;
  const containers = (await objects.containers()).map(({ container }) => container);
  const directories = new Set(pods.map(({ directory }) => directory));
  const podsRoot = podsRootOf(call);
  await Promise.all(
    there.map(async (pod) => {
      await takeDown(server, pod, containers, { seconds: undefined, grace });
      const own = pod.metadata;
      // The directories of the new ones are theirs already.
      if (own && !directories.has(podDirectory(podsRoot, own)))
        await removeOwnDirectory(podsRoot, own);
    }),
  );
}

function inTheWay(there: readonly PodSandbox[]): CommandFailure {
  const now = Date.now();
  const describe = (pod: PodSandbox): string =>
    `  ${shortId(pod.id)}  ${podPath(pod)}, ${stateName(pod)}, made ${formatAge(pod.createdAt, now)}`;
  const one = there.length === 1;
  return new CommandFailure(
    exitCode.failed,
    `nothing was done: ${one ? "this pod is" : "these pods are"} there already:\n` +
      `${there.map(describe).join("\n")}\n` +
      `"davit down ${there.map(podPath).join(" ")}" takes ${one ? "it" : "them"} down, ` +
      "davit run --replace puts new ones in their place",
  );
}

/** Said once, and only about what a manifest asks for in so many words. */
function noteRestarts({ terminal, options }: Call, pods: readonly PodManifest[]): void {
  const asked = new Set(pods.map(({ restartPolicy }) => restartPolicy));
  const policies = (["Always", "OnFailure"] as const).filter((policy) => asked.has(policy));
  if (policies.length === 0 || options.has("quiet")) return;
  const note = `note: nothing restarts containers that end (restartPolicy ${policies.join(", ")}): kubelet would, davit run does not`;
  terminal.err(`${terminal.errStyle.dim(note)}\n`);
}
