import type { PodSandbox } from "../../gen/runtime/v1/api_pb.ts";
import type { Call } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { podDirectory, type PodManifest } from "../../manifest/index.ts";
import { podPath } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { stateName } from "../objects/state.ts";
import { formatAge, shortId } from "../output/figures.ts";
import { LiveLines } from "../output/live-lines.ts";
import { progressOutput } from "../output/progress-output.ts";
import type { Server } from "../server/session.ts";
import { GracePeriodLines } from "./grace.ts";
import { checkHostPorts } from "./host-ports.ts";
import { removeLeftDirectories } from "./left-directories.ts";
import { assignIds } from "./pod-ids.ts";
import { PodRun } from "./pod-run.ts";
import { PullProgress } from "./pull-progress.ts";
import { podsRootOf, thisNode } from "./read-manifests.ts";
import type { RunContext, RunningPod } from "./run-pod.ts";
import { stopAndRemovePod } from "./stop.ts";
import { claimPodDirectory, removeOwnDirectory, removePodDirectory } from "./volumes.ts";

/** How pods are run. */
export interface RunPodsOptions {
  /** The operands of davit down that remove what is left, also of removed pods. */
  readonly downWords: readonly string[];
  /** The caller follows the containers: their first moment is not watched, and nothing is printed. */
  readonly foreground?: boolean;
}

/** Running pods. */
interface RunPods {
  readonly running: readonly RunningPod[];
  /** A container has failed early, which was reported. */
  readonly hasFailed: boolean;
}

/**
 * Runs pods concurrently, as the options of davit run say. If one fails or after Ctrl-C, everything that was
 * created is removed.
 */
export async function runPods(
  call: Call,
  server: Server,
  pods: readonly PodManifest[],
  options: RunPodsOptions,
): Promise<RunPods> {
  const { terminal } = call;
  // Fail before anything is created if the server is not reachable.
  await new Objects(server).pods();
  await removeLeftDirectories(server, podsRootOf(call));
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
    (pod) => new PodRun(pod, { lines, watch, call, foreground: options.foreground === true }),
  );
  server.onForcedExit?.(() => interruptedAgain(runs, options));
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
      ? `not everything that was created is removed; ${cleanUpHint(options)}`
      : "everything that was created is removed";
    throw new CommandFailure(exitCode.interrupted, `interrupted; ${result}`);
  }
  lines[Symbol.dispose]();
  const running = results.flatMap((result) =>
    result.status === "fulfilled" ? [result.value] : [],
  );
  return { running, hasFailed: runs.some(({ hasFailed }) => hasFailed) };
}

/** The message when a second Ctrl-C ends the command during the cleanup. */
function interruptedAgain(runs: readonly PodRun[], options: RunPodsOptions): string {
  const names = runs.map(({ name }) => name).join(", ");
  return (
    `interrupted again; ${names} may exist, or may still be created: the server completes the current ` +
    `request, and removes the pod if the request is not retried; ${cleanUpHint(options)}`
  );
}

function cleanUpHint({ downWords }: RunPodsOptions): string {
  return `"davit down ${downWords.join(" ")}" removes what is left`;
}

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
