import { messageOf } from "../../base/errors.ts";
import type { Rollback } from "../../base/rollback.ts";
import type { PodSandbox } from "../../gen/runtime/v1/api_pb.ts";
import type { Call, Command } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { GraceLines } from "../lifecycle/grace.ts";
import { takeDown } from "../lifecycle/take-down.ts";
import { PullWatch } from "../lifecycle/pull-watch.ts";
import {
  fileOption,
  filesOf,
  podsFolderOption,
  podsRootOf,
  readPods,
  thisNode,
} from "../lifecycle/read-manifests.ts";
import {
  podRollback,
  runPod,
  type RunContext,
  type RunningPod,
  type RunReport,
  untilRunning,
} from "../lifecycle/run-pod.ts";
import { giveIds } from "../lifecycle/pod-ids.ts";
import { claimPodFolder, removeOwnFolder, removePodFolder } from "../lifecycle/volumes.ts";
import { podFolder, type PodManifest } from "../manifest/pod.ts";
import { podPath } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { formatAge, formatDuration, shortId } from "../output/figures.ts";
import { LiveLines, spinnerAt } from "../output/live-lines.ts";
import { progressOutput } from "../output/progress-output.ts";
import { formatTotal } from "../output/pull-lines.ts";
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
    "it does not do is refused by file and line before anything is made. When something fails,\n" +
    "or on Ctrl-C, all that it made is removed, but for pulled images.\n" +
    "It is no supervisor: whatever restartPolicy says, nothing restarts a container that ends\n" +
    "(kubelet would). seccomp is RuntimeDefault unless the manifest says another profile.",
  operands: [{ name: "FILE", many: true, optional: true, complete: "file" }],
  options: {
    wait: {
      short: "w",
      doc: "Wait until all containers run, or have ended well; fails when one ends at once",
    },
    replace: { doc: "Take down pods of the same names first" },
    quiet: { short: "q", doc: "Only the ids of the pods, one a line" },
    file: fileOption,
    "pods-folder": podsFolderOption,
  },
  examples: [
    { line: "davit run examples/hello.yaml", does: "Run a pod" },
    { line: "davit run --wait --replace web.yaml db.yaml", does: "Run pods anew, and see them up" },
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
  for (const pod of pods) isNew.set(pod, claims.use(await claimPodFolder(pod)).isNew);
  const quiet = call.options.has("quiet");
  using lines = new LiveLines(progressOutput(terminal, quiet));
  try {
    await makeRoom(call, server, pods, new GraceLines(terminal, { lines, quiet }));
  } catch (error) {
    for (const { folder } of pods.filter((pod) => isNew.get(pod))) await removePodFolder(folder);
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
    await Promise.all(runs.map((each) => each.undo()));
    lines[Symbol.dispose]();
    throw server.signal.aborted
      ? new CommandFailure(exitCode.interrupted, "interrupted; what was made is removed")
      : (failed.signal.reason as Error);
  }
  lines[Symbol.dispose]();
  const running = results.flatMap((result) =>
    result.status === "fulfilled" ? [result.value] : [],
  );
  const { style } = terminal;
  terminal.out(
    quiet
      ? running.map(({ id }) => `${id}\n`).join("")
      : formatTable(running, podColumns, { style }),
  );
  return exitCode.done;
}

const podColumns: readonly Column<RunningPod>[] = [
  { title: "POD ID", of: ({ id }) => shortId(id) },
  { title: "NAMESPACE", of: ({ manifest }) => manifest.namespace },
  { title: "NAME", of: ({ manifest }) => manifest.name },
  { title: "ADDRESS", of: ({ ips }) => ips.join(", ") || "the host's" },
  { title: "CONTAINERS", of: ({ containers }) => [...containers.keys()].join(", ") },
];

/** Sees that no pod of these names is there, or takes it down where that was asked for. */
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
  if (there.length === 0) return;
  const containers = (await objects.containers()).map(({ container }) => container);
  const folders = new Set(pods.map(({ folder }) => folder));
  const podsRoot = podsRootOf(call);
  await Promise.all(
    there.map(async (pod) => {
      await takeDown(server, pod, containers, { seconds: undefined, grace });
      const own = pod.metadata;
      // The folders of the new ones are theirs already.
      if (own && !folders.has(podFolder(podsRoot, own))) await removeOwnFolder(podsRoot, own);
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

/** One of the pods of a command: what is to be undone, and its line on the terminal. */
class PodRun {
  readonly #pod: PodManifest;
  readonly #lines: LiveLines;
  readonly #watch: PullWatch | undefined;
  readonly #call: Call;
  readonly #undo: Rollback;
  readonly #report: RunReport;
  #step = "wait";
  #image: string | undefined;

  constructor(
    pod: PodManifest,
    parts: {
      readonly lines: LiveLines;
      readonly watch: PullWatch | undefined;
      readonly call: Call;
    },
  ) {
    this.#pod = pod;
    this.#lines = parts.lines;
    this.#watch = parts.watch;
    this.#call = parts.call;
    this.#report = {
      step: (text, image) => {
        this.#step = text;
        this.#image = image;
      },
      warn: (text) => this.#lines.print(`${this.#call.terminal.errStyle.yellow("!")} ${text}`),
    };
    this.#undo = podRollback(this.#report);
  }

  /** Runs it, and keeps what is to be undone: another pod of the command may fail yet. */
  async run(context: RunContext): Promise<RunningPod> {
    const style = this.#call.terminal.errStyle;
    const name = `${this.#pod.namespace}/${this.#pod.name}`;
    const begun = performance.now();
    using _line = this.#lines.add((now) => {
      const figures =
        this.#image === undefined ? "" : formatTotal(this.#watch?.layersOf(this.#image));
      const time = style.dim(formatDuration(now - begun));
      return [`${style.dim(spinnerAt(now))} ${name}  ${this.#step}  ${figures}  ${time}`];
    });
    const took = (): string => style.dim(formatDuration(performance.now() - begun));
    try {
      const running = await runPod(context, this.#pod, this.#undo, this.#report);
      if (this.#call.options.has("wait")) await untilRunning(context, running, this.#report);
      this.#print(`${style.green("\u2713")} ${name}  ${took()}`);
      return running;
    } catch (error) {
      if (!context.signal.aborted) {
        this.#print(`${style.red("\u2717")} ${name}  ${this.#step}  ${took()}`);
      }
      throw error;
    }
  }

  async undo(): Promise<void> {
    this.#step = "remove what was made";
    const style = this.#call.terminal.errStyle;
    const name = `${this.#pod.namespace}/${this.#pod.name}`;
    using _line = this.#lines.add((now) => [`${style.dim(spinnerAt(now))} ${name}  ${this.#step}`]);
    try {
      await this.#undo[Symbol.asyncDispose]();
    } catch (error) {
      this.#report.warn(messageOf(error));
    }
  }

  #print(text: string): void {
    if (!this.#call.options.has("quiet")) this.#lines.print(text);
  }
}
