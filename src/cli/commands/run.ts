import type { PodSandbox } from "../../gen/runtime/v1/api_pb.ts";
import type { Call, Command } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { GracePeriodLines } from "../lifecycle/grace.ts";
import { checkHostPorts } from "../lifecycle/host-ports.ts";
import { assignIds } from "../lifecycle/pod-ids.ts";
import { PodRun } from "../lifecycle/pod-run.ts";
import { PullProgress } from "../lifecycle/pull-progress.ts";
import {
  fileOption,
  filesOf,
  podsDirectoryOption,
  podsRootOf,
  readPods,
  thisNode,
} from "../lifecycle/read-manifests.ts";
import type { RunContext, RunningPod } from "../lifecycle/run-pod.ts";
import { stopAndRemovePod } from "../lifecycle/stop.ts";
import { claimPodDirectory, removeOwnDirectory, removePodDirectory } from "../lifecycle/volumes.ts";
import { podDirectory, type PodManifest } from "../../manifest/index.ts";
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
    "Runs the Pods of all files concurrently: pulls their images, runs init containers one after another,\n" +
    "then starts the containers. Unsupported fields are reported with file and line before anything is\n" +
    "created, and so are host ports that are in use. On a failure or Ctrl-C, everything that was created is\n" +
    "removed, except images. If a container fails right after its start, its error and the end of its log\n" +
    "are printed and the exit code is 1, but the pod is kept.\n" +
    "Unlike kubelet, davit run does not restart containers, whatever restartPolicy is. The default seccomp\n" +
    "profile is RuntimeDefault.",
  operands: [{ name: "FILE", many: true, optional: true, complete: "file" }],
  options: {
    wait: {
      short: "w",
      doc: "Wait until all containers run or have exited with 0, else remove the pods",
    },
    replace: { doc: "Remove existing pods of the same names first" },
    quiet: { short: "q", doc: "Print only pod ids" },
    file: fileOption,
    "pods-directory": podsDirectoryOption,
  },
  examples: [
    { line: "davit run examples/hello.yaml", does: "Run a pod" },
    {
      line: "davit run --wait --replace web.yaml db.yaml",
      does: "Replace pods and wait until they run",
    },
    { line: "generate-pods | davit run -", does: "Read a manifest from stdin" },
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
  // Fail before anything is created if the server is not reachable.
  await new Objects(server).pods();
  using claims = new DisposableStack();
  const isNew = new Map<PodManifest, boolean>();
  for (const pod of pods) isNew.set(pod, claims.use(await claimPodDirectory(pod)).isNew);
  const quiet = call.options.has("quiet");
  using lines = new LiveLines(progressOutput(terminal, quiet));
  try {
    await prepareHost(call, server, pods, new GracePeriodLines(terminal, { lines, quiet }));
  } catch (error) {
    for (const { directory } of pods.filter((pod) => isNew.get(pod)))
      await removePodDirectory(directory);
    throw error;
  }
  warnRestartPolicy(call, pods);

  using watch = lines.live ? new PullProgress(server) : undefined;
  const failed = new AbortController();
  const context: RunContext = {
    server,
    node: thisNode(""),
    pulls: new Map(),
    signal: AbortSignal.any([server.signal, failed.signal]),
  };
  const runs = (await assignIds(context, pods)).map(
    (pod) => new PodRun(pod, { lines, watch, call }),
  );
  server.onForcedExit?.(() => interruptedAgain(call, runs));
  const results = await Promise.allSettled(
    runs.map((each) =>
      each.run(context).catch((error: unknown) => {
        // The first failure is reported; it cancels the other pods.
        failed.abort(error);
        throw error;
      }),
    ),
  );
  if (results.some(({ status }) => status === "rejected")) {
    const undone = await Promise.all(runs.map((each) => each.undo()));
    lines[Symbol.dispose]();
    if (!server.signal.aborted) throw failed.signal.reason as Error;
    const result = undone.includes(false)
      ? `not everything that was created is removed; ${cleanUpHint(call, runs)}`
      : "everything that was created is removed";
    throw new CommandFailure(exitCode.interrupted, `interrupted; ${result}`);
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

/** The message when a second Ctrl-C ends the command during the cleanup. */
function interruptedAgain(call: Call, runs: readonly PodRun[]): string {
  const names = runs.map(({ name }) => name).join(", ");
  return (
    `interrupted again; ${names} may exist, or may still be created: the server completes the current ` +
    `request, and removes the pod if the request is not retried; ${cleanUpHint(call, runs)}`
  );
}

/** How to remove what is left: by file, which also covers removed pods, unless it was stdin. */
function cleanUpHint(call: Call, runs: readonly PodRun[]): string {
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
 * Checks that no pod of these names exists and that their host ports are free. With --replace, removes
 * the existing pods.
 */
async function prepareHost(
  call: Call,
  server: Server,
  pods: readonly PodManifest[],
  grace: GracePeriodLines,
): Promise<void> {
  const objects = new Objects(server);
  const names = new Set(pods.map(({ namespace, name }) => `${namespace}/${name}`));
  const existing = (await objects.pods()).filter((pod) => names.has(podPath(pod)));
  if (existing.length > 0 && !call.options.has("replace")) throw podsExist(existing);
  await checkHostPorts(server, objects, { pods, replaced: existing });
  if (existing.length === 0) return;
  const containers = (await objects.containers()).map(({ container }) => container);
  const directories = new Set(pods.map(({ directory }) => directory));
  const podsRoot = podsRootOf(call);
  await Promise.all(
    existing.map(async (pod) => {
      await stopAndRemovePod(server, pod, containers, { seconds: undefined, grace });
      const own = pod.metadata;
      // The directory of a new pod of the same name is in use already.
      if (own && !directories.has(podDirectory(podsRoot, own)))
        await removeOwnDirectory(podsRoot, own);
    }),
  );
}

function podsExist(existing: readonly PodSandbox[]): CommandFailure {
  const now = Date.now();
  const describe = (pod: PodSandbox): string =>
    `  ${shortId(pod.id)}  ${podPath(pod)}, ${stateName(pod)}, created ${formatAge(pod.createdAt, now)}`;
  const one = existing.length === 1;
  return new CommandFailure(
    exitCode.failed,
    `run pods: ${one ? "this pod exists" : "these pods exist"} already, nothing was done:\n` +
      `${existing.map(describe).join("\n")}\n` +
      `remove ${one ? "it" : "them"} with "davit down ${existing.map(podPath).join(" ")}", ` +
      "or use davit run --replace",
  );
}

/** Prints a note once if a manifest sets a restartPolicy other than Never. */
function warnRestartPolicy({ terminal, options }: Call, pods: readonly PodManifest[]): void {
  const set = new Set(pods.map(({ restartPolicy }) => restartPolicy));
  const policies = (["Always", "OnFailure"] as const).filter((policy) => set.has(policy));
  if (policies.length === 0 || options.has("quiet")) return;
  const note = `note: davit run does not restart containers, unlike kubelet (restartPolicy ${policies.join(", ")})`;
  terminal.err(`${terminal.errStyle.dim(note)}\n`);
}
